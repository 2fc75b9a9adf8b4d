"""Reports: one file that asks nothing of a network, with the stored figures, whatever people wrote in it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from curriculum import labels, report, run_words
from curriculum.cli import main
from curriculum.config import CompareConfig, TrainConfig
from curriculum.errors import RunError
from curriculum.home import Home
from curriculum.rundir import RunDir
from curriculum.store import Store
from tests.test_mistakes import add_run
from tests.tints import config, worked

RIGHT = {f"{name}/{name}{i}.jpg": name for name in "abc" for i in range(4)}
RESULT = {
    "mode": "fine-tune", "protocol": "honest", "epoch": 2, "epochs": 2, "test_accuracy": 0.75, "test_loss": 0.5, "test_knn": 0.6, "peak_test_accuracy": None,
    "seconds": 12.0, "samples_seen": 48, "classes": ["a", "b", "c"], "stages": [], "notes": ["One of 4 test images shows the same ground."],
    "examples": {"train": 8, "val": 2, "test": 12}, "device": "cpu", "torch": "2.0",
}  # fmt: skip


class Addresses(HTMLParser):
    """Whatever a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "srcset")]


def finish(store: Store, run_id: str, config: TrainConfig | CompareConfig, result: dict[str, Any], **columns: str) -> RunDir:
    kind = "compare" if isinstance(config, CompareConfig) else "train"
    with store.write() as cursor:
        if not cursor.execute("SELECT 1 FROM run WHERE run_id = ?", [run_id]).fetchone():
            cursor.execute("""INSERT INTO run (run_id, kind, dataset, mode, seed, config, state, created_at)
                              VALUES (?, ?, 'tiny', 'compare', 0, '{}', 'done', now())""", [run_id, kind])  # fmt: skip
        cursor.execute("UPDATE run SET kind = ?, config = ?, result = ?, seconds = 12 WHERE run_id = ?",
                       [kind, json.dumps(config.to_json()), json.dumps(result), run_id])  # fmt: skip
        for name, value in columns.items():
            cursor.execute(f"UPDATE run SET {name} = ? WHERE run_id = ?", [value, run_id])
    return RunDir(store.home.runs / run_id)


def checked(html: str) -> str:
    parser = Addresses()
    parser.feed(html)
    assert all(address.startswith(("data:", "#")) for address in parser.found)
    assert "script" not in parser.tags and "link" not in parser.tags
    return html


@pytest.fixture
def trained(tiny: Store) -> Store:
    add_run(tiny, "a-run", RIGHT | {"a/a1.jpg": "b", "b/b1.jpg": "c", "c/c0.jpg": "b"})
    with tiny.write() as cursor:
        tiny.insert(cursor, "epoch", pd.DataFrame([
            {"run_id": "a-run", "epoch": n, "stage": "all", "subset_size": 8, "learning_rate": 1e-4, "train_loss": 1 / n, "train_accuracy": 0.5,
             "val_loss": 1.0, "val_accuracy": 0.5, "seconds": 6.0, "images_per_second": 10.0, "samples_seen": 24 * n} for n in (1, 2)
        ]))  # fmt: skip
    return tiny


def test_a_run_tells_all_in_one_file(trained: Store) -> None:
    run = finish(
        trained, "a-run", TrainConfig("tiny", mode="fine-tune", weights="none"), RESULT, title="<script>alert(1)</script>", note="a & b"
    )
    for name, level in (("Ana", "easy"), ("Bo", "easy")):
        for example in list(RIGHT)[:3]:
            labels.annotate(trained, "tiny", example, name, level if example != "a/a1.jpg" else "hard")  # type: ignore[arg-type]
    html = checked(report.build(trained, run))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "a &amp; b" in html
    for said in ("0.7500, 95 % interval", "0.5000 nats", "3 of 12 test images are misclassified (25.0%)", "8 train, 2 val, 12 test, drawn from seed 0",
                 "2, 6 labels on 3 images", "One of 4 test images shows the same ground.", "nobody has looked", "alpha</dt><dd>1.00", "2 of 2"):  # fmt: skip
        assert said in html, said
    assert html.count("<svg") == 6, "three curves, the matrix, errors by class and by level"
    assert html.count('src="data:image/jpeg;base64,') == 3


def test_a_peak_stands_marked_beside_the_last_epochs_figure(trained: Store) -> None:
    peak = {"peak_test_accuracy": 0.875, "peak_test_epoch": 1, "peak_test_loss": 0.25, "peak_test_knn": 0.5}
    result = RESULT | {"protocol": "report"} | peak
    run = finish(trained, "a-run", TrainConfig("tiny", mode="fine-tune", weights="none", protocol="report"), result)
    html = checked(report.build(trained, run))
    assert "0.7500, 95 % interval" in html and "Peak, biased" in html
    assert "0.8750 at epoch 1, loss 0.2500, KNN 0.5000: the best epoch picked on test" in html
    told = run_words.train_text(trained, result | {"run_id": "a-run"})
    assert "peak test accuracy 0.8750 at epoch 1, loss 0.2500, KNN 0.5000 (picked on test: biased upwards)" in told


def test_a_file_that_has_gone_leaves_its_words(trained: Store) -> None:
    run = finish(trained, "a-run", TrainConfig("tiny", mode="fine-tune", weights="none"), RESULT)
    root = Path(trained.rows("SELECT root FROM dataset")[0][0])
    (root / "a/a1.jpg").unlink()
    (root / "b/b1.jpg").write_bytes(b"torn")
    html = checked(report.build(trained, run))
    assert html.count("file gone") == 2 and html.count("data:image/jpeg") == 1
    assert "No person has sorted an image of this data set." in html


def test_a_comparison_gives_arms_differences_and_verdict(trained: Store) -> None:
    add_run(trained, "c-self-paced-s0", RIGHT | {"a/a1.jpg": "b"})
    result = {
        "verdict": "No detectable difference. Only 1 seed.", "passes": 2, "noise": 0.2, "leak_percent": 0.0, "notes": [], "seconds": 12.0,
        "arms": [{"arm": "fine-tune", "mean": 0.75, "sd": None, "seeds": [0.75], "loss": 0.5, "knn": None, "peak": None},
                 {"arm": "self-paced", "mean": 0.9167, "sd": None, "seeds": [0.9167], "loss": 0.4, "knn": 0.7, "peak": None}],
        "pairs": [{"a": "self-paced", "b": "fine-tune", "difference": 0.1667, "low": -0.1, "high": 0.4, "p": 0.5, "p_holm": 0.5, "seeds": 1}],
        "members": [{"arm": "fine-tune", "seed": 0, "run_id": "a-run"}, {"arm": "self-paced", "seed": 0, "run_id": "c-self-paced-s0"}],
    }  # fmt: skip
    run = finish(trained, "c", CompareConfig("tiny", arms=("self-paced",), weights="none"), result)
    html = checked(report.build(trained, run))
    for said in ("No detectable difference.", "Only 1 seed.", "+16.67", "[-10.00, +40.00]", "20% of the training images had a wrong class", "0.9167",
                 "1 images were misclassified by every run", "wrong in 2 of 2 runs", "all layers, all images"):  # fmt: skip
        assert said in html, said
    table = html[html.index("Misclassified test images by class") :]
    assert table.index("25.0%") < table.index("</table>")


def test_a_hundred_classes_are_told_by_their_most_frequent_confusions(tiny: Store) -> None:
    """The matrix would have 10,000 cells: nobody can read it, and Altair refuses to draw it."""
    add_run(tiny, "a-run", RIGHT | {"a/a0.jpg": "b", "a/a1.jpg": "b", "c/c0.jpg": "a"})
    many = {**RESULT, "classes": ["a", "b", "c", *(f"class {n}" for n in range(97))]}
    html = checked(report.build(tiny, finish(tiny, "a-run", TrainConfig("tiny", mode="fine-tune", weights="none"), many)))
    table = html[html.index("The 2 most frequent confusions of the test images, of 100 classes") :]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table[: table.index("</table>")])
    assert cells == ["a", "b", "2", "50.0%", "c", "a", "1", "25.0%"]


@pytest.mark.parametrize(("arms", "charts"), [(8, 1), (9, 2), (17, 3)])
def test_more_arms_than_lines_can_be_told_apart_get_several_charts(tiny: Store, arms: int, charts: int) -> None:
    names = [f"arm {n}" for n in range(arms)]
    for name in names:
        add_run(tiny, f"c-{name}", RIGHT | {"a/a1.jpg": "b"})
    with tiny.write() as cursor:
        tiny.insert(cursor, "epoch", pd.DataFrame([
            {"run_id": f"c-{name}", "epoch": n, "stage": "all", "subset_size": 8, "learning_rate": 1e-4, "train_loss": 1.0, "train_accuracy": 0.5,
             "val_loss": 1.0, "val_accuracy": 0.5, "seconds": 6.0, "images_per_second": 10.0, "samples_seen": 24 * n}
            for name in names for n in range(1, 701 if arms == 8 else 4)
        ]))  # fmt: skip
    part = report._arm_curves(tiny, {"members": [{"arm": name, "seed": 0, "run_id": f"c-{name}"} for name in names]})
    assert len(part.figures) == 2 * charts, "val accuracy and images in use"
    shown = [name for figure in part.figures[:charts] for name in names if f">{name}<" in figure.svg]
    assert shown == names
    assert ("chart 1 of" in part.figures[0].caption) == (charts > 1)


def test_what_has_no_result_is_refused(trained: Store) -> None:
    with pytest.raises(RunError, match="no result to report yet"):
        report.build(trained, RunDir(trained.home.runs / "a-run"))
    with pytest.raises(RunError, match="no result to report yet"):
        report.build(trained, RunDir(trained.home.runs / "nobody"))
    add_run(trained, "ranking", RIGHT, kind="score")
    with trained.write() as cursor:
        cursor.execute("UPDATE run SET result = '{}' WHERE run_id = 'ranking'")
    with pytest.raises(RunError, match="a ranking"):
        report.build(trained, RunDir(trained.home.runs / "ranking"))


def test_the_command_says_what_is_wrong(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(home.root), "report", "nobody", "--out", "x.html"]) == 2
    assert "no such run" in capsys.readouterr().err


def test_the_command_replaces_a_file_when_asked_and_the_database_never(
    tints: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, home, out = worked(tints, config(epochs=1)), tints.home, tmp_path / "report.html"
    tints.close()
    before = home.database.read_bytes()
    out.write_text("mine", encoding="utf-8")
    call = ["--home", str(home.root), "report", run.run_id, "--explain", "0", "--out"]
    for more in ([], ["--overwrite"]):
        assert main([*call, str(home.database), *more]) == 2
        assert "the program keeps its own there" in capsys.readouterr().err
    assert home.database.read_bytes() == before
    assert main([*call, str(out)]) == 2
    assert "there already" in capsys.readouterr().err and out.read_text(encoding="utf-8") == "mine"
    assert main([*call, str(out), "--overwrite"]) == 0
    checked(out.read_text(encoding="utf-8"))
