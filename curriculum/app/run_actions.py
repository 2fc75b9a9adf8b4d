"""What can be done to runs, on whichever page they stand: cancel, resume, name, note, delete."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from curriculum import explained, intake, report, run_tables, runs
from curriculum.app import layout, service, session
from curriculum.config import TrainConfig
from curriculum.errors import CurriculumError, RunError
from curriculum.rundir import MAX_NOTE, MAX_TITLE, RunDir, open_run, place_of

MOST_EXPLAINED = 10
STATES = {"done": "✓ done", "running": "▶ running", "queued": "… queued", "failed": "✗ failed", "cancelled": "■ cancelled",
          "interrupted": "⚠ interrupted", "gone": "∅ gone"}  # fmt: skip


def directory(run_id: str) -> RunDir:
    """A run's directory, which may be gone."""
    return place_of(service.current().home, run_id)


def states_of(rows: pd.DataFrame) -> pd.Series[str]:
    """Each run's state: gone where it is said to go on, but its directory isn't there."""
    lost = [not (directory(run_id) / "config.json").exists() for run_id in rows["run_id"]]
    return rows["state"].mask(rows["state"].isin(run_tables.ACTIVE) & np.array(lost), "gone")


@st.fragment(run_every=2.0)
@session.for_leads
def live(words: Mapping[str, str]) -> None:
    """How far what goes on is, each run in its words; when one ends, the page is drawn anew."""
    for run_id, said in words.items():
        with st.container(border=True):
            progress(run_id, said)


def comparison_of(run_id: str) -> str | None:
    """The comparison that a run is an arm of; None for any other run."""
    named = runs.comparison_id(run_id)
    return named if layout.store().rows("SELECT 1 FROM run WHERE kind = 'compare' AND run_id = ?", [named]) else None


def progress(run_id: str, words: str) -> RunDir:
    """How far a run that goes on is, in words and as a bar, with a button that stops it.

    Where it has just ended, it is taken in, and the page is drawn anew.
    """
    run = open_run(service.current().home, run_id)
    status = run.status()
    if not status.active:
        with contextlib.suppress(RunError):  # its message says by now what can't be read
            intake.ingest(layout.store(), run)
        st.rerun()
    what, button = st.columns([5, 1], vertical_alignment="center")
    with what:
        st.markdown(words)
        layout.show_status(status)
    with button:
        cancel_button(run)
    return run


def cancel_button(run: RunDir) -> None:
    """Ask a run that goes on to stop."""
    if run.cancel_asked():
        st.caption("Cancelling ...")
    elif st.button("Cancel", key=f"cancel_{run.run_id}", icon=":material/cancel:", help="What is done is kept; resume goes on."):
        with contextlib.suppress(CurriculumError):  # it has just ended by itself
            runs.cancel(run, wait_seconds=3)
        st.rerun()


def resume_button(run: RunDir) -> None:
    """Go on with a run that stopped; nothing where its directory is gone."""
    if run.path.exists() and st.button("Resume", key=f"resume_{run.run_id}", icon=":material/play_arrow:"):
        try:
            runs.resume(layout.store(), run)
            intake.ingest(layout.store(), run)
        except CurriculumError as error:  # such as another lead's click a moment before
            st.error(layout.plain(str(error)), icon=":material/error:")
        else:
            st.rerun()


def report_button(run_id: str) -> None:
    """A finished run or comparison as one HTML file, made when the button is pressed."""
    store, running = layout.store(), service.current()

    def make() -> bytes:
        run = directory(run_id)
        trained = run.path.exists() and isinstance(run.config(), TrainConfig)
        looked = explained.pictures(store, run, running.explainer, MOST_EXPLAINED, ask=False) if trained else []
        return report.build(store, run, looked).encode()

    st.download_button(
        "Report", session.file_for_leads(make), f"{run_id}.html", "text/html",
        icon=":material/description:", key=f"report_{run_id}", on_click="ignore",
        help="One HTML file with method, data, results, charts, errors and what the page Why has shown of the worst of them: it needs no network.",
    )  # fmt: skip


@st.dialog("Title and note")
@session.for_leads
def edit(run_id: str) -> None:
    """Let a lead give a run a title and a note."""
    run = directory(run_id)
    about = run.about()
    st.caption(layout.plain(run_id))
    title = st.text_input("Title", about.title, max_chars=MAX_TITLE, placeholder="for tables and legends; empty: the method's name")
    note = st.text_area("Note", about.note, max_chars=MAX_NOTE, placeholder="why it was started, what came of it")
    if st.button("Save", type="primary"):
        try:
            runs.describe(layout.store(), run, title=title, note=note)
        except CurriculumError as error:
            st.error(layout.plain(str(error)), icon=":material/error:")
        else:
            st.rerun()


@st.dialog("Delete for good?")
@session.for_leads
def confirm_delete(run_ids: Sequence[str]) -> None:
    """Delete runs after one more question."""
    several = len(run_ids) > 1
    whose = f"These {len(run_ids)} runs, their models and their" if several else "The run, its model and its"
    st.write(f"{whose} figures are removed for good. Labels stay.")
    st.markdown("\n".join(f"- `{run_id}`" for run_id in run_ids))
    if st.button("Delete them" if several else "Delete it", type="primary"):
        for run_id in run_ids:
            try:
                runs.delete(layout.store(), directory(run_id))
            except CurriculumError as error:
                st.error(layout.plain(str(error)), icon=":material/error:")
                return
        st.rerun()
