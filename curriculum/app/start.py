"""Start: who I am, and what to do next; for who leads also which images, and trying everything out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import streamlit as st

from curriculum import analysis, assignment, datasets, fetching, labels, people, runs, simulate, sources
from curriculum.app import layout, service, sign_in
from curriculum.app.service import Job


def page() -> None:
    st.title("Easy, medium, hard: does the order help?")
    st.write(
        "Sort images into easy, medium and hard. Compare your judgement with a model's. "
        "Train in that order, or let the model pace itself, and see what is still misclassified."
    )
    name = st.session_state.get("annotator")
    role = people.role_of(layout.store(), name) if name else None
    with st.container():  # one place, empty or not, so that nothing below it moves and is drawn twice
        _first_demo()
        _show_jobs(role)
    left, right = st.columns(2, gap="large")
    if role is None:
        with left:
            sign_in.form()
        return
    dataset = layout.chosen_dataset() if role == "annotator" or datasets.list_datasets(layout.store()) else None
    with left.container():  # again one place, with or without a data set
        if dataset and role == "annotator":
            _my_images(dataset, str(name))
        elif dataset:
            _next_steps(dataset.name)
    with left.container():
        sign_in.account(role)
    if role == "lead":
        with right:
            _data(dataset)


# -- what next -----------------------------------------------------------------------------------


def _next_steps(dataset: str) -> None:
    store = layout.store()
    summary = labels.summary(store, dataset)
    simulated = summary["simulated"]
    assert isinstance(simulated, dict)
    total = store.rows("SELECT count(*) FROM example WHERE dataset = ? AND present", [dataset])[0][0]
    trained = runs.list_runs(store, dataset, "train")
    done = int((trained["state"] == "done").sum())
    st.header("What next")
    layout.link("sort", f"1. Sort images: {summary['labelled']:,} of {total:,} have a level from people", ":material/sort:")
    ranked = analysis.latest_score(store, dataset)
    layout.link("human-model", "2. Compare with the model's ranking" + ("" if ranked else ": not ranked yet"), ":material/compare:")
    layout.link("train", "3. Train in that order, or self-paced", ":material/model_training:")
    layout.link("runs", f"4. See what it did: {done:,} finished training run{'' if done == 1 else 's'}", ":material/query_stats:")
    layout.link("errors", "5. See what is still misclassified", ":material/error_outline:")
    with st.expander(f"Try everything without labelling first ({simulated['labelled']:,} images have simulated levels)"):
        st.write(
            "Three simulated annotators follow the demo scenes' built-in difficulty, or the model's ranking, with noise. "
            "Their names begin with `simulated-`, and they never mix with people unless you ask."
        )
        if st.button("Simulate three annotators", icon="🤖"):
            count = simulate.simulate_annotators(store, dataset, analysis.known_difficulty(store, dataset))
            st.toast(f"{count:,} simulated labels were added.")
            st.rerun()


def _my_images(dataset: datasets.Dataset, annotator: str) -> None:
    """An annotator's own way through a data set; nothing of anybody else's."""
    st.header("Your images")
    progress = assignment.progress(layout.store(), dataset.name, annotator)
    done = sum(progress.mine.values())
    st.progress(
        min(done / max(progress.total, 1), 1.0), text=f"{done:,} of {progress.total:,} of **{layout.plain(dataset.name)}** sorted by you"
    )
    if progress.skipped:
        st.caption(f"{progress.skipped:,} skipped: they come again.")
    if st.button("Go on sorting" if done else "Sort images", icon=":material/sort:", type="primary"):
        layout.go("sort")


# -- images --------------------------------------------------------------------------------------


def _first_demo() -> None:
    """A new home gets the demo scenes at once, so that there is something to sort."""
    if not datasets.list_datasets(layout.store()) and "demo" not in service.current().jobs:
        _start_demo()


def _start_demo() -> None:
    running = service.current()

    def work(job: Job) -> None:
        folder = sources.make_demo(running.home.data, progress=job.advance)
        datasets.add_dataset(running.store, "demo", folder)

    running.start_job("demo", "Drawing the demo scenes", work)


def _add(name: str, find: Callable[[Job], Path]) -> None:
    running = service.current()

    def work(job: Job) -> None:
        folder = find(job)
        added = datasets.add_dataset(running.store, name, folder, lambda done, total: job.advance(done, total, "Verifying every image"))
        job.notice = " ".join([f"{name}:", *added.differences()]) if added.differences() else ""
        running.start_job(f"overlaps {name}", looking, look)

    def look(job: Job) -> None:
        datasets.ensure_overlaps(running.store, name, lambda done, total, what: job.advance(done, total, f"{looking}, {what}"))

    looking = f"Looking in {name} for images of the same ground (you may go on meanwhile)"
    running.start_job(f"add {name}", f"Adding {name}", work)
    st.rerun()


def _show_jobs(role: people.Role | None) -> None:
    """How far they are; what went wrong, with paths in it, is for who can do something about it."""
    jobs = service.current().jobs
    if going := _going():
        _poll_jobs(going)
    for name, job in list(jobs.items()) if role == "lead" else ():
        if job.error or job.notice:
            show, icon = (st.error, ":material/error:") if job.error else (st.warning, ":material/warning:")
            show(layout.plain(job.error or job.notice), icon=icon)
            if st.button("Dismiss", key=f"_dismiss_{name}"):
                jobs.pop(name, None)
                st.rerun()


def _going() -> list[Job]:
    return [job for job in service.current().jobs.values() if not job.finished]


@st.fragment(run_every=0.5)
def _poll_jobs(before: list[Job]) -> None:
    """The page runs anew whenever one ends: what it brought shows, though another goes on."""
    for job in before:
        share = min(job.done / job.total, 1.0) if job.total else 0.0
        amount = f"{job.done:,} of {job.total:,}" if job.total else f"{job.done:,}" if job.done else "starting"
        st.progress(share, text=f"{layout.plain(job.what)}: {amount}")
    if _going() != before:
        st.rerun()


def _data(dataset: datasets.Dataset | None) -> None:
    store = layout.store()
    st.header("Images")
    if dataset:
        shown = store.rows(
            """SELECT sha256, class FROM example WHERE dataset = ? AND present
               QUALIFY row_number() OVER (PARTITION BY class ORDER BY hash(example)) = 1 ORDER BY class LIMIT 14""",
            [dataset.name],
        )
        layout.gallery([layout.Tile(sha256, name, (name,)) for sha256, name in shown], 72)
        rejected = datasets.rejected_files(store, dataset.name)
        if rejected:
            with st.expander(f"{len(rejected):,} files were left out"):
                layout.table(pd.DataFrame([vars(file) for file in rejected]), hide_index=True)
    st.write("Add images:")
    demo, rsscn7, others, own = st.tabs(["Demo", "RSSCN7", "DTD, EuroSAT, CIFAR", "My own"])
    known = {d.name for d in datasets.list_datasets(store)}
    with demo:
        st.caption("Seven classes of aerial scenes, drawn by the program, each with a known difficulty.")
        if "demo" in known:
            st.write("They are there: pick **demo** in the sidebar.")
        elif "demo" in service.current().jobs:
            st.write("They are being drawn: a few seconds.")
        elif st.button("Draw the demo scenes"):
            _start_demo()
            st.rerun()
    with rsscn7:
        st.caption("2,800 satellite images of 7 classes (Zou et al. 2015), 400 x 400 pixels, about 350 MB.")
        if "rsscn7" in known:
            st.write("It is there: pick **rsscn7** in the sidebar.")
        else:
            _rsscn7()
    with others:
        _others(known)
    with own:
        st.caption("One folder a class, JPEG, PNG, TIFF or WebP, on the machine that runs the app. The files stay where they are.")
        with st.form("own", border=False):
            path = st.text_input("Folder that holds the class folders", placeholder="/home/me/pictures")
            name = st.text_input("Name for this data set", placeholder="pictures")
            if st.form_submit_button("Add", icon=":material/add:"):
                if path.strip() and name.strip():
                    _add(name.strip(), lambda _job: Path(path.strip()))
                st.error("Both the folder and a name are needed.")


def _rsscn7() -> None:
    data = service.current().home.data
    if st.button("Download RSSCN7", icon=":material/download:"):
        _add("rsscn7", lambda job: sources.fetch_rsscn7(data, progress=job.advance).path)
    with st.form("rsscn7", border=False):
        path = st.text_input("Or: folder or zip of RSSCN7 that you have")
        if st.form_submit_button("Use it") and path.strip():
            _add("rsscn7", lambda job: sources.take_rsscn7(data, Path(path.strip()), progress=job.advance).path)


def _others(known: set[str]) -> None:
    """What torchvision can download, and a copy of it that is here."""
    data = service.current().home.data
    name = str(st.selectbox("Which of them", list(fetching.KNOWN), format_func=lambda one: fetching.KNOWN[one].title))
    chosen = fetching.KNOWN[name]
    st.caption(f"{chosen.meaning}, about {chosen.megabytes} MB. Beside the images: {chosen.split}.")
    if name in known:
        st.write(f"It is there: pick **{name}** in the sidebar.")
        return
    if st.button(f"Download {chosen.title}", icon=":material/download:"):
        _add(name, lambda job: fetching.fetch(name, data, progress=job.advance))
    with st.form("others", border=False):
        path = st.text_input("Or: its archive, or a root folder of torchvision, that you have")
        if st.form_submit_button("Use it") and path.strip():
            _add(name, lambda job: fetching.fetch(name, data, Path(path.strip()), job.advance))
