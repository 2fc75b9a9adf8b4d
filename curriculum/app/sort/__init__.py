"""Sort: one question, three keys, one by one, in a grid or four at a time. The page lays out; the component and `api` do the work, without a rerun."""

from __future__ import annotations

import streamlit as st

from curriculum import datasets, labels
from curriculum.app import layout, service
from curriculum.app.identity import Identity, sign
from curriculum.app.sort.component import VIEWS, sorting


def page() -> None:
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    if not st.session_state.get("annotator"):
        st.title("Sort")
        st.info("Sorting needs to know whose judgement it is. Enter your name on the start page.", icon=":material/person:")
        layout.link("start", "Enter my name", ":material/home:")
        return
    # The name may come from the page's address, so it is checked here as on the start page.
    annotator = labels.check_annotator(st.session_state["annotator"])
    st.sidebar.write(f"Sorting as **{layout.plain(annotator)}**")
    if datasets.settings(layout.store(), dataset.name).repeat_share:
        st.sidebar.caption("A few images come a second time, unannounced, so there is more to sort than there are images.")
    view = st.session_state.get("view")
    token = sign(service.current().home, Identity(annotator, dataset.name))
    sorting(view if view in VIEWS else "one", token, annotator, dataset.name, layout.class_titles(dataset.classes))
