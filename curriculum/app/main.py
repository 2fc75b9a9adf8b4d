"""The page router: who is here, which data set, which page."""

from __future__ import annotations

import streamlit as st

from curriculum.app import layout, pages, session


def run() -> None:
    """Who it is, as the database has it at this very run, decides which pages there are."""
    layout.remember_in_address()
    pages.run(session.role())
    session.run_errand()


st.set_page_config(page_title="Easy, medium, hard", page_icon="🗺️", layout="wide")
layout.use_style()
layout.guarded(run)
