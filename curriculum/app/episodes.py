"""The page Runs, its few-shot episodes: what a frozen network's features are worth, each run's mean with its interval."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from curriculum import run_tables
from curriculum.app import layout, run_actions
from curriculum.vocabulary import ARCHITECTURE_TITLE
from curriculum.words import duration

COLUMNS = {
    "accuracy": st.column_config.NumberColumn(format="%.3f", help="The mean over the episodes."),
    "95 % interval": st.column_config.TextColumn(help="Of the mean: over the episodes, by Student's t."),
    "SD": st.column_config.NumberColumn(format="%.3f", help="Of single episodes around the mean."),
    "px": st.column_config.NumberColumn(format="%d", help="Image size in pixels."),
    "episodes": st.column_config.NumberColumn(format="localized"),
    "started": st.column_config.DatetimeColumn(format="D MMM, HH:mm"),
}


def show(runs: pd.DataFrame) -> None:
    """What goes on, then all of them in a table, and why the newest stopped.

    Args:
        runs: rows of `runs.list_runs`, kind episodes; at least one.
    """
    rows = run_tables.episodes(runs)
    rows["state"] = run_actions.states_of(rows)
    going = rows[rows["state"].isin(run_tables.ACTIVE)]
    if len(going):
        run_actions.live({run_id: f"**Episodes with {layout.plain(network)}** are going on." for run_id, network in
                          zip(going["run_id"], going["network"].map(ARCHITECTURE_TITLE), strict=True)})  # fmt: skip
    layout.table(_shown(rows), hide_index=True, column_config=COLUMNS, placeholder="", alt="Runs of few-shot episodes")
    st.caption(
        "An episode draws classes, images to learn from and others to be tested on, anew each time, from this data set alone. The interval "
        "tells how much the drawing leaves to chance, not how it would be with other images."
    )
    newest = runs.iloc[0]
    if rows["state"].iloc[0] in ("failed", "cancelled", "interrupted"):
        said = layout.plain(newest["message"]) if isinstance(newest["message"], str) else "It said nothing."
        st.error(f"The newest, {run_actions.STATES[rows['state'].iloc[0]]}: {said}", icon=":material/error:")
        run_actions.resume_button(run_actions.directory(newest["run_id"]))


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({
        "state": rows["state"].map(run_actions.STATES), **({"title": rows["title"]} if rows["title"].any() else {}),
        "network": rows["network"].map(ARCHITECTURE_TITLE), "weights": rows["weights"], "accuracy": rows["accuracy"],
        "95 % interval": run_tables.intervals(rows), "episodes": rows["episodes"], "SD": rows["sd"], "classes": rows["ways"],
        "to learn from": rows["shots"], "to test": rows["queries"], "classifier": rows["classifier"], "px": rows["image_size"],
        "seed": rows["seed"], "time": [duration(seconds) for seconds in rows["seconds"]], "started": rows["created_at"],
    })  # fmt: skip
