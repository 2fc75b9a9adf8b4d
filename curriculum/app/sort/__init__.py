"""Sort: one question, three keys, one by one, in a grid or four at a time, after some practice.

The page lays out; the component and `api` do the work, without a rerun.
"""

from __future__ import annotations

import streamlit as st

from curriculum import datasets
from curriculum.app import layout
from curriculum.app.identity import Identity, sign
from curriculum.app.sort import practice
from curriculum.app.sort.component import VIEWS, sorting


def page() -> None:
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    annotator = st.session_state.get("annotator")
    if not annotator:
        st.title("Sort")
        st.info("Sorting needs to know whose judgement it is. Sign in on the start page.", icon=":material/person:")
        layout.link("start", "Sign in", ":material/home:")
        return
    st.sidebar.write(f"Sorting as **{layout.plain(annotator)}**")
    if datasets.settings(layout.store(), dataset.name).repeat_share:
        st.sidebar.caption("A few images come a second time, unannounced, so there is more to sort than there are images.")
    view = st.session_state.get("view")
    if practice.takes_over(dataset, annotator):
        return
    practice.offer(dataset)
    tokens = {each.name: sign(layout.store(), Identity(annotator, each.name)) for each in datasets.list_datasets(layout.store())}
    titles = layout.class_titles(dataset.classes)
    sorting(view if view in VIEWS else "one", tokens, annotator, dataset.name, titles, practice.anchors(dataset))
