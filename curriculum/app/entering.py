"""Which images entered a run when, on a page: a heat map by class or level, the first and the last images."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from curriculum import entering, labels
from curriculum.app import layout
from curriculum.app.curves import chart_files
from curriculum.app.layout import Tile
from curriculum.app.run_actions import directory
from curriculum.charts.entering import use_map
from curriculum.errors import RunError
from curriculum.vocabulary import CURRICULA, LEVELS

IN_A_ROW = 8


def show(run_id: str, config: dict[str, Any], epochs: pd.DataFrame, *, live: bool) -> None:
    """The self-paced, paced or staged order of one run.

    Args:
        config: of the run.
        epochs: of the run: epoch, samples_seen.
        live: whether it goes on, so that what isn't in use may still come.
    """
    if config["mode"] not in CURRICULA:
        st.caption("Every training image was in use from the first epoch on.")
        return
    run = directory(run_id)
    lessons = run.lessons()
    if not lessons or not (run / "order.parquet").exists():
        gone = "Its directory is gone." if not run.path.exists() else "It is from before this was kept, or no epoch has ended yet."
        st.info(f"Which images were in use when is not recorded for this run. {gone}", icon=":material/grid_off:")
        return
    try:
        order = run.order()
    except RunError as error:
        st.info(f"Which images entered when can't be told: {layout.plain(str(error))}", icon=":material/grid_off:")
        return
    order, whose = _with_levels(order, config)
    left, right = st.columns(2)
    options = {"level": f"level ({whose})", "class": "class"} if whose else {"class": "class"}
    first = next(iter(options))
    by = left.segmented_control("Rows", list(options), default=first, format_func=options.__getitem__, key=f"_entering_by_{first}") or first
    axes = {"epoch": "epoch", "share": "share of the training"}
    axis = right.segmented_control("Columns", list(axes), default="epoch", format_func=axes.__getitem__, key="_entering_axis") or "epoch"
    shares = entering.shares_in_use(order, lessons, epochs, by)
    if shares.empty:
        st.info("No epoch has ended yet.", icon=":material/grid_off:")
        return
    names = (
        layout.class_titles(shares["row"].unique()) if by == "class" else {row: layout.level_text(row) for row in shares["row"].unique()}
    )
    chart = use_map(shares.assign(row=shares["row"].map(names)), list(names.values()), axis)
    st.altair_chart(chart, width="stretch")
    files = st.popover("Chart as a file", icon=":material/download:", on_change="rerun", key="_entering_file")
    if files.open:
        with files:
            chart_files("Images in use", lambda: chart)
    entered = entering.entries(order, lessons)
    _galleries(entered, live)


def _with_levels(order: pd.DataFrame, config: dict[str, Any]) -> tuple[pd.DataFrame, str]:
    """Levels as the run knew them, else as they are now; and whose they are, empty where nobody gave any."""
    if order["level"].notna().any():
        return order, f"{layout.WHO.get(config['levels'], config['levels'])}, when the run began"
    for who in ("people", "simulated"):
        agreed = labels.consensus(layout.store(), config["dataset"], who)
        if not agreed.empty:
            return order.drop(columns="level").merge(agreed[["example", "level"]], how="left", on="example"), f"{layout.WHO[who]}, now"
    return order, ""


def _galleries(entered: pd.DataFrame, live: bool) -> None:
    titles = layout.class_titles(sorted(entered["class"].unique()))
    known = bool(entered["level"].isin(LEVELS).any())
    left, right = st.columns(2, gap="large")
    for place, words, rows in (
        (left, "The first to enter", entering.first_to_enter(entered, IN_A_ROW)),
        (right, "The last to enter", entering.last_to_enter(entered, IN_A_ROW)),
    ):
        with place:
            st.markdown(f"**{words}**")
            layout.gallery([_tile(row, titles, known, live) for row in rows.to_dict("records")], 96)
    never = int(entered["first"].isna().sum())
    if never:
        why = "have not been in use so far." if live else "were never in use: the training ended before their turn."
        st.caption(f"{never:,} of {len(entered):,} training images {why}")


def _tile(row: dict[Any, Any], titles: dict[str, str], known: bool, live: bool) -> Tile:
    when = ("not in use yet" if live else "never in use") if pd.isna(row["first"]) else f"from epoch {row['first']:.0f}, in {row['used']:,}"
    level = (layout.level_text(row["level"]),) if known else ()
    return Tile(row["sha256"], row["example"], (titles[row["class"]], when, *level, layout.short(row["example"])))
