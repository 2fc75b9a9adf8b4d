"""Practice: before the first image, an annotator sees what the levels mean here and tries fifteen images, each with the lead's answer."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd
import streamlit as st

from curriculum import calibration
from curriculum.app import layout, session
from curriculum.app.layout import Tile
from curriculum.calibration import PRACTICE, Practice
from curriculum.datasets import Dataset
from curriculum.vocabulary import LEVELS, Level

STEP = "_practice_step"
"""Of this session: None (sorting), 'anchors', 'images'; what was answered last stands in TOLD until Next."""
TOLD = "_practice_told"


def takes_over(dataset: Dataset, annotator: str) -> bool:
    """Show the practice where it is this annotator's turn for it; False: sort."""
    if st.session_state.get("_practice_of") != (dataset.name, annotator):
        st.session_state.update({"_practice_of": (dataset.name, annotator), STEP: None, TOLD: None})
    if st.session_state[STEP] is None and calibration.must_practise(layout.store(), dataset.name, annotator):
        st.session_state[STEP] = "anchors"
    if st.session_state[STEP] is None:
        return False
    images = calibration.calibration_images(layout.store(), dataset.name)
    if st.session_state[STEP] == "anchors":
        _anchors(dataset, annotator, images)
    else:
        _images(dataset, annotator, images)
    return True


def offer(dataset: Dataset) -> None:
    """In the sidebar, for who is sorting: the examples and the practice once more."""
    if not calibration.missing(calibration.calibration_images(layout.store(), dataset.name)):
        st.sidebar.button("Examples and practice", icon=":material/school:", on_click=_go, args=["anchors"], width="stretch")


def anchors(dataset: Dataset) -> list[dict[str, str]]:
    """The examples as the sorting component takes them."""
    images = calibration.calibration_images(layout.store(), dataset.name)
    titles = layout.class_titles(dataset.classes)
    return [
        {
            "level": row["level"],
            "class": row["class"],
            "title": titles[row["class"]],
            "thumb": f"/thumb/{row['sha256']}",
            "reason": row["reason"],
        }
        for row in images[images["part"] == "anchor"].to_dict("records")
    ]


def _go(step: str | None) -> None:
    st.session_state.update({STEP: step, TOLD: None})


# -- the anchors ---------------------------------------------------------------------------------


def _anchors(dataset: Dataset, annotator: str, images: pd.DataFrame) -> None:
    st.title("What do easy, medium and hard mean here?")
    st.write("Look at these before you sort. It is about how hard it is to tell what an image shows, not about how nice it is.")
    titles = layout.class_titles(dataset.classes)
    shown = images[images["part"] == "anchor"]
    for column, level in zip(st.columns(3), LEVELS, strict=True):
        with column:
            st.subheader(layout.level_text(level))
            layout.gallery(
                (Tile(row["sha256"], titles[row["class"]], (titles[row["class"]], row["reason"])) for row in _records(shown, level)), 85
            )
    standing = calibration.practice(layout.store(), dataset.name, annotator)
    practise, leave = st.columns(2)
    words = (
        f"Go on practising: {len(standing.remaining)} to go"
        if 0 < len(standing.remaining) < PRACTICE
        else f"Practise with {PRACTICE} images"
    )
    practise.button(
        words, type="primary", shortcut="Enter", icon=":material/school:", on_click=_begin, args=[dataset.name, annotator], width="stretch"
    )
    if not calibration.must_practise(layout.store(), dataset.name, annotator):
        leave.button("Sort images", shortcut="Escape", icon=":material/sort:", on_click=_go, args=[None], width="stretch")
    st.caption("Practice answers are no labels. The lead sees how many were as decided.")


def _records(images: pd.DataFrame, level: Level) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], images[images["level"] == level].to_dict("records"))


def _by_example(images: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return cast(dict[str, dict[str, Any]], images.set_index("example").to_dict("index"))


@session.by_oneself
def _begin(dataset: str, annotator: str) -> None:
    again = calibration.practice(layout.store(), dataset, annotator, anew=True)
    st.session_state["_practice_attempt"] = again.attempt
    _go("images")


# -- the practice images -------------------------------------------------------------------------


def _images(dataset: Dataset, annotator: str, images: pd.DataFrame) -> None:
    standing = calibration.practice(layout.store(), dataset.name, annotator, anew=True)
    told = st.session_state.get(TOLD)
    if told:
        _tell(dataset, images, told, len(standing.remaining) if standing.attempt == st.session_state["_practice_attempt"] else 0)
    elif standing.attempt != st.session_state.get("_practice_attempt") or not standing.remaining:
        _end(dataset, annotator, images)
    else:
        _ask(dataset, annotator, images, standing)


def _ask(dataset: Dataset, annotator: str, images: pd.DataFrame, standing: Practice) -> None:
    row = _by_example(images)[standing.remaining[0]]
    _question(dataset, row, len(standing.remaining))
    for column, (place, level) in zip(st.columns(3), enumerate(LEVELS, start=1), strict=True):
        column.button(layout.level_text(level), key=f"_practice_{level}", shortcut=str(place), width="stretch", on_click=_answer,
                      args=[dataset.name, annotator, standing.attempt, standing.remaining[0], level])  # fmt: skip


def _question(dataset: Dataset, row: dict[str, Any], left: int) -> None:
    st.progress((PRACTICE - min(left, PRACTICE)) / PRACTICE, text=f"Practice: {left} of {PRACTICE} to go")
    st.markdown(f"##### How hard is it to tell that this is {layout.plain(layout.class_titles(dataset.classes)[row['class']])}?")
    layout.picture(row["sha256"], "a practice image", share=50)


@session.by_oneself
def _answer(dataset: str, annotator: str, attempt: int, example: str, level: Level) -> None:
    calibration.answer(layout.store(), dataset, annotator, attempt, example, level)
    st.session_state[TOLD] = (example, level)


def _tell(dataset: Dataset, images: pd.DataFrame, told: tuple[str, Level], left: int) -> bool:
    example, level = told
    row = _by_example(images).get(example)
    if row is None:  # taken out by the lead meanwhile
        return st.button("Next", on_click=_go, args=["images"])
    _question(dataset, row, left)
    reason = f"because: {layout.plain(row['reason'])}"
    if row["level"] == level:
        st.success(f"You and the lead say {layout.level_text(level)}, {reason}.", icon=":material/check:")
    else:
        st.info(
            f"You say {layout.level_text(level)}. The lead says **{layout.level_text(row['level'])}**, {reason}.", icon=":material/info:"
        )
    return st.button(
        "Next", type="primary", shortcut="Enter", icon=":material/arrow_forward:", on_click=_go, args=["images"], width="stretch"
    )


def _end(dataset: Dataset, annotator: str, images: pd.DataFrame) -> None:
    st.title("Practice is done")
    last = calibration.practice_results(layout.store(), dataset.name, annotator).iloc[-1]
    st.metric("As the lead decided", f"{last['same']} of {last['answers']}")
    st.write(_lean(last["harder"]))
    st.write("There is no mark to pass: sort as you see it. The examples stay at hand while you sort.")
    again, leave = st.columns(2)
    leave.button("Sort images", type="primary", shortcut="Enter", icon=":material/sort:", on_click=_go, args=[None], width="stretch")
    again.button("Examples and practice again", icon=":material/replay:", on_click=_go, args=["anchors"], width="stretch")


def _lean(harder: float) -> str:
    if abs(harder) < 0.2:
        return "On average you find images about as hard as the lead does."
    return f"On average you find images {abs(harder):.1f} levels {'harder' if harder > 0 else 'easier'} than the lead does."
