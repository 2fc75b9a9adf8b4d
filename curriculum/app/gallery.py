"""A gallery whose images can be pressed, and what is then shown of the pressed one: everything that is known of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import streamlit as st

from curriculum import adjudication, analysis, datasets, evidence
from curriculum.app import layout, service, session
from curriculum.app.layout import Tile
from curriculum.charts.runs import losses_of_one
from curriculum.history import example_log
from curriculum.vocabulary import LEVELS


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


_tiles = st.components.v2.component(
    "curriculum_gallery", html='<div class="tiles"></div>', css=_read("gallery.css"), js=_read("gallery.js")
)


def gallery(tiles: Iterable[Tile], key: str, tile_pixels: int = 112) -> None:
    """A grid of thumbnails; `look_closer`, at the end of the page, shows the one that was pressed."""

    @session.for_leads
    def picked() -> None:
        st.session_state["_looked_at"] = st.session_state[key]["picked"]

    shown = [asdict(tile) | {"example": tile.example or tile.title, "caption": list(tile.caption)} for tile in tiles]
    if shown:
        _tiles(key=key, data={"tiles": shown, "pixels": tile_pixels}, on_picked_change=picked)


def look_closer(dataset: str, score_run: str | None = None, run: str | None = None) -> None:
    """Open what is known of the image that was just pressed, if one was.

    Args:
        score_run: the ranking whose measures are shown. run: the trained model that "Why" begins with.
    """
    example = st.session_state.pop("_looked_at", None)
    if example:
        _closer(dataset, example, score_run, run)


@st.dialog("One image", width="large")
@session.for_leads
def _closer(dataset: str, example: str, score_run: str | None, run: str | None) -> None:
    store = layout.store()
    facts = evidence.facts(store, dataset, example)
    left, right = st.columns([5, 6], gap="medium")
    with left:
        if facts["present"] and (datasets.get_dataset(store, dataset).root / example).is_file():
            layout.picture(str(facts["sha256"]), example, 40)
        else:
            st.info("The file has gone; what was said of it is kept.", icon=":material/image_not_supported:")
        group = "; other images show the same ground" if facts["overlap_group"] is not None else ""
        st.caption(f"{layout.plain(example)}, {facts['width']} x {facts['height']} px{group}")
        _ask(dataset, example)
        said = evidence.said_by_runs(store, dataset, example)
        model = run if run in set(said["run_id"]) else next(iter(said["run_id"]), None)
        if model:
            layout.link("why", "Why does the model say so?", ":material/psychology:", {"run": model, "example": example})
    with right:
        st.markdown(f"**Class** {layout.plain(str(facts['class']))}. **People's level** {_agreed(facts)}.")
        said_by_people(dataset, example, evidence.votes(store, dataset, example))
        _scores(dataset, example, score_run or analysis.latest_score(store, dataset))
        _said(said)
    losses = evidence.losses_over_epochs(store, service.current().home, dataset, example)
    if not losses.empty:
        st.altair_chart(losses_of_one(losses), width="stretch")


def _agreed(facts: dict[str, object]) -> str:
    if facts["level"] is None:
        return "none yet"
    how = "decided by a lead" if facts["decided"] else f"{facts['votes']} of {facts['annotators']} say so"
    return f"{layout.level_text(facts['level'])} ({how})"


def said_by_people(dataset: str, example: str, votes: pd.DataFrame) -> None:
    """Who gave an image which level, then its notes and flags that stand; `votes`: annotator, level."""
    for level in LEVELS:
        if names := votes.loc[votes["level"] == level, "annotator"].tolist():
            st.markdown(f"{layout.level_text(level)}: {', '.join(map(layout.plain, names))}")
    log = example_log(layout.store(), dataset, example)
    for said in log[log["action"].isin(["note", "flag"]) & ~log["undone"]].to_dict("records"):
        st.markdown(f":material/{said['action']}: {layout.plain(said['annotator'])}: {layout.plain(said['note'])}")


def _scores(dataset: str, example: str, score_run: str | None) -> None:
    scores = evidence.scores(layout.store(), dataset, example, score_run) if score_run else pd.DataFrame()
    if scores.empty:
        return
    layout.table(
        scores.assign(method=scores["method"].str.replace("_", " ")), hide_index=True, height="content",
        column_config={"method": "measure", "value": st.column_config.NumberColumn("raw value", format="%.3f", help="Higher = harder."),
                       "difficulty": st.column_config.ProgressColumn("difficulty", format="%.2f", min_value=0, max_value=1, help="Its rank: 0 easiest, 1 hardest.")},
    )  # fmt: skip


def _said(said: pd.DataFrame) -> None:
    if said.empty:
        return
    table = said.assign(right=said["correct"].map({True: "✓ right", False: "✗ wrong"}))
    layout.table(
        table[["mode", "seed", "split", "predicted", "probability", "right"]].head(50), hide_index=True, height=min(38 + 35 * len(table), 220),
        column_config={"mode": "run", "probability": st.column_config.NumberColumn(format="percent")},
    )  # fmt: skip
    never = said[said["split"] == "test"]
    if len(never):
        st.caption(f"Of {len(never)} runs that never trained on it, {int((~never['correct']).sum())} misclassify it.")


def _ask(dataset: str, example: str) -> None:
    opinion, compare = st.columns(2, gap="xsmall")
    if opinion.button(
        "Third opinion", icon=":material/person_add:", help="It comes first to the next person who hasn't sorted it.", width="stretch"
    ):
        send(dataset, [example], "opinion")
    if compare.button(
        "Compare four", icon=":material/grid_view:", help="It joins the images that people order four at a time.", width="stretch"
    ):
        send(dataset, [example], "compare")


@session.for_leads
def send(dataset: str, examples: list[str], what: adjudication.Wish) -> None:
    """Ask the team about images, and say how many are newly asked for."""
    shown = adjudication.shown_as_examples(layout.store(), dataset) if what == "opinion" else set[str]()
    asked = [example for example in examples if example not in shown]
    fresh = adjudication.ask_for(layout.store(), dataset, str(st.session_state["annotator"]), asked, what)
    where = {"opinion": "come first to whoever hasn't sorted them", "compare": "are among the fours that people order"}[what]
    said = [f"{fresh:,} images {where} from now on." if fresh else "All of them were asked for already."] if asked else []
    if left_out := len(examples) - len(asked):
        said.append(f"{left_out:,} left out: nobody is asked to sort what is shown on Examples.")
    st.toast(" ".join(said))


def send_buttons(dataset: str, examples: list[str], key: str, most: int = 100) -> None:
    """Two buttons that send what is shown to the team."""
    chosen = examples[:most]
    first = f"the first {most} of " if len(examples) > most else ""
    opinion, compare, _ = st.columns([3, 3, 4], gap="small")
    wishes: tuple[tuple[st.delta_generator.DeltaGenerator, str, adjudication.Wish, str], ...] = (
        (opinion, "Third opinion", "opinion", ":material/person_add:"), (compare, "Compare four", "compare", ":material/grid_view:"),
    )  # fmt: skip
    for place, words, what, icon in wishes:
        place.button(f"{words} on {first}{len(examples):,}", key=f"{key}_{what}", icon=icon, disabled=not chosen, width="stretch",
                     on_click=send, args=[dataset, chosen, what])  # fmt: skip
