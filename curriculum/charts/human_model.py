"""People's levels against a model's difficulty."""

from __future__ import annotations

import altair as alt
import pandas as pd

from curriculum.charts.palette import LEVEL_COLOUR, LEVEL_MARK
from curriculum.config import LEVELS


def levels_against_difficulty(both: pd.DataFrame) -> alt.LayerChart:
    """Each labelled image: people's level across, the model's difficulty up; a box for each level."""
    frame = both[["example", "class", "level", "difficulty"]].copy()
    frame["label"] = frame["level"].map(lambda level: f"{LEVEL_MARK[level]} {level}")
    order = [f"{LEVEL_MARK[level]} {level}" for level in LEVELS]
    x = alt.X("label:N", sort=order, title="People's level", axis=alt.Axis(labelAngle=0))
    colour = alt.Color("level:N", scale=alt.Scale(domain=list(LEVELS), range=[LEVEL_COLOUR[level] for level in LEVELS]), legend=None)
    y = alt.Y("difficulty:Q", title="Model's difficulty (rank, 0 easiest to 1 hardest)", scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(frame)
    points = (
        base.transform_calculate(jitter="random()")
        .mark_circle(size=14, opacity=0.45)
        .encode(
            x=x,
            xOffset=alt.XOffset("jitter:Q"),
            y=y,
            color=colour,
            tooltip=["example", "class", "level", alt.Tooltip("difficulty", format=".2f")],
        )
    )
    boxes = base.mark_boxplot(size=40, outliers=False, opacity=0.35, color="gray").encode(x=x, y=y)
    return (points + boxes).properties(height=320)
