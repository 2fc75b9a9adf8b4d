"""What runs did, epoch by epoch: one run's train, val and test, or several runs laid over one another."""

from __future__ import annotations

from dataclasses import dataclass

import altair as alt
import pandas as pd

from curriculum.charts.palette import DASHES, LINES, SHAPES

PARTS = ("train", "val", "test")
MOST_RUNS = len(LINES)
"""As many runs as there are lines that can be told apart."""


@dataclass(frozen=True)
class Measured:
    """How a measure is told: its title with the unit, as a share or not, as a line or in steps, from 0 or not."""

    title: str
    percent: bool = False
    steps: bool = False
    zero: bool = False


MEASURED = {
    "accuracy": Measured("accuracy", percent=True),
    "loss": Measured("loss (cross-entropy, nats)"),
    "knn": Measured("KNN (share of same-class neighbours)"),
    "subset_size": Measured("training images in use", steps=True, zero=True),
    "learning_rate": Measured("learning rate", steps=True, zero=True),
}
AXES = {"epoch": "epoch", "samples_seen": "samples seen", "elapsed": "time worked"}
UNITS = ((2 * 3600.0, 3600.0, "hours"), (2 * 60.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def overlay(lines: pd.DataFrame, names: list[str], measure: str, axis: str = "epoch", stages: pd.DataFrame | None = None) -> alt.LayerChart:
    """One measure over epochs, samples seen or time worked, a line for each of `names`, told by colour, dash and shape.

    Args:
        lines: line (one of `names`), x, value, epoch, stage, part; x in epochs, samples or seconds.
        names: at most `MOST_RUNS`; their order is that of colours and legend, the same in every chart of a page.
        measure: one of `MEASURED`.
        axis: one of `AXES`.
        stages: line, stage, epoch, x: where stages begin, drawn as dashed rules.
    """
    how = MEASURED[measure]
    scale, unit = 1.0, ""
    if axis == "elapsed":
        _, scale, word = next(each for each in UNITS if lines["x"].max() >= each[0])
        unit = f" ({word})"
    shown = [name for name in names if (lines["line"] == name).any()]
    places = [names.index(name) for name in shown]

    def told(palette: tuple[object, ...]) -> alt.Scale:
        return alt.Scale(domain=shown, range=[palette[place] for place in places])

    legend = alt.Legend(orient="top", columns=min(4, max(1, 160 // max(map(len, shown), default=1))), labelLimit=420, symbolStrokeWidth=2)
    legend = legend if len(shown) > 1 else None
    colour = alt.Color("line:N", title=None, scale=told(LINES), legend=legend)
    dash = alt.StrokeDash("line:N", title=None, scale=told(DASHES), legend=legend)
    shape = alt.Shape("line:N", title=None, scale=told(SHAPES), legend=legend)
    x = alt.X("x:Q", title=AXES[axis] + unit, axis=alt.Axis(tickMinStep=1) if axis == "epoch" else alt.Axis(format="~s"))
    y = alt.Y("value:Q", title=how.title, axis=alt.Axis(format="%") if how.percent else alt.Axis(), scale=alt.Scale(zero=how.zero))
    tooltip = [alt.Tooltip("line:N", title="line"), alt.Tooltip("epoch:Q"), alt.Tooltip("stage:N"),
               alt.Tooltip("value:Q", title=how.title, format=".2%" if how.percent else ".4~g")]  # fmt: skip
    base = alt.Chart(lines.assign(x=lines["x"] / scale))
    interpolate = "step-before" if how.steps and axis != "epoch" else "step-after" if how.steps else "linear"
    layers: list[alt.Chart] = [
        base.mark_line(interpolate=interpolate, strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash),
        base.mark_point(size=22, filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
    ]
    if stages is not None and not stages.empty:
        starts = alt.Chart(stages.assign(x=stages["x"] / scale))
        tooltip = [alt.Tooltip("line:N", title="line"), alt.Tooltip("stage:N", title="stage"), alt.Tooltip("epoch:Q", title="from epoch")]
        layers.append(starts.mark_rule(strokeDash=[4, 4], color="gray", opacity=0.8).encode(x="x:Q", tooltip=tooltip))
    return alt.layer(*layers).properties(height=250)


def of_one(lines: pd.DataFrame, measure: str, axis: str = "epoch", stages: pd.DataFrame | None = None) -> alt.LayerChart:
    """One run's measure, a line for each part that it was measured on; the same colour a part in every chart."""
    named = lines.assign(line=lines["part"].where(lines["part"] != "", "all"))
    names = list(PARTS) if (lines["part"] != "").all() else ["all"]
    return overlay(named, names, measure, axis, None if stages is None else stages.assign(line=""))
