"""Errors: what is still wrong?"""

from __future__ import annotations

from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from curriculum import analysis
from curriculum.app import layout
from curriculum.app.layout import Tile
from curriculum.app.results import describe
from curriculum.charts.tables import count_table, error_shares

IN_A_GALLERY = 40
MEANING = {"test": "never seen in training", "val": "the epoch was chosen on them", "train": "trained on"}


def page() -> None:
    st.title("What is still wrong?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    done = layout.finished_runs(dataset.name)
    if done is None:
        return
    run_id = st.sidebar.selectbox("Run", done["run_id"].tolist(), format_func=lambda run: describe(done, run))
    who = layout.chosen_who(dataset.name)
    result = done.set_index("run_id").loc[run_id, "result"]
    splits = [split for split in MEANING if result["examples"][split]]
    split = st.sidebar.radio("Images", splits, captions=[MEANING[split] for split in splits])
    judged = analysis.predictions(layout.store(), run_id, split, who)
    wrong = judged[~judged["correct"]]
    st.write(f"**{len(wrong):,} of {len(judged):,}** {split} images are misclassified ({len(wrong) / max(len(judged), 1):.1%}).")
    classes = tuple(result["classes"])
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Confusion matrix")
        st.altair_chart(count_table(analysis.confusion(judged, classes), "true class", "predicted class"), width="stretch")
    with right:
        st.header("Misclassified by class")
        st.altair_chart(error_shares(analysis.errors_by(judged, "class"), "class", "misclassified (95 % interval)"), width="stretch")
        if judged["level"].notna().any():
            st.header("By people's level")
            st.altair_chart(error_shares(analysis.errors_by(judged, "level"), "level", "misclassified (95 % interval)"), width="stretch")
        else:
            st.caption("None of these images has a level yet; with levels, errors are shown by level too.")
    _gallery(wrong, classes, {"dataset": dataset.name, "run": run_id})


def _gallery(wrong: pd.DataFrame, classes: tuple[str, ...], address: dict[str, str]) -> None:
    st.header("The misclassified images")
    if wrong.empty:
        st.success("None. On these images the model is right throughout.", icon=":material/done_all:")
        return
    columns = st.columns(3)
    true = columns[0].selectbox("True class", ["any", *classes])
    predicted = columns[1].selectbox("Predicted class", ["any", *classes])
    order = columns[2].selectbox(
        "First", ["most certain mistakes", "least certain mistakes", "easiest for people", "hardest for the ranking"]
    )
    shown = wrong[(wrong["class"] == true) | (true == "any")]
    shown = shown[(shown["predicted"] == predicted) | (predicted == "any")]
    if shown.empty:
        st.caption("No such mistake.")
        return
    by = {
        "most certain mistakes": ("probability", False), "least certain mistakes": ("probability", True),
        "easiest for people": ("level", True), "hardest for the ranking": ("difficulty", False),
    }[order]  # fmt: skip
    rank = {"easy": 0, "medium": 1, "hard": 2}
    shown = shown.sort_values(
        by[0], ascending=by[1], kind="stable", na_position="last", key=lambda c: c.map(rank) if c.name == "level" else c
    )
    tiles = []
    for row in shown.iloc[layout.pager(len(shown), IN_A_GALLERY, "_errors_page")].to_dict("records"):
        top = analysis.top_classes(row["probabilities"], classes)
        difficulty = f"{row['difficulty']:.2f}" if pd.notna(row["difficulty"]) else "not ranked"
        tiles.append(Tile(row["sha256"], row["example"], (
            f"is {row['class']}", f"said {row['predicted']}, {row['probability']:.0%}", "then " + ", ".join(f"{name} {share:.0%}" for name, share in top[1:]),
            f"people: {layout.level_text(row['level'])}", f"model difficulty: {difficulty}", layout.short(row["example"]),
        ), ("Why?", f"/why?{urlencode({**address, 'example': row['example']})}")))  # fmt: skip
    layout.gallery(tiles, 150)
