"""What annotators do over time."""

from __future__ import annotations

import altair as alt
import pandas as pd


def drift(frame: pd.DataFrame, measure: str, title: str) -> alt.Chart:
    """A measure of each annotator by how many images they had sorted; a shape beside each colour."""
    return (
        alt.Chart(frame.dropna(subset=[measure]))
        .mark_line(point=alt.OverlayMarkDef(size=40))
        .encode(
            x=alt.X("labels:Q", title="images sorted"),
            y=alt.Y(f"{measure}:Q", title=title, scale=alt.Scale(zero=False)),
            color=alt.Color("annotator:N", title=None, legend=alt.Legend(orient="top")),
            strokeDash=alt.StrokeDash("annotator:N", legend=None),
            tooltip=[alt.Tooltip("annotator"), alt.Tooltip("labels"), alt.Tooltip(measure, format=".2f")],
        )
        .properties(height=230)
    )
