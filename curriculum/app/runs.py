"""Runs: what did it do? Live and past runs in one table, the chosen ones laid over one another, beside the reports' figures."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pandas as pd
import streamlit as st

from curriculum import run_tables, runs
from curriculum.app import curves, entering, episodes, layout, run_actions, service, session
from curriculum.app.run_actions import STATES
from curriculum.charts.runs import MOST_RUNS
from curriculum.spreadsheet import to_csv
from curriculum.vocabulary import CURRICULA
from curriculum.words import duration, figure

TRAINING, EPISODES = "Training", "Few-shot episodes"
ROW_PIXELS, ROWS_IN_SIGHT = 35, 10
SIZE = st.column_config.NumberColumn(format="%d", help="Image size in pixels.")
THREE = st.column_config.NumberColumn(format="%.3f")
TEST_READ = {
    "honest": "read once, at the chosen epoch", "given": "read once, at the chosen epoch",
    "report": "judged throughout the training: the figure is the last epoch's, the peak is picked among all",
}  # fmt: skip


def page() -> None:
    st.title("What did it do?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    few = runs.list_runs(layout.store(), dataset.name, "episodes")
    if len(few) and _view(set(few["run_id"])) == EPISODES:
        episodes.show(few)
        return
    arms = st.sidebar.toggle("Runs of comparisons too", key="_runs_arms", help="A comparison trains every arm once for each seed.")
    frame = runs.list_runs(layout.store(), dataset.name, "train", arms=arms)
    if frame.empty:
        _nothing_yet(dataset.name, arms)
        return
    rows = run_tables.table(frame)
    rows["state"] = run_actions.states_of(rows)
    if live := rows[rows["state"].isin(run_tables.ACTIVE)]["run_id"].tolist():
        names = run_tables.labels(rows)
        run_actions.live({run_id: f"**{layout.plain(names[run_id])}** is training." for run_id in live})
    for run_id, why in service.current().failed_runs.items():
        if run_id in set(rows["run_id"]):
            st.warning(f"`{run_id}` can't be taken in: {layout.plain(why)}", icon=":material/sync_problem:")
    chosen = _choose(rows) or rows.sort_values("accuracy", key=pd.isna, kind="stable")["run_id"].tolist()[:1]
    _download_tables(dataset.name, rows, chosen)
    by_id = {str(row["run_id"]): row for row in frame[frame["run_id"].isin(chosen)].to_dict("records")}
    mine = rows.set_index("run_id", drop=False).loc[chosen]
    _chosen(mine, by_id)
    _methods(rows, dataset.name)


def _view(known: set[str]) -> str:
    """Which runs to show, where there are episodes too: these, where another page has led to one of them."""
    if known & set(st.session_state.get("_chosen_runs", ())):
        st.session_state["_runs_view"], st.session_state["_chosen_runs"] = EPISODES, []
    st.session_state.setdefault("_runs_view", TRAINING)
    return str(st.segmented_control("Show", [TRAINING, EPISODES], key="_runs_view", required=True, label_visibility="collapsed"))


def _nothing_yet(dataset: str, arms: bool) -> None:
    known = 0 if arms else layout.store().rows("SELECT count(*) FROM run WHERE dataset = ? AND kind = 'train'", [dataset])[0][0]
    if known:
        st.info(f"Only comparisons have trained here: {known:,} runs of theirs. The sidebar shows them too.", icon=":material/balance:")
        layout.link("comparison", "See what they concluded", ":material/balance:")
        return
    st.info("No training run of this data set has been started yet.", icon=":material/model_training:")
    layout.link("train", "Train one", ":material/model_training:")


# -- the table -----------------------------------------------------------------------------------


def _choose(rows: pd.DataFrame) -> list[str]:
    """The table, of runs or of configurations over their seeds; the runs that are selected in it."""
    together = st.segmented_control("A row for each", ["run", "configuration, over its seeds"], default="run", key="_runs_rows") or "run"
    if together == "run":
        shown, groups = _runs_shown(rows), [[run_id] for run_id in rows["run_id"]]
    else:
        over = run_tables.over_seeds(rows)
        if over.empty:
            st.info("No run has finished yet, so there is nothing to take a mean of.", icon=":material/functions:")
            return []
        shown, groups = _groups_shown(over), over["run_ids"].tolist()
    before = set(st.session_state.get("_chosen_runs", []))
    positions = [place for place, mine in enumerate(groups) if set(mine) <= before]
    # a table of other rows is another table: positions of the old one would choose wrong runs
    identity = hashlib.sha256(json.dumps(groups).encode()).hexdigest()[:16]
    picked = layout.table(
        shown, key=f"_runs_table_{identity}", hide_index=True, on_select="rerun", selection_mode="multi-row", height=_height(shown),
        selection_default={"selection": {"rows": positions}}, column_config=_columns(together == "run"), placeholder="",
    )  # fmt: skip
    chosen = [run_id for place in picked["selection"]["rows"] for run_id in groups[place]]
    st.session_state["_chosen_runs"] = chosen
    if not chosen:
        st.caption(f"Select rows to lay up to {MOST_RUNS} runs over one another. Shown below: the newest that has finished.")
    return chosen


def _runs_shown(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({
        "state": rows["state"].map(STATES), **({"title": rows["title"]} if rows["title"].any() else {}), "method": rows["method"],
        "protocol": rows["protocol"], "seed": rows["seed"], "accuracy": rows["accuracy"], "95 % interval": run_tables.intervals(rows),
        "loss": rows["loss"], "KNN": rows["knn"], "peak (biased)": rows["peak"], "px": rows["image_size"], "weights": rows["weights"],
        "rate": rows["rate"], "samples seen": rows["samples_seen"], "time": [duration(seconds) for seconds in rows["seconds"]],
        "started": rows["created_at"],
    })  # fmt: skip


def _groups_shown(over: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({
        "method": over["method"], "protocol": over["protocol"], "seeds": over["seeds"], "accuracy": over["accuracy"], "SD": over["sd"],
        "95 % interval": run_tables.intervals(over), "loss": over["loss"], "KNN": over["knn"], "peak (biased)": over["peak"], "px": over["image_size"],
        "weights": over["weights"], "rate": over["rate"], "samples seen": over["samples_seen"],
        "time": [duration(seconds) for seconds in over["seconds"]],
    })  # fmt: skip


def _height(shown: pd.DataFrame, most: int = ROWS_IN_SIGHT) -> int:
    return ROW_PIXELS * (min(len(shown), most) + 1) + 3


def _columns(single: bool) -> dict[str, Any]:
    what = "of the test images, by Wilson" if single else "over the seeds, by Student's t; of one seed over its test images"
    return {
        **dict.fromkeys(("accuracy", "loss", "KNN", "SD"), THREE),
        "peak (biased)": st.column_config.NumberColumn(
            format="%.3f", help="Protocol report: the best of all epochs on test, biased upwards."
        ),
        "95 % interval": st.column_config.TextColumn(help=f"Of the accuracy: {what}."),
        "samples seen": st.column_config.NumberColumn(format="localized"),
        "px": SIZE,
        "started": st.column_config.DatetimeColumn(format="D MMM, HH:mm"),
    }


def _download_tables(dataset: str, rows: pd.DataFrame, chosen: list[str]) -> None:
    files = st.popover("Tables as files", icon=":material/download:", on_change="rerun", key="_runs_files")
    if not files.open:
        return
    with files:
        st.download_button(
            f"{len(rows):,} runs as CSV", session.file_for_leads(lambda: _csv(rows.drop(columns="configuration"))),
            f"{dataset}-runs.csv", "text/csv", on_click="ignore",
        )  # fmt: skip
        epochs = "Epochs of the chosen run as CSV" if len(chosen) == 1 else f"Epochs of the {len(chosen)} chosen runs as CSV"
        st.download_button(
            epochs, session.file_for_leads(lambda: _csv(run_tables.epochs_of(layout.store(), chosen))),
            f"{dataset}-epochs.csv", "text/csv", on_click="ignore",
        )  # fmt: skip


def _csv(frame: pd.DataFrame) -> bytes:
    return to_csv(frame)


# -- the chosen ones -----------------------------------------------------------------------------


def _chosen(mine: pd.DataFrame, by_id: dict[str, dict[Any, Any]]) -> None:
    """One run in full, or several over one another."""
    names, ids = run_tables.labels(mine), mine["run_id"].tolist()
    if len(ids) == 1:
        st.header(layout.plain(names[ids[0]]))
        _one(by_id[ids[0]], mine.iloc[0])
    else:
        st.header(f"{len(ids)} runs over one another")
        _several(mine, names, by_id)
    drawn = ids[:MOST_RUNS]
    if len(ids) > MOST_RUNS:
        st.caption(f"Curves of the first {MOST_RUNS} chosen: more lines can't be told apart.")
    curves.show(drawn, names, live=bool(mine["state"].isin(run_tables.ACTIVE).any()))
    ordering = [run_id for run_id in ids if by_id[run_id]["mode"] in CURRICULA] or ids[:1]
    st.subheader("Which images entered when")
    run_id = (
        ordering[0] if len(ordering) == 1 else st.selectbox("Run", ordering, format_func=names.__getitem__, key=f"_entering_run_{ordering}")
    )
    entering.show(
        run_id, by_id[run_id]["config"], run_tables.epochs_of(layout.store(), [run_id]), live=mine.loc[run_id, "state"] in run_tables.ACTIVE
    )


def _one(run: dict[Any, Any], row: pd.Series) -> None:
    run_id, result = str(run["run_id"]), run["result"]
    told = [f"{row['method']}, protocol {row['protocol']}", f"{row['image_size']} px", f"weights {row['weights']}", f"rate {row['rate']}",
            f"started {row['created_at']:%d %b %Y, %H:%M}"]  # fmt: skip
    st.caption(layout.plain(" · ".join([*told, run_id])))
    if isinstance(run["note"], str):
        st.markdown("  \n".join(layout.plain(line.strip()) for line in run["note"].splitlines()))
    if result:
        _figures(result, row)
    elif row["state"] not in run_tables.ACTIVE:
        _why_not(run_id, row["state"], run["message"])
    _actions(run_id, row["state"])
    whole = st.expander("Configuration", on_change="rerun", key=f"_configuration_{run_id}")
    if whole.open:
        whole.code(json.dumps(run["config"], indent=1), language="json")


def _figures(result: dict[str, Any], row: pd.Series) -> None:
    columns = st.columns(5)
    count = f"{result['examples']['test']:,} images, {TEST_READ[row['protocol']]}. 95 % interval {row['low']:.1%} to {row['high']:.1%}."
    columns[0].metric("Test accuracy", f"{result['test_accuracy']:.1%}", help=count)
    columns[1].metric("Test loss", f"{result['test_loss']:.3f}", help="Cross-entropy in nats; lower is better.")
    columns[2].metric(
        "Test KNN", figure(result["test_knn"], ".3f"), help="Mean share of the 5 nearest test images in feature space with the same class."
    )
    columns[3].metric("Chosen epoch", f"{result['epoch']} of {result['epochs']}")
    columns[4].metric("Time", duration(result["seconds"]))
    if peak := run_tables.peak_of(result, ".1%"):
        st.caption(f"Peak over epochs, picked on test and so biased upwards: {peak}.")
    if result["notes"]:
        st.info("  \n".join(map(layout.plain, result["notes"])), icon=":material/info:")
    if result["stages"]:
        st.subheader("After each stage, on test")
        stages = pd.DataFrame(result["stages"]).rename(columns={
            "own_accuracy": "accuracy on its own levels", "own_loss": "loss on its own levels", "own_examples": "images of its own levels",
            "accuracy": "accuracy on all", "loss": "loss on all", "knn": "KNN on all",
        })  # fmt: skip
        layout.table(
            stages, hide_index=True, column_config={str(c): THREE for c in stages if str(c).split()[0] in ("accuracy", "loss", "KNN")}
        )


def _why_not(run_id: str, state: str, message: object) -> None:
    """A run that ended without a result: what it said, and the end of its log."""
    if state == "gone":
        st.warning(
            "The run's directory is gone, so it can't go on. What the database knows of it is shown; it can be deleted.",
            icon=":material/folder_off:",
        )
        return
    said = layout.plain(message) if isinstance(message, str) else "It said nothing."
    st.error(f"{STATES[state]}: {said}", icon=":material/error:")
    if tail := run_actions.directory(run_id).log_tail():
        with st.expander("The end of its log"):
            st.code(tail, language=None)


def _actions(run_id: str, state: str) -> None:
    run, comparison = run_actions.directory(run_id), run_actions.comparison_of(run_id)
    with st.container(horizontal=True, vertical_alignment="center"):
        if run.path.exists():
            if st.button("Title and note", icon=":material/edit:", key=f"edit_{run_id}"):
                run_actions.edit(run_id)
        else:
            st.caption("Its directory is gone: a title or a note has no place, and the model can't be used.")
        if comparison:
            st.caption(f"An arm of the comparison {layout.plain(comparison)}, which resumes and deletes it.")
            layout.link("comparison", "Go to the comparison", ":material/balance:")
        elif state not in run_tables.ACTIVE:
            if state in ("failed", "cancelled", "interrupted"):
                run_actions.resume_button(run)
            if st.button("Delete", icon=":material/delete:", key=f"delete_{run_id}"):
                run_actions.confirm_delete([run_id])
        if state == "done":
            run_actions.report_button(run_id)
            layout.link("errors", "See what it misclassifies", ":material/error_outline:")


def _several(mine: pd.DataFrame, names: dict[str, str], by_id: dict[str, dict[Any, Any]]) -> None:
    ids = mine["run_id"].tolist()
    deletable = [run_id for run_id in mine[~mine["state"].isin(run_tables.ACTIVE)]["run_id"] if not run_actions.comparison_of(run_id)]
    if len(ids) == 2:
        st.subheader("What their configurations differ in")
        found = run_tables.difference(*(by_id[run_id]["config"] for run_id in ids))
        if found.empty:
            st.success("Nothing: the two runs have the same configuration.", icon=":material/equal:")
        else:
            layout.table(found.rename(columns={"a": names[ids[0]], "b": names[ids[1]]}), hide_index=True)
    words = f"Delete these {len(ids)} runs" if len(deletable) == len(ids) else f"Delete {len(deletable)} of these runs"
    if deletable and st.button(words, icon=":material/delete:", key="_delete_chosen"):
        run_actions.confirm_delete(deletable)


# -- beside the reports --------------------------------------------------------------------------


def _methods(rows: pd.DataFrame, dataset: str) -> None:
    over = run_tables.over_seeds(rows)
    reported = dataset == "rsscn7"
    if over.empty and not reported:
        return
    st.header("The reports' table 1, and ours" if reported else "Each method over its seeds")
    both = run_tables.beside_the_reports(over, reported=reported)
    shown = pd.DataFrame({
        "method": both["method"], "by": both["by"], "protocol": both["protocol"], "weights": both["weights"], "accuracy": both["accuracy"],
        "95 % interval": run_tables.intervals(both), "seeds": both["seeds"], "loss": both["loss"], "KNN": both["knn"],
        "peak (biased)": both["peak"], "px": both["image_size"],
    })  # fmt: skip
    shown = shown.dropna(axis="columns", how="all")
    layout.table(shown, hide_index=True, column_config=_columns(False), placeholder="", height=_height(shown, 2 * ROWS_IN_SIGHT))
    notes = ["Ours: test images that training never saw; by protocol honest no choice was made by them either."]
    if reported:
        notes.append(
            "The reports give no seeds and no interval, and their accuracy is itself a peak: set it beside ours of protocol report."
        )
    st.caption(" ".join([*notes, *run_tables.cautions(rows)]))
