"""Curves of runs on a page: one run's parts, or several runs laid over one another, and each chart as a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import altair as alt
import pandas as pd
import streamlit as st

from curriculum import run_tables
from curriculum.app import layout, session
from curriculum.charts import runs as charts
from curriculum.charts import theme
from curriculum.run_tables import Axis

LIVE_SECONDS = 2.0
AXIS_WORDS: dict[Axis, str] = {"epoch": "epoch", "samples_seen": "samples seen", "elapsed": "time"}


def glance(epochs: pd.DataFrame) -> None:
    """Accuracy, loss and images in use of one run, by epoch: for a run that is being watched."""
    ready = run_tables.with_time(epochs.assign(run_id=""))
    places = st.columns(3)
    for place, measure in zip(places, ("accuracy", "loss", "subset_size"), strict=True):
        if (chart := _of_one(ready, measure, list(charts.PARTS), "epoch")) is not None:
            place.altair_chart(chart, width="stretch")


def show(run_ids: Sequence[str], names: dict[str, str], *, live: bool) -> None:
    """The chosen runs' curves, with what to measure and on which axis; while a run goes on they grow by themselves.

    Args:
        names: of each run, no two alike.
        live: whether any of them is going on.
    """
    st.fragment(session.for_leads(_draw), run_every=LIVE_SECONDS if live else None)(list(run_ids), names)


def _draw(run_ids: list[str], names: dict[str, str]) -> None:
    epochs = run_tables.epochs_of(layout.store(), run_ids)
    if epochs.empty:
        st.info("No epoch has ended yet: curves begin with the first.", icon=":material/show_chart:")
        return
    there = {measure: _parts(epochs, measure) for measure in run_tables.MEASURES}
    measures = [measure for measure, parts in there.items() if parts or not run_tables.MEASURES[measure]]
    controls = st.container(horizontal=True, vertical_alignment="bottom", gap="medium")
    titles = {measure: charts.MEASURED[measure].title.split(" (")[0] for measure in measures}
    chosen = controls.pills(
        "Show", measures, selection_mode="multi", default=measures, format_func=titles.__getitem__, key="_curve_measures"
    )
    axis: Axis = (
        controls.segmented_control("By", list(AXIS_WORDS), default="epoch", format_func=AXIS_WORDS.__getitem__, key="_curve_axis")
        or "epoch"
    )
    parts = [part for part in charts.PARTS if any(part in found for found in there.values())]
    if len(run_ids) > 1:
        index = parts.index("val") if "val" in parts else len(parts) - 1
        part = controls.segmented_control(
            "Images", parts, default=parts[index], key="_curve_part", help="Train: those in use, after the epoch."
        )
        parts = [part or parts[index]]
    if len(run_ids) > 1:
        st.html(charts.key([names[run_id] for run_id in run_ids]))

    def draw(measure: str, legend: bool) -> alt.LayerChart | None:
        return _chart(epochs, run_ids, names, measure, parts, axis, legend=legend)

    shown = {measure: chart for measure in measures if measure in chosen and (chart := draw(measure, False)) is not None}
    if not shown:
        st.caption("Nothing is chosen to show, or nothing of it was measured on these images.")
        return
    for start in range(0, len(shown), 3):
        for place, chart in zip(st.columns(3), list(shown.values())[start : start + 3], strict=False):
            place.altair_chart(chart, width="stretch")
    files = st.popover("Charts as files", icon=":material/download:", on_change="rerun", key="_curve_files")
    if files.open:
        with files:
            for measure in shown:
                chart_files(titles[measure], partial(draw, measure, True))
    if len(run_ids) > 1 and (without := _without(epochs, parts, names)):
        st.caption(f"Without {parts[0]} figures: {layout.plain(', '.join(without))}. Protocol honest measures val by epoch, report test.")


def _parts(epochs: pd.DataFrame, measure: str) -> list[str]:
    return [part for part in run_tables.MEASURES[measure] if epochs[f"{part}_{measure}"].notna().any()]


def _without(epochs: pd.DataFrame, parts: Sequence[str], names: dict[str, str]) -> list[str]:
    """The runs that this part isn't measured of."""
    measured = epochs.dropna(subset=[f"{parts[0]}_accuracy"])["run_id"].unique()
    return [names[run_id] for run_id in epochs["run_id"].unique() if run_id not in measured]


def _chart(
    epochs: pd.DataFrame, run_ids: Sequence[str], names: dict[str, str], measure: str, parts: Sequence[str], axis: Axis, *, legend: bool
) -> alt.LayerChart | None:
    if len(run_ids) == 1:
        return _of_one(epochs, measure, parts, axis)
    lines = run_tables.lines(epochs, measure, parts, axis)
    if lines.empty:
        return None
    lines, stages = (frame.assign(line=frame["run_id"].map(names)) for frame in (lines, run_tables.stage_starts(epochs, axis)))
    return charts.overlay(lines, [names[run_id] for run_id in run_ids], measure, axis, stages, legend=legend)


def _of_one(epochs: pd.DataFrame, measure: str, parts: Sequence[str], axis: Axis) -> alt.LayerChart | None:
    lines = run_tables.lines(epochs, measure, parts, axis)
    return None if lines.empty else charts.of_one(lines, measure, axis, run_tables.stage_starts(epochs, axis))


def chart_files(title: str, make: Callable[[], alt.LayerChart]) -> None:
    """Buttons that make a chart's SVG and PNG when they are pressed."""
    words, vector, pixels = st.columns([3, 1, 1], vertical_alignment="center")
    words.write(title)
    name = f"runs-{title.lower().replace(' ', '-')}"
    vector.download_button(
        "SVG", session.file_for_leads(lambda: theme.svg(make()).encode()), f"{name}.svg", "image/svg+xml", key=f"_svg_{title}", on_click="ignore"
    )  # fmt: skip
    pixels.download_button(
        "PNG", session.file_for_leads(lambda: theme.png(make())), f"{name}.png", "image/png", key=f"_png_{title}", on_click="ignore"
    )  # fmt: skip
