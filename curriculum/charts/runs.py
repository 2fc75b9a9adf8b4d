"""What a run did, epoch by epoch."""

from __future__ import annotations

import altair as alt
import pandas as pd

from curriculum.charts.palette import PEOPLE_COLOUR

CURVES = {"train": PEOPLE_COLOUR, "val": "#D55E00", "test": "#009E73"}
DASHES = {"train": [1, 0], "val": [6, 3], "test": [2, 2]}


def curves(epochs: pd.DataFrame, measure: str, title: str, percent: bool = False) -> alt.LayerChart:
    """One measure of a run by epoch: train, val and test where they were measured; stages as dashed lines."""
    columns = {f"{split}_{measure}": split for split in CURVES if f"{split}_{measure}" in epochs}
    long = epochs.rename(columns=columns).melt(["epoch", "stage"], list(columns.values()), "part", measure).dropna(subset=[measure])
    there = [split for split in CURVES if (long["part"] == split).any()]
    colour = alt.Color(
        "part:N", scale=alt.Scale(domain=there, range=[CURVES[split] for split in there]), title=None, legend=alt.Legend(orient="top")
    )
    dash = alt.StrokeDash("part:N", scale=alt.Scale(domain=there, range=[DASHES[split] for split in there]), legend=None)
    axis = alt.Axis(format="%") if percent else alt.Axis()
    tooltip = ["epoch", "stage", "part", alt.Tooltip(measure, format=".2%" if percent else ".3f")]
    line = (
        alt.Chart(long)
        .mark_line(point=alt.OverlayMarkDef(size=18))
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{measure}:Q", title=title, axis=axis, scale=alt.Scale(zero=False)),
            color=colour, strokeDash=dash, tooltip=tooltip,
        )
    )  # fmt: skip
    return _with_stages(line, epochs)


def steps(epochs: pd.DataFrame, column: str, title: str) -> alt.LayerChart:
    """Subset size or learning rate by epoch."""
    line = (
        alt.Chart(epochs)
        .mark_line(interpolate="step-after", color=PEOPLE_COLOUR, point=alt.OverlayMarkDef(size=18, color=PEOPLE_COLOUR))
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{column}:Q", title=title),
            tooltip=["epoch", "stage", column],
        )
    )
    return _with_stages(line, epochs)


def _with_stages(chart: alt.Chart, epochs: pd.DataFrame) -> alt.LayerChart:
    starts = epochs.groupby("stage", sort=False)["epoch"].min().reset_index().iloc[1:]
    rules = alt.Chart(starts).mark_rule(strokeDash=[4, 4], color="gray").encode(x="epoch:Q", tooltip=["stage", "epoch"])
    return alt.layer(*([chart] if starts.empty else [chart, rules])).properties(height=230)


def losses_of_one(losses: pd.DataFrame) -> alt.Chart:
    """How the loss of one image fell: run, epoch, loss."""
    return (
        alt.Chart(losses)
        .mark_line(point=alt.OverlayMarkDef(size=18))
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("loss:Q", title="its loss (nats)"),
            color=alt.Color("run:N", title=None, legend=alt.Legend(orient="top", columns=2, labelLimit=320)),
            strokeDash=alt.StrokeDash("run:N", legend=None),
            tooltip=["run", "epoch", alt.Tooltip("loss", format=".3f")],
        )
        .properties(height=200)
    )
