"""Charts as files: SVG and PNG on white, in one light theme whatever the screen's. Nothing is fetched from a network."""

from __future__ import annotations

import time
from typing import Any

import altair as alt
import vl_convert

INK, LINE = "#222222", "#dddddd"
PATIENCE_SECONDS = 10.0
WIDTH, HEIGHT = 640, 300
"""Pixels of a chart that has no size of its own, axes and legend left out."""

THEME: dict[str, Any] = {
    "background": "white", "padding": 12, "font": "DejaVu Sans, Helvetica, Arial, sans-serif",
    "view": {"continuousWidth": WIDTH, "continuousHeight": HEIGHT, "stroke": None},
    "title": {"color": INK, "fontSize": 14, "anchor": "start"},
    "axis": {"labelColor": INK, "titleColor": INK, "gridColor": LINE, "domainColor": INK, "tickColor": INK, "labelFontSize": 11,
             "titleFontSize": 12, "titleFontWeight": "normal"},
    "legend": {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "labelLimit": 400, "titleFontWeight": "normal"},
}  # fmt: skip


def svg(chart: alt.TopLevelMixin) -> str:
    """A chart as an SVG document."""
    return str(vl_convert.vegalite_to_svg(spec(chart), allowed_base_urls=[]))


def png(chart: alt.TopLevelMixin, scale: float = 2.0) -> bytes:
    """A chart as a PNG image; scale: pixels for each of the chart's own."""
    return bytes(vl_convert.vegalite_to_png(spec(chart), scale=scale, allowed_base_urls=[]))


def spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """A chart as a Vega-Lite document with its data and the theme in it.

    Altair refuses data of over 5,000 rows. Its switch for that is one for all threads, and two that turn it to and fro leave it in the
    other's place for good, so it stays as it is: a chart for a file has fewer.

    Raises:
        RuntimeError: what draws charts on another thread, which turns Altair's ways for all threads for a moment, never let go.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        document: dict[str, Any] = chart.to_dict()
        datasets = document.get("datasets", {})
        if all(name in datasets for name in _named(document)):
            return {**document, "config": {**document.get("config", {}), **THEME}}
        time.sleep(0.02)
    raise RuntimeError("the chart's data stayed out of its document")


def _named(document: Any) -> list[str]:
    """The names of all data that a document refers to."""
    if isinstance(document, list):
        return [name for each in document for name in _named(each)]
    if not isinstance(document, dict):
        return []
    data = document.get("data")
    own = [data["name"]] if isinstance(data, dict) and "name" in data and "values" not in data else []
    return own + [name for key, each in document.items() if key != "datasets" for name in _named(each)]
