"""Comparison: did the order help? Arms over paired seeds, with the controls that make it an answer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pandas as pd
import streamlit as st

from curriculum import intake, labels, runs
from curriculum.app import layout, run_actions, service, session
from curriculum.charts.comparison import arm_dots, difference_intervals
from curriculum.compare import FEWEST_SEEDS
from curriculum.config import ARM_MEANING, CompareConfig
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError, RunError
from curriculum.rundir import open_run
from curriculum.vocabulary import LEVEL_SOURCES
from curriculum.words import P_OF_PAIRS, chance, duration


def page() -> None:
    st.title("Did the order help?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    frame = runs.list_runs(layout.store(), dataset.name, "compare")
    going = frame[frame["state"].isin(["queued", "running"])]["run_id"].tolist()
    for run_id in going:
        _watch(run_id)
    done = frame[frame["result"].notna()]
    if not done.empty:
        _finished(done)
    _stopped(frame[frame["result"].isna() & ~frame["run_id"].isin(going)])
    with st.container() if frame.empty else st.expander("Compare anew"):
        _form(dataset)


# -- what came out -------------------------------------------------------------------------------


def _finished(done: pd.DataFrame) -> None:
    titles = dict(zip(done["run_id"], done.apply(_title, axis=1), strict=True))
    run_id = st.selectbox("Comparison", list(titles), format_func=titles.__getitem__) if len(titles) > 1 else next(iter(titles))
    result: dict[str, Any] = done.set_index("run_id").loc[run_id, "result"]
    with st.container(border=True):
        for sentence in result["verdict"].split(". "):
            st.markdown(layout.plain(sentence.rstrip(".") + "."))
    pairs, arms = pd.DataFrame(result["pairs"]), pd.DataFrame(result["arms"])
    left, right = st.columns(2, gap="medium")
    left.altair_chart(arm_dots(arms), width="stretch")
    left.caption("Test accuracy: a dot for each seed, a diamond for their mean, with its 95 % interval.")
    if not pairs.empty:
        right.altair_chart(difference_intervals(pairs), width="stretch")
        right.caption("Within seeds and image by image, with 95 % intervals: right of 0 the first arm is better.")
    _tables(result, arms, pairs)
    noise = f" {result['noise']:.0%} of the training images had a wrong class." if result["noise"] else ""
    leaks = result["leak_percent"] is not None
    st.caption(
        f"Protocol {result['protocol']}. Every arm saw as many samples as {result['passes']} passes over the training images, at the same "
        f"learning rate but transfer.{noise}"
        + (f" {result['leak_percent']} % of the test images show the same ground as a training image." if leaks else "")
    )
    for note in result["notes"]:
        st.info(layout.plain(note), icon=":material/info:")
    layout.link("errors", "See what each arm misclassifies", ":material/error_outline:")
    with st.container(horizontal=True):
        run_actions.report_button(str(run_id))
        if st.button("Delete this comparison", icon=":material/delete:"):
            _confirm_delete(str(run_id))


def _title(row: pd.Series) -> str:
    config = row["config"]
    noise = f", {config['noise']:.0%} wrong labels" if config["noise"] else ""
    arms = ", ".join(config["arms"])
    return f"{row['created_at']:%d %b %H:%M}: {arms}, {config['image_size']} px, {config['seeds']} seeds, {config['protocol']}{noise}"


def _tables(result: dict[str, Any], arms: pd.DataFrame, pairs: pd.DataFrame) -> None:
    shown = arms[["arm", "mean", "sd", "loss", "knn", "peak"]].dropna(axis="columns", how="all")
    shown["seeds"] = arms["seeds"].map(lambda seeds: [f"{accuracy:.3f}" for accuracy in seeds])
    names = {"mean": "accuracy", "sd": "SD over seeds", "knn": "KNN", "peak": "peak (biased)", "seeds": "by seed"}
    number = {name: st.column_config.NumberColumn(names.get(name, name), format="%.3f") for name in ("mean", "sd", "loss", "knn", "peak")}
    layout.table(shown, hide_index=True, column_config={**number, "seeds": st.column_config.ListColumn("by seed")})
    if pairs.empty:
        return
    percent = pairs.assign(**{name: 100 * pairs[name] for name in ("difference", "low", "high")})
    percent = percent.assign(
        **{name: pairs[name].map(lambda p: chance(p).removeprefix("p ").removeprefix("= ")) for name in ("p", "p_holm")}
    )
    points = {name: st.column_config.NumberColumn(f"{name} (points)", format="%+.1f") for name in ("difference", "low", "high")}
    layout.table(percent.rename(columns={"a": "arm", "b": "less"}), hide_index=True, column_config={
        **points, "p": st.column_config.TextColumn("p", help=f"{P_OF_PAIRS[0].upper()}{P_OF_PAIRS[1:]}."),
        "seeds": "seeds", "p_holm": st.column_config.TextColumn("p, corrected", help="For the number of pairs, by Holm's method."),
    })  # fmt: skip


# -- what is going on, or stopped ----------------------------------------------------------------


@st.fragment(run_every=2.0)
@session.for_leads
def _watch(run_id: str) -> None:
    run = open_run(service.current().home, run_id)
    status = run.status()
    if not status.active:
        for each in (run, *runs.members(service.current().home, run)):
            with suppress(RunError):  # its message says by now what can't be read
                intake.ingest(layout.store(), each)
        st.rerun()
    with st.container(border=True):
        st.markdown("**The arms are training.** You may close this page: it goes on.")
        left = f"; about {duration(status.seconds_left)} left" if status.seconds_left is not None else ""
        done = f"{status.epoch} of {status.epochs} runs are done. " if status.epochs else ""
        share = status.done / status.total if status.total else 0.0
        st.progress(min(share, 1.0), text=f"{done}{status.phase or 'starting'}. {duration(status.seconds)} so far{left}.")
        run_actions.cancel_button(run)


def _stopped(frame: pd.DataFrame) -> None:
    for row in frame.head(5).to_dict("records"):
        what, resume, delete = st.columns([8, 2, 2], vertical_alignment="center")
        what.write(f"**{row['state']}** · {layout.plain(str(row['message'] or ''))} · {row['created_at']:%d %b %H:%M}")
        with resume:
            run_actions.resume_button(run_actions.directory(row["run_id"]))
        if delete.button("Delete", key=f"delete_{row['run_id']}", icon=":material/delete:"):
            _confirm_delete(row["run_id"])


@st.dialog("Delete this comparison?")
@session.for_leads
def _confirm_delete(run_id: str) -> None:
    run = run_actions.directory(run_id)
    count = len(runs.members(service.current().home, run))
    st.write(f"The comparison `{run_id}`, the {count} runs of its arms, their models and figures are removed for good. Labels stay.")
    if st.button("Delete it", type="primary"):
        try:
            runs.delete(layout.store(), run)
        except CurriculumError as error:  # such as an arm that an earlier process left going
            st.error(layout.plain(str(error)), icon=":material/error:")
        else:
            st.rerun()


# -- starting ------------------------------------------------------------------------------------


def _form(dataset: Dataset) -> None:
    st.markdown(
        "Each arm is trained from the same start, on the same split, for the same number of samples, once for each seed. Plain "
        "fine-tuning joins always, and for each arm that orders images the same sizes in random order: only an arm that beats both "
        "owes it to its order."
    )
    summary: dict[str, Any] = labels.summary(layout.store(), dataset.name)
    labelled = {"people": summary["labelled"], "simulated": summary["simulated"]["labelled"]}
    default = [*(["staged"] if any(labelled.values()) else []), "self-paced"]
    arms = st.multiselect("Arms", list(ARM_MEANING), default=default, format_func=lambda arm: f"{arm}: {ARM_MEANING[arm]}")
    columns = st.columns(4)
    with columns[0]:
        weights = layout.weights_picker(dataset.name, "compare")
    size = columns[1].select_slider("Image size in pixels", [32, 64, 96, 128, 192, 256, 384], 128, key="_compare_size")
    seeds = columns[2].number_input(
        "Seeds", 1, 100, FEWEST_SEEDS, help="Each its own split, head and batches. Fewer than five tell little."
    )
    passes = columns[3].number_input(
        "Passes over the training images", 1, 10_000, 20, help="Every arm sees as many samples, whatever its order."
    )
    levels = _levels(labelled) if "staged" in arms else "people"
    with st.expander("More"):
        more = st.columns(3)
        protocol = more[0].radio("Protocol", ["honest", "report"], key="_compare_protocol",
                                 captions=["64/16/20; epoch chosen on val, test read once", "80/20 as in the reports: the test peak is biased"])  # fmt: skip
        noise = more[1].select_slider("Wrong classes in train, %", [0, 10, 20, 30, 40, 50], 0, help="Curricula are said to help there.")
        workers = more[2].number_input("Arms at a time", 1, 64, 1, help="Each in a process of its own; on a large GPU more than one.")
    total = sum(len(chain) for chain in CompareConfig(dataset.name, arms=tuple(arms)).chains()) * int(seeds) if arms else 0
    if st.button(f"Train {total} runs and compare", type="primary", icon=":material/play_arrow:", disabled=not arms):
        options: dict[str, Any] = {"weights": weights, "image_size": size, "seeds": int(seeds), "epochs": int(passes), "levels": levels}
        try:
            layout.start_run(
                CompareConfig(dataset.name, arms=tuple(arms), protocol=protocol, noise=noise / 100, workers=int(workers), **options)
            )
        except CurriculumError as error:
            st.error(layout.plain(str(error)), icon=":material/error:")
        else:
            st.rerun()


def _levels(labelled: dict[str, int]) -> str:
    options = list(LEVEL_SOURCES)
    index = options.index("simulated") if labelled["simulated"] and not labelled["people"] else 0
    return str(st.radio("Levels from", options, index=index, horizontal=True, format_func=layout.WHO.__getitem__, key="_compare_levels"))
