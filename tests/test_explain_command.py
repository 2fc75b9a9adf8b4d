"""The command `explain`: pictures, a JSON document, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curriculum import explained, report
from curriculum.asking import Explainer
from curriculum.charts.overlays import SIDE, filter_grid, map_grid, regions_over
from curriculum.cli import main
from curriculum.home import Home
from curriculum.rundir import RunDir
from curriculum.store import Store
from tests.ml import trained


def test_pictures_and_a_document(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with Store.open(home) as store:
        run = trained(home, store)
        example = store.rows("SELECT example FROM example ORDER BY example")[0][0]

    def call(*words: object) -> tuple[int, dict[str, object]]:
        code = main(["--home", str(home.root), "explain", *map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    out = tmp_path / "why"
    code, document = call(run, example, "--samples", "100", "--segments", "slic", "--out", out)
    assert code == 0
    written = json.loads((out / "explain.json").read_text())
    assert written == {name: value for name, value in document.items() if name != "out"}
    (image,) = written["images"]
    assert image["example"] == example and image["class"] == example.split("/")[0]
    assert image["classes"][0]["role"] == "predicted"
    for one in image["classes"]:
        with Image.open(out / one["picture"]) as picture:
            assert picture.size == (SIDE, SIDE)
        assert len(one["weights"]) == len(one["areas"]) and sum(one["areas"]) == pytest.approx(1)
        assert len(one["verdict"]) == 3 and one["stability"]["samplings"] == 3
    for wrong, words in (((run, "green/nothing.png"), "no such image"), (("20200101-000000-staged-0000",), "no such run"),
                         ((run, example, "--samples", "1"), "--samples is out of range"), ((run, "--worst", "-1"), "--worst is out of range")):  # fmt: skip
        code, document = call(*wrong, "--out", tmp_path / "other")
        assert code == 2 and words in str(document["error"])
    assert not (tmp_path / "other").exists(), "nothing is made before all is checked"

    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    again = (run, example, "--samples", "100", "--segments", "slic", "--out", out)
    code, document = call(*again)
    assert code == 2 and "there already" in str(document["error"])
    (out / "explain.json").unlink()
    code, document = call(*again)
    assert code == 2 and "predicted.png" in str(document["error"])
    assert call(*again, "--overwrite")[0] == 0
    assert all(path.stat().st_mtime_ns > stamps[path.name] for path in out.iterdir())
    code, document = call(run, example, "--out", home.runs / run, "--overwrite")
    assert code == 2 and "the program keeps its own there" in str(document["error"])

    monkeypatch.setattr(explained, "SAMPLES", 120)
    asked = Explainer(home)
    with Store.open(home) as store:
        with store.write() as cursor:  # the toy's model hardly errs
            cursor.execute(
                "UPDATE prediction SET split = 'test', predicted = 'red', loss = 99 WHERE run_id = ? AND example = ?", [run, example]
            )
        its = RunDir(home.runs / run)
        assert explained.pictures(store, its, asked, 1, ask=False) == [], "nobody has asked yet"
        told = explained.pictures(store, its, asked, 1, ask=True)
        assert told[0].source.startswith("data:image/jpeg;base64,")
        assert told[0].lines[0].startswith(f"{example}: said ") and len(told[0].lines) == 3
        assert explained.pictures(store, its, asked, 1, ask=False) == told, "kept for the next report"
        assert report.build(store, its, told).count("What the model looked at") == 1
    asked.close()


def test_regions_are_drawn_where_they_are_and_told_apart_without_colour() -> None:
    image = np.full((64, 64, 3), 120, np.uint8)
    segments = np.kron(np.arange(4).reshape(2, 2), np.ones((32, 32), dtype=int))
    drawn = regions_over(image, segments, [0], [3])
    half = SIDE // 2
    quarters = {0: drawn[:half, :half], 1: drawn[:half, half:], 2: drawn[half:, :half], 3: drawn[half:, half:]}
    inner = {name: one[20:60, 20:60].astype(int) for name, one in quarters.items()}
    assert inner[1].std() == inner[2].std() == 0, "nothing is drawn where nothing leads"
    assert inner[0].std(axis=(0, 1)).max() == 0, "one even tint"
    assert inner[3].sum(2).std() > 0, "stripes, also without colour"
    assert inner[0][0, 0, 2] > inner[0][0, 0, 0], "blue"
    assert np.array_equal(regions_over(image, segments, [], []), np.full((SIDE, SIDE, 3), 120, np.uint8))


def test_grids_show_each_tile_on_its_scale() -> None:
    filters = np.zeros((64, 7, 7, 3))
    filters[1, 0, 0] = (2.0, -2.0, 0.0)
    shown = filter_grid(filters, times=2)
    assert shown.shape == (8 * 14 + 7 * 2, 8 * 14 + 7 * 2, 3)
    assert shown[0, 0].tolist() == [128, 128, 128] and shown[0, 16].tolist() == [255, 0, 128]
    maps = np.stack([np.full((4, 4), 1.0), np.full((4, 4), -1.0), np.zeros((4, 4))])
    above, below, zero = (map_grid(maps, 1.0, columns=3)[0, place].tolist() for place in (0, 6, 12))
    assert above[2] > above[0] and below[0] > below[2] and zero == [0, 0, 0]
