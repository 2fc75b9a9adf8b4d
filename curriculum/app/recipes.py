"""Recipes: what did the reports find, and what do we? Choose an experiment of several steps, start it, watch it, look at what came out."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import streamlit as st

from curriculum import datasets, recipe, recipe_runs
from curriculum.app import layout, recipe_results, service, session
from curriculum.app.run_actions import STATES
from curriculum.errors import CurriculumError
from curriculum.recipe import Recipe, Role, Step
from curriculum.recipe_runs import SMALL_DATA, Request
from curriculum.rundir import RunDir, Status
from curriculum.vocabulary import SCALES, Scale
from curriculum.words import duration

CHOOSE, RESULTS = "Choose a recipe", "What came out"
SCALE_TITLE = {"full": "full, as the reports ran it", "small": "small, to try it out"}
ROW_PIXELS, ROWS_IN_SIGHT = 35, 8


def page() -> None:
    st.title("What did the reports find, and what do we?")
    started = recipe_runs.all_started(service.current().home)
    for run in started:
        if (status := run.status()).active:
            _live(run, str(_asked(run)["recipe"]), (status.state, status.epoch))
    if not started:
        st.caption("A recipe does again what one of the reports did, step by step, and sets our figures beside theirs.")
        _choose()
        return
    if view := st.session_state.pop("_recipes_turn", None):
        st.session_state["_recipes_view"] = view
    st.session_state.setdefault("_recipes_view", RESULTS)
    view = st.segmented_control("Show", [CHOOSE, RESULTS], key="_recipes_view", required=True, label_visibility="collapsed")
    if view == CHOOSE:
        _choose()
    else:
        recipe_results.show(_pick(started))


# -- what is going on ----------------------------------------------------------------------------


@st.fragment(run_every=2.0)
@session.for_leads
def _live(run: RunDir, title: str, before: tuple[str, int]) -> None:
    """How far one is; whenever it begins, ends or another of its runs is done, the page is drawn anew."""
    status = run.status()
    if (status.state, status.epoch) != before:
        st.rerun()
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        with words:
            st.markdown(f"**{layout.plain(title)}** is going on. You may close this page: it goes on.")
            _progress(status)
        with button:
            _cancel_button(run)


def _progress(status: Status) -> None:
    within = status.done / status.total if status.total else 0.0
    share = min((status.epoch + within) / status.epochs, 1.0) if status.epochs else 0.0
    of = f"run {min(status.epoch + 1, status.epochs)} of {status.epochs}, " if status.epochs else ""
    st.progress(share, text=layout.plain(f"{of}{status.phase or 'starting'}. {duration(status.seconds)} so far."))


def _cancel_button(run: RunDir) -> None:
    if run.cancel_asked():
        st.caption("Cancelling ...")
    elif st.button("Cancel", key=f"_cancel_{run.run_id}", icon=":material/cancel:", help="What is done is kept; resume goes on."):
        run.ask_to_cancel()
        st.rerun()


# -- those that were started ---------------------------------------------------------------------


def _pick(started: list[RunDir]) -> RunDir:
    """The list, the newest first, and the one that is chosen in it."""
    ids = [run.run_id for run in started]
    before = st.session_state.get("_recipe_chosen")
    rows = pd.DataFrame([_asked(run) for run in started])
    # a list of other rows is another list: a position in the old one would choose a wrong one
    picked = layout.table(
        rows, key=f"_recipes_started_{ids[0]}_{len(ids)}", hide_index=True, on_select="rerun", selection_mode="single-row-required",
        selection_default={"selection": {"rows": [ids.index(before) if before in ids else 0]}}, alt="Recipes that were started",
        column_config={"started": st.column_config.DatetimeColumn(format="D MMM, HH:mm")}, placeholder="",
        height=ROW_PIXELS * (min(len(ids), ROWS_IN_SIGHT) + 1) + 3,
    )  # fmt: skip
    place = next((row for row in picked["selection"]["rows"] if row < len(started)), 0)
    st.session_state["_recipe_chosen"] = ids[place]
    return started[place]


def _asked(run: RunDir) -> dict[str, object]:
    """A row of the list; of one whose files can't be read what its name tells."""
    status = run.status()
    row: dict[str, object] = {"state": STATES[status.state], "recipe": run.run_id, "scale": "", "data": ""}
    try:
        request = recipe_runs.request_of(run)
        row |= {"scale": request.scale, "data": ", ".join(dict.fromkeys(request.data.values()))}
        row["recipe"] = recipe_runs.recipe_of(run).title
    except CurriculumError:
        row["state"] = "⚠ can't be read"
    return {**row, "time": duration(status.seconds), "started": pd.to_datetime(run.run_id[:15], format="%Y%m%d-%H%M%S", errors="coerce")}


# -- choosing and starting -----------------------------------------------------------------------


def _choose() -> None:
    there = {dataset.name for dataset in datasets.list_datasets(layout.store())}
    known = {
        made.name: made for made in sorted(map(recipe.read, recipe.names()), key=lambda made: bool({r.name for r in made.roles} - there))
    }
    made = known[st.selectbox("Recipe", list(known), format_func=lambda name: known[name].title, key="_recipe")]
    _describe(made)
    scale: Scale = st.segmented_control(
        "Scale", SCALES, default="full", required=True, format_func=SCALE_TITLE.__getitem__, key="_recipe_scale"
    )
    st.caption(
        _expected(made)
        if scale == "full"
        else "Every step is made, each within two minutes, on a few small images. The figures say nothing."
    )
    data = _data(made, scale)
    changes = _changes()
    label = f"Start its {len(made.steps)} steps" if len(made.steps) > 1 else "Start it"
    lacking = changes is None or len(data) < len(made.roles)
    if st.button(label, type="primary", icon=":material/play_arrow:", disabled=lacking):
        _start(made, Request(made.name, scale, data, changes or {}))


def _expected(made: Recipe) -> str:
    said = [f"{duration(60 * minutes)} on a {device.upper()}" for device, minutes in made.minutes.items()]
    return f"Expected: about {' and '.join(said)}." if said else "How long it takes is not known."


def _describe(made: Recipe) -> None:
    st.markdown(layout.plain(made.what))
    st.caption(layout.plain(f"From the {made.source}." if made.source else "From no report."))
    st.markdown("\n".join(f"{place}. {_told(step)}" for place, step in enumerate(made.steps, 1)))
    with st.expander("The recipe as a file"):
        st.code(made.text, language="toml")
        st.download_button(
            "Download", made.text, f"{made.name}.toml", "application/toml", icon=":material/download:", on_click="ignore",
            help="Change it as you like: `python -m curriculum recipe run FILE.toml` starts your own.",
        )  # fmt: skip


def _told(step: Step) -> str:
    """A step in a line: what it does, how many runs, what the reports say of it."""
    runs = math.prod(len(values) for values in step.grid.values())
    of = f" The best on val of {runs} runs, by {' and '.join(step.grid)}." if runs > 1 else ""
    figures = [
        f"{recipe_results.in_words(one.figure)}: {recipe_results.number(one.figure, one.value, places=2)}"
        + (f" ({one.at})" if one.at else "")
        for one in step.reported
    ]
    what = f": {step.what}." if step.what else "."
    reported = f" Reported: {'; '.join(figures)}." if figures else ""
    return f"**{layout.plain(step.name)}**{layout.plain(what + of + reported)}"


def _data(made: Recipe, scale: Scale) -> dict[str, str]:
    """The data set that is picked for each role; roles without one are missing, and the page says how to get it."""
    known = [dataset.name for dataset in datasets.list_datasets(layout.store())]
    found: dict[str, str] = {}
    for role in made.roles:
        default = SMALL_DATA if scale == "small" else role.name
        picked = st.selectbox(
            f"Data: {layout.plain(role.what)}", known, index=known.index(default) if default in known else None,
            key=f"_recipe_data_{made.name}_{role.name}_{scale}_{default in known}", placeholder="none of yours is picked",
        )  # fmt: skip
        if picked:
            found[role.name] = picked
        else:
            _how_to_get(role, default)
    if len(found) < len(made.roles):
        layout.link("start", "Go to the start page", ":material/home:")
    return found


def _how_to_get(role: Role, wanted: str) -> None:
    if wanted == SMALL_DATA:
        said = "The small scale takes the demo scenes, which aren't there yet: the page Start draws them, in about ten seconds."
    else:
        command, comma, rest = role.get.partition(", ")
        said = (
            f"There is no data set **{layout.plain(wanted)}** yet. Get it on the page Start, or, while the app is stopped, with "
            f"`python -m curriculum {command}`{comma}{layout.plain(rest)}."
        )
    st.info(f"{said} Or pick {layout.plain(role.shape)} of yours in its place.", icon=":material/download:")


def _changes() -> dict[str, object] | None:
    """Options that every step takes that has them; None where what stands there is none."""
    with st.expander("Changes for all steps"):
        text = st.text_area(
            "Options, one a line", key="_recipe_changes", placeholder="image_size=128\nepochs=5\nweights=none",
            help="OPTION=VALUE, as the flags of the commands. Every step takes those that it has. With changes it is no longer what the reports did.",
        )  # fmt: skip
        try:
            return recipe.parse_changes(line.strip() for line in text.splitlines() if line.strip())
        except CurriculumError as error:
            st.error(layout.plain(str(error)), icon=":material/error:")
            return None


def _start(made: Recipe, request: Request) -> None:
    """Start it, after what its process must find in the snapshot is there."""
    running = service.current()
    try:
        data = recipe_runs.find_data(running.store, made, request.scale, [f"{role}={name}" for role, name in request.data.items()])
        with st.spinner(
            "Looking once for images that show the same ground, so that no test image has its twin in train ...", show_time=True
        ):
            given = replace(request, data=data)
            configs = [config for step in made.steps for config in recipe_runs.points(made, step, given, {})]
            for name in sorted({config.dataset for config in configs if config.divides}):
                datasets.ensure_overlaps(running.store, name)
        running.save_snapshot()
        run, _ = recipe_runs.start(running.home, made, request)
    except CurriculumError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    st.session_state["_recipe_chosen"], st.session_state["_recipes_turn"] = run.run_id, RESULTS
    st.rerun()
