"""Examples: the lead chooses nine images that show the levels and fifteen to practise with, and sees how practice went."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd
import streamlit as st

from curriculum import calibration
from curriculum.app import layout, session
from curriculum.app.layout import Tile
from curriculum.calibration import PARTS, PER_LEVEL, Part
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError
from curriculum.vocabulary import LEVELS, Level

NAME: dict[Part, str] = {"anchor": "Examples", "practice": "Practice images"}
SHOWN = 12
ROW = 6


def page() -> None:
    st.title("What do easy, medium and hard mean here?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    lead = str(st.session_state["annotator"])
    images = calibration.calibration_images(layout.store(), dataset.name)
    _state(dataset, lead, images)
    for part in PARTS:
        _part(dataset, part, images[images["part"] == part])
    _choose(dataset, lead, images)
    _results(dataset)


def _state(dataset: Dataset, lead: str, images: pd.DataFrame) -> None:
    missing = calibration.missing(images)
    if not missing:
        st.success(
            "Complete: everybody sees the examples and practises once before sorting. Nobody is asked to sort these images.",
            icon=":material/school:",
        )
        return
    lacking = "; ".join(
        f"{NAME[part].lower()}: " + ", ".join(f"{count} {level}" for (of, level), count in missing.items() if of == part)
        for part in PARTS
        if any(of == part for of, _ in missing)
    )
    st.info(f"Still to be chosen: {lacking}. Until then nobody practises.", icon=":material/school:")
    if st.button("Choose the rest for me", icon=":material/auto_fix_high:",
                 help="From what you sorted, then from what people agree on; of many classes. Look at them, and exchange what doesn't fit."):  # fmt: skip
        chosen = calibration.suggest(layout.store(), dataset.name, lead)
        st.toast(f"{chosen} images were chosen." if chosen else "There is nothing to choose from: sort some images first.")
        st.rerun()


def _part(dataset: Dataset, part: Part, images: pd.DataFrame) -> None:
    st.header(f"{NAME[part]}: {len(images)} of {PER_LEVEL[part] * len(LEVELS)}")
    titles = layout.class_titles(dataset.classes)
    for column, level in zip(st.columns(3), LEVELS, strict=True):
        with column:
            st.markdown(f"**{layout.level_text(level)}**")
            rows = cast(list[dict[str, Any]], images[images["level"] == level].to_dict("records"))
            if not rows:
                st.caption("none yet")
            layout.gallery((Tile(row["sha256"], row["example"], (titles[row["class"]], row["reason"])) for row in rows), 84)
            names = [row["example"] for row in rows]
            out = st.multiselect("Take out", names, key=f"_out_{part}_{level}", placeholder="Take out ...", label_visibility="collapsed",
                                 format_func=layout.short) if names else []  # fmt: skip
            if out and st.button(f"Take out {len(out)}", key=f"_take_out_{part}_{level}"):
                calibration.leave_out(layout.store(), dataset.name, out)
                st.rerun()


def _choose(dataset: Dataset, lead: str, images: pd.DataFrame) -> None:
    room = calibration.missing(images)
    if not room:
        return
    st.header("Choose")
    left, middle, right = st.columns([4, 4, 5])
    open_parts = [part for part in PARTS if any(key[0] == part for key in room)]
    part = left.segmented_control("For", open_parts, default=open_parts[0], format_func=NAME.__getitem__, required=True, key="_choose_part")
    part = part if part in open_parts else open_parts[0]
    levels = [level for level in LEVELS if (part, level) in room]
    level = middle.segmented_control(
        "Level", levels, default=levels[0], format_func=layout.level_text, required=True, key=f"_choose_{part}"
    )
    level = level if level in levels else levels[0]
    reason = right.text_input("Why it is so, for who practises", value=f"a typical {level} one", key=f"_why_{level}", max_chars=200)
    found = calibration.candidates(layout.store(), dataset.name, lead, level)
    if found.empty:
        st.info(f"Nobody has sorted an image as {level} yet. Sort some yourself first.", icon=":material/sort:")
        layout.link("sort", "Sort images", ":material/sort:")
        return
    st.caption(f"{len(found):,} images that you, or anybody of the team, put there, the surest first; {room[part, level]} to choose.")
    shown = found.iloc[layout.pager(len(found), SHOWN, f"_candidates_{level}")].to_dict("records")
    for first in range(0, len(shown), ROW):
        for column, row in zip(st.columns(ROW), shown[first : first + ROW], strict=False):
            with column:
                layout.gallery([Tile(row["sha256"], row["example"], (layout.class_titles(dataset.classes)[row["class"]],))], 100)
                st.button("Take", key=f"_take_{row['example']}", on_click=_take, args=[dataset.name, lead, part, row["example"], level, reason],
                          width="stretch", disabled=not reason.strip())  # fmt: skip


@session.for_leads
def _take(dataset: str, lead: str, part: Part, example: str, level: Level, reason: str) -> None:
    try:
        calibration.choose(layout.store(), dataset, lead, part, {example: level}, reason)
    except CurriculumError as error:  # such as another lead's click a moment before
        st.toast(layout.plain(str(error)), icon=":material/error:")


def _results(dataset: Dataset) -> None:
    found = calibration.practice_results(layout.store(), dataset.name)
    st.header("How practice went")
    if found.empty:
        st.caption("Nobody has practised yet.")
        return
    table = found.assign(as_decided=[f"{row['same']} of {row['answers']}" for row in found.to_dict("records")])
    layout.table(
        table[["annotator", "attempt", "as_decided", "harder", "last_answer"]], hide_index=True,
        column_config={
            "as_decided": st.column_config.TextColumn("as decided"),
            "harder": st.column_config.NumberColumn("finds harder by", format="%+.2f", help="Levels above (+) or below (-) the decided ones, on average."),
            "last_answer": st.column_config.DatetimeColumn("last answer", format="YYYY-MM-DD HH:mm"),
        },
    )  # fmt: skip
