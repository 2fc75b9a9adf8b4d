"""Human and model: do we find hard what it finds hard?"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from curriculum import analysis, runs
from curriculum.app import layout, service, session
from curriculum.app.layout import Tile
from curriculum.charts.human_model import levels_against_difficulty
from curriculum.charts.palette import LEVEL_MARK
from curriculum.charts.tables import count_table
from curriculum.config import LEVELS, ScoreConfig
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError
from curriculum.rundir import RunDir, open_run

IN_A_COLUMN = 16


def page() -> None:
    st.title("Do we find hard what it finds hard?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    newest = analysis.latest_score(layout.store(), dataset.name)
    scored = analysis.scored_runs(layout.store(), dataset.name)
    ranking = _rank(dataset, newest is not None)
    if newest is None and ranking:
        return
    if newest is None:
        st.info(
            "No model has ranked these images yet. Ranking trains a small classifier on a network's features, five times without a fifth of the "
            "images, and takes each image's loss from the classifier that has never seen it.",
            icon=":material/leaderboard:",
        )
        return
    known = scored["run_id"].tolist()
    chosen = st.sidebar.selectbox("Model's ranking", known, index=known.index(newest), format_func=lambda run: _describe(scored, run))
    measure = st.sidebar.selectbox(
        "Measured by", analysis.measures(layout.store(), chosen), key=f"_measure_{chosen}", format_func=lambda name: name.replace("_", " "),
        help="What the same run says in other terms. Scores of a training run are of its training images alone.",
    )  # fmt: skip
    who = layout.chosen_who(dataset.name)
    frame = analysis.ranked(layout.store(), dataset.name, chosen, who, measure)
    both = analysis.compared(frame)
    if both.empty:
        st.info("Nobody has sorted an image of this data set yet, so there is only the model's side.", icon=":material/sort:")
        layout.link("sort", "Sort images", ":material/sort:")
    else:
        _figures(both, who)
    _side_by_side(frame, both, dataset)
    if not both.empty:
        _disagreements(both)


def _describe(scored: pd.DataFrame, run: str) -> str:
    row = scored.set_index("run_id").loc[run]
    source = row["source_run"] if isinstance(row["source_run"], str) else str(row["weights"]).rsplit("/", 1)[-1]
    return f"{row['method'].replace('_', ' ')}, {source}, {row['image_size']} px, {row['created_at']:%d %b %H:%M}"


# -- ranking -------------------------------------------------------------------------------------


def _rank(dataset: Dataset, again: bool) -> bool:
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
                st.error(str(error))
            else:
                st.rerun()
    return False


def _say_failure(dataset: Dataset) -> None:
    """The newest scoring run's failure, until another one succeeds."""
    newest = runs.list_runs(layout.store(), dataset.name, "score").head(1)
    for row in newest[newest["state"].isin(["failed", "interrupted"])].itertuples():
        st.error(f"The last ranking {row.state}: {row.message}", icon=":material/error:")


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
        runs.ingest(layout.store(), run)
        st.rerun()


# -- comparing -----------------------------------------------------------------------------------


def _figures(both: pd.DataFrame, who: str) -> None:
    agreed = analysis.agreement(both)
    left, middle, right = st.columns([2, 3, 3], gap="medium")
    with left:
        if agreed.defined:
            st.metric("Rank correlation", f"{agreed.value:.2f}", help="Spearman's. 1: the same order; 0: unrelated; -1: opposite.")
            st.caption(
                f"95 % interval {agreed.low:.2f} to {agreed.high:.2f} (bootstrap), {agreed.n:,} images with a level from {layout.WHO.get(who, who)}."
            )
            st.write(_in_words(agreed.low, agreed.high))
        else:
            st.metric("Rank correlation", "undefined")
            st.caption(f"It needs at least three labelled images and more than one level; there are {agreed.n}.")
        same = float((both["level"] == both["model_level"]).mean())
        st.metric("Same level", f"{same:.0%}", help="The model's ranking is cut into levels in the proportions of the people's.")
    with middle:
        st.altair_chart(levels_against_difficulty(both), width="stretch")
    with right:
        st.altair_chart(count_table(analysis.level_table(both), "people", "model"), width="stretch")
        st.caption("Images by people's level and by the model's, cut in the same proportions.")


def _in_words(low: float, high: float) -> str:
    if math.isnan(low) or low <= 0 <= high:
        return "With these labels, no relation can be told from chance."
    if high < 0:
        return "People find easy what the model finds hard."
    return "People and model tend to find the same images hard." if low >= 0.3 else "People and model agree a little on what is hard."


def _side_by_side(frame: pd.DataFrame, both: pd.DataFrame, dataset: Dataset) -> None:
    st.header("Side by side")
    name = st.segmented_control("Class", ["all", *dataset.classes], default="all", key="_side_class") or "all"
    of_class = frame if name == "all" else frame[frame["class"] == name]
    labelled = both if name == "all" else both[both["class"] == name]
    longest = int(labelled["level"].value_counts().max()) if len(labelled) else -(-len(of_class) // len(LEVELS))
    place = layout.pager(longest, IN_A_COLUMN, f"_side_page_{name}")
    people, model = st.columns(2, gap="medium", border=True)
    with people:
        st.markdown("**People say**")
        _three_columns(labelled, "level", place)
    with model:
        st.markdown("**The model says**")
        if labelled.empty:
            st.caption("Cut into thirds, as nobody's levels give other proportions.")
            of_class = of_class.assign(
                model_level=pd.cut(of_class["difficulty"].rank(pct=True), [0, 1 / 3, 2 / 3, 1], labels=list(LEVELS)).astype(str)
            )
            _three_columns(of_class, "model_level", place)
        else:
            _three_columns(labelled, "model_level", place)


def _three_columns(rows: pd.DataFrame, column: str, place_of: slice) -> None:
    for column_place, level in zip(st.columns(3), LEVELS, strict=True):
        found = rows[rows[column] == level]
        found = found.iloc[_clearest_first(found, column, level)]
        with column_place:
            st.markdown(f"{LEVEL_MARK[level]} {level} · {len(found):,}")
            shown = found.iloc[place_of]
            if shown.empty:
                st.caption("none" if found.empty else "no more")
            else:
                layout.gallery(
                    (
                        Tile(r["sha256"], f"{r['example']}, difficulty {r['difficulty']:.2f}", (f"{r['difficulty']:.2f}",))
                        for r in shown.to_dict("records")
                    ),
                    54,
                )


def _clearest_first(found: pd.DataFrame, column: str, level: str) -> NDArray[np.int64]:
    """People's columns: those that most of them agree on. The model's: the easiest of the easy, the hardest of the hard."""
    if column == "level":
        unclear = 1 - found["votes"] / found["annotators"]
    else:
        unclear = {
            "easy": found["difficulty"],
            "medium": (found["difficulty"] - found["difficulty"].median()).abs(),
            "hard": -found["difficulty"],
        }[level]
    return np.argsort(unclear.to_numpy(float), kind="stable")


def _disagreements(both: pd.DataFrame) -> None:
    st.header("Where people and model disagree most")
    harder, easier = st.columns(2, gap="large", border=True)
    for place, direction, meaning in (
        (harder, "model finds it harder", "Easy for people, hard for the model: a wrong class? An odd example?"),
        (easier, "people find it harder", "Hard for people, easy for the model: a shortcut that it has found?"),
    ):
        with place:
            st.markdown(f"**{direction.capitalize()}**")
            st.caption(meaning)
            rows = analysis.disagreements(both, direction, 12)  # type: ignore[arg-type]
            if rows.empty:
                st.caption("None.")
            layout.gallery(
                Tile(
                    r["sha256"],
                    r["example"],
                    (r["class"], f"people: {layout.level_text(r['level'])}", f"model: {r['difficulty']:.2f}, says {r['predicted']}"),
                )
                for r in rows.to_dict("records")
            )
