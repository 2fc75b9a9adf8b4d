"""Ranking the images by a model's loss: the form that starts it, and the bar while it goes on."""

from __future__ import annotations

import streamlit as st

from curriculum import intake, runs
from curriculum.app import layout, service, session
from curriculum.config import ScoreConfig
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError
from curriculum.rundir import RunDir, open_run


def form(dataset: Dataset, again: bool) -> bool:
    """The form that starts a ranking, or the one that is going on; True for the latter."""
    active = runs.list_runs(layout.store(), dataset.name, "score")
    active = active[active["state"].isin(["queued", "running"])]
    if len(active):
        _watch(active["run_id"].iloc[0])
        return True
    _say_failure(dataset)
    with st.expander("Rank again with other weights" if again else "Rank every image by a model's loss", expanded=not again):
        columns = st.columns([3, 2, 2], vertical_alignment="bottom")
        with columns[0]:
            weights = layout.weights_picker(dataset.name, "score")
        size = columns[1].select_slider(
            "Image size in pixels", [64, 96, 128, 192, 256, 384], 128, help="Larger sees more and takes longer."
        )
        if columns[2].button("Rank the images", type="primary", icon=":material/leaderboard:", width="stretch"):
            try:
                layout.start_run(ScoreConfig(dataset.name, weights=weights, image_size=size))
            except CurriculumError as error:
                st.error(layout.plain(str(error)))
            else:
                st.rerun()
    return False


def _say_failure(dataset: Dataset) -> None:
    """The newest scoring run's failure, until another one succeeds."""
    newest = runs.list_runs(layout.store(), dataset.name, "score").head(1)
    for row in newest[newest["state"].isin(["failed", "interrupted"])].itertuples():
        st.error(f"The last ranking {row.state}: {layout.plain(str(row.message))}", icon=":material/error:")


@st.fragment(run_every=0.7)
@session.for_leads
def _watch(run_id: str) -> None:
    run: RunDir = open_run(service.current().home, run_id)
    status = run.status()
    if status.active:
        layout.show_status(status)
        if st.button("Cancel", key="cancel_score", icon=":material/cancel:"):
            runs.cancel(run, wait_seconds=3)
    else:
        intake.ingest(layout.store(), run)
        st.rerun()
