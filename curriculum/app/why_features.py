"""The page Why, beyond the image: neighbours, the first layer, the map of the feature space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import streamlit as st

from curriculum import mistakes
from curriculum.app import layout, service, session
from curriculum.app.layout import Tile
from curriculum.app.why_regions import active, ask, asker, say_end, watch
from curriculum.charts import features
from curriculum.charts.overlays import filter_grid, map_grid
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError
from curriculum.questions import Answer, FeatureMap, Layers, Neighbours, Question
from curriculum.vocabulary import AMONG, PROJECTIONS
from curriculum.words import figure

AMONG_TITLE = {"test": "the run's test images", "all": "all images"}
PROJECTION_TITLE = {
    "pca": "PCA: straight axes, distances keep their meaning",
    "t-sne": "t-SNE: neighbours stay together, the rest means little",
}


def _answered(question: Question) -> Answer | None:
    """The answer, asked for where nobody has; meanwhile, or where there is none, the page says so."""
    explainer = service.current().explainer
    try:
        if (answer := explainer.answer(question)) is not None:
            return answer
        job = explainer.job(question)
        if job is None:
            explainer.ask(question, asker())
    except CurriculumError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return None
    if active(question):
        watch([question])
    elif job is not None:
        say_end(job)
        st.button("Try again", icon=":material/refresh:", key=f"_again_{job.key}", on_click=_ask_again, args=(question,))
    return None


@session.for_leads
def _ask_again(question: Question) -> None:
    ask([question])


# -- neighbours ----------------------------------------------------------------------------------


def neighbours(run_id: str, row: dict[str, Any], dataset: Dataset, knn: float | None) -> None:
    """The images that the model takes for the most alike. `knn`: the run's own KNN metric on test."""
    columns = st.columns([2, 2, 2])
    among = columns[0].segmented_control(
        "Among", AMONG, default="test", required=True, format_func=AMONG_TITLE.__getitem__, key="_why_among"
    )
    k = int(columns[1].number_input("Neighbours", 1, 50, 5, key="_why_k", help="The KNN metric of the runs takes 5."))
    answer = _answered(Neighbours(run_id, str(dataset.root), row["example"], row["sha256"], among=among, k=k))
    if answer is None:
        return
    found, titles = answer.record["neighbours"], layout.class_titles(dataset.classes)
    own = layout.plain(titles.get(row["class"], row["class"]))
    same = sum(one["class"] == row["class"] for one in found)
    mean = answer.record["mean_share"]
    st.markdown(
        f"**{same} of {len(found)}** nearest have its class, {own}: a KNN share of **{same / max(len(found), 1):.2f}**. "
        f"The mean over {AMONG_TITLE[among]} is {figure(mean, '.2f')}"
        + (f"; the run measured {figure(knn, '.2f')} on test with 5." if knn is not None else ".")
    )
    tiles = []
    for one in found:
        mark = "✓" if one["class"] == row["class"] else "≠"
        words = (f"{mark} {titles.get(one['class'], one['class'])}", f"distance {one['distance']:.2f}", layout.short(one["example"]))
        tiles.append(Tile(one["sha256"], one["example"], words))
    layout.gallery(tiles, 120)
    st.caption("Distances are Euclidean, in the numbers that the last layer decides by. ✓ same class, ≠ another one.")


# -- the first layer -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """How a first layer's answers are told: what they are before, what becomes of them (empty: nothing), and the figures in a sentence."""

    before: str
    after: str
    figures: str


ACTIVATIONS: dict[str | None, Told] = {
    "ReLU": Told(", before ReLU", "After ReLU: what was below 0 is gone.",
                 "Of all answers {below:.0%} are below 0 and end at ReLU; {silent} of {count} filters find nothing here."),
    "Tanh": Told(", before tanh", "After tanh: all lies between -1 and 1, and what was below 0 stays below.",
                 "Of all answers {below:.0%} are below 0; tanh keeps their sign, and makes large ones alike."),
    None: Told("", "", "Of all answers {below:.0%} are below 0. This network has no activation here: its next layer is given them as they are."),
}  # fmt: skip


def first_layer(run_id: str, row: dict[str, Any], dataset: Dataset) -> None:
    """What the first layer looks for, and what it finds in this image."""
    answer = _answered(Layers(run_id, str(dataset.root), row["example"], row["sha256"]))
    if answer is None:
        return
    before, after = (answer.arrays[name].astype(np.float32) for name in ("before", "after"))
    peak, told = float(np.percentile(np.abs(before), 99.5)), ACTIVATIONS[answer.record["activation"]]
    pictures = [
        (
            filter_grid(answer.arrays["filters"]),
            f"The {len(answer.arrays['filters'])} filters of the first layer, each on its own scale; grey is 0.",
        ),
        (map_grid(before, peak), f"What each answers to this image{told.before}: blue above 0, orange below, black at 0."),
        *([(map_grid(after, peak), f"{told.after} The same scale, the same order.")] if told.after else []),
    ]
    for place, (picture, words) in zip(st.columns(3), pictures, strict=False):
        place.image(picture, caption=words, width="stretch", alt=words)
    silent = int((after.max(axis=(1, 2)) <= 0).sum())
    st.caption(told.figures.format(below=np.mean(before < 0), silent=silent, count=len(after)))


# -- the map -------------------------------------------------------------------------------------


def feature_map(run_id: str, row: dict[str, Any], dataset: Dataset, who: str) -> None:
    """Every image where the model puts it; a click looks at one."""
    columns = st.columns([3, 3, 2])
    among = columns[0].segmented_control(
        "Images", AMONG, default="test", required=True, format_func=AMONG_TITLE.__getitem__, key="_why_map_among"
    )
    projection = columns[1].selectbox("Map by", PROJECTIONS, key="_why_projection", format_func=PROJECTION_TITLE.__getitem__)
    by = columns[2].selectbox("Colour by", features.COLOURS, key="_why_colour")
    answer = _answered(FeatureMap(run_id, str(dataset.root), among=among, projection=projection))
    if answer is None:
        return
    splits = ["test"] if among == "test" else ["train", "val", "test"]
    judged = pd.concat([mistakes.predictions(layout.store(), run_id, split, who) for split in splits])
    judged = judged[["example", "class", "sha256", "predicted", "correct", "level", "difficulty"]]
    places = pd.DataFrame({"example": answer.record["examples"], "x": answer.arrays["places"][:, 0], "y": answer.arrays["places"][:, 1]})
    frame = places.merge(judged, on="example")
    titles = layout.class_titles(dataset.classes)
    for column in ("class", "predicted"):
        frame[column] = frame[column].map(lambda name: titles.get(name, name))
    frame["image"] = ["/thumb/" + quote(sha256) for sha256 in frame.pop("sha256")]
    if by == "level" and frame["level"].isna().all():
        st.caption("Nobody has sorted any of these images yet, so no point has a level.")
    if by == "difficulty" and frame["difficulty"].isna().all():
        st.caption("No model has ranked these images yet, so there is no difficulty to show: the page Human and model does it.")
    shown = answer.record["shown"]
    axes = ("first component", "second component") if projection == "pca" else ("t-SNE, no unit", "t-SNE, no unit")
    chart = features.feature_map(frame, by, axes, row["example"])
    st.altair_chart(
        chart, width="stretch", on_select=_point_chosen, selection_mode=["point"], key="_why_map", alt="Map of the feature space"
    )
    st.caption(
        f"{len(frame):,} images. " + (f"The two axes show {shown:.0%} of the features' variance. " if shown is not None else "")
        + "The ring is the image above; click a point to look at another. Scroll to zoom, drag to move, double-click for the whole."
    )  # fmt: skip


@session.for_leads
def _point_chosen() -> None:
    chosen = st.session_state["_why_map"].selection.get("point", [])
    if chosen:
        st.session_state["why_example"] = chosen[0]["example"]
