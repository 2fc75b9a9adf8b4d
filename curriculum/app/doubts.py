"""Classes to doubt: images whose folder may be the wrong one, by models that never saw them; a lead flags them for the team."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from curriculum import adjudication, analysis, mistakes
from curriculum.app import gallery, layout, session
from curriculum.app.layout import Tile
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError

IN_A_GALLERY, MOST_OFFERED = 40, 1000


def labels(dataset: Dataset) -> None:
    """The images whose class is doubted, the likeliest mistakes first, a button that flags the chosen ones, and one that takes flags back."""
    st.header("Is the class itself wrong?")
    _doubted(dataset)
    _flags(dataset.name)


def _doubted(dataset: Dataset) -> None:
    scored = analysis.scored_runs(layout.store(), dataset.name)
    ranked = scored[scored["method"] == "oof_loss"]
    if ranked.empty:
        st.info("This needs a ranking by out-of-fold loss: its models judge images that they never saw.", icon=":material/leaderboard:")
        layout.link("human-model", "Rank the images", ":material/compare:")
        return
    if ranked.iloc[0]["seen"]:
        st.warning("The network behind this ranking had learnt from these very images: it hardly doubts a wrong class that it has learnt. Rank "
                   "the images with other weights.", icon=":material/warning:")  # fmt: skip
    try:
        found = _issues(ranked.iloc[0]["run_id"], dataset.name, layout.log_stamp(dataset.name))
    except CurriculumError as error:
        st.warning(layout.plain(str(error)), icon=":material/warning:")
        return
    if found.empty:
        st.success("No class is doubted.", icon=":material/done_all:")
        return
    st.caption(
        f"{len(found):,} of the images look more like another class, by confident learning (cleanlab) on the newest out-of-fold ranking. The first are the "
        "likeliest mistakes. A flag is an event of the log under your name: it changes no class and no level."
    )
    shown = found.iloc[layout.pager(len(found), IN_A_GALLERY, "_doubt_page")].to_dict("records")
    gallery.gallery(
        (Tile(r["sha256"], r["example"], (f"folder: {r['class']}", f"model: {r['predicted']}", f"folder's class {r['probability_true']:.0%}",
                                          "⚑ flagged" if r["flagged"] else "not flagged")) for r in shown), "_doubt_gallery", 130,
    )  # fmt: skip
    open_ones = found[~found["flagged"]]["example"].head(MOST_OFFERED).tolist()
    chosen = st.multiselect("Flag as wrong class", open_ones, key=f"_doubted_{dataset.name}", placeholder="Choose images by their name")
    st.button(f"Flag {len(chosen)} images" if chosen else "Flag", icon=":material/flag:", disabled=not chosen, on_click=_flag,
              args=[dataset.name, chosen])  # fmt: skip


@st.cache_data(max_entries=8, show_spinner="Looking for classes to doubt ...")
def _issues(run: str, dataset: str, stamp: str) -> pd.DataFrame:
    """Kept for as long as the log of labels is what it was at `stamp`."""
    flagged = layout.store().rows(
        "SELECT example FROM standing_annotation WHERE dataset = ? AND action = 'flag' AND note = 'wrong class'", [dataset]
    )
    found = mistakes.label_issues(layout.store(), run)
    return found.assign(flagged=found["example"].isin([row[0] for row in flagged]))


@session.for_leads
def _flag(dataset: str, examples: list[str]) -> None:
    fresh = adjudication.flag(layout.store(), dataset, str(st.session_state["annotator"]), examples)
    st.session_state[f"_doubted_{dataset}"] = []
    st.toast(f"{fresh} images are flagged.")


def _flags(dataset: str) -> None:
    """What who leads here has flagged, whether its class is doubted now or not."""
    names = adjudication.flags(layout.store(), dataset, str(st.session_state.get("annotator", "")))
    if not names:
        return
    st.subheader(f"Flagged by you: {len(names):,}")
    chosen = st.multiselect(
        "Take the flag back from", names[:MOST_OFFERED], key=f"_unflagged_{dataset}", placeholder="Choose images by their name"
    )
    label = f"Take back {len(chosen)} flag{'s' if len(chosen) > 1 else ''}" if chosen else "Take back"
    st.button(label, icon=":material/undo:", disabled=not chosen, on_click=_take_back, args=[dataset, chosen],
              help="Then the images can be compared again, and you are asked to sort them.")  # fmt: skip


@session.for_leads
def _take_back(dataset: str, examples: list[str]) -> None:
    gone = adjudication.unflag(layout.store(), dataset, str(st.session_state["annotator"]), examples)
    st.session_state[f"_unflagged_{dataset}"] = []
    st.toast(f"{gone} images are flagged by you no more.")
