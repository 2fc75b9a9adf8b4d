"""Errors: what is still wrong?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from curriculum import hits, mistakes, run_tables
from curriculum.app import doubts, gallery, layout
from curriculum.app.layout import Tile
from curriculum.charts.tables import count_table, error_shares
from curriculum.mistakes import OUTCOMES
from curriculum.words import chance

IN_A_GALLERY = 40
MEANING = {"test": "never seen in training", "val": "the epoch was chosen on them", "train": "trained on"}
OUTCOME_MEANING = {
    "fixed": "right now, wrong in the other run", "broken": "wrong now, right in the other run",
    "wrong in both": "neither run gets them right", "right in both": "both runs get them right",
}  # fmt: skip
ORDERS = {
    "most certain mistakes": ("probability", False), "least certain mistakes": ("probability", True),
    "easiest for people": ("level", True), "hardest for the ranking": ("difficulty", False),
}  # fmt: skip
RANK = {"easy": 0, "medium": 1, "hard": 2}


def page() -> None:
    st.title("What is still wrong?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    done = layout.finished_runs(dataset.name)
    if done is None:
        doubts.labels(dataset)
        gallery.look_closer(dataset.name)
        return
    words = run_tables.in_words(done)
    run_id = st.sidebar.selectbox("Run", list(words), format_func=words.__getitem__)
    who = layout.chosen_who(dataset.name)
    result: dict[str, Any] = done.set_index("run_id")["result"].to_dict()[run_id]
    splits = [split for split in MEANING if result["examples"][split]]
    split = st.sidebar.radio("Images", splits, captions=[MEANING[split] for split in splits])
    judged = mistakes.predictions(layout.store(), run_id, split, who)
    wrong = int((~judged["correct"]).sum())
    st.write(f"**{wrong:,} of {len(judged):,}** {split} images are misclassified ({wrong / max(len(judged), 1):.1%}).")
    for note in hits.notes(done.set_index("run_id")["config"].to_dict()[run_id]):
        st.caption(note)
    classes = tuple(result["classes"])
    tabs = st.tabs(["This run's mistakes", "The same images in other runs", "Classes to doubt"], on_change="rerun", key="_errors_tab")
    sections: tuple[Callable[[], None], ...] = (
        lambda: _of_run(judged, classes),
        lambda: _other_runs(dataset.name, done, words, run_id, split, who),
        lambda: doubts.labels(dataset),
    )
    for tab, show in zip(tabs, sections, strict=True):
        if tab.open:
            with tab:
                show()
    gallery.look_closer(dataset.name, run=run_id)


# -- this run ------------------------------------------------------------------------------------


def _of_run(judged: pd.DataFrame, classes: tuple[str, ...]) -> None:
    cell = _charts(judged, classes)
    _gallery(judged[~judged["correct"]], classes, cell)


def _charts(judged: pd.DataFrame, classes: tuple[str, ...]) -> tuple[str, str] | None:
    """The confusion matrix and the shares; returns the cell that was clicked: true and predicted class."""
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Confusion matrix")
        table = count_table(mistakes.confusion(judged, classes), "true class", "predicted class", select=True)
        clicked: Any = st.altair_chart(table, width="stretch", on_select="rerun", selection_mode="cell", key="_confusion")
        st.caption("Click a cell to see its images below.")
        never = [name for name in classes if name not in set(judged["predicted"])]
        if never and len(judged):
            st.caption(f"Never said: {', '.join(map(layout.plain, never))}.")
    with right:
        st.header("Misclassified by class")
        st.altair_chart(error_shares(mistakes.errors_by(judged, "class"), "class", "misclassified (95 % interval)"), width="stretch")
        if judged["level"].notna().any():
            st.header("By people's level")
            by_level = mistakes.errors_by(judged, "level")
            st.altair_chart(error_shares(by_level, "level", "misclassified (95 % interval)"), width="stretch")
        else:
            st.caption("None of these images has a level yet; with levels, errors are shown by level too.")
    cells = clicked["selection"].get("cell") or []
    return (cells[0]["true class"], cells[0]["predicted class"]) if cells else None


def _gallery(wrong: pd.DataFrame, classes: tuple[str, ...], cell: tuple[str, str] | None) -> None:
    st.header("The misclassified images")
    if wrong.empty:
        st.success("None. On these images the model is right throughout.", icon=":material/done_all:")
        return
    if cell != st.session_state.get("_cell"):  # a click on the matrix sets both lists, which may be changed afterwards
        st.session_state["_cell"] = cell
        st.session_state["_true"], st.session_state["_predicted"] = cell or ("any", "any")
    for key in ("_true", "_predicted"):
        if st.session_state.get(key) not in classes:
            st.session_state[key] = "any"
    columns = st.columns(3)
    true = columns[0].selectbox("True class", ["any", *classes], key="_true")
    predicted = columns[1].selectbox("Predicted class", ["any", *classes], key="_predicted")
    column, ascending = ORDERS[columns[2].selectbox("First", list(ORDERS))]
    if cell and cell[0] == cell[1] and true == predicted == cell[0]:
        st.caption("These are right: the gallery shows mistakes.")
        return
    shown = wrong[(wrong["class"] == true) | (true == "any")]
    shown = shown[(shown["predicted"] == predicted) | (predicted == "any")]
    if shown.empty:
        st.caption("No such mistake.")
        return
    shown = shown.sort_values(
        column, ascending=ascending, kind="stable", na_position="last", key=lambda c: c.map(RANK) if c.name == "level" else c
    )
    rows = shown.iloc[layout.pager(len(shown), IN_A_GALLERY, "_errors_page")].to_dict("records")
    gallery.gallery((_tile(row, classes) for row in rows), "_errors_gallery", 150)


def _tile(row: dict[Any, Any], classes: tuple[str, ...]) -> Tile:
    top = mistakes.top_classes(row["probabilities"], classes)
    difficulty = f"{row['difficulty']:.2f}" if pd.notna(row["difficulty"]) else "not ranked"
    agreed = f", {row['votes']:.0f} of {row['annotators']:.0f}" if pd.notna(row["annotators"]) and row["annotators"] else ""
    return Tile(row["sha256"], row["example"], (
        f"is {row['class']}", f"said {row['predicted']}, {row['probability']:.0%}", "then " + ", ".join(f"{name} {share:.0%}" for name, share in top[1:]),
        f"people: {layout.level_text(row['level'])}{agreed}", f"model difficulty: {difficulty}", layout.short(row["example"]),
    ))  # fmt: skip


# -- other runs ----------------------------------------------------------------------------------


def _other_runs(dataset: str, done: pd.DataFrame, words: dict[str, str], run_id: str, split: str, who: str) -> None:
    _against(done, words, run_id, split, who)
    _stubborn(dataset)


def _against(done: pd.DataFrame, words: dict[str, str], run_id: str, split: str, who: str) -> None:
    st.header("Against another run")
    others = [other for other in done["run_id"].tolist() if other != run_id]
    if not others:
        st.caption(
            "This is the only finished run. With another one, such as plain fine-tuning, this shows what the order fixed and what it broke."
        )
        return
    own = done.set_index("run_id").loc[run_id]
    same = done[(done["seed"] == own["seed"]) & (done["protocol"] == own["protocol"]) & (done["run_id"] != run_id)]
    plain = same[same["mode"] == "fine-tune"]["run_id"].tolist() or same["run_id"].tolist() or others
    other = st.selectbox("The other run", others, index=others.index(plain[0]), format_func=words.__getitem__, key=f"_other_{run_id}")
    found = mistakes.against(layout.store(), run_id, other, split, who)
    if found.images.empty:
        st.info(f"No image is in {split} of both runs: another seed or protocol drew another split.", icon=":material/call_split:")
        return
    counts = {outcome: found.count(outcome) for outcome in OUTCOMES}
    for place, outcome in zip(st.columns(4), OUTCOMES, strict=True):
        place.metric(outcome.capitalize(), f"{counts[outcome]:,}", help=OUTCOME_MEANING[outcome].capitalize() + ".")
    more = counts["fixed"] - counts["broken"]
    verdict = "No detectable difference" if found.p >= 0.05 else f"A difference: {abs(more)} images {'more' if more > 0 else 'fewer'} right"
    st.write(f"{verdict} between these two networks on the {len(found.images):,} {split} images of both (exact {chance(found.p)}).")
    st.caption("Two networks tell nothing about two methods: other seeds may turn it round. The page Comparison asks that.")
    outcome = (
        st.segmented_control("Images", OUTCOMES[:3], default="fixed", key="_outcome", format_func=lambda one: f"{one} · {counts[one]:,}")
        or "fixed"
    )
    rows = found.images[found.images["outcome"] == outcome]
    if rows.empty:
        st.caption("None.")
        return
    shown = rows.iloc[layout.pager(len(rows), IN_A_GALLERY, f"_against_page_{outcome}")]
    gallery.gallery(
        (Tile(r["sha256"], r["example"], (f"is {r['class']}", f"now {r['predicted']}, {r['probability']:.0%}", f"before {r['before']}",
                                          f"people: {layout.level_text(r['level'])}")) for r in shown.to_dict("records")), "_against_gallery", 130,
    )  # fmt: skip


def _stubborn(dataset: str) -> None:
    st.header("Wrong again and again")
    rows = mistakes.stubborn(layout.store(), dataset)
    if rows.empty:
        st.caption("No image that was in test of two runs or more was ever misclassified, or there are no two such runs yet.")
        return
    always = int((rows["share"] == 1).sum())
    st.caption(f"{len(rows):,} images were in test of two runs or more and misclassified by one; {always:,} of them by every run.")
    shown = rows.iloc[layout.pager(len(rows), IN_A_GALLERY, "_stubborn_page")]
    gallery.gallery(
        (Tile(r["sha256"], r["example"], (f"is {r['class']}", f"wrong in {r['wrong']} of {r['runs']} runs", f"mostly said: {r['said']}"))
         for r in shown.to_dict("records")), "_stubborn_gallery", 130,
    )  # fmt: skip
