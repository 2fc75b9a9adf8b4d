"""Team: do we agree, who judges how, and which images divide us?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
import streamlit as st

from curriculum import aside, consensus, datasets, labels
from curriculum.app import layout, scale, session
from curriculum.app.layout import Tile
from curriculum.charts.palette import LEVEL_MARK
from curriculum.charts.tables import pair_table
from curriculum.charts.team import drift
from curriculum.consensus import AnnotatorReport
from curriculum.datasets import Settings
from curriculum.intervals import Coefficient
from curriculum.vocabulary import LEVELS
from curriculum.words import duration, figure

IN_A_GALLERY = 40
SLOW_SECONDS, KEPT_FOR = 2.0, 30.0
"""Figures that take longer stay for so many times as long as they took, though there are new labels."""
MOST_PEOPLE_HERE, MOST_LABELS_HERE = 4, 10_000
"""Up to which this process measures: that takes about as long as another one needs to begin. The time goes with the pairs of people."""


def page() -> None:
    st.title("Do we agree?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    _settings(dataset.name)
    counts: dict[str, Any] = labels.summary(layout.store(), dataset.name)
    simulated = not counts["annotations"] and counts["simulated"]["annotations"]
    who = st.sidebar.radio("Annotators", ["people", "simulated"], index=1 if simulated else 0, format_func=layout.WHO.__getitem__)
    if who == "simulated":
        layout.warn_simulated()
    counted = counts["simulated"] if who == "simulated" else counts
    if not counted["annotations"]:
        st.info("Nobody here has sorted an image of this data set yet.", icon=":material/group:")
        layout.link("sort", "Sort images", ":material/sort:")
        return
    found = _measured(dataset.name, who)
    _overall(found, dataset.examples)
    _annotators(found.annotators, found.report)
    _pairs(found.report["pairwise_kappa"])
    _drift(found.drift, found.block)
    _contested(found.contested, dataset.name)
    scale.section(dataset.name)


@dataclass(frozen=True)
class Found:
    """What the labels say: of the images that anybody labelled (`labelled`), of those that two or more did (`shared`), of each annotator."""

    labelled: int
    shared: int
    report: dict[str, Any]
    annotators: list[AnnotatorReport]
    drift: pd.DataFrame
    block: int  # labels that a point of it stands for
    contested: pd.DataFrame


@dataclass(frozen=True)
class Kept:
    """The last figures of a data set, measured from the log as it was at `stamp`, and what they cost. Nobody changes them: all leads share them."""

    found: Found
    stamp: str
    at: datetime
    since: float  # the same moment by a clock that nobody sets
    seconds: float


@st.cache_resource
def _kept() -> dict[tuple[Path, str, str], Kept]:
    return {}


@st.cache_resource
def _measuring() -> Lock:
    """Leads who ask at the same time wait for one measurement."""
    return Lock()


@session.for_leads
def _forget(key: tuple[Path, str, str]) -> None:
    _kept().pop(key, None)


def _measured(dataset: str, who: str) -> Found:
    """The figures of the labels as they are; where measuring takes long, those of a while ago, which say so, until somebody asks."""
    kept, key = _kept(), (layout.store().home.root, dataset, who)
    with st.spinner("Measuring agreement ..."), _measuring():
        stamp = layout.log_stamp(dataset)
        last = kept.get(key)
        if last is None or (last.stamp != stamp and not stands(last.seconds, time.monotonic() - last.since)):
            begun = time.monotonic()
            found = _computed(dataset, who)
            last = kept[key] = Kept(found, stamp, datetime.now(), time.monotonic(), time.monotonic() - begun)
    if last.stamp != stamp:
        left, right = st.columns([3, 1], vertical_alignment="center")
        left.caption(
            f"Labels as they were at {last.at:%H:%M:%S}. There are new ones; to measure them takes about {duration(last.seconds)}."
        )
        right.button("Measure again", icon=":material/refresh:", on_click=_forget, args=(key,))
    return last.found


def stands(seconds: float, ago: float) -> bool:
    """Whether figures that took `seconds` and were had `ago` seconds before are still shown though there are new labels.

    While a team of many sorts a large set, a label comes every second: no lead waits anew at each click.
    """
    return seconds > SLOW_SECONDS and ago < KEPT_FOR * seconds


def _computed(dataset: str, who: str) -> Found:
    """Seconds of bootstrap and Dawid-Skene."""
    judged = labels.judgements(layout.store(), dataset, who)
    images = judged["example"].value_counts()
    at_random = judged[(judged["source"] == "sort") & ~judged["grid"]]  # the Grid goes class by class, files have an order of their own
    block = consensus.block_for(at_random)
    again = labels.repeats(layout.store(), dataset, who)
    large = judged["annotator"].nunique() > MOST_PEOPLE_HERE or len(judged) > MOST_LABELS_HERE
    report, annotators = aside.compute(consensus.team_report, judged, again) if large else consensus.team_report(judged, again)
    return Found(
        labelled=len(images),
        shared=int((images > 1).sum()),
        report=report,
        annotators=annotators,
        drift=consensus.drift(at_random, block),
        block=block,
        contested=consensus.contested(labels.vote_counts(layout.store(), dataset, who, divided=True)),
    )


def _overall(found: Found, total: int) -> None:
    columns, report = st.columns(5), found.report
    columns[0].metric("Images with a level", f"{found.labelled:,}")
    columns[0].caption(f"of {total:,}")
    columns[1].metric("By two or more", f"{found.shared:,}", help="Only these tell anything about agreement.")
    for column, key, name, meaning in (
        (
            columns[2],
            "alpha",
            "Krippendorff's alpha",
            "Ordinal: easy against hard counts more than easy against medium. 1: all agree; 0: as by chance.",
        ),
        (columns[3], "fleiss_kappa", "Fleiss' kappa", "Levels as names, without their order. 1: all agree; 0: as by chance."),
        (columns[4], "self_consistency", "Same level again", "Of the images that somebody was asked a second time, without knowing it."),
    ):
        with column:
            st.metric(name, figure(report[key], ".0%" if key == "self_consistency" else ".2f"), help=meaning)
            interval = report[f"{key}_interval"]
            st.caption(f"95 % interval {interval[0]:.2f} to {interval[1]:.2f}" if interval else report["reasons"].get(key, "").capitalize())


def _settings(dataset: str) -> None:
    """How the team shares the images out; for who leads."""
    now = datasets.settings(layout.store(), dataset)
    key = f"_settings_{dataset}_{now.labels_per_image}_{now.repeat_share}"  # what somebody else saved shows at once
    with st.expander("How we sort", icon=":material/tune:"), st.form("team_settings", border=False):
        everybody = st.checkbox("Everybody sorts every image", now.labels_per_image is None, key=f"{key}_all")
        count = st.number_input(
            "Otherwise: people for each image", 1, datasets.MAX_LABELS, now.labels_per_image or 2, key=f"{key}_count", width=220
        )
        share = st.slider(
            "Images that come a second time, unannounced (%)", 0.0, 100 * datasets.MAX_REPEAT_SHARE, round(100 * now.repeat_share, 1), 0.5, key=f"{key}_share",
            help="They show how far each of us agrees with ourselves. The second answer never changes a label.",
        )  # fmt: skip
        if st.form_submit_button("Save"):
            datasets.change_settings(layout.store(), dataset, Settings(None if everybody else int(count), round(share / 100, 4)))
            st.success("Saved. It holds from the next image on; no label is touched.", icon=":material/check:")


def _annotators(found: list[AnnotatorReport], report: dict[str, Any]) -> None:
    st.header("Annotators")
    again = {one["annotator"]: one for one in report["self_consistency_by_annotator"]}
    table = pd.DataFrame({
        "annotator": [a.annotator for a in found], "images": [a.labels for a in found],
        "with the others": [_percent(a.reliability.value) for a in found],
        "finds harder by": [None if a.bias.value is None else round(a.bias.value, 2) + 0.0 for a in found],  # no -0.00
        "same level again": [_percent(again[a.annotator]["same"]) for a in found],
        "95 % interval": [_interval(again[a.annotator]) for a in found],
        "seconds an image": [a.pace_seconds for a in found],
    })  # fmt: skip
    unknown = [*(["same level again", "95 % interval"] if table["same level again"].isna().all() else []),
               *(["seconds an image"] if table["seconds an image"].isna().all() else [])]  # fmt: skip
    layout.table(table.drop(columns=unknown), hide_index=True, placeholder="", column_config={
        "images": st.column_config.NumberColumn(format="localized"),
        "with the others": st.column_config.NumberColumn(format="%.0f %%", help="Share of shared images with the others' consensus level."),
        "finds harder by": st.column_config.NumberColumn(format="%+.2f", help="Levels above (+) or below (-) the others' mean on shared images."),
        "same level again": st.column_config.NumberColumn(format="%.0f %%", help="Of the images that came a second time, unannounced."),
        "95 % interval": st.column_config.TextColumn(help="Of the share beside it."),
        "seconds an image": st.column_config.NumberColumn(format="%.1f", help="Median, where it is known."),
    })  # fmt: skip
    for one in found:
        if _says_something(one.bias):
            direction = "harder" if (one.bias.value or 0) > 0 else "easier"
            st.caption(
                f"{layout.plain(one.annotator)} finds images {direction} than the others by {abs(one.bias.value or 0):.2f} levels on average."
            )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _interval(own: dict[str, Any]) -> str:
    return "none yet" if own["low"] is None else f"{own['low']:.0%} to {own['high']:.0%}, {own['n']} images"


def _says_something(measure: Coefficient) -> bool:
    """An interval that leaves 0 out."""
    return measure.low is not None and measure.high is not None and (measure.low > 0 or measure.high < 0)


def _pairs(pairs: list[dict[str, Any]]) -> None:
    st.header("Each pair")
    known = pd.DataFrame([pair for pair in pairs if pair["kappa"] is not None])
    if known.empty:
        st.caption("No two annotators share enough images yet.")
        return
    known["interval"] = [
        f"{low:.2f} to {high:.2f}" if low is not None else "none" for low, high in zip(known["low"], known["high"], strict=True)
    ]
    st.altair_chart(pair_table(known), width="stretch")
    st.caption("Cohen's kappa, quadratic weights. 1: the same levels; 0: as by chance. Hover for interval and images shared.")


def _drift(moved: pd.DataFrame, block: int) -> None:
    moved = moved[moved.groupby("annotator")["labels"].transform("size") > 1]
    st.header("Does the measure drift?")
    if moved.empty:
        st.caption(
            "To be seen once somebody has sorted 100 images here one by one. Answers of the Grid don't count: they come class by class."
        )
        return
    left, right = st.columns(2, gap="large")
    left.altair_chart(drift(moved, "mean_level", "mean level (0 easy, 2 hard)"), width="stretch")
    if moved["seconds"].notna().any():
        right.altair_chart(drift(moved, "seconds", "seconds an image (median)"), width="stretch")
    st.caption(
        f"Each point is {block:,} images sorted one by one, which come in random order: a line that rises or falls for long is the annotator, "
        "not the images. Answers of the Grid are left out: they come class by class."
    )


def _contested(rows: pd.DataFrame, dataset: str) -> None:
    st.header("Images that divide us")
    if rows.empty:
        st.success("None: on every image that two or more have sorted, they agree.", icon=":material/done_all:")
        return
    st.caption(f"{len(rows):,} images have two different levels or more; the widest apart first.")
    layout.link("decide", "Decide on them, or ask for one opinion more", ":material/gavel:")
    shown = rows.iloc[layout.pager(len(rows), IN_A_GALLERY, "_contested_page")]
    shown = shown.merge(datasets.described(layout.store(), dataset, shown["example"].tolist()))
    votes = [", ".join(f"{LEVEL_MARK[level]} {row[level]}" for level in LEVELS if row[level]) for row in shown.to_dict("records")]
    tiles = zip(shown.to_dict("records"), votes, strict=True)
    layout.gallery(
        (
            Tile(row["sha256"], row["example"], (row["class"], said, consensus.how_contested(*(row[level] for level in LEVELS))))
            for row, said in tiles
        ),
        130,
    )
