"""Labels: what was said of an image and when, labels in and out as files, backups and the way back to them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from curriculum import labels
from curriculum.app import layout, service, session
from curriculum.app.layout import Tile
from curriculum.backup import RESCUED, TORN, backup
from curriculum.comparison_log import export_comparisons, import_comparisons
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError
from curriculum.history import counted, example_log, images_in_force, recently_judged, replay
from curriculum.label_files import ImportResult, export_labels, import_labels
from curriculum.label_log import export_log, import_log
from curriculum.spreadsheet import to_csv
from curriculum.store import Store
from curriculum.vocabulary import LEVELS

SUFFIXES = {"CSV": ".csv", "JSON Lines": ".jsonl", "Parquet": ".parquet", "Label Studio": ".json"}
MOST_OFFERED = 1000
"""Images in the list: a browser that is sent hundreds of thousands stands still."""
LABELS, LOG, FOURS = "labels in force", "everything that was ever done", "comparisons of four"
NAME = {LABELS: "labels", LOG: "log", FOURS: "comparisons"}
EXPORT: dict[str, Callable[[Store, str, Path], int]] = {LABELS: export_labels, LOG: export_log, FOURS: export_comparisons}
IMPORT: dict[str, Callable[[Store, str, Path], ImportResult]] = {LOG: import_log, FOURS: import_comparisons}
_STAMPED = re.compile(rf"({RESCUED}|{TORN})?(\d{{4}})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-\d+")
"""A backup's folder by the time when it was made, or rescued."""


def page() -> None:
    st.title("What was said, and when?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    st.caption("For who leads: it shows everybody's answers. While sorting, nobody should look here.")
    left, right = st.columns(2, gap="large")
    with left:
        _one_image(dataset)
    with right:
        _as_it_was(dataset)
    left, middle, right = st.columns(3, gap="large")
    with left:
        _take_out(dataset)
    with middle:
        _bring_in(dataset)
    with right:
        _keep_safe()


def _one_image(dataset: Dataset) -> None:
    st.header("One image's life")
    judged = recently_judged(layout.store(), dataset.name, MOST_OFFERED)
    if not judged:
        st.info("Nobody has judged an image of this data set yet.", icon=":material/history:")
        layout.link("sort", "Sort images", ":material/sort:")
        return
    more = len(judged) == MOST_OFFERED
    example = str(st.selectbox(
        "Image", judged, accept_new_options=more, help="The images that somebody has judged, the latest first. Type to search."
        + (f" These are the last {MOST_OFFERED:,}; any other by its class/file." if more else ""),
    ))  # fmt: skip
    log = example_log(layout.store(), dataset.name, example)
    sha256, class_name = layout.store().rows(
        "SELECT sha256, class FROM example WHERE dataset = ? AND example = ?", [dataset.name, example]
    )[0]
    layout.gallery([Tile(sha256, example, (class_name, example))], 160)
    layout.table(
        pd.DataFrame({
            "when": log["answered_at"], "who": log["annotator"], "what": [_said(row) for row in log.to_dict("records")],
            "seconds": log["seconds"], "from": log["source"],
        }),
        hide_index=True,
        placeholder="",
        column_config={
            "when": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
            "seconds": st.column_config.NumberColumn(format="%.1f"),
        },
    )  # fmt: skip


def _said(event: dict[object, object]) -> str:
    words = str(event["action"]) if event["action"] not in ("label", "decide") else layout.level_text(event["level"])
    if event["action"] == "decide":
        words = f"decided: {words}" if isinstance(event["level"], str) else "decision taken back"
    note = f": {event['note']}" if isinstance(event["note"], str) else ""
    return words + note + (" (asked again)" if event["repeat"] else "") + (" (taken back later)" if event["undone"] else "")


def _as_it_was(dataset: Dataset) -> None:
    st.header("As it was")
    until = st.datetime_input("At", value=None, max_value=datetime.now(), help="The server's clock. Empty: now.")
    store, moment = layout.store(), until.astimezone() if until else None
    then = counted(store, dataset.name, moment)
    if then.empty:
        st.info("No level was in force at that time.", icon=":material/history:")
        return
    who = then["annotator"].where(~then["decided"], "decided by " + then["annotator"])
    counts = then.assign(annotator=who).pivot_table(index="annotator", columns="level", values="labels", aggfunc="sum", fill_value=0)
    counts = counts.reindex(columns=list(LEVELS), fill_value=0)
    thousands = st.column_config.NumberColumn(format="localized")
    layout.table(counts.rename(columns=layout.level_text).reset_index(), hide_index=True,
                 column_config=dict.fromkeys(map(layout.level_text, LEVELS), thousands))  # fmt: skip
    st.caption(f"{then['labels'].sum():,} levels on {images_in_force(store, dataset.name, moment):,} images were in force.")
    st.download_button(
        "These levels as CSV", session.file_for_leads(lambda: to_csv(replay(layout.store(), dataset.name, moment))), f"{dataset.name}-levels.csv", "text/csv",
        on_click="ignore", icon=":material/download:",
    )  # fmt: skip


def _take_out(dataset: Dataset) -> None:
    st.header("Take out")
    what = st.radio("What", list(NAME), help="The second and the third come back exactly as they were, with times and undos.")
    kinds = [name for name in SUFFIXES if what == LABELS or name != "Label Studio"]
    kind = st.selectbox("As", kinds)
    suffix = SUFFIXES[kind]
    name = f"{dataset.name}-{NAME[what]}{suffix}"
    st.download_button(
        f"Download {name}", session.file_for_leads(lambda: _file(dataset.name, what, suffix)), name, icon=":material/download:"
    )
    st.caption("As folders easy/, medium/ and hard/ of images: `python -m curriculum labels export --format folders`.")


def _file(dataset: str, what: str, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"labels{suffix}"
        EXPORT[what](layout.store(), dataset, path)
        return path.read_bytes()


def _bring_in(dataset: Dataset) -> None:
    st.header("Bring in")
    uploaded = st.file_uploader("A file of labels", type=list(SUFFIXES.values()), help="All of it is taken, or nothing.")
    what = st.radio("It holds", list(NAME))
    annotator = st.text_input("Whose, where the file doesn't say", max_chars=labels.MAX_NAME, disabled=what != LABELS) or None
    if not st.button("Import", icon=":material/upload:", disabled=uploaded is None) or uploaded is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(uploaded.name).name
        path.write_bytes(uploaded.getbuffer())
        try:
            store = layout.store()
            done = IMPORT[what](store, dataset.name, path) if what in IMPORT else import_labels(store, dataset.name, path, annotator)
        except CurriculumError as error:
            st.error(layout.plain(str(error).replace(f"{folder}/", "")), icon=":material/error:")
            return
    st.success(f"{done.read:,} read, {done.appended:,} were new. {done.passed_over()}", icon=":material/done_all:")


def _keep_safe() -> None:
    st.header("Keep safe")
    if st.button("Back up everything now", icon=":material/backup:"):
        st.success(f"The whole database is backed up in {backup(layout.store())}", icon=":material/done_all:")
    folder = layout.store().home.labels / "backups"
    there = sorted((path.name for path in folder.glob("[!.]*") if path.is_dir()), key=_age, reverse=True)
    if not there:
        st.caption("There is no backup yet.")
        return
    chosen = st.selectbox(f"{len(there)} backups, the latest first (UTC)", there, format_func=_when)
    if st.button("Go back to this one", icon=":material/settings_backup_restore:"):
        _confirm_going_back(folder / chosen)


def _age(name: str) -> tuple[bool, str]:
    """What backups are sorted by: the time that a folder's name gives; names without one are the oldest."""
    return bool(_STAMPED.fullmatch(name)), name.removeprefix(RESCUED).removeprefix(TORN)


def _when(name: str) -> str:
    """A backup's folder as a time, and whether it is a snapshot that was rescued, or torn."""
    found = _STAMPED.fullmatch(name)
    return "{}{}-{}-{} {}:{}:{}".format(found[1].replace("-", ", ") if found[1] else "", *found.groups()[1:]) if found else name


@st.dialog("Go back to this backup?")
@session.for_leads
def _confirm_going_back(folder: Path) -> None:
    st.write(
        f"Everything becomes as it is in this backup ({_when(folder.name)}): labels, decisions, people and their PINs, results of runs. "
        "What is there now is kept beside it, as a file."
    )
    if st.button("Go back", type="primary"):
        try:
            done = service.go_back_to(folder)
        except CurriculumError as error:
            st.error(layout.plain(str(error)), icon=":material/error:")
            return
        if done.torn:
            st.warning(f"Without {', '.join(done.torn)}: torn in that backup, empty now.", icon=":material/error:")
        st.success(
            f"Done. What was there is kept as {layout.plain(done.kept.name if done.kept else 'nothing')}.", icon=":material/done_all:"
        )
