"""The page Why, its regions: what speaks for a class and against it, and how far to rely on that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from curriculum import regions
from curriculum.app import layout, service, session
from curriculum.asking import Job
from curriculum.charts.overlays import regions_over
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError
from curriculum.questions import Answer, Checks, Question, Regions
from curriculum.regions import Deletion, Stability
from curriculum.vocabulary import SUPERPIXELS, SUPERPIXELS_MEANING

LEGEND = (
    "What the model saw, with up to five regions for each side, the strongest first, at most a third of the image. "
    "**Blue, whole line, +**: speaks for the class. **Orange, stripes, dotted line, −**: speaks against it. "
    "The model is asked what it says when regions are covered with their mean colour; a linear model weighs them (LIME)."
)


def show(runs: dict[str, str], row: dict[str, Any], dataset: Dataset) -> None:
    """Of one run's model, or of two side by side. `runs`: their descriptions by id."""
    asked = _settings(list(runs), row, dataset)
    missing = [question for question in asked if _ready(question) and service.current().explainer.answer(question) is None]
    if missing and not any(active(question) for question in missing):
        st.button(
            f"Explain with {asked[0].samples:,} samples", type="primary", icon=":material/play_arrow:", key="_why_explain",
            on_click=ask, args=(missing,), help="Two to ten seconds on two cores at 128 px; the first time some more, until the model is loaded.",
        )  # fmt: skip
    bars = st.container()  # above the pictures, where they are seen
    for place, question in zip(st.columns(len(asked), gap="large"), asked, strict=True):
        with place:
            if len(asked) > 1:
                st.markdown(f"**{layout.plain(runs[question.run])}**")
            _one(question, layout.class_titles(dataset.classes))
    going = [question for one in asked for question in (one, _checks(one)) if active(question)]
    if going:
        with bars:
            watch(going)


def _settings(runs: list[str], row: dict[str, Any], dataset: Dataset) -> list[Regions]:
    columns = st.columns([2, 2, 2], vertical_alignment="bottom")
    method = columns[0].selectbox(
        "Regions by", SUPERPIXELS, key="_why_method", format_func=lambda name: f"{name}: {SUPERPIXELS_MEANING[name]}"
    )
    samples = columns[1].select_slider(
        "Samples", [200, 500, 1000, 2000, 5000], 1000, key="_why_samples", help="More: steadier weights, as many times the seconds."
    )
    columns[2].toggle("Show what speaks against", True, key="_why_against")
    return [
        Regions(run, str(dataset.root), row["example"], row["sha256"], row["class"], superpixels=method, samples=samples) for run in runs
    ]


def _checks(question: Regions) -> Checks:
    return Checks(**{name: value for name, value in question.to_json().items() if name != "kind"})


def _ready(question: Question) -> bool:
    """Whether its run can be asked at all."""
    try:
        service.current().explainer.job(question)
    except CurriculumError:
        return False
    return True


def _one(question: Regions, titles: dict[str, str]) -> None:
    explainer = service.current().explainer
    try:
        answer = explainer.answer(question)
        job = explainer.job(question)
    except CurriculumError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    if answer is None:
        say_end(job)
        if job is not None and job.active:
            st.caption("Is being explained: the bar above tells how far it is.")
        return
    _pictures(answer, titles)
    checks = explainer.answer(_checks(question))
    if checks is None:
        job = explainer.job(_checks(question))
        if job is None:
            explainer.ask(_checks(question), asker())
        elif not job.active:
            say_end(job)
            st.button("Check again", icon=":material/refresh:", key=f"_again_{job.key}", on_click=ask, args=([_checks(question)],))
            return
        st.caption("Two more samplings and random regions follow, to tell how far this can be relied on ...")
    for place, name in enumerate(answer.record["explained"]):
        _verdict(answer, checks, place, titles.get(name, name))


def _pictures(answer: Answer, titles: dict[str, str]) -> None:
    record, image, segments = answer.record, answer.arrays["image"], answer.arrays["segments"]
    shares = regions.areas(segments)
    against = st.session_state.get("_why_against", True)
    for place, name in zip(st.columns(2), record["explained"], strict=False):
        weights = answer.arrays["weights"][record["explained"].index(name)]
        probability = record["probabilities"][record["classes"].index(name)]
        what = f"{_role(record, name)}: {titles.get(name, name)}, {probability:.0%}"
        drawn = regions_over(
            image, segments, regions.leading(weights, shares), regions.leading(weights, shares, negative=True) if against else []
        )
        place.image(drawn, caption=layout.plain(what), width="stretch", alt=f"The regions that speak for and against {name}")
    st.caption(LEGEND)


def _role(record: dict[str, Any], name: str) -> str:
    if name == record["predicted"]:
        return "Predicted, which is true" if name == record["true"] else "Predicted"
    return "True"


def _verdict(answer: Answer, checks: Answer | None, place: int, title: str) -> None:
    """In words with numbers: the fit, the agreement of samplings, what is lost without the regions."""
    lines = [regions.say_fit(answer.record["r2"][place])]
    if checks is not None:
        found = checks.record["classes"][place]
        lost = Deletion(**found["deletion"] | {"random": tuple(found["deletion"]["random"])}) if found["deletion"] else None
        lines += [regions.say_stability(Stability(**found["stability"])), regions.say_deletion(lost, len(found["regions"]))]
    st.markdown(f"**{_role(answer.record, answer.record['explained'][place])}: {layout.plain(title)}**")
    st.markdown("\n".join(f"- {layout.plain(line)}" for line in lines))
    weights = answer.arrays["weights"][place]
    with st.expander(f"All {len(weights)} weights"):
        order, shares = np.argsort(-weights, kind="stable"), regions.areas(answer.arrays["segments"])
        layout.table(
            pd.DataFrame({"region": order, "weight": weights[order], "share of the image": shares[order]}), hide_index=True,
            column_config={"weight": st.column_config.NumberColumn(format="%+.4f", help="What it adds to the class's probability."),
                           "share of the image": st.column_config.NumberColumn(format="percent")},
        )  # fmt: skip


# -- asking and waiting --------------------------------------------------------------------------


def asker() -> str:
    """Who waits for an answer: a person, in however many tabs."""
    return str(st.session_state.get("annotator", ""))


@session.for_leads
def ask(wanted: Sequence[Question]) -> None:
    """Have them answered; what can't be asked says so where its answer would stand."""
    for question in wanted:
        try:
            service.current().explainer.ask(question, asker())
        except CurriculumError as error:
            st.toast(layout.plain(str(error)), icon=":material/error:")


def active(question: Question) -> bool:
    """Whether it is being answered, or waits for its turn."""
    try:
        job = service.current().explainer.job(question)
    except CurriculumError:
        return False
    return job is not None and job.active


def say_end(job: Job | None) -> None:
    """Why there is no answer."""
    if job is not None and job.state == "failed":
        st.error(layout.plain(job.message), icon=":material/error:")
    elif job is not None and job.state == "cancelled":
        st.info("Cancelled.", icon=":material/cancel:")


@st.fragment(run_every=0.5)
@session.for_leads
def watch(going: Sequence[Question]) -> None:
    """A bar for each question that isn't settled; the page is drawn anew as soon as one of them is."""
    explainer = service.current().explainer
    if not all(active(question) for question in going):
        st.rerun()
    for question in going:
        job = explainer.job(question)
        if job is None:
            continue
        bar, button = st.columns([6, 1], vertical_alignment="center")
        ahead = explainer.ahead(job)
        text = f"waiting for {ahead} other questions" if ahead else job.phase or "waiting"
        counted = f": {job.done:,} of {job.total:,}" if job.total else " ..."
        bar.progress(job.done / job.total if job.total else 0.0, text=text[:1].upper() + text[1:] + counted)
        button.button("Cancel", icon=":material/cancel:", key=f"_cancel_{job.key}", on_click=_cancel, args=(job,), width="stretch")


@session.for_leads
def _cancel(job: Job) -> None:
    service.current().explainer.cancel(job, asker())
