"""What runs did, epoch by epoch: one run's train, val and test, or several runs laid over one another."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape

import altair as alt
import pandas as pd

from curriculum.charts.palette import DASHES, GLYPHS, LINES, SHAPES

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
    "loss": Measured("loss (nats)"),
    "knn": Measured("KNN (same class)"),
    "subset_size": Measured("training images in use", steps=True, zero=True),
    "learning_rate": Measured("learning rate", steps=True, zero=True),
}
AXES = {"epoch": "epoch", "samples_seen": "samples seen", "elapsed": "time worked"}
MARKS = 16
"""Shapes on a line, about."""
UNITS = ((2 * 3600.0, 3600.0, "hours"), (2 * 60.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def overlay(
    lines: pd.DataFrame, names: list[str], measure: str, axis: str = "epoch", stages: pd.DataFrame | None = None, *, legend: bool = True
) -> alt.LayerChart:  # fmt: skip
    """One measure over epochs, samples seen or time worked, a line for each of `names`, told by colour, dash and shape.

    Args:
        lines: line (one of `names`), x, value, epoch, stage, part; x in epochs, samples or seconds.
        names: 1 to `MOST_RUNS`; their order is that of colours and legend, the same in every chart of a page.
        measure: one of `MEASURED`.
        axis: one of `AXES`.
        stages: line, stage, epoch, x: where stages begin, drawn as dashed rules.
        legend: whether the chart says which line is which; a page of several charts says it once.
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

    key = alt.Legend(orient="top", columns=1 if max(map(len, names)) > 30 else 4, labelLimit=600) if legend and len(names) > 1 else None
    colour = alt.Color("line:N", title=None, scale=told(LINES), legend=key)
    dash = alt.StrokeDash("line:N", title=None, scale=told(DASHES), legend=key)
    shape = alt.Shape("line:N", title=None, scale=told(SHAPES), legend=key)
    x = alt.X("x:Q", title=AXES[axis] + unit, axis=alt.Axis(tickMinStep=1) if axis == "epoch" else alt.Axis(format="~s"))
    y = alt.Y("value:Q", title=how.title, axis=alt.Axis(format="%" if how.percent else ",.3~r"), scale=alt.Scale(zero=how.zero))
    tooltip = [alt.Tooltip("line:N", title="line"), alt.Tooltip("epoch:Q"), alt.Tooltip("stage:N"),
               alt.Tooltip("value:Q", title=how.title, format=".2%" if how.percent else ".4~g")]  # fmt: skip
    lines = lines.assign(x=lines["x"] / scale)
    base = alt.Chart(lines)
    interpolate = "step-before" if how.steps and axis != "epoch" else "step-after" if how.steps else "linear"
    layers: list[alt.Chart] = [
        base.mark_line(interpolate=interpolate, strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash),
        alt.Chart(_marked(lines)).mark_point(size=30, filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
        base.mark_point(size=80, filled=True, opacity=0).encode(x=x, y=y, tooltip=tooltip),  # what the mouse meets
    ]
    if stages is not None and not stages.empty:
        starts = alt.Chart(stages.assign(x=stages["x"] / scale))
        tooltip = [alt.Tooltip("line:N", title="line"), alt.Tooltip("stage:N", title="stage"), alt.Tooltip("epoch:Q", title="from epoch")]
        layers.append(starts.mark_rule(strokeDash=[4, 4], color="gray", opacity=0.8).encode(x=alt.X("x:Q"), tooltip=tooltip))
    return alt.layer(*layers).properties(height=250)


def key(names: list[str]) -> str:
    """What tells each of `names` in charts of theirs, as HTML: a piece of its line with its shape, then its name, which may be any text."""
    pieces = [
        f'<span style="white-space: nowrap"><img alt="" width="44" height="14" style="display: inline; vertical-align: -2px" src="{_sample(place)}"> '
        f"{escape(name)}</span>"
        for place, name in enumerate(names)
    ]  # fmt: skip
    return f'<div style="display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .85rem">{"".join(pieces)}</div>'


def _sample(place: int) -> str:
    """A piece of a line as the address of a picture: SVG within HTML doesn't get through to a page."""
    dash = " ".join(map(str, DASHES[place])) if DASHES[place][1] else "none"
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="44" height="14"><line x1="0" y1="7" x2="44" y2="7" stroke="{LINES[place]}" '
        f'stroke-width="2" stroke-dasharray="{dash}"/><text x="22" y="11" fill="{LINES[place]}" font-size="11" text-anchor="middle">'
        f"{GLYPHS[place]}</text></svg>"
    )
    return f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"


def _marked(lines: pd.DataFrame) -> pd.DataFrame:
    """Where shapes stand: of long lines so few that each can be seen."""
    place, count = lines.groupby(["line"], sort=False).cumcount(), lines.groupby(["line"], sort=False)["x"].transform("size")
    return lines[place % (1 + count // MARKS) == 0]


def of_one(lines: pd.DataFrame, measure: str, axis: str = "epoch", stages: pd.DataFrame | None = None) -> alt.LayerChart:
    """One run's measure, a line for each part that it was measured on; the same colour a part in every chart."""
    named = lines.assign(line=lines["part"].where(lines["part"] != "", "all"))
    names = list(PARTS) if (lines["part"] != "").all() else ["all"]
    return overlay(named, names, measure, axis, None if stages is None else stages.assign(line=""))


def losses_of_one(losses: pd.DataFrame) -> alt.Chart:
    """How the loss of one image fell: run, epoch, loss."""
    return (
        alt.Chart(losses)
        .mark_line(point=alt.OverlayMarkDef(size=18))
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("loss:Q", title="its loss (nats)", scale=alt.Scale(domainMin=0)),
            color=alt.Color("run:N", title=None, legend=alt.Legend(orient="right", labelLimit=320)),
            strokeDash=alt.StrokeDash("run:N", legend=None),
            tooltip=[alt.Tooltip("run"), alt.Tooltip("epoch"), alt.Tooltip("loss", format=".3f")],
        )
        .properties(height=230)
    )
