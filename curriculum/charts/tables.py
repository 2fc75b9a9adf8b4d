"""Counts and shares with the numbers in them: confusion, misclassification, agreement of pairs."""

from __future__ import annotations

import altair as alt
import pandas as pd

from curriculum.charts.palette import MODEL_COLOUR
from curriculum.vocabulary import LEVELS


def count_table(table: pd.DataFrame, rows: str, columns: str, select: bool = False) -> alt.LayerChart:
    """Counts as a heat map with the numbers in it; darker = a larger share of its row. `select`: a click on a cell is its selection `cell`."""
    long = table.rename_axis(rows).reset_index().melt(rows, var_name=columns, value_name="images")
    long["share"] = long["images"] / long.groupby(rows)["images"].transform("sum").clip(lower=1)
    x = alt.X(
        f"{columns}:N",
        sort=list(table.columns),
        title=columns,
        axis=alt.Axis(labelAngle=0 if len(table) <= 4 else -40, orient="top", labelOverlap=False),
    )
    y = alt.Y(f"{rows}:N", sort=list(table.index), title=rows)
    base = alt.Chart(long)
    cells = base.mark_rect(strokeWidth=3).encode(
        x=x, y=y, color=alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), title="share of row", legend=None),
        tooltip=[alt.Tooltip(rows), alt.Tooltip(columns), alt.Tooltip("images"), alt.Tooltip("share", format=".1%")],
    )  # fmt: skip
    text = base.mark_text(fontSize=13).encode(
        x=x, y=y, text=alt.Text("images:Q"), color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("#222"))
    )
    if select:
        chosen = alt.selection_point(name="cell", fields=[rows, columns])
        cells = cells.encode(stroke=alt.condition(chosen, alt.value("#D55E00"), alt.value(None), empty=False)).add_params(chosen)
        text = text.encode(tooltip=alt.value(None))
    return (cells + text).properties(height=alt.Step(38))


def error_shares(frame: pd.DataFrame, column: str, title: str) -> alt.LayerChart:
    """Misclassified share by class or level with its 95 % interval."""
    sort = list(LEVELS) if column == "level" else "-x"
    y = alt.Y(f"{column}:N", title=None, sort=sort, axis=alt.Axis(labelOverlap=False))
    base = alt.Chart(frame)
    tooltip = [
        alt.Tooltip(column),
        alt.Tooltip("wrong"),
        alt.Tooltip("images"),
        alt.Tooltip("share", format=".1%"),
        alt.Tooltip("low", format=".1%"),
        alt.Tooltip("high", format=".1%"),
    ]
    bars = base.mark_bar(color=MODEL_COLOUR, height=14).encode(
        x=alt.X("share:Q", title=title, axis=alt.Axis(format="%")), y=y, tooltip=tooltip
    )
    intervals = base.mark_rule(color="gray", strokeWidth=2).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, tooltip=tooltip)
    room = alt.Scale(domain=[0, 1.25 * max(float(frame["high"].max()), 0.01)], nice=False)  # for the words behind the widest interval
    text = (
        base.transform_calculate(label="datum.wrong + ' of ' + datum.images")
        .mark_text(align="left", dx=6, color="gray")
        .encode(x=alt.X("high:Q", scale=room), y=y, text=alt.Text("label:N"))
    )
    return (bars + intervals + text).properties(height=alt.Step(28))


def pair_table(pairs: pd.DataFrame) -> alt.LayerChart:
    """Weighted kappa of each pair of annotators, both ways round, with the number in each cell."""
    turned = pairs.rename(columns={"a": "b", "b": "a"})
    both = pd.concat([pairs, turned], ignore_index=True)
    names = sorted({*both["a"]})
    x = alt.X("a:N", title=None, sort=names, axis=alt.Axis(labelAngle=-40, orient="top", labelOverlap=False))
    y = alt.Y("b:N", title=None, sort=names, axis=alt.Axis(labelOverlap=False))
    tooltip = [
        alt.Tooltip("a", title="annotator"),
        alt.Tooltip("b", title="and"),
        alt.Tooltip("kappa", format=".2f"),
        alt.Tooltip("interval"),
        alt.Tooltip("n", title="images shared"),
    ]
    base = alt.Chart(both)
    cells = base.mark_rect().encode(
        x=x, y=y, color=alt.Color("kappa:Q", scale=alt.Scale(scheme="blues", domain=[0, 1], clamp=True), legend=None), tooltip=tooltip
    )
    text = base.mark_text(fontSize=12).encode(
        x=x, y=y, text=alt.Text("kappa:Q", format=".2f"), color=alt.condition("datum.kappa > 0.5", alt.value("white"), alt.value("#222"))
    )
    return (cells + text).properties(height=alt.Step(32))
