"""Arms of a comparison and what lies between them."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from curriculum.charts.palette import MODEL_COLOUR, PEOPLE_COLOUR
from curriculum.compare import student_interval


def arm_dots(frame: pd.DataFrame) -> alt.LayerChart:
    """Test accuracy of each arm of a comparison: a dot a seed, a diamond for their mean with its 95 % interval (Student's t).

    Args:
        frame: arm, mean, seeds (a list of accuracies, 0 to 1).
    """
    long = frame[["arm", "mean", "seeds"]].explode("seeds").astype({"seeds": float})
    spread = [student_interval(np.array(seeds, dtype=float)) for seeds in frame["seeds"]]
    means = frame[["arm", "mean"]].assign(low=[low for low, _ in spread], high=[high for _, high in spread])
    y = alt.Y("arm:N", sort=frame["arm"].tolist(), title=None, axis=alt.Axis(labelLimit=220, labelOverlap=False))
    low, high = float(long["seeds"].min()), float(long["seeds"].max())
    room = max(high - low, 0.01)  # an interval of two seeds may be wider than the page: it is cut off rather than the dots pressed together
    scale = alt.Scale(zero=False, nice=False, domain=[max(low - room, 0.0), min(high + room, 1.0)])
    dots = alt.Chart(long).mark_circle(size=60, opacity=0.6, color=MODEL_COLOUR).encode(
        x=alt.X("seeds:Q", title="test accuracy", axis=alt.Axis(format=".1%"), scale=scale), y=y,
        tooltip=[alt.Tooltip("arm"), alt.Tooltip("seeds", title="accuracy", format=".2%")],
    )  # fmt: skip
    tooltip = [alt.Tooltip("arm"), *(alt.Tooltip(name, format=".2%") for name in ("mean", "low", "high"))]
    base = alt.Chart(means)
    intervals = base.mark_rule(strokeWidth=2, color=PEOPLE_COLOUR, clip=True).encode(
        x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, tooltip=tooltip
    )
    middles = base.mark_point(shape="diamond", filled=True, size=90, opacity=1, color=PEOPLE_COLOUR).encode(
        x=alt.X("mean:Q"), y=y, tooltip=tooltip
    )
    return (intervals + dots + middles).properties(height=alt.Step(32))


def difference_intervals(pairs: pd.DataFrame) -> alt.LayerChart:
    """Each pair's difference with its interval, in percentage points; the line of no difference stands at 0."""
    frame = pairs.assign(
        pair=pairs["a"] + " less " + pairs["b"], **{name: 100 * pairs[name] for name in ("difference", "low", "high")},
        outcome=["detected" if p < 0.05 and not low <= 0 <= high else "not detected"
                 for p, low, high in zip(pairs["p_holm"], pairs["low"], pairs["high"], strict=True)],
    )  # fmt: skip
    y = alt.Y("pair:N", sort=frame["pair"].tolist(), title=None, axis=alt.Axis(labelLimit=280, labelOverlap=False))
    colour = alt.Color("outcome:N", title=None, legend=alt.Legend(orient="top", columns=1),
                       scale=alt.Scale(domain=["detected", "not detected"], range=[MODEL_COLOUR, "#8a8a8a"]))  # fmt: skip
    shape = alt.Shape("outcome:N", legend=None, scale=alt.Scale(domain=["detected", "not detected"], range=["circle", "diamond"]))
    base = alt.Chart(frame)
    tooltip = [
        alt.Tooltip("pair"),
        *(alt.Tooltip(name, format="+.2f") for name in ("difference", "low", "high")),
        alt.Tooltip("p_holm", format=".3g"),
    ]
    intervals = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="percentage points", axis=alt.Axis(labelBound=True)), x2=alt.X2("high:Q"), y=y, color=colour, tooltip=tooltip
    )
    points = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=alt.X("difference:Q"), y=y, color=colour, shape=shape, tooltip=tooltip
    )
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color="gray").encode(x=alt.X("x:Q"))
    return (zero + intervals + points).properties(height=alt.Step(32))
