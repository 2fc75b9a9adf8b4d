"""The sorting component: its HTML, CSS and JavaScript as files, put together once, and what the page hands to it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

SCRIPTS = ("outbox.js", "keys.js", "queue.js", "past.js", "sort.js")
"""One module for the browser, in this order: Streamlit takes a single text."""


def _read(*names: str) -> str:
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


_component = st.components.v2.component("sorting", html=_read("sort.html"), css=_read("sort.css"), js=_read(*SCRIPTS))


def sorting(token: str, annotator: str, dataset: str) -> None:
    """Show the component: all that it is told is who sorts what. Images, progress and history it asks of `api`."""
    _component(key="sorting", data={"token": token, "annotator": annotator, "dataset": dataset})
