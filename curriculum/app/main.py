"""The page router: who is here, which data set, which page."""

from __future__ import annotations

import streamlit as st

from curriculum.app import decide, errors, examples, human_model, labels, layout, results, sort, start, team, train

PAGES = [
    st.Page(start.page, title="Start", icon=":material/home:", default=True),
    st.Page(sort.page, title="Sort", icon=":material/sort:", url_path="sort"),
    st.Page(team.page, title="Team", icon=":material/group:", url_path="team"),
    st.Page(examples.page, title="Examples", icon=":material/school:", url_path="examples"),
    st.Page(decide.page, title="Decide", icon=":material/gavel:", url_path="decide"),
    st.Page(labels.page, title="Labels", icon=":material/label:", url_path="labels"),
    st.Page(human_model.page, title="Human and model", icon=":material/compare:", url_path="human-model"),
    st.Page(train.page, title="Train", icon=":material/model_training:", url_path="train"),
    st.Page(results.page, title="Results", icon=":material/query_stats:", url_path="results"),
    st.Page(errors.page, title="Errors", icon=":material/error_outline:", url_path="errors"),
]

st.set_page_config(page_title="Easy, medium, hard", page_icon="🗺️", layout="wide")
layout.use_style()
layout.remember_in_address()
layout.register_pages(PAGES)
chosen = st.navigation(PAGES)
layout.guarded(chosen.run)
