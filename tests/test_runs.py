"""Runs with real workers: start, watch, cancel, kill, resume, delete, list. Some work in this process to save its start."""

from __future__ import annotations

import errno
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from curriculum import analysis, intake, labels, preparation, runs, worker
from curriculum.cli import main
from curriculum.config import CompareConfig, TrainConfig
from curriculum.difficulty import FROM_DYNAMICS
from curriculum.errors import DatasetError, LabelsMissingError, RunError, UnknownError, WeightsError
from curriculum.files import write_json
from curriculum.home import Home
from curriculum.reporter import explain
from curriculum.rundir import About, RunDir, Status, all_runs, open_run
from curriculum.store import Store
from tests.conftest import until
from tests.tints import TABLES, config, rows, scoring, worked


def finished(run: RunDir) -> None:
    until(lambda: not run.status().active)
    assert run.status().state == "done", f"{run.status().message} {(run / 'log.txt').read_text(encoding='utf-8')}"


def facts(run: RunDir) -> list[dict[str, Any]]:
    """Its epochs but for the time they took."""
    return [{key: value for key, value in record.items() if key not in ("seconds", "images_per_second")} for record in run.epochs()]


def assert_same_outcome(one: RunDir, two: RunDir) -> None:
    assert facts(one) == facts(two)
    assert {epoch: used.tolist() for epoch, used in one.lessons().items()} == {
        epoch: used.tolist() for epoch, used in two.lessons().items()
    }
    for name in ("predictions.parquet", "dynamics.parquet", "scores.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(one / name), pd.read_parquet(two / name), check_exact=True)
    models = [torch.load(run / "model.pt", weights_only=True) for run in (one, two)]
    assert all(torch.equal(value, models[1][key]) for key, value in models[0].items())


# -- workers of their own -------------------------------------------------------------------------


def test_started_run_ends_in_rows_equal_to_its_files(tints: Store, home: Home) -> None:
    run = runs.start(tints, config(epochs=3))
    assert tints.rows("SELECT state, mode, protocol FROM run WHERE run_id = ?", [run.run_id]) == [("queued", "fine-tune", "honest")]
    finished(run)
    assert intake.ingest(tints, run).state == "done"

    stored = tints.query("SELECT * FROM epoch WHERE run_id = ? ORDER BY epoch", [run.run_id]).drop(columns="run_id")
    written = pd.DataFrame(run.epochs())
    assert stored["epoch"].tolist() == [1, 2, 3]
    for column in stored.columns:
        if column.startswith("test_"):
            assert stored[column].isna().all()
        else:
            assert stored[column].tolist() == written[column].tolist(), column

    order = pd.read_parquet(run / "order.parquet").set_index("example")
    file = pd.read_parquet(run / "predictions.parquet").set_index("example").sort_index()
    predictions = tints.query("SELECT * FROM prediction WHERE run_id = ? ORDER BY example", [run.run_id]).set_index("example")
    assert predictions.index.tolist() == file.index.tolist() == sorted(order.index)
    for column in ("split", "class", "predicted", "probability", "probability_true", "loss"):
        assert predictions[column].tolist() == file[column].tolist(), column
    assert (predictions["split"] == order["split"].sort_index()).all()
    assert np.array_equal(np.stack(predictions["probabilities"].tolist()), np.stack(file["probabilities"].tolist()))
    assert np.stack(file["probabilities"].tolist()).max(1) == pytest.approx(file["probability"].to_numpy())

    (row,) = runs.list_runs(tints).to_dict("records")
    result = run.result()
    assert result is not None
    assert (row["result"], row["config"], row["state"], row["seed"]) == (result, config(epochs=3).to_json(), "done", 0)
    assert result["examples"] == order["split"].value_counts().to_dict()
    test = file[file["split"] == "test"]
    assert result["test_accuracy"] == pytest.approx((test["predicted"] == test["class"]).mean())
    dynamics = pd.read_parquet(run / "dynamics.parquet")
    assert dynamics.columns.tolist() == ["epoch", "example", "loss", "margin", "error"]
    third = dynamics[dynamics["epoch"] == 3]
    assert dynamics.groupby("epoch").size().to_dict() == dict.fromkeys((1, 2, 3), len(third))
    assert third["example"].tolist() == order.index[order["split"] == "train"].tolist()
    assert third["loss"].mean() == pytest.approx(written["train_loss"][2], rel=1e-5)
    assert ((third["margin"] > 0).mean()) == pytest.approx(written["train_accuracy"][2])
    scored = tints.query("SELECT * FROM score WHERE run_id = ? ORDER BY example", [run.run_id])
    assert scored.groupby("method").size().to_dict() == dict.fromkeys(sorted(FROM_DYNAMICS), len(third))
    worst = scored[scored["method"] == "cartography_correctness"].set_index("example")["value"]
    assert worst.to_dict() == pytest.approx((dynamics["margin"] <= 0).groupby(dynamics["example"]).mean().to_dict())
    assert analysis.latest_score(tints, "tints") is None, "what training says of its own images is no ranking of all"
    assert not (run / "checkpoint.pt").exists()
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]

    before = rows(tints, run)
    intake.ingest(tints, run)
    assert rows(tints, run) == before
    with tints.write() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")
    intake.ingest(tints, open_run(home, run.run_id))
    assert rows(tints, run) == before, "a run directory rebuilds its rows"

    with pytest.raises(RunError, match="only what was cancelled, interrupted or has failed can be resumed"):
        runs.resume(tints, run)
    with pytest.raises(RunError, match="is done"):
        runs.cancel(run)


def test_a_run_goes_on_in_its_home_with_the_images_that_are_registered(tints: Store, tmp_path: Path) -> None:
    """Whatever somebody wrote into its request."""
    run, outside = preparation.prepare(tints, config("transfer", epochs=1)), tmp_path / "outside"
    run.write_status(Status("cancelled"))
    root = run.request()["root"]
    changed = {"root": str(outside), "cache": str(outside / "cache"), "runs": str(outside / "data" / "runs")}
    write_json(run / "config.json", run.request() | changed)
    runs.resume(tints, run)
    finished(run)
    assert run.status().state == "done", run.status()
    assert not outside.exists()
    assert run.request()["root"] == root


def test_cancelled_run_stops_soon_and_resumes_to_the_end(tints: Store) -> None:
    run = runs.start(tints, config(epochs=400))
    until(lambda: len(run.epochs()) >= 2)
    with pytest.raises(RunError, match=r"can't be deleted.*Cancel it first"):
        runs.delete(tints, run)
    with pytest.raises(RunError, match="is running"):
        runs.resume(tints, run)
    asked = time.monotonic()
    status = runs.cancel(run, wait_seconds=30)
    assert time.monotonic() - asked < 5
    assert status.state == "cancelled"
    assert "cancelled" in status.message
    assert intake.ingest(tints, run).state == "cancelled"
    done = len(run.epochs())
    assert 2 <= done < 400
    assert tints.rows("SELECT count(*) FROM epoch WHERE run_id = ?", [run.run_id]) == [(done,)]
    assert rows(tints, run)["prediction"] == []

    # 400 epochs would take minutes: a shorter plan for the same checkpoint ends soon after it.
    checkpoint = torch.load(run / "checkpoint.pt", weights_only=True)
    saved = checkpoint["training"]["epoch"]
    assert 0 < checkpoint["seconds"] <= status.seconds
    torch.save(checkpoint | {"seconds": 1000.0}, run / "checkpoint.pt")
    write_json(run / "config.json", run.request() | {"config": config(epochs=saved + 2).to_json()})
    runs.resume(tints, run)
    assert run.status().state in ("queued", "running")
    finished(run)
    assert [record["epoch"] for record in run.epochs()] == list(range(1, saved + 3))
    assert 1000 < run.status().seconds < 1100, "the time worked before counts"
    intake.ingest(tints, run)
    assert len(rows(tints, run)["prediction"]) == 45
    runs.delete(tints, run)
    assert not run.path.exists()
    assert rows(tints, run) == {table: [] for table in TABLES}


def test_killed_run_is_interrupted_and_resumes_to_the_uninterrupted_outcome(tints: Store) -> None:
    settings = config("self-paced", epochs=8, start_share=0.3, step_share=0.2, gate=0.3, slow_from=0.5, seed=4)
    run = runs.start(tints, settings)
    until(lambda: len(run.epochs()) >= 2)
    pid = run.status().pid
    assert pid is not None
    psutil.Process(pid).kill()
    until(lambda: run.status().state == "interrupted", 10)
    assert 2 <= len(run.epochs()) < 8
    assert intake.ingest(tints, run).state == "interrupted"
    with (run / "epochs.jsonl").open("ab") as file:
        file.write(b'{"epoch": 9, "to')  # as if the kill had come within a line
    runs.resume(tints, run)
    whole = worked(tints, settings)
    finished(run)
    assert [record["epoch"] for record in run.epochs()] == list(range(1, 9))
    assert len({record["subset_size"] for record in run.epochs()}) > 2
    assert [used.sum() for used in run.lessons().values()] == [record["subset_size"] for record in run.epochs()]
    assert_same_outcome(run, whole)
    assert intake.ingest(tints, run).state == "done"


# -- work in this process -------------------------------------------------------------------------


def test_worker_that_cannot_do_its_work_says_why_and_resumes_when_it_can(
    tints: Store, home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    run = preparation.prepare(tints, config("transfer", epochs=1))
    image = home.root.resolve() / "tints" / "red" / "030.png"
    image.rename(image.with_suffix(".away"))
    assert worker.work(run) == 1
    status = intake.ingest(tints, run)
    assert status.state == "failed"
    assert f"the image {image} can't be read" in status.message
    assert "`data check`" in status.message
    assert tints.rows("SELECT state, message FROM run WHERE run_id = ?", [run.run_id]) == [("failed", status.message)]
    assert "Traceback" in capfd.readouterr().err, "what goes to log.txt has the details"

    image.with_suffix(".away").rename(image)
    assert worker.work(run) == 0
    assert intake.ingest(tints, run).state == "done"
    assert run.status().message == ""


def test_out_of_fold_scores_end_in_rows(tints: Store) -> None:
    run = worked(tints, scoring())
    intake.ingest(tints, run)
    every = tints.query("SELECT * FROM score WHERE run_id = ? ORDER BY method, example", [run.run_id])
    written = pd.read_parquet(run / "scores.parquet").sort_values(["method", "example"])
    for column in ("example", "method", "value", "difficulty", "predicted", "probability_true"):
        assert every[column].tolist() == written[column].tolist()
    others = ["confidence", "el2n", "ensemble", "entropy", "knn_disagreement", "margin", "prototype_distance", "random"]
    assert every.groupby("method").size().to_dict() == dict.fromkeys([*others, "oof_loss"], 45)
    assert analysis.measures(tints, run.run_id) == ["oof_loss", *others]
    assert (
        analysis.difficulties(tints, run.run_id, "margin")["difficulty"].tolist()
        == every[every["method"] == "margin"]["difficulty"].tolist()
    )
    frame = every[every["method"] == "oof_loss"]
    assert analysis.difficulties(tints, run.run_id)["difficulty"].tolist() == frame["difficulty"].tolist()
    assert every[every["method"] == "confidence"]["value"].to_numpy() == pytest.approx(1 - frame["probability_true"].to_numpy(), abs=1e-6)
    assert frame["value"].rank().corr(frame["difficulty"].rank()) == pytest.approx(1)
    assert (frame["difficulty"].min(), frame["difficulty"].max()) == (0, 1)
    repeats = pd.read_parquet(run / "repeats.parquet").sort_values("example")
    assert np.stack(repeats["losses"].tolist()).mean(1) == pytest.approx(frame["value"].to_numpy())
    result = run.result()
    assert result is not None
    assert result["stability"] is not None
    assert result["mean_loss"] == pytest.approx(frame["value"].mean())
    before = rows(tints, run)
    intake.ingest(tints, run)
    assert rows(tints, run) == before


def test_a_runs_model_judges_and_starts_other_runs(tints: Store, home: Home) -> None:
    trained = worked(tints, config(epochs=3))
    score = worked(tints, scoring(method="loss", run=trained.run_id))
    predictions = pd.read_parquet(trained / "predictions.parquet").sort_values("example")
    judged = pd.read_parquet(score / "scores.parquet").query("method == 'loss'").sort_values("example")
    assert judged["value"].to_numpy() == pytest.approx(predictions["loss"].to_numpy(), rel=0.05, abs=0.05)
    assert judged["predicted"].tolist() == predictions["predicted"].tolist()

    further = worked(tints, config("transfer", weights=f"run:{trained.run_id}", epochs=2))
    first, second = (torch.load(run / "model.pt", weights_only=True) for run in (trained, further))
    assert torch.equal(first["layer4.1.conv2.weight"], second["layer4.1.conv2.weight"])
    assert not torch.equal(first["fc.weight"], second["fc.weight"])

    for settings, message in (
        (scoring(method="loss", run=trained.run_id, image_size=64), "image size that it was trained on"),
        (scoring(method="loss", run=score.run_id), "left no model"),
        (config(weights=f"run:{score.run_id}"), "left no model"),
    ):
        with pytest.raises((RunError, WeightsError), match=message):
            preparation.prepare(tints, settings)
    assert len(list(home.runs.iterdir())) == 3, "what is refused leaves no directory"


def test_staged_run_takes_the_teams_levels(tints: Store) -> None:
    with pytest.raises(LabelsMissingError, match="people has given none for tints"):
        preparation.prepare(tints, config("staged", epochs=3))
    labels.add_annotator(tints, "ada")
    examples = [row[0] for row in tints.rows("SELECT example FROM example ORDER BY example")]
    given = pd.DataFrame({"dataset": "tints", "example": examples[:40], "annotator": "ada"})
    given["level"] = [("easy", "medium", "hard")[i % 3] for i in range(40)]
    labels.append_many(tints, given, "import")
    run = worked(tints, config("staged", epochs=None, stage_epochs=(1, 1, 1)))
    order = pd.read_parquet(run / "order.parquet").set_index("example")
    assert order.loc[examples[:40], "level"].tolist() == given["level"].tolist()
    assert order.loc[examples[40:], "level"].isna().all()
    train = order[order["split"] == "train"]["level"]
    assert [(record["stage"], record["subset_size"]) for record in run.epochs()] == [
        ("easy", (train == "easy").sum()), ("easy+medium", train.isin(["easy", "medium"]).sum()), ("all", len(train)),
    ]  # fmt: skip
    trained = order[order["split"] == "train"]
    assert trained[run.lessons()[2]]["level"].unique().tolist() == [
        level for level in trained["level"].unique() if level in ("easy", "medium")
    ]
    result = run.result()
    assert result is not None
    assert [stage["stage"] for stage in result["stages"]] == ["easy", "easy+medium", "all"]
    assert result["all_images_epoch"] == 3
    assert intake.ingest(tints, run).state == "done"


def test_report_protocol_ingests_with_its_test_figures(tints: Store) -> None:
    run = worked(tints, config("transfer", protocol="report", epochs=3))
    intake.ingest(tints, run)
    figures = tints.rows("SELECT test_accuracy, val_accuracy FROM epoch WHERE run_id = ? ORDER BY epoch", [run.run_id])
    assert figures == [(record["test_accuracy"], None) for record in run.epochs()]
    result = run.result()
    assert result is not None
    assert result["examples"] == {"train": 36, "val": 0, "test": 9}
    peak = max(run.epochs(), key=lambda record: record["test_accuracy"])
    assert [result[f"peak_test_{name}"] for name in ("accuracy", "epoch", "loss", "knn")] == [
        peak["test_accuracy"], peak["epoch"], peak["test_loss"], peak["test_knn"]
    ]  # fmt: skip
    assert result["all_images_epoch"] == 1


def test_undefined_figures_are_null_in_the_database(tints: Store) -> None:
    """A single test image has no neighbours to count."""
    run = preparation.prepare(tints, config("transfer", epochs=1))
    order = pd.read_parquet(run / "order.parquet")
    order["split"] = ["test", "val", *["train"] * 43]
    order.to_parquet(run / "order.parquet", index=False)
    assert worker.work(run) == 0
    assert intake.ingest(tints, run).state == "done"
    assert tints.rows("SELECT val_knn FROM epoch WHERE run_id = ?", [run.run_id]) == [(None,)]
    (result,) = runs.list_runs(tints)["result"]
    assert result["test_knn"] is None
    assert result["test_accuracy"] in (0.0, 1.0)


def test_a_worker_killed_between_its_last_two_words_is_done_when_resumed(tints: Store) -> None:
    run = worked(tints, config(epochs=1))
    before = (run / "result.json").read_bytes()
    run.write_status(Status("running", pid=2**22 + 1, pid_started=1.0))
    assert run.status().state == "interrupted"
    assert worker.work(run) == 0
    assert run.status().state == "done"
    assert (run / "result.json").read_bytes() == before


def test_cancelled_before_it_began_a_worker_does_nothing(tints: Store) -> None:
    run = preparation.prepare(tints, config())
    run.ask_to_cancel()
    assert worker.work(run) == 1
    assert run.status().state == "cancelled"
    assert run.epochs() == []


@pytest.mark.parametrize("damage", [b"", b"torn", None])
def test_from_a_damaged_checkpoint_a_run_begins_anew_and_says_so(
    tints: Store, damage: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    run = preparation.prepare(tints, config("transfer", epochs=2))
    run.append_epoch({"epoch": 7})
    if damage is None:
        torch.save({"something": "else"}, run / "checkpoint.pt")
    else:
        (run / "checkpoint.pt").write_bytes(damage)
    assert worker.work(run) == 0
    assert [epoch["epoch"] for epoch in run.epochs()] == [1, 2]
    assert (run / "checkpoint.pt.damaged").exists()
    assert "The checkpoint is damaged" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full. Free some space, then resume"),
        (MemoryError(), "smaller --batch-size or --image-size"),
        (torch.OutOfMemoryError("CUDA out of memory"), "smaller --batch-size or --image-size"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "smaller --batch-size or --image-size",
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"), "smaller --batch-size or --image-size"),
        (DatasetError("the set is odd", todo="Look"), "the set is odd. Look."),
        (ValueError("what"), "ValueError: what. The run's log.txt has the details."),
    ],
)
def test_failures_are_explained_to_people(error: Exception, message: str) -> None:
    assert message in explain(error)


SHORT = """
import mmap, resource, sys
import numpy as np, torch
from curriculum import explainer, reporter
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
with open(sys.argv[1], "wb") as file:
    file.truncate(1 << 40)
tries = (
    lambda: torch.empty(1 << 38),
    lambda: np.zeros((1 << 20, 1 << 20)),
    lambda: np.memmap(sys.argv[1], "u1", "r"),
    lambda: torch.from_file(sys.argv[1], size=1 << 40, dtype=torch.uint8),
    lambda: bytes(1 << 40),
)
for attempt in tries:
    try:
        attempt()
    except Exception as error:
        print(type(error).__name__, reporter.explain(error), explainer.reason(error), sep="|")
"""


def test_a_want_of_memory_is_known_whoever_says_so(child: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    said, _ = child(SHORT, tmp_path / "sparse").communicate(timeout=120)
    kinds, runs_say, explainer_says = zip(*(line.split("|") for line in said.splitlines()), strict=True)
    assert kinds == ("RuntimeError", "MemoryError", "OSError", "RuntimeError", "MemoryError")
    assert all("smaller --batch-size or --image-size" in words for words in runs_say)
    assert all(words.startswith("Memory ran out. Close other programs") for words in explainer_says)


def test_a_checkpoint_that_finds_no_memory_is_not_damaged(tints: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = preparation.prepare(tints, config("transfer", epochs=2))
    (run / "checkpoint.pt").write_bytes(b"stays")
    monkeypatch.setattr(torch, "load", lambda *_args, **_more: torch.empty(1 << 50))
    assert worker.work(run) == 1
    assert "Memory ran out" in run.status().message
    assert (run / "checkpoint.pt").read_bytes() == b"stays"


def test_a_full_disk_is_found_behind_what_torch_says_of_it() -> None:
    error = RuntimeError("unexpected pos 704 vs 598")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert explain(error).startswith("The disk is full")
    with pytest.raises(Exception) as caught, Path("/dev/full").open("wb") as full:
        torch.save({"weight": torch.zeros(100_000)}, full)
    assert explain(caught.value).startswith("The disk is full")


def test_what_killed_processes_left_in_a_run_goes_when_the_next_one_begins(tints: Store) -> None:
    run = preparation.prepare(tints, config("transfer", epochs=1))
    left, owners = run / ".checkpoint.pt.4711-0a1b2c3d", run / ".about.json.4711-0a1b2c3d"
    for file in (left, owners):
        file.write_bytes(b"half")
    assert worker.work(run) == 0
    assert (left.exists(), owners.exists()) == (False, True)


@pytest.mark.parametrize(
    ("pace", "coming", "seconds"),
    [
        ([(100, 2.0), (100, 2.2), (100, 2.1)], [100, 100], 4.2),
        ([(100, 2.0), (200, 3.0), (300, 4.0)], [400, 500], 11.0),  # 1 s and a hundredth an image
        ([(100, 2.0)], [], 0.0),
    ],
)
def test_time_left_by_hand(pace: list[tuple[int, float]], coming: list[int], seconds: float) -> None:
    assert worker._seconds_left(pace, coming) == pytest.approx(seconds)


# -- lists, titles, deleting ----------------------------------------------------------------------


def test_runs_are_listed_newest_first_by_data_set_and_kind(tints: Store) -> None:
    train, score = preparation.prepare(tints, config()), preparation.prepare(tints, scoring())
    for place, run in enumerate((train, score)):
        write_json(run / "config.json", run.request() | {"created_at": 1_700_000_000 + place})
        intake.ingest(tints, run)
    assert runs.list_runs(tints)["run_id"].tolist() == [score.run_id, train.run_id]
    assert runs.list_runs(tints, kind="train")["run_id"].tolist() == [train.run_id]
    assert runs.list_runs(tints, dataset="other").empty
    (row,) = runs.list_runs(tints, "tints", "score").to_dict("records")
    assert (row["mode"], row["result"], row["config"]["folds"]) == ("oof_loss", None, 3)


def test_a_title_and_a_note_are_the_directorys_and_rebuild_their_row(tints: Store, home: Home) -> None:
    run = preparation.prepare(tints, config())
    ingester = intake.Ingester(tints)
    ingester.once()
    assert tints.rows("SELECT title, note FROM run") == [(None, None)]
    assert runs.describe(tints, run, title="**mine** <b>", note="one\ntwo") == About("**mine** <b>", "one\ntwo")
    assert tints.rows("SELECT title, note FROM run") == [("**mine** <b>", "one\ntwo")]
    assert runs.describe(tints, run, title="") == About("", "one\ntwo")
    with tints.write() as cursor:
        cursor.execute("DELETE FROM run")
    intake.ingest(tints, open_run(home, run.run_id))
    assert tints.rows("SELECT title, note FROM run") == [(None, "one\ntwo")]
    ingester.once()
    run.write_about(About("from a command"))
    ingester.once()
    assert tints.rows("SELECT title, note FROM run") == [("from a command", None)]


def test_deleting_leaves_nothing_that_is_taken_in_again(tints: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = worked(tints, config("transfer", epochs=1))
    intake.ingest(tints, run)
    real = shutil.rmtree

    def slow(path: Path, **more: Any) -> None:
        intake.Ingester(tints).once()  # the app's thread, in the middle of it
        real(path, **more)

    monkeypatch.setattr(shutil, "rmtree", slow)
    runs.delete(tints, run)
    assert tints.rows("SELECT run_id FROM run") == []
    assert not run.path.exists()


@pytest.fixture
def compared(tiny: Store) -> RunDir:
    """A comparison of two arms, all done, in the database; beside it a copy that somebody made, and a run of the same day."""
    run = preparation.prepare(tiny, CompareConfig("tiny", arms=("transfer",), weights="none", image_size=32, seeds=1))
    arm = preparation.prepare(tiny, TrainConfig("tiny", mode="transfer", weights="none", image_size=32, epochs=1))
    for run_id in (f"{run.run_id}-fine-tune-s0", f"{run.run_id}-transfer-s0", f"{run.run_id}-transfer-s7", f"{arm.run_id}-transfer-s0"):
        shutil.copytree(arm.path, tiny.home.runs / run_id)
    shutil.copytree(run.path, tiny.home.runs / f"{run.run_id}-backup")
    for each in all_runs(tiny.home):
        each.write_status(Status("done"))
        intake.ingest(tiny, each)
    return run


def left(store: Store) -> tuple[set[str], set[str]]:
    """What directories and what rows there are of runs."""
    return {path.name for path in store.home.runs.iterdir()}, {row[0] for row in store.rows("SELECT run_id FROM run")}


def test_deleting_takes_along_a_comparisons_own_runs_and_no_others(tiny: Store, compared: RunDir) -> None:
    before, _ = left(tiny)
    mine = {compared.run_id, f"{compared.run_id}-fine-tune-s0", f"{compared.run_id}-transfer-s0"}
    assert {each.run_id for each in runs.members(tiny.home, compared)} == mine - {compared.run_id}
    runs.delete(tiny, compared)
    assert left(tiny) == (before - mine, before - mine)
    alone = next(each for each in all_runs(tiny.home) if f"{each.run_id}-transfer-s0" in before)
    assert runs.members(tiny.home, alone) == [], "a run that is no comparison has none"
    runs.delete(tiny, alone)
    assert left(tiny) == (before - mine - {alone.run_id},) * 2
    day = tiny.home.runs / compared.run_id[:8]
    day.mkdir()
    runs.delete(tiny, RunDir(day))
    assert left(tiny)[0] == before - mine - {alone.run_id}


def test_arms_are_told_by_what_comparisons_call_them(tiny: Store, compared: RunDir) -> None:
    listed = set(runs.list_runs(tiny, kind="train", arms=False)["run_id"])
    every = set(runs.list_runs(tiny, kind="train")["run_id"])
    assert every - listed == {f"{compared.run_id}-{arm}" for arm in ("fine-tune-s0", "transfer-s0", "transfer-s7")}
    assert runs.comparison_id("20260131-120000-compare-1a2b-self-paced-random-s12") == "20260131-120000-compare-1a2b"
    assert runs.comparison_id(f"{compared.run_id}-backup") is None


def test_a_deletion_that_was_broken_off_is_done_by_asking_again(
    tiny: Store, compared: RunDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, home = {*left(tiny)[0]}, tiny.home
    kept = whole - {compared.run_id, f"{compared.run_id}-fine-tune-s0", f"{compared.run_id}-transfer-s0"}
    real, steps = (Path.unlink, shutil.rmtree), 0
    tiny.close()

    class KilledError(BaseException):
        pass

    def counted(done: Any) -> Any:
        """Killed before, or half way through, the first, second, ... time that something is removed."""

        def step(path: Path, *words: Any, **more: Any) -> None:
            nonlocal steps
            if path.is_relative_to(home.runs) and not path.name.startswith("."):
                steps -= 1
                if steps == 0:
                    if path.is_dir():
                        real[0](path / "status.json")
                    raise KilledError
            done(path, *words, **more)

        return step

    for number in range(1, 7):  # of each of three runs: config.json, then the directory
        with monkeypatch.context() as patch, Store.open(home) as store:
            for name in sorted(whole):
                if not (home.runs / name).exists():
                    copied = f"{compared.run_id}-backup" if name == compared.run_id else f"{compared.run_id}-transfer-s7"
                    shutil.copytree(home.runs / copied, home.runs / name)
                intake.ingest(store, RunDir(home.runs / name))
            assert left(store) == (whole, whole)
            steps = number
            patch.setattr(Path, "unlink", counted(real[0]))
            patch.setattr(shutil, "rmtree", counted(real[1]))
            with pytest.raises(KilledError):
                runs.delete(store, compared)
        assert main(["--home", str(home.root), "runs", "delete", compared.run_id]) == 0, number
        with Store.open(home) as store:
            assert left(store) == (kept, kept), number
        assert main(["--home", str(home.root), "runs", "delete", compared.run_id]) == 2
        assert "no such run" in capsys.readouterr().err


def test_rows_whose_directory_has_gone_can_be_deleted(tiny: Store, compared: RunDir) -> None:
    shutil.rmtree(compared.path)
    tiny.close()
    assert main(["--home", str(tiny.home.root), "runs", "delete", compared.run_id]) == 0
    with Store.open(tiny.home) as store:
        assert store.rows("SELECT 1 FROM run WHERE run_id = ?", [compared.run_id]) == []


@pytest.mark.parametrize("run_id", ["", ".", "..", "../..", "a/b", "a\0b", "x" * 300])
def test_what_is_no_name_of_a_folder_is_no_run_to_delete(tiny: Store, run_id: str) -> None:
    for folder in (tiny.home.data, tiny.home.runs, tiny.home.root):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}", encoding="utf-8")
    tiny.close()
    assert main(["--home", str(tiny.home.root), "runs", "delete", run_id]) != 0
    with Store.open(tiny.home) as store, pytest.raises(UnknownError, match="no such run"):
        runs.delete(store, RunDir(tiny.home.runs / ".."))
    assert all((folder / "config.json").exists() for folder in (tiny.home.data, tiny.home.runs, tiny.home.root))


def test_a_replay_of_a_run_that_lost_epochs_is_refused(tints: Store) -> None:
    run = worked(tints, config("self-paced", epochs=3))
    text = (run / "epochs.jsonl").read_text(encoding="utf-8")
    (run / "epochs.jsonl").write_text(text.splitlines(keepends=True)[0], encoding="utf-8")
    with pytest.raises(RunError, match="has lost epochs"):
        worker._replayed(run)
