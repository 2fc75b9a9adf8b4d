"""Human and model: do we find hard what it finds hard?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from curriculum import analysis
from curriculum.analysis import QUADRANTS
from curriculum.app import gallery, layout, ranking
from curriculum.app.layout import Tile
from curriculum.charts.human_model import MEASURE_TITLE, MOST_POINTS, agreement_intervals, levels_against_difficulty, scattered
from curriculum.charts.palette import LEVEL_MARK
from curriculum.charts.tables import count_table
from curriculum.datasets import Dataset
from curriculum.ordinal import Agreement
from curriculum.vocabulary import LEVELS

IN_A_COLUMN, IN_A_GALLERY = 16, 40
CHOSEN = "chosen in the charts"
MEANING = {
    "easy for people, hard for the model": "A wrong class? An odd example?",
    "hard for people, easy for the model": "A shortcut that the model has found?",
    "hard for both": "Doubtful for everybody: what a curriculum keeps for last.",
    "easy for both": "What a curriculum begins with.",
    CHOSEN: "Draw a frame in the left chart, or click a cell of the table.",
}


def page() -> None:
    st.title("Do we find hard what it finds hard?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    newest = analysis.latest_score(layout.store(), dataset.name)
    scored = analysis.scored_runs(layout.store(), dataset.name)
    going = ranking.form(dataset, newest is not None)
    if newest is None and going:
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
    seen = (dataset.name, chosen, who, measure, f"{layout.log_stamp(dataset.name)}, {dataset.examples} images")
    frame, both = _compared(*seen)
    if both.empty:
        st.info("Nobody has sorted an image of this data set yet, so there is only the model's side.", icon=":material/sort:")
        layout.link("sort", "Sort images", ":material/sort:")
    else:
        picked = _figures(both, who, _agreement(both, *seen))
        _quadrants(dataset, {**_by_quadrant(both, *seen), CHOSEN: picked})
        _by_group(_by_groups(both, *seen))
    _side_by_side(frame, both, dataset)
    gallery.look_closer(dataset.name, chosen)


# What follows is kept for as long as the log of labels and the number of images are what `stamp` says. The frames of all images are kept once for everybody, and
# nobody changes them: a copy for each click would take seconds where there are a million.


@st.cache_resource(max_entries=2, show_spinner=False)
def _compared(dataset: str, run: str, who: str, method: str, stamp: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = analysis.ranked(layout.store(), dataset, run, who, method)
    return frame, analysis.compared(frame)


@st.cache_resource(max_entries=2, show_spinner=False)
def _by_quadrant(_both: pd.DataFrame, dataset: str, run: str, who: str, method: str, stamp: str) -> dict[str, pd.DataFrame]:
    return {str(name): analysis.quadrant(_both, name) for name in QUADRANTS}


@st.cache_data(max_entries=16, show_spinner=False)
def _agreement(_both: pd.DataFrame, dataset: str, run: str, who: str, method: str, stamp: str) -> Agreement:
    return analysis.agreement(_both)


@st.cache_data(max_entries=16, show_spinner="Measuring each class and annotator ...")
def _by_groups(_both: pd.DataFrame, dataset: str, run: str, who: str, method: str, stamp: str) -> pd.DataFrame:
    return analysis.agreement_by(_both, analysis.judged_by_each(layout.store(), run, who, method))


def _describe(scored: pd.DataFrame, run: str) -> str:
    row = scored.set_index("run_id").loc[run]
    source = row["source_run"] if isinstance(row["source_run"], str) else str(row["weights"]).rsplit("/", 1)[-1]
    knew = ", had seen these images" if row["kind"] == "score" and row["seen"] else ""
    return f"{row['method'].replace('_', ' ')}, {source}, {row['image_size']} px, {row['created_at']:%d %b %H:%M}{knew}"


# -- the whole in one look -----------------------------------------------------------------------


def _figures(both: pd.DataFrame, who: str, found: Agreement) -> pd.DataFrame:
    """The measures and both charts; returns the images that are chosen in these."""
    st.write(_in_words(found))
    left, middle, right = st.columns([2, 3, 3], gap="medium")
    with left:
        for measure, meaning in (
            ("spearman", "Of the two orders. 1: the same; 0: unrelated; -1: opposite."),
            ("tau_b", "Pairs of images in the same order less those in opposite order, ties left out."),
            (
                "kappa",
                "Of the levels, the model's cut in the proportions of the people's; two levels apart counts four times as much as one.",
            ),
        ):
            one = getattr(found, measure)
            st.metric(MEASURE_TITLE[measure].capitalize(), f"{one.value:.2f}" if one.defined else "undefined", help=meaning)
            if one.defined:
                st.caption(f"95 % interval {one.low:.2f} to {one.high:.2f}" if one.bounded else one.reason.capitalize())
        same = float((both["level"] == both["model_level"]).mean())
        st.caption(
            f"{len(both):,} images with a level from {layout.plain(layout.WHO.get(who, who))}; {same:.0%} have the same level from both."
        )
    with middle:
        brushed = st.altair_chart(
            levels_against_difficulty(both), width="stretch", on_select="rerun", selection_mode="area", key="_scatter",
            alt="Each image: people's level across, the model's difficulty up",
        )  # fmt: skip
        if len(both) > MOST_POINTS:
            st.caption(f"{len(scattered(both)):,} of them drawn, evenly over the difficulty.")
    with right:
        clicked = st.altair_chart(
            count_table(analysis.level_table(both), "people", "model", select=True), width="stretch", on_select="rerun", selection_mode="cell",
            key="_levels",
        )  # fmt: skip
        st.caption("Images by people's level and by the model's, cut in the same proportions. Click a cell to see its images.")
    return _chosen(both, brushed["selection"].get("area") or {}, clicked["selection"].get("cell") or [])


def _in_words(found: Agreement) -> str:
    low, high = found.spearman.low, found.spearman.high
    if not found.spearman.defined:
        return f"It takes at least three labelled images and more than one level to tell; there are {found.spearman.n}."
    if not found.spearman.bounded:
        return f"**{found.spearman.n:,} images with a level tell too little yet.**"
    if low <= 0 <= high:
        return "**With these labels, no relation can be told from chance.**"
    if high < 0:
        return "**People find easy what the model finds hard.**"
    return (
        "**People and model tend to find the same images hard.**" if low >= 0.3 else "**People and model agree a little on what is hard.**"
    )


def _chosen(both: pd.DataFrame, area: dict[str, Any], cells: list[dict[str, Any]]) -> pd.DataFrame:
    """What lies in the frame that was drawn, else in the cell that was clicked; the hardest for the model first."""
    if area:
        points = scattered(both)
        inside = np.ones(len(points), dtype=bool)
        for column in ("place", "difficulty"):
            low, high = sorted(area.get(column, (-math.inf, math.inf)))
            inside &= points[column].between(low, high).to_numpy()
        return points[inside]
    wanted = {(cell["people"], cell["model"]) for cell in cells}
    inside = np.zeros(len(both), dtype=bool)
    for people, model in wanted:
        inside |= ((both["level"] == people) & (both["model_level"] == model)).to_numpy()
    return both[inside]


# -- the images ----------------------------------------------------------------------------------


def _quadrants(dataset: Dataset, groups: dict[str, pd.DataFrame]) -> None:
    st.header("Where people and model differ, and where they agree")
    picked = groups[CHOSEN]
    first = next((name for name, rows in groups.items() if len(rows)), CHOSEN)
    if len(picked) and not st.session_state.get("_had_picked"):
        st.session_state["_quadrant"] = CHOSEN
    st.session_state["_had_picked"] = bool(len(picked))
    if st.session_state.get("_quadrant") not in groups:
        st.session_state["_quadrant"] = first
    name = str(st.segmented_control(
        "Images", list(groups), key="_quadrant", label_visibility="collapsed", format_func=lambda one: f"{one} · {len(groups[one]):,}",
    ) or first)  # fmt: skip
    rows = groups[name]
    st.caption(MEANING[name])
    if rows.empty:
        st.caption("None." if name != CHOSEN else "Nothing is chosen.")
        return
    shown = rows.iloc[layout.pager(len(rows), IN_A_GALLERY, f"_quadrant_page_{name}")]
    gallery.gallery(
        (Tile(r["sha256"], r["example"], (r["class"], f"people: {layout.level_text(r['level'])}", f"model: {r['difficulty']:.2f}, says {r['predicted']}"))
         for r in shown.to_dict("records")), "_quadrant_gallery", 120,
    )  # fmt: skip
    gallery.send_buttons(dataset.name, rows["example"].tolist(), "_quadrant_send")


def _by_group(rows: pd.DataFrame) -> None:
    st.header("By class and by annotator")
    if rows.empty:
        st.caption("No group has three images with more than one level yet.")
        return
    measure = st.segmented_control("Measure", list(MEASURE_TITLE), default="spearman", key="_group_measure", label_visibility="collapsed",
                                   format_func=MEASURE_TITLE.__getitem__) or "spearman"  # fmt: skip
    chart, table = st.columns(2, gap="medium")
    mine = rows[rows["measure"] == measure]
    chart.altair_chart(agreement_intervals(mine), width="stretch")
    with table:
        layout.table(
            rows.pivot(index=["name", "n"], columns="measure", values="value").reindex(mine.set_index(["name", "n"]).index)[list(MEASURE_TITLE)].reset_index(),
            hide_index=True, height="content", column_config={"n": st.column_config.NumberColumn("images", format="localized"), "name": "group", **{
                name: st.column_config.NumberColumn(title.split()[-1], format="%.2f", help=title.capitalize()) for name, title in MEASURE_TITLE.items()}},
        )  # fmt: skip
    st.caption("Annotators by their own levels, each against the same ranking. Where an interval holds 0, chance alone may do as much.")


# -- side by side --------------------------------------------------------------------------------


def _side_by_side(frame: pd.DataFrame, both: pd.DataFrame, dataset: Dataset) -> None:
    st.header("Side by side")
    name = st.segmented_control("Class", ["all", *dataset.classes], default="all", key="_side_class", format_func=layout.plain) or "all"
    of_class = frame if name == "all" else frame[frame["class"] == name]
    labelled = both if name == "all" else both[both["class"] == name]
    place = layout.pager(_longest(labelled, len(of_class)), IN_A_COLUMN, f"_side_page_{name}")
    st.caption(
        "The clearest first: people's are those that most of them agree on, the model's by its difficulty, 0 easiest to 1 hardest, which stands "
        "beneath each image."
    )
    people, model = st.columns(2, gap="medium", border=True)
    with people:
        st.markdown("**People say**")
        _three_columns(labelled, "level", place, "people")
    with model:
        st.markdown("**The model says**")
        if labelled.empty:
            st.caption("Cut into thirds, as nobody's levels give other proportions.")
            of_class = of_class.assign(
                model_level=pd.cut(of_class["difficulty"].rank(pct=True), [0, 1 / 3, 2 / 3, 1], labels=list(LEVELS)).astype(str)
            )
            _three_columns(of_class, "model_level", place, "model")
        else:
            _three_columns(labelled, "model_level", place, "model")


def _longest(labelled: pd.DataFrame, images: int) -> int:
    """Rows of the longest column on either side: of a class the model may call more images easy than people do. Without levels, of thirds."""
    if labelled.empty:
        return -(-images // len(LEVELS))
    return max(int(labelled[side].value_counts().max()) for side in ("level", "model_level"))


def _three_columns(rows: pd.DataFrame, column: str, place_of: slice, side: str) -> None:
    for column_place, level in zip(st.columns(3), LEVELS, strict=True):
        found = rows[rows[column] == level]
        order = _clearest_first(found, column, level)
        with column_place:
            st.markdown(f"{LEVEL_MARK[level]} {level}  \n{len(found):,}")
            shown = found.iloc[order[place_of]]
            if shown.empty:
                st.caption("none" if found.empty else "no more")
            else:
                gallery.gallery(
                    (Tile(r["sha256"], f"{r['example']}, difficulty {r['difficulty']:.2f}", (f"{r['difficulty']:.2f}",), r["example"])
                     for r in shown.to_dict("records")), f"_{side}_{level}", 54,
                )  # fmt: skip


def _clearest_first(found: pd.DataFrame, column: str, level: str) -> NDArray[np.int64]:
    """People's columns: those that most of them agree on, of like ones those that more have sorted, then by chance, so that the model has no say
    in them. The model's: the easiest of the easy, the hardest of the hard."""
    if column == "level":
        unclear = 1 - found["votes"] / found["annotators"]
        return np.lexsort(
            (pd.util.hash_array(found["example"].to_numpy(object)), -found["annotators"].to_numpy(int), unclear.to_numpy(float))
        )
    else:
        unclear = {
            "easy": found["difficulty"],
            "medium": (found["difficulty"] - found["difficulty"].median()).abs(),
            "hard": -found["difficulty"],
        }[level]
    return np.argsort(unclear.to_numpy(float), kind="stable")
