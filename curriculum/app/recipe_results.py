"""What a recipe that was started has given, on a page: ours beside the reports' figures, each step's runs, the pictures of a look."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import streamlit as st

from curriculum import recipe, recipe_runs, run_tables, run_words
from curriculum.app import layout, service, session
from curriculum.app.run_actions import STATES
from curriculum.errors import CurriculumError
from curriculum.recipe import Recipe, Step
from curriculum.recipe_runs import Request
from curriculum.rundir import RunDir
from curriculum.spreadsheet import to_csv
from curriculum.words import duration

IN_WORDS = {
    "accuracy": "accuracy", "test_accuracy": "test accuracy", "peak_test_accuracy": "peak test accuracy (biased)", "test_loss": "test loss",
    "test_knn": "test KNN", "peak_test_loss": "test loss at the peak (biased)", "peak_test_knn": "test KNN at the peak (biased)",
    "peak_test_epoch": "epoch of the peak", "all_images_epoch": "first epoch with all images",
    "train_accuracy": "train accuracy", "val_accuracy": "val accuracy", "filters": "filters of the first layer",
    "first_probability": "probability of the first class", "arms.0.mean": "mean accuracy of the first arm",
}  # fmt: skip
OF_A_STAGE = {
    "accuracy": "accuracy on all", "loss": "loss on all", "knn": "KNN on all", "own_accuracy": "accuracy on its own levels",
    "own_loss": "loss on its own levels",
}  # fmt: skip
PAGE_OF_KIND = {"train": "runs", "episodes": "runs", "compare": "comparison", "score": "human-model"}
PICTURES = {
    "image": "The picture, as the network sees it.",
    "filters": "What the first layer looks for, each filter on its own scale; grey is 0.",
    "before": "What they answer, before ReLU: blue above 0, orange below, black at 0.",
    "after": "After ReLU: what was below 0 is gone. The same scale.",
}
PEAK = (
    "Peak test accuracy is the best of all epochs on test, as the reports took it. It was picked on test, and so it is biased upwards, as are "
    "loss and KNN of that epoch; the last epoch's figures stand beside them."
)
INTERVAL = "95 % interval: of an accuracy over its test images, by Wilson; of episodes over the episodes, by Student's t; a peak has none."
SMALL = "Small scale: a few small images for every step, to see that all of it works. The figures say nothing."


def show(run: RunDir) -> None:
    """All that there is of one, as far as it has come; what can't be read says so."""
    try:
        made, request = recipe_runs.recipe_of(run), recipe_runs.request_of(run)
        figures = beside_the_reports(run)
    except CurriculumError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        actions(run)
        return
    st.header(layout.plain(made.title))
    st.caption(layout.plain(" · ".join(_asked(run, request))))
    _how_it_ended(run)
    if request.scale == "small":
        st.info(SMALL, icon=":material/info:")
    _figures(figures)
    actions(run, made, figures)
    st.subheader("Its steps")
    started = recipe_runs.steps_of(run)
    for step in made.steps:
        _step(step, started.get(step.name, []), request)


def _asked(run: RunDir, request: Request) -> list[str]:
    data = ", ".join(name if name == role else f"{role}: {name}" for role, name in request.data.items())
    changes = [f"{option}={value}" for option, value in request.changes.items()]
    return [f"{request.scale} scale", f"data {data}", *changes, duration(run.status().seconds), run.run_id]


def _how_it_ended(run: RunDir) -> None:
    """Why it isn't done, where it isn't and goes on no more."""
    status = run.status()
    if status.active or status.state == "done":
        return
    said = f"{STATES[status.state]}: {layout.plain(status.message or 'It said nothing.')}"
    if status.state == "cancelled":
        st.warning(said, icon=":material/cancel:")
    else:
        st.error(f"{said} What is done is kept.", icon=":material/error:")
    if tail := run.log_tail():
        with st.expander("The end of its log"):
            st.code(tail, language=None)


# -- the figures ---------------------------------------------------------------------------------


def beside_the_reports(run: RunDir) -> pd.DataFrame:
    """A row a figure: what `recipe_runs.beside_the_reports` gives, with the difference, ours less theirs."""
    found = recipe_runs.beside_the_reports(service.current().home, run)
    return found.assign(difference=found["ours"] - found["reported"])


def in_words(figure: str) -> str:
    """A figure's path in a result, as people say it."""
    if found := re.fullmatch(r"stages\.(\d+)\.(\w+)", figure):
        return f"{OF_A_STAGE.get(found[2], found[2].replace('_', ' '))}, after stage {int(found[1]) + 1}"
    return IN_WORDS.get(figure, figure.replace("_", " "))


def number(figure: str, value: float, sign: str = "", places: int = 3) -> str:
    """A figure in a table: a count without decimals; nothing where there is none. `sign` "+": always with its sign."""
    return "" if pd.isna(value) else format(value, f"{sign}.0f" if figure in recipe.COUNTS else f"{sign}.{places}f")


def _figures(figures: pd.DataFrame) -> None:
    rows = figures.to_dict("records")
    shown = pd.DataFrame([{
        "step": layout.plain(row["step"]), "figure": layout.plain(in_words(row["figure"])), "reported": number(row["figure"], row["reported"]),
        "at": layout.plain(row["at"]), "ours": number(row["figure"], row["ours"]),
        "95 % interval": between, "difference": number(row["figure"], row["difference"], "+"), "why they may differ": layout.plain(row["why"]),
    } for row, between in zip(rows, run_tables.intervals(figures), strict=True)])  # fmt: skip
    for column in ("at", "95 % interval", "why they may differ"):
        if not shown[column].any():
            shown = shown.drop(columns=column)
    if figures["reported"].isna().all():
        shown = shown.drop(columns=["reported", "difference"])
        st.caption("The reports give no figure for it.")
    st.table(shown, hide_index=True, border="horizontal", alt="Our figures beside the reports'")
    absent, begun = figures["ours"].isna(), figures["run_id"].notna()
    missing, lacking = int((absent & ~begun).sum()), int((absent & begun).sum())
    notes = [f"{missing} of {len(figures)} figures aren't there yet."] if missing else []
    notes += [f"{lacking} the finished runs don't have: never reached, or not kept yet when they ran."] if lacking else []
    notes += ["Difference: ours less theirs."] if "difference" in shown else []
    notes += [INTERVAL] if "95 % interval" in shown else []
    notes += [PEAK] if (figures["figure"] == "peak_test_accuracy").any() else []
    st.caption(" ".join(notes))


def _csv(run: RunDir) -> bytes:
    return to_csv(beside_the_reports(run))


# -- the steps -----------------------------------------------------------------------------------


def _step(step: Step, members: list[str], request: Request) -> None:
    """How far it is, where its runs stand, and the pictures of a look."""
    home = service.current().home
    found = {run_id: RunDir(home.runs / run_id) for run_id in members}
    results = recipe_runs.results_of(home, members)
    due = recipe_runs.due(step, request)
    chosen = recipe_runs.chosen(results, due)
    with st.container(border=True):
        words, button = st.columns([5, 2], vertical_alignment="center")
        what = f": {layout.plain(step.what)}" if step.what else ""
        words.markdown(f"**{layout.plain(step.name)}**{what}")
        words.caption(layout.plain(_state(step, found, results, due, chosen)))
        if step.kind == "episodes" and chosen:
            words.markdown(layout.plain(f"Mean {run_words.episodes_words(results[chosen] or {})}."))
        page = PAGE_OF_KIND.get(step.kind)
        if members and page:
            label = "See the run" if len(members) == 1 else f"See its {len(members)} runs"
            if button.button(label, key=f"_see_{members[0]}", icon=":material/query_stats:"):
                st.session_state["_chosen_runs"], st.session_state["dataset"] = members, request.data.get(step.role)
                layout.go(page)
        if step.kind == "look" and chosen:
            _look(found[chosen], results[chosen] or {})


def _state(step: Step, found: dict[str, RunDir], results: dict[str, dict[str, Any] | None], due: int, chosen: str | None) -> str:
    if not found:
        return "… not begun"
    lost = sum(not run.path.is_dir() for run in found.values())
    if lost:
        return f"∅ {lost} of its {len(found)} runs were deleted"
    if len(found) == due == 1:
        return STATES[next(iter(found.values())).status().state]
    done, failed = (sum(bool(result) for result in results.values()), sum(result == {} for result in results.values()))
    left_out = f", {failed} failed" if failed else ""
    if chosen is None:
        return f"{done} of {due} runs are done{left_out}"
    return f"✓ {done} runs are done{left_out}; on val the best is {_point(step, found[chosen])}"


def _point(step: Step, run: RunDir) -> str:
    """Where in a step's grid a run is."""
    try:
        config = run.config()
    except CurriculumError:
        return run.run_id
    return ", ".join(f"{option}={getattr(config, option, '?')}" for option in step.grid)


def _look(run: RunDir, result: dict[str, Any]) -> None:
    for place, (name, words) in zip(st.columns([2, 3, 3, 3]), PICTURES.items(), strict=True):
        path = run / f"{name}.png"
        if path.is_file():
            place.image(str(path), caption=words, width="stretch", alt=words)
    top = pd.DataFrame(result.get("top", []), columns=["class", "probability"])
    if not top.empty:
        st.caption(f"The most probable classes of {layout.plain(str(result.get('example', 'the picture')))}")
        layout.table(
            top, hide_index=True, width="content", alt="The most probable classes",
            column_config={"probability": st.column_config.NumberColumn(format="%.4f")},
        )  # fmt: skip


# -- what can be done to it ----------------------------------------------------------------------


def actions(run: RunDir, made: Recipe | None = None, figures: pd.DataFrame | None = None) -> None:
    """Resume, take out, delete."""
    status = run.status()
    with st.container(horizontal=True):
        if made and not status.active and status.state != "done":
            resume_button(run)
        if figures is not None:
            st.download_button(
                "Figures as CSV", session.file_for_leads(lambda: _csv(run)), f"{run.run_id}.csv", "text/csv",
                icon=":material/download:", on_click="ignore", key=f"_csv_{run.run_id}",
            )  # fmt: skip
        if made:
            st.download_button(
                "Recipe as TOML", made.text, f"{made.name}.toml", "application/toml", icon=":material/download:", on_click="ignore",
                key=f"_toml_{run.run_id}", help="As it was when this was started.",
            )  # fmt: skip
        if not status.active and st.button("Delete", icon=":material/delete:", key=f"_delete_{run.run_id}"):
            confirm_delete(run)


def resume_button(run: RunDir) -> None:
    """Go on with what is left."""
    if st.button("Resume", icon=":material/play_arrow:", key=f"_resume_{run.run_id}", type="primary"):
        try:
            service.current().save_snapshot()
            recipe_runs.resume(run)
        except CurriculumError as error:  # such as another lead's click a moment before
            st.error(layout.plain(str(error)), icon=":material/error:")
        else:
            st.rerun()


@st.dialog("Delete this record?")
@session.for_leads
def confirm_delete(run: RunDir) -> None:
    """Forget that a recipe was started, after one more question."""
    st.write("What was asked for and the table of figures are removed for good. The runs of its steps, their models and figures stay.")
    st.markdown(f"- `{run.run_id}`")
    if st.button("Delete it", type="primary"):
        try:
            recipe_runs.delete(run)
        except (CurriculumError, OSError) as error:
            st.error(layout.plain(str(error)), icon=":material/error:")
        else:
            st.rerun()
