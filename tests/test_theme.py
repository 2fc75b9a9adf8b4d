"""Charts as files: whole documents on white, with their data, whatever else draws charts at the same time."""

from __future__ import annotations

import io
import threading
import xml.etree.ElementTree as ElementTree

import altair as alt
import pandas as pd
import pytest
from PIL import Image

from curriculum.charts import runs, theme
from curriculum.charts.palette import LINES

POINTS = pd.DataFrame({"run_id": "a", "part": "val", "stage": "all", "epoch": [1, 2, 3], "x": [1, 2, 3], "value": [0.5, 0.7, 0.9]})
HOSTILE = '<script>alert("x")</script> & **bold**'


def two() -> alt.LayerChart:
    lines = pd.concat([POINTS.assign(line="a **title**"), POINTS.assign(line=HOSTILE, value=POINTS["value"] / 2)])
    return runs.overlay(lines, ["a **title**", HOSTILE], "accuracy")


def test_an_svg_is_whole_white_and_names_its_lines() -> None:
    document = theme.svg(two())
    root = ElementTree.fromstring(document)
    words = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"accuracy", "epoch", "a **title**", HOSTILE} <= set(words)
    assert "<script" not in document, "what people type stays text"
    assert 'fill="white"' in document


def test_a_png_is_an_image_on_white_of_twice_the_size() -> None:
    small, large = (Image.open(io.BytesIO(theme.png(two(), scale))) for scale in (1.0, 2.0))
    assert [abs(2 * a - b) <= 2 for a, b in zip(small.size, large.size, strict=True)] == [True, True]
    assert large.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert large.width > 2 * theme.WIDTH


def test_the_theme_does_not_lose_what_a_chart_says_of_itself() -> None:
    chart = alt.Chart(POINTS).mark_line().encode(x="x:Q", y="value:Q").configure_axis(grid=False).configure_arc(opacity=0.5)
    found = theme.spec(chart)["config"]
    assert (found["arc"], found["background"]) == ({"opacity": 0.5}, "white")


def test_a_page_that_draws_meanwhile_takes_no_data_out_of_a_file() -> None:
    """Streamlit makes Altair leave data out of documents for a moment, and Altair does so for every thread."""
    alt.data_transformers.register("elsewhere", lambda data: {"name": "elsewhere"})
    with alt.data_transformers.enable("elsewhere"):
        found: list[str] = []
        writer = threading.Thread(target=lambda: found.append(theme.svg(two())))
        writer.start()
        writer.join(timeout=0.3)
        assert found == [], "it waits rather than leave the data out"
    writer.join(timeout=20)
    assert "<path" in found[0]


def test_data_that_never_comes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theme, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(RuntimeError, match="stayed out of its document"):
        theme.svg(alt.Chart(alt.NamedData("nowhere")).mark_point().encode(x="x:Q"))


# -- the charts of runs --------------------------------------------------------------------------


def test_each_run_has_a_colour_a_dash_and_a_shape_of_its_own() -> None:
    names = [f"run {number}" for number in range(runs.MOST_RUNS)]
    lines = pd.concat([POINTS.assign(line=name) for name in names])
    line, mark, _ = runs.overlay(lines, names, "loss").to_dict()["layer"]
    told = [line["encoding"][channel]["scale"]["range"] for channel in ("color", "strokeDash")] + [
        mark["encoding"]["shape"]["scale"]["range"]
    ]
    assert [len(each) for each in told] == [8, 8, 8]
    assert len({(str(dash), shape) for dash, shape in zip(told[1], told[2], strict=True)}) == 8, "told without colour too"
    assert len(set(told[0])) == 8


def test_a_run_keeps_its_colour_where_others_have_nothing_to_show() -> None:
    only = runs.overlay(POINTS.assign(line="b"), ["a", "b"], "accuracy").to_dict()["layer"][0]["encoding"]
    assert only["color"]["scale"] == {"domain": ["b"], "range": [LINES[1]]}


@pytest.mark.parametrize(
    ("seconds", "title", "last"),
    [(90, "time worked (seconds)", 90), (600, "time worked (minutes)", 10), (9000, "time worked (hours)", 2.5)],
)
def test_time_has_a_unit_that_fits(seconds: float, title: str, last: float) -> None:
    lines = POINTS.assign(line="a", x=[seconds / 3, seconds / 2, seconds])
    chart = runs.overlay(lines, ["a"], "loss", "elapsed")
    document = chart.to_dict()
    assert document["layer"][0]["encoding"]["x"]["title"] == title
    assert max(row["x"] for rows in document["datasets"].values() for row in rows) == pytest.approx(last)


def test_the_key_is_text_whatever_a_title_says() -> None:
    key = runs.key(["a", HOSTILE])
    assert "<script" not in key and "&lt;script&gt;" in key
    assert key.count("data:image/svg+xml;base64,") == 2


def test_one_runs_parts_have_fixed_colours() -> None:
    both = pd.concat([POINTS, POINTS.assign(part="test")])
    shown = runs.of_one(both, "accuracy").to_dict()["layer"][0]["encoding"]["color"]["scale"]
    assert shown == {"domain": ["val", "test"], "range": [LINES[1], LINES[2]]}
    stages = pd.DataFrame({"run_id": "a", "stage": ["all"], "epoch": [2], "x": [2]})
    rules = runs.of_one(POINTS.assign(part=""), "subset_size", "epoch", stages).to_dict()["layer"][-1]
    assert rules["mark"]["type"] == "rule"
