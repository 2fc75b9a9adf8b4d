"""The charts, from tables that `analysis` and run directories give. No chart of nothing: callers check first."""

from __future__ import annotations

import altair as alt
import pandas as pd

from curriculum.app.layout import LEVEL_COLOUR, LEVEL_MARK, MODEL_COLOUR, PEOPLE_COLOUR
from curriculum.config import LEVELS

CURVES = {"train": PEOPLE_COLOUR, "val": "#D55E00", "test": "#009E73"}
DASHES = {"train": [1, 0], "val": [6, 3], "test": [2, 2]}


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


def count_table(table: pd.DataFrame, rows: str, columns: str) -> alt.LayerChart:
    """Counts as a heat map with the numbers in it; darker = a larger share of its row."""
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
    cells = base.mark_rect().encode(
        x=x, y=y, color=alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), title="share of row", legend=None),
        tooltip=[rows, columns, "images", alt.Tooltip("share", format=".1%")],
    )  # fmt: skip
    text = base.mark_text(fontSize=13).encode(
        x=x, y=y, text="images:Q", color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("#222"))
    )
    return (cells + text).properties(height=max(150, 46 * len(table)))


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


def error_shares(frame: pd.DataFrame, column: str, title: str) -> alt.LayerChart:
    """Misclassified share by class or level with its 95 % interval."""
    sort = list(LEVELS) if column == "level" else "-x"
    y = alt.Y(f"{column}:N", title=None, sort=sort, axis=alt.Axis(labelOverlap=False))
    base = alt.Chart(frame)
    tooltip = [
        column,
        "wrong",
        "images",
        alt.Tooltip("share", format=".1%"),
        alt.Tooltip("low", format=".1%"),
        alt.Tooltip("high", format=".1%"),
    ]
    bars = base.mark_bar(color=MODEL_COLOUR, height=14).encode(
        x=alt.X("share:Q", title=title, axis=alt.Axis(format="%")), y=y, tooltip=tooltip
    )
    intervals = base.mark_rule(color="gray", strokeWidth=2).encode(x="low:Q", x2="high:Q", y=y, tooltip=tooltip)
    text = (
        base.transform_calculate(label="datum.wrong + ' of ' + datum.images")
        .mark_text(align="left", dx=6, color="gray")
        .encode(x="high:Q", y=y, text="label:N")
    )
    return (bars + intervals + text).properties(height=40 + 30 * len(frame))


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
        "interval",
        alt.Tooltip("n", title="images shared"),
    ]
    base = alt.Chart(both)
    cells = base.mark_rect().encode(
        x=x, y=y, color=alt.Color("kappa:Q", scale=alt.Scale(scheme="blues", domain=[0, 1], clamp=True), legend=None), tooltip=tooltip
    )
    text = base.mark_text(fontSize=12).encode(
        x=x, y=y, text=alt.Text("kappa:Q", format=".2f"), color=alt.condition("datum.kappa > 0.5", alt.value("white"), alt.value("#222"))
    )
    return (cells + text).properties(height=60 + 34 * len(names))


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
            tooltip=["annotator", "labels", alt.Tooltip(measure, format=".2f")],
        )
        .properties(height=230)
    )


def arms(frame: pd.DataFrame) -> alt.LayerChart:
    """Test accuracy of each arm of a comparison: a dot a seed, a tick for the mean."""
    long = frame[["arm", "mean", "seeds"]].explode("seeds").astype({"seeds": float})
    y = alt.Y("arm:N", sort=frame["arm"].tolist(), title=None, axis=alt.Axis(labelLimit=220, labelOverlap=False))
    scale = alt.Scale(zero=False, nice=True)
    dots = alt.Chart(long).mark_circle(size=60, opacity=0.6, color=MODEL_COLOUR).encode(
        x=alt.X("seeds:Q", title="test accuracy", axis=alt.Axis(format="%"), scale=scale), y=y,
        tooltip=["arm", alt.Tooltip("seeds", title="accuracy", format=".2%")],
    )  # fmt: skip
    means = alt.Chart(frame[["arm", "mean"]]).mark_tick(thickness=3, size=24, color=PEOPLE_COLOUR).encode(
        x="mean:Q", y=y, tooltip=["arm", alt.Tooltip("mean", format=".2%")]
    )  # fmt: skip
    return (dots + means).properties(height=alt.Step(32))


def differences(pairs: pd.DataFrame) -> alt.LayerChart:
    """Each pair's difference with its interval, in percentage points; the line of no difference stands at 0."""
    frame = pairs.assign(
        pair=pairs["a"] + " less " + pairs["b"], **{name: 100 * pairs[name] for name in ("difference", "low", "high")},
        outcome=["detected" if p < 0.05 and not low <= 0 <= high else "not detected"
                 for p, low, high in zip(pairs["p_holm"], pairs["low"], pairs["high"], strict=True)],
    )  # fmt: skip
    y = alt.Y("pair:N", sort=frame["pair"].tolist(), title=None, axis=alt.Axis(labelLimit=280, labelOverlap=False))
    colour = alt.Color("outcome:N", title=None, legend=alt.Legend(orient="top"),
                       scale=alt.Scale(domain=["detected", "not detected"], range=[MODEL_COLOUR, "#8a8a8a"]))  # fmt: skip
    shape = alt.Shape("outcome:N", legend=None, scale=alt.Scale(domain=["detected", "not detected"], range=["circle", "diamond"]))
    base = alt.Chart(frame)
    tooltip = ["pair", *(alt.Tooltip(name, format="+.2f") for name in ("difference", "low", "high")), alt.Tooltip("p_holm", format=".3g")]
    intervals = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="percentage points"), x2="high:Q", y=y, color=colour, tooltip=tooltip
    )
    points = base.mark_point(size=90, filled=True, opacity=1).encode(x="difference:Q", y=y, color=colour, shape=shape, tooltip=tooltip)
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color="gray").encode(x="x:Q")
    return (zero + intervals + points).properties(height=alt.Step(32))
