"""Why: what did the model see in this image?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from curriculum import evidence, mistakes, run_tables
from curriculum.app import layout, session, why_features, why_regions
from curriculum.charts.features import probabilities
from curriculum.datasets import Dataset

GROUPS = {"wrong": "misclassified test images", "test": "all of test", "val": "val", "train": "train"}
LISTED = 3000
"""Images that a list offers; any other is typed."""


def page() -> None:
    st.title("Why does it say so?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    done = layout.finished_runs(dataset.name)
    if done is None:
        return
    done = done[[(layout.store().home.runs / run_id / "model.pt").is_file() for run_id in done["run_id"]]]
    if done.empty:
        st.info("No finished run has kept its model: of a comparison only the first seed's models stay.", icon=":material/model_training:")
        layout.link("train", "Train one", ":material/model_training:")
        return
    _start_anew(dataset.name)
    words = run_tables.in_words(done)
    run_id, other = _runs(done, words)
    who = layout.chosen_who(dataset.name)
    result: dict[str, Any] = done.set_index("run_id")["result"].to_dict()[run_id]
    classes = tuple(result["classes"])
    row = _chosen_image(run_id, who)
    if row is None:
        return
    st.session_state["_why_address"] = {"run": run_id, "example": row["example"]}
    st.query_params.update(st.session_state["_why_address"])
    _picture(row, classes, who, dataset)
    runs = {run: words[run] for run in (run_id, other) if run}
    tabs = st.tabs(["Regions", "Neighbours", "First layer", "Map"], on_change="rerun", key="_why_tab")
    sections: tuple[Callable[[], None], ...] = (
        lambda: why_regions.show(runs, row, dataset),
        lambda: why_features.neighbours(run_id, row, dataset, result["test_knn"]),
        lambda: why_features.first_layer(run_id, row, dataset),
        lambda: why_features.feature_map(run_id, row, dataset, who),
    )
    for tab, show in zip(tabs, sections, strict=True):
        if tab.open:
            with tab:
                show()


def _start_anew(dataset: str) -> None:
    """Another data set has other runs and images; and an address that has come since the last run, a link's, goes first."""
    state = st.session_state
    address = {name: st.query_params.get(name) for name in ("run", "example")}
    if all(address.values()) and address != state.get("_why_address"):
        state["why_run"], state["why_example"] = address["run"], address["example"]
    state["_why_address"] = address
    if state.get("why_of") not in (None, dataset):
        for name in ("run", "example"):
            state.pop(f"why_{name}", None)
            st.query_params.pop(name, None)
    state["why_of"] = dataset


def _runs(done: pd.DataFrame, words: dict[str, str]) -> tuple[str, str | None]:
    """The run whose model is asked, from the address where it stands there, and one beside it."""
    known, state = done["run_id"].tolist(), st.session_state
    asked = state.get("why_run") or st.query_params.get("run")
    if asked and asked not in known:
        st.warning(
            f"There is no model of the run {layout.plain(asked)} here: it may have been deleted, or be of a later seed of a comparison. This is the newest one."
        )
    place = known.index(asked) if asked in known else 0
    state["why_run"] = st.sidebar.selectbox("Run", known, index=place, format_func=words.__getitem__, key="_why_run")
    others = [None, *(run for run in known if run != state["why_run"])]
    other = st.sidebar.selectbox(
        "Beside it", others, format_func=lambda run: words[run] if run else "no other run",
        key=f"_why_other_{state['why_run']}", help="The regions of a second model, next to the first one's.",
    )  # fmt: skip
    return state["why_run"], other


# -- which image ---------------------------------------------------------------------------------


def _chosen_image(run_id: str, who: str) -> dict[str, Any] | None:
    """The image that is looked at, from the address where it stands there, else the worst mistake; None, with a hint, for none."""
    columns = st.columns([6, 1.4, 1.4], vertical_alignment="bottom")
    group = columns[0].segmented_control(
        "Images", list(GROUPS), default="wrong", required=True, format_func=GROUPS.__getitem__, key="_why_group"
    )
    split = "test" if group in (None, "wrong") else group
    frame = mistakes.predictions(layout.store(), run_id, split, who)
    if group in (None, "wrong"):
        frame = frame[~frame["correct"]]
    listed = frame.head(LISTED)
    said: dict[str, str] = {
        name: f"{name}: said {predicted}, {probability:.0%}"
        for name, predicted, probability in zip(listed["example"], listed["predicted"], listed["probability"], strict=True)
    }
    names = list(said)
    state = st.session_state
    chosen: str | None = state.get("why_example") or st.query_params.get("example") or (names[0] if names else None)
    state["why_example"] = state["_why_image"] = chosen
    listed_too = names if chosen in said or chosen is None else [chosen, *names]
    st.selectbox(
        "Image", listed_too, format_func=lambda name: said.get(name, name), key="_why_image", on_change=_image_picked, accept_new_options=True,
        placeholder="class/file", help=f"The highest loss first: {len(frame):,} images. Type to search, or the path of any other image of the data set.",
    )  # fmt: skip
    place = names.index(chosen) if chosen in said else -1
    columns[1].button("Back", icon=":material/arrow_back:", on_click=_go_to, args=(names[place - 1] if place > 0 else None,),
                      disabled=place <= 0, width="stretch")  # fmt: skip
    columns[2].button("Next", icon=":material/arrow_forward:", on_click=_go_to, args=(names[place + 1] if place + 1 < len(names) else None,),
                      disabled=place + 1 >= len(names), width="stretch")  # fmt: skip
    if chosen is None:
        st.success("The model is right on all of these images. Choose others above, or type the path of one.", icon=":material/done_all:")
        return None
    row = evidence.judgement(layout.store(), run_id, chosen)
    if row is None:
        st.warning(f"There is no image {layout.plain(chosen)} in this data set (any more). Its name is class/file, as in the list.")
    return row


@session.for_leads
def _image_picked() -> None:
    st.session_state["why_example"] = st.session_state["_why_image"]


@session.for_leads
def _go_to(example: str | None) -> None:
    st.session_state["why_example"] = example


# -- what is known at once -----------------------------------------------------------------------


def _picture(row: dict[str, Any], classes: tuple[str, ...], who: str, dataset: Dataset) -> None:
    """The image, what it is, what the model said."""
    left, middle, right = st.columns([4, 4, 4], gap="medium")
    with left:
        layout.picture(row["sha256"], row["example"], 28)
    titles = layout.class_titles(dataset.classes)
    name = {each: layout.plain(titles.get(each, each)) for each in {*classes, *dataset.classes, row["class"]}}
    with middle:
        st.markdown(f"It is **{name[row['class']]}**.")
        if row["predicted"] is None:
            st.caption("The image came after this run, or was left out of it. What the model says of it stands below, with its regions.")
            return
        right_or_wrong = "rightly" if row["correct"] else "wrongly"
        st.markdown(f"The model says **{name[row['predicted']]}**, {row['probability']:.0%}, {right_or_wrong}.")
        known = evidence.judged_so(layout.store(), dataset.name, row["example"], who)
        st.markdown(f"People: {layout.level_text(known['level'])}.")
        difficulty = f"{known['difficulty']:.2f} of 0 to 1, higher = harder" if pd.notna(known["difficulty"]) else "not ranked"
        st.caption(f"Model's difficulty: {difficulty}. Loss: {row['loss']:.2f} nats. Part of {row['split']}.")
    with right:
        top = [(titles.get(one, one), share) for one, share in mistakes.top_classes(row["probabilities"], classes)]
        st.altair_chart(probabilities(top), width="stretch", alt="The three most probable classes")
