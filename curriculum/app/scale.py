"""A finer scale, for who leads: who compared how many fours, how far their scale can be relied on, and the images in its order."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from curriculum import comparisons, datasets, labels, scaling
from curriculum.app import layout
from curriculum.app.layout import Tile
from curriculum.vocabulary import LEVELS
from curriculum.words import figure

IN_A_STRIP = 60
GOOD, FAIR = 0.8, 0.6
"""From where on a scale tells single images apart, and groups of them: the usual marks of a reliability."""


def section(dataset: str) -> None:
    """What the comparisons of four images have given so far; one sentence while there are none."""
    st.header("A finer scale")
    done, images = comparisons.standing(layout.store(), dataset), len(comparisons.pool(layout.store(), dataset))
    if done.empty:
        st.caption(
            f"Within a level, nobody knows which image is harder. *Compare four*, on the sorting page, finds out: {images:,} uncertain images wait there."
            if images >= 4 else "Once people disagree on images, *Compare four*, on the sorting page, finds out which of them are harder."
        )  # fmt: skip
        layout.link("sort", "Compare four", ":material/compare:")
        return
    report = _computed(done)
    _figures(report, len(done), images)
    rows = _described(dataset, pd.DataFrame(report["examples"]))
    left, right = st.columns(2, gap="large")
    with left:
        _people(done)
    with right:
        _levels(rows)
    _strip(rows)


@st.cache_data(max_entries=8, show_spinner="Making the scale ...")
def _computed(done: pd.DataFrame) -> dict[str, Any]:
    """A second or two of fits, done once for the same comparisons."""
    return scaling.report(done)


def _figures(report: dict[str, Any], count: int, images: int) -> None:
    found = report["reliability"]
    columns = st.columns(4)
    columns[0].metric("Comparisons", f"{count:,}", help=f"Of four images each. {images:,} images are in the pool just now.")
    columns[1].metric(
        "Reliability", figure(found["ssr"], ".2f"),
        help="Scale-separation reliability: the share of the differences between images that isn't chance. 1: all; 0: none.",
    )  # fmt: skip
    columns[1].caption(
        f"95 % interval {found['interval'][0]:.2f} to {found['interval'][1]:.2f}" if found["interval"] else _because(found["reason"])
    )
    for column, key, name, meaning in (
        (columns[2], "split_half", "Half against half", "Two scales, each from half of the comparisons: how far they agree, stepped up to the whole."),
        (columns[3], "split_half_by_annotator", "People against people", "Likewise, with whole people in each half: what one alone sees is no agreement."),
    ):  # fmt: skip
        column.metric(name, figure(found[key], ".2f"), help=meaning)
        if found[f"{key}_reason"]:
            column.caption(_because(found[f"{key}_reason"]))
    st.caption(
        f"{_meaning(found['ssr'])} Measured on the {found['random_comparisons']:,} fours that were drawn by chance, one of five: "
        "the others are chosen for what was said before, and would make any scale look reliable."
        + (" The scale below rests on all, so it is rather better." if found["ssr"] is not None else "")
    )


def _because(reason: str) -> str:
    return f"Undefined, because {reason}."


def _meaning(ssr: float | None) -> str:
    if ssr is None:
        return "How reliable the scale is can't be said yet."
    if ssr >= GOOD:
        return "Single images can be told apart on this scale."
    return (
        "Groups of images can be told apart on this scale, single ones not yet."
        if ssr >= FAIR
        else "Differences on this scale are mostly chance so far."
    )


def _described(dataset: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The scale's images that are there, with class, address and people's level (None where nobody sorted them)."""
    there = datasets.examples(layout.store(), dataset)[["example", "class", "sha256"]]
    agreed = labels.consensus(layout.store(), dataset, "people")[["example", "level"]]
    return rows.merge(there, on="example").merge(agreed, on="example", how="left")


def _people(done: pd.DataFrame) -> None:
    layout.table(comparisons.by_annotator(done), hide_index=True, column_config={
        "comparisons": st.column_config.NumberColumn(help="Fours that stand."),
        "random": st.column_config.NumberColumn("by chance", help="Of them, drawn by chance: what the reliability rests on."),
        "seconds": st.column_config.NumberColumn("seconds a four", format="%.1f", help="Median, where it is known."),
    })  # fmt: skip


def _levels(rows: pd.DataFrame) -> None:
    """Whether the scale goes the way of people's levels."""
    means = rows[rows["component"] == 0].groupby("level")["latent"].agg(["size", "mean"])
    known = [level for level in LEVELS if level in means.index]
    table = pd.DataFrame({
        "people's level": [layout.level_text(level) for level in known], "images": [int(means["size"][level]) for level in known],
        "mean on the scale": [float(means["mean"][level]) for level in known],
    })  # fmt: skip
    if table.empty:
        st.caption("Nobody has sorted these images into levels yet.")
        return
    layout.table(table, hide_index=True, column_config={
        "mean on the scale": st.column_config.NumberColumn(format="%+.2f", help="Latent difficulty in logits: 0 is the mean of all that were compared."),
    })  # fmt: skip


def _strip(rows: pd.DataFrame) -> None:
    apart = int((rows["component"] > 0).sum())
    st.subheader("From the easiest to the hardest")
    st.caption(
        "Latent difficulty ± its standard deviation, then people's level. Of two images 1 apart, the harder one is called so in three of four cases."
    )
    if apart:
        st.warning(
            f"{apart:,} images stand apart: no chain of comparisons links them to the others, so they come after them, in an order of their own."
        )
    titles = layout.class_titles(rows["class"].unique())
    shown = rows.iloc[layout.pager(len(rows), IN_A_STRIP, "_scale_page")].to_dict("records")
    layout.gallery(
        (
            Tile(
                row["sha256"],
                row["example"],
                (f"{round(row['latent'], 2) + 0:+.2f} ± {row['sd']:.2f}", titles[row["class"]], layout.level_text(row["level"])),
            )
            for row in shown
        ),
        92,
    )
