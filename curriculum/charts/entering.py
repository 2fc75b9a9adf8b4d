"""Which training images were in use when."""

from __future__ import annotations

import altair as alt
import pandas as pd

NUMBERS_UP_TO = 12
"""Columns with a number in each cell; more would be too narrow to read."""


def use_map(shares: pd.DataFrame, rows: list[str], axis: str = "epoch") -> alt.LayerChart:
    """A heat map of `entering.shares_in_use`: darker = a larger share of the row's training images is in use.

    Args:
        rows: the rows from top to bottom, as they stand in the column row.
        axis: epoch | share (of the training's samples).
    """
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelOverlap=False, labelLimit=160))
    if axis == "epoch":
        x = alt.X("from_epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1),
                  scale=alt.Scale(domain=[shares["from_epoch"].min(), shares["to_epoch"].max()], nice=False))  # fmt: skip
    else:
        x = alt.X("from_share:Q", title="share of the training done", axis=alt.Axis(format="%"),
                  scale=alt.Scale(domain=[0, 1]))  # fmt: skip
    tooltip = [alt.Tooltip("row:N", title="images"), alt.Tooltip("epoch:Q", title="epoch"), alt.Tooltip("last:Q", title="to epoch"),
               alt.Tooltip("share:Q", title="in use", format=".0%"), alt.Tooltip("used:Q", title="images in use", format=".0f"),
               alt.Tooltip("images:Q", title="of", format=".0f")]  # fmt: skip
    base = alt.Chart(shares)
    cells = base.mark_rect().encode(
        x=x, x2=alt.X2(f"to_{axis}:Q"), y=y, tooltip=tooltip,
        color=alt.Color("share:Q", title="in use", scale=alt.Scale(scheme="blues", domain=[0, 1]),
                        legend=alt.Legend(format="%", orient="right", gradientLength=min(120, 30 + 26 * len(rows)))),
    )  # fmt: skip
    layers = [cells]
    if shares["epoch"].nunique() <= NUMBERS_UP_TO and axis == "epoch":
        layers.append(base.mark_text(fontSize=11).encode(
            x=alt.X("epoch:Q"), y=y, text=alt.Text("share:Q", format=".0%"), tooltip=tooltip,
            color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("#222")),
        ))  # fmt: skip
    return alt.layer(*layers).properties(height=60 + 26 * len(rows))
