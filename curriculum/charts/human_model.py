"""People's levels against a model's difficulty."""

from __future__ import annotations

import zlib

import altair as alt
import numpy as np
import pandas as pd

from curriculum.charts.palette import LEVEL_COLOUR, LEVEL_MARK, MODEL_COLOUR, PEOPLE_COLOUR
from curriculum.vocabulary import LEVELS

MOST_POINTS = 5000
"""More in a chart are slow to draw and hide one another; of more images an even sample is drawn."""
MEASURE_TITLE = {"spearman": "Spearman's rho", "tau_b": "Kendall's tau-b", "kappa": "weighted kappa"}


def scattered(both: pd.DataFrame) -> pd.DataFrame:
    """The points of `levels_against_difficulty`: across, `place` is the level (0 to 2) moved by up to a third, always alike for an image.

    Args:
        both: as `analysis.compared` gives it.
    """
    points = both
    if len(both) > MOST_POINTS:
        points = both.iloc[both["difficulty"].to_numpy(float).argsort(kind="stable")[:: -(-len(both) // MOST_POINTS)]]
    jitter = points["example"].map(lambda example: (zlib.crc32(example.encode()) % 10_000) / 9_999 - 0.5)
    return points.assign(place=points["level_index"] + jitter * 0.66)


def levels_against_difficulty(both: pd.DataFrame) -> alt.LayerChart:
    """Each labelled image: people's level across, the model's difficulty up; a box for each level. Its selection `area` is a brush, with room for
    one round the last point."""
    frame = scattered(both)[["example", "class", "level", "place", "difficulty"]]
    ticks = " : ".join(f"datum.value == {i} ? '{LEVEL_MARK[level]} {level}'" for i, level in enumerate(LEVELS))
    x = alt.X("place:Q", title="people's level", scale=alt.Scale(domain=[-0.5, 2.5], nice=False),
              axis=alt.Axis(values=[0, 1, 2], labelExpr=f"{ticks} : ''", grid=False))  # fmt: skip
    y = alt.Y("difficulty:Q", title="model's difficulty (0 easiest, 1 hardest)", axis=alt.Axis(values=[0, 0.2, 0.4, 0.6, 0.8, 1]),
              scale=alt.Scale(domain=[-0.04, 1.04], nice=False))  # fmt: skip
    colour = alt.Color("level:N", scale=alt.Scale(domain=list(LEVELS), range=[LEVEL_COLOUR[level] for level in LEVELS]), legend=None)
    points = (
        alt.Chart(frame)
        .mark_circle(size=16, opacity=0.5)
        .encode(
            x=x,
            y=y,
            color=colour,
            tooltip=[alt.Tooltip("example"), alt.Tooltip("class"), alt.Tooltip("level"), alt.Tooltip("difficulty", format=".2f")],
        )
        .add_params(alt.selection_interval(name="area"))
    )
    quartiles = (
        both.groupby("level_index")["difficulty"]
        .quantile(np.array([0.25, 0.5, 0.75]))
        .unstack()
        .set_axis(["low", "middle", "high"], axis=1)
    )
    quartiles = quartiles.reset_index()
    base = alt.Chart(quartiles)
    across = [alt.X("left:Q"), alt.X2("right:Q")]
    boxes = base.transform_calculate(left="datum.level_index - 0.36", right="datum.level_index + 0.36")
    frames = boxes.mark_rect(fillOpacity=0, stroke="gray", strokeWidth=1.5).encode(*across, y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
    middles = boxes.mark_rule(stroke="gray", strokeWidth=3).encode(*across, y=alt.Y("middle:Q"))
    # On a canvas thousands of points are drawn sooner, and a brush leaves no part without a name to screen readers.
    return (points + frames + middles).properties(height=330, usermeta={"embedOptions": {"renderer": "canvas"}})


def agreement_intervals(rows: pd.DataFrame) -> alt.LayerChart:
    """One measure of agreement by group, with its 95 % interval; the line of chance stands at 0.

    Args:
        rows: of one measure, as `analysis.agreement_by` gives them.
    """
    y = alt.Y("name:N", sort=rows["name"].tolist(), title=None, axis=alt.Axis(labelLimit=200, labelOverlap=False))
    kinds = ["all", "class", "annotator"]
    colour = alt.Color(
        "by:N", title=None, legend=alt.Legend(orient="top"), scale=alt.Scale(domain=kinds, range=["#8a8a8a", MODEL_COLOUR, PEOPLE_COLOUR])
    )
    shape = alt.Shape("by:N", legend=None, scale=alt.Scale(domain=kinds, range=["diamond", "square", "circle"]))
    tooltip = [
        alt.Tooltip("name"),
        *(alt.Tooltip(name, format=".2f") for name in ("value", "low", "high")),
        alt.Tooltip("n", title="images"),
    ]
    base = alt.Chart(rows)
    title = MEASURE_TITLE[rows["measure"].iloc[0]]
    intervals = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=f"{title} (95 % interval)"), x2=alt.X2("high:Q"), y=y, color=colour, tooltip=tooltip
    )
    points = base.mark_point(filled=True, size=80, opacity=1).encode(x=alt.X("value:Q"), y=y, color=colour, shape=shape, tooltip=tooltip)
    # up to 1, which is also what no interval passes
    ends = alt.Scale(domain=[min(0.0, float(rows["low"].min(skipna=True))) if rows["low"].notna().any() else 0.0, 1.0])
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color="gray").encode(x=alt.X("x:Q", scale=ends))
    return (zero + intervals + points).properties(height=alt.Step(24))
