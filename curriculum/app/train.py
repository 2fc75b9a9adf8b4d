"""Train: choose how, press one button, watch or go away."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from curriculum import given, labels, runs
from curriculum.app import curves, layout, run_actions, service, session
from curriculum.charts.palette import LEVEL_MARK
from curriculum.config import TrainConfig, mode_of
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError
from curriculum.rundir import RunDir, open_run
from curriculum.vocabulary import (
    ARCHITECTURE_TITLE,
    ARCHITECTURES,
    AUGMENTATION_MEANING,
    AUGMENTATIONS,
    CURRICULA,
    LEVELS,
    MODE_MEANING,
    ORDER_SOURCES,
    PACING_MEANING,
    RATE_RULES,
    VARIANT_MEANING,
)
from curriculum.words import duration

SUGGESTED_EPOCHS = {"staged": 30, "self-paced": 40, "paced": 30, "fine-tune": 20, "transfer": 100, "scratch": 40}

RULES = {None: "the mode's own", "accuracy": "falls with train accuracy", "constant": "constant", "one-cycle": "up, then down to nothing"}


def page() -> None:
    st.title("Train in that order, or self-paced")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    going = _active(dataset.name)
    for run_id in going:
        _watch(run_id)
    with st.expander("Start another run", expanded=False) if going else st.container():
        _form(dataset)
    _past(dataset.name)


def _active(dataset: str) -> list[str]:
    frame = runs.list_runs(layout.store(), dataset, "train", arms=False)
    return frame[frame["state"].isin(["queued", "running"])]["run_id"].tolist()


# -- starting ------------------------------------------------------------------------------------


def _form(dataset: Dataset) -> None:
    modes = list(MODE_MEANING)
    mode = st.segmented_control("How", modes, default="staged", key="_mode", format_func=str.capitalize) or "staged"
    st.caption(MODE_MEANING[mode].capitalize() + ".")
    columns = st.columns(4)
    with columns[0]:
        weights = "none" if mode == "scratch" else layout.weights_picker(dataset.name, "train")
    size = columns[1].select_slider(
        "Image size in pixels", [32, 64, 96, 128, 192, 256, 384], 128, help="The reports used 256. On a CPU, 128 is 4 times faster."
    )
    epochs = columns[2].number_input(
        "Epochs in all", 3 if mode == "staged" else 1, 10_000, SUGGESTED_EPOCHS[mode], key=f"_epochs_{mode}", help=_epochs_help(mode)
    )
    seed = columns[3].number_input("Seed", 0, 2**31 - 1, 0, help="Split, head and batches follow from it.")
    who = _levels(dataset.name) if mode == "staged" else "people"
    variant = "balanced"
    if mode == "self-paced":
        variants = list(VARIANT_MEANING)
        captions = [meaning.capitalize() + "." for meaning in VARIANT_MEANING.values()]
        variant = st.radio("Which are the easiest", variants, captions=captions, horizontal=True)
    pacing = _pacing() if mode == "paced" else {}
    with st.expander("More"):
        more = _more(dataset, mode)
    if st.button(f"Train {dataset.examples:,} images, {mode}", type="primary", icon=":material/play_arrow:"):
        config: dict[str, Any] = {
            "mode": mode, "weights": weights, "image_size": size, "epochs": int(epochs), "seed": int(seed), "levels": who, "variant": variant,
            **pacing, **more,
        }  # fmt: skip
        try:
            layout.start_run(TrainConfig(dataset.name, **config))
        except CurriculumError as error:
            st.error(layout.plain(str(error)), icon=":material/error:")
        else:
            st.rerun()


def _more(dataset: Dataset, mode: str) -> dict[str, Any]:
    """What is seldom changed."""
    captions = {"honest": "64/16/20; epoch chosen on val, test read once", "given": "the test part that the data set comes with (split.csv)",
                "report": "80/20 as in the reports: the test peak is biased"}  # fmt: skip
    if not (dataset.root / given.SPLIT_FILE).is_file():
        del captions["given"]
    left, middle, right = st.columns(3)
    found: dict[str, Any] = {"protocol": left.radio("Protocol", list(captions), captions=list(captions.values()))}
    found["architecture"] = middle.selectbox(
        "Network", ARCHITECTURES, format_func=lambda name: ARCHITECTURE_TITLE[name], help="Weights must be of the same network."
    )
    found["batch_size"] = int(middle.number_input("Batch size", 1, 4096, 32))
    frozen = middle.text_input(
        "Frozen parameters", placeholder="layer1.* conv1*", help="By name, with * and ?; they keep the weights they have."
    )
    found["freeze"] = tuple(frozen.split())
    found["learning_rate"] = right.number_input("Learning rate (0: the mode's own)", 0.0, 10.0, 0.0, format="%.6f") or None
    found["rate_rule"] = right.selectbox("Learning rate over time", [None, *RATE_RULES], format_func=lambda rule: RULES[rule])
    if mode != "transfer":  # which learns from features that were stored once
        found["augment"] = right.selectbox("Training images vary by", AUGMENTATIONS, format_func=lambda name: AUGMENTATION_MEANING[name])
    if mode not in CURRICULA and (dataset.root / given.CLASSES_FILE).is_file():
        found["multi_label"] = left.toggle("Several classes an image", help="Those of classes.csv, by binary cross-entropy.")
    return found


def _pacing() -> dict[str, Any]:
    """How the share in use grows."""
    columns = st.columns([3, 1, 1], vertical_alignment="bottom")
    pacing = columns[0].selectbox("Pacing", list(PACING_MEANING), index=1, format_func=lambda name: f"{name}: {PACING_MEANING[name]}")
    start = columns[1].number_input("Start with, %", 1, 100, 10, help="Share of the training images, the easiest, each class alike.")
    full_at = columns[2].number_input("All from, %", 1, 100, 80, help="Share of the epochs after which all images are in use.")
    return {"pacing": pacing, "start_share": start / 100, "full_at": full_at / 100}


def _epochs_help(mode: str) -> str:
    if mode == "staged":
        return "Shared out over easy, easy + medium and all as 50:80:20. The reports took 150."
    return (
        "An epoch is one pass over the images that are in use. The reports took 100."
        if mode == "self-paced"
        else "Passes over all training images."
    )


def _levels(dataset: str) -> str:
    """Whose labels order the images, and how many there are: said before anything starts."""
    counts: dict[str, Any] = labels.summary(layout.store(), dataset)
    simulated = counts["simulated"]
    options: list[str] = list(ORDER_SOURCES)
    default = "simulated" if not counts["labelled"] and simulated["labelled"] else "people"
    who = st.radio(
        "Levels from", options, index=options.index(default), horizontal=True, format_func=lambda who: layout.WHO.get(who, "the model")
    )
    if who == "model":
        st.caption("It ranks the training images by its out-of-fold loss on them; each class is cut as the reports' people cut it.")
        return who
    agreed = labels.consensus(layout.store(), dataset, who)["level"].value_counts()
    total = layout.store().rows("SELECT count(*) FROM example WHERE dataset = ? AND present", [dataset])[0][0]
    listed = ", ".join(f"{LEVEL_MARK[level]} {level} {int(agreed.get(level, 0)):,}" for level in LEVELS)
    rest = total - int(agreed.sum())
    without = "1 image has no level: it joins" if rest == 1 else f"{rest:,} images have no level: they join"
    st.caption(f"{listed}. " + (f"{without} in the last stage." if rest else "Every image has a level."))
    if not agreed.get("easy", 0):
        st.warning("No image is labelled easy, so staged training can't begin. Sort some, take simulated levels, or choose self-paced.")
    return who


# -- watching ------------------------------------------------------------------------------------


@st.fragment(run_every=1.0)
@session.for_leads
def _watch(run_id: str) -> None:
    with st.container(border=True):
        title = _title(open_run(service.current().home, run_id))
        run = run_actions.progress(run_id, f"**{title}** is training. You may close this page: it goes on.")
        epochs = pd.DataFrame(run.epochs())
        if not epochs.empty:
            curves.glance(epochs)


def _title(run: RunDir) -> str:
    config = run.config()
    return f"{mode_of(config)} · {config.dataset} · {config.image_size} px · seed {config.seed}"


def _past(dataset: str) -> None:
    frame = runs.list_runs(layout.store(), dataset, "train", arms=False)
    frame = frame[~frame["state"].isin(["queued", "running"])]
    if frame.empty:
        return
    st.header("Earlier runs")
    for row in frame.head(5).to_dict("records"):
        result = row["result"] or {}
        columns = st.columns([5, 4, 2, 2], vertical_alignment="center")
        title = f"{layout.plain(row['title'])} · " if isinstance(row["title"], str) else ""
        columns[0].markdown(f"{title}**{row['mode']}** · seed {row['seed']} · {row['protocol']} · {row['created_at']:%d %b %H:%M}")
        if result:
            columns[1].write(f"test accuracy {result['test_accuracy']:.1%} after {duration(row['seconds'])}")
        else:
            columns[1].markdown(layout.plain(f"{row['state']}: {row['message'] or ''}"))
            with columns[2]:
                run_actions.resume_button(run_actions.directory(row["run_id"]))
        if columns[3].button("Delete", key=f"delete_{row['run_id']}", icon=":material/delete:"):
            run_actions.confirm_delete([row["run_id"]])
    layout.link("runs", "See what they did", ":material/query_stats:")
