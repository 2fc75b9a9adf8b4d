"""A model's feature space as a map."""

from __future__ import annotations

import altair as alt
import pandas as pd

from curriculum.charts.palette import CLASS_COLOURS, CLASS_SHAPES, LEVEL_COLOUR, LEVEL_MARK
from curriculum.vocabulary import LEVELS

COLOURS = ("class", "error", "level", "difficulty")
"""What points can be coloured by."""


def feature_map(frame: pd.DataFrame, by: str, axes: tuple[str, str], chosen: str | None = None) -> alt.LayerChart:
    """One point an image; a click chooses it (selection `point`, field `example`).

    Args:
        frame: x, y, example, class, predicted, correct, level (or None), difficulty (or NaN), image (its thumbnail's address).
        by: one of `COLOURS`. axes: what the two directions are.
        chosen: the example that is looked at, ringed.
    """
    shown = frame.assign(
        error=frame["correct"].map({True: "right", False: "wrong"}),
        level=[f"{LEVEL_MARK[one]} {one}" if one in LEVEL_MARK else "no level" for one in frame["level"]],
    )
    point = alt.selection_point(name="point", fields=["example"], on="click", nearest=False)
    x, y = (alt.X(f"{c}:Q", title=title, axis=alt.Axis(labels=False, ticks=False, grid=False)) if c == "x" else
            alt.Y(f"{c}:Q", title=title, axis=alt.Axis(labels=False, ticks=False, grid=False)) for c, title in zip("xy", axes, strict=True))  # fmt: skip
    tooltip = [
        alt.Tooltip("image"),
        alt.Tooltip("example"),
        alt.Tooltip("class"),
        alt.Tooltip("predicted"),
        alt.Tooltip("level"),
        alt.Tooltip("difficulty:Q", format=".2f"),
    ]
    points = alt.Chart(shown).mark_point(filled=True, size=42, opacity=0.75, strokeWidth=1).encode(
        x=x, y=y, tooltip=tooltip, **_channels(shown, by)
    ).add_params(point)  # fmt: skip
    ring = alt.Chart(shown[shown["example"] == chosen]).mark_point(shape="circle", size=330, strokeWidth=3, color="#D55E00", filled=False)
    ring = ring.encode(x=x, y=y, tooltip=tooltip)
    return alt.layer(points, *([ring] if (shown["example"] == chosen).any() else [])).properties(height=560).interactive()


def _channels(frame: pd.DataFrame, by: str) -> dict[str, object]:
    """Colour and, where it is no scale, a shape beside it."""
    if by == "difficulty":
        return {"color": alt.Color("difficulty:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1]), title="model's difficulty, 0 to 1")}
    if by == "error":
        names, colours, shapes = ["right", "wrong"], ["#8a8a8a", "#D55E00"], ["circle", "cross"]
    elif by == "level":
        names = [*(f"{LEVEL_MARK[one]} {one}" for one in LEVELS), "no level"]
        colours, shapes = [*(LEVEL_COLOUR[one] for one in LEVELS), "#8a8a8a"], ["circle", "square", "triangle-up", "stroke"]
    else:
        names = sorted(frame["class"].unique())
        colours = [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(names))]
        shapes = [CLASS_SHAPES[i % len(CLASS_SHAPES)] for i in range(len(names))]
    legend = alt.Legend(orient="top", columns=4)
    return {
        "color": alt.Color(f"{by}:N", scale=alt.Scale(domain=names, range=colours), title=None, legend=legend),
        "shape": alt.Shape(f"{by}:N", scale=alt.Scale(domain=names, range=shapes), title=None, legend=legend),
    }


def probabilities(top: list[tuple[str, float]]) -> alt.LayerChart:
    """The most probable classes, the most probable first."""
    frame = pd.DataFrame(top, columns=["class", "probability"])
    y = alt.Y("class:N", sort=frame["class"].tolist(), title=None, axis=alt.Axis(labelLimit=180, labelOverlap=False))
    base = alt.Chart(frame)
    tooltip = [alt.Tooltip("class"), alt.Tooltip("probability", format=".1%")]
    x = alt.X(
        "probability:Q", title="probability", scale=alt.Scale(domain=[0, 1.2], nice=False), axis=alt.Axis(format="%", values=[0, 0.5, 1])
    )
    bars = base.mark_bar(color=CLASS_COLOURS[0], height=16).encode(x=x, y=y, tooltip=tooltip)
    words = base.mark_text(align="left", dx=6, color="gray").encode(x=x, y=y, text=alt.Text("probability:Q", format=".1%"))
    return (bars + words).properties(height=alt.Step(34))
