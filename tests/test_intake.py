"""Directories of runs become rows: changes alone, damaged ones said, the others taken."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import psutil
import pytest
from PIL import Image

from curriculum import datasets, intake, preparation, runs, worker
from curriculum.errors import RunError
from curriculum.home import Home
from curriculum.rundir import About, Status
from curriculum.store import Store
from tests.tints import config, rows, scoring, worked


def test_the_next_process_takes_in_only_what_is_new(tints: Store, home: Home) -> None:
    ended, going = (preparation.prepare(tints, config(seed=seed)) for seed in (1, 2))
    (ended / "result.json").write_text(json.dumps({"run_id": ended.run_id}), encoding="utf-8")
    ended.write_status(Status("done"))
    intake.Ingester(tints).once()
    taken = tints.changes
    intake.Ingester(tints).once()
    assert tints.changes == taken + 1, "only the one that hasn't ended"
    ended.write_about(About("a title"))
    intake.Ingester(tints).once()
    assert tints.rows("SELECT title FROM run WHERE run_id = ?", [ended.run_id]) == [("a title",)]
    with tints.write() as cursor:
        cursor.execute("DELETE FROM run")  # an older database has come in this one's place
    intake.Ingester(tints).once()
    assert set(runs.list_runs(tints)["run_id"]) == {ended.run_id, going.run_id}


def test_a_run_that_could_not_be_taken_in_is_said_by_the_next_process_too(tints: Store) -> None:
    ended = preparation.prepare(tints, config(seed=1))
    (ended / "predictions.parquet").write_bytes(b"PAR1 but not really")
    (ended / "result.json").write_text(json.dumps({"run_id": ended.run_id}), encoding="utf-8")
    ended.write_status(Status("done"))
    for _ in range(2):
        assert list(intake.Ingester(tints).once()) == [ended.run_id]


def test_the_ingester_takes_changes_only_and_one_bad_run_stops_no_other(tints: Store) -> None:
    first, bad, last = (preparation.prepare(tints, config(seed=seed)) for seed in (1, 2, 3))
    (bad / "config.json").write_text(json.dumps({"config": {}}), encoding="utf-8")
    ingester = intake.Ingester(tints)
    failed = ingester.once()
    assert list(failed) == [bad.run_id]
    assert "config.json" in failed[bad.run_id]
    assert set(runs.list_runs(tints)["run_id"]) == {first.run_id, last.run_id}

    taken = tints.changes
    assert ingester.once() == failed, "it is said until it can be taken"
    assert tints.changes == taken

    last.write_status(replace(last.status(), state="running", pid=os.getpid(), pid_started=psutil.Process().create_time()))
    last.append_epoch({"epoch": 1, "stage": "all", "subset_size": 30, "learning_rate": 1e-3, "train_loss": 1.0, "train_accuracy": 0.5,
                       "seconds": 1.0, "images_per_second": 30.0, "samples_seen": 30})  # fmt: skip
    assert ingester.once() == failed
    assert tints.changes == taken + 1
    assert rows(tints, first)["epoch"] == []
    assert tints.rows("SELECT epoch, train_loss, val_loss FROM epoch") == [(1, 1.0, None)]
    last.write_status(replace(last.status(), phase="val", done=3))
    ingester.once()
    assert tints.changes == taken + 1, "progress within an epoch is no row"
    last.write_status(Status("failed", message="why"))
    ingester.once()
    assert tints.rows("SELECT state, message FROM run WHERE run_id = ?", [last.run_id]) == [("failed", "why")]
    shutil.rmtree(bad.path)
    assert ingester.once() == {}


def test_damaged_results_are_a_clear_error_and_take_no_row_away(tints: Store) -> None:
    run = worked(tints, config("transfer", epochs=1))
    intake.ingest(tints, run)
    before = rows(tints, run)
    (run / "predictions.parquet").write_bytes((run / "predictions.parquet").read_bytes()[:100])
    with pytest.raises(RunError, match=r"predictions\.parquet can't be read"):
        intake.ingest(tints, run)
    after = rows(tints, run)
    assert {table: found for table, found in after.items() if table != "run"} == {
        table: each for table, each in before.items() if table != "run"
    }
    assert "predictions.parquet can't be read" in str(tints.rows("SELECT message FROM run")[0][0])


def test_a_run_whose_results_are_damaged_has_ended_all_the_same_and_is_taken_when_they_are_mended(tints: Store) -> None:
    run = preparation.prepare(tints, config("transfer", epochs=1))
    ingester = intake.Ingester(tints)
    ingester.once()
    worked_again = worker.work(run)
    assert worked_again == 0
    whole = (run / "predictions.parquet").read_bytes()
    (run / "predictions.parquet").write_bytes(whole[: len(whole) // 2])
    assert list(ingester.once()) == list(ingester.once()) == [run.run_id]
    assert tints.rows("SELECT state FROM run") == [("done",)]
    (run / "predictions.parquet").write_bytes(whole)
    assert ingester.once() == {}
    assert tints.rows("SELECT message, count(*) > 0 FROM run JOIN prediction USING (run_id) GROUP BY ALL") == [(None, True)]


@pytest.mark.parametrize("name, text", [
    ("config.json", '{"created_at": "yesterday"}'), ("about.json", '{"title": "\\ud800"}'), ("epochs.jsonl", '{"epoch": "one"}\n'), ("status.json", "[]"),
])  # fmt: skip
def test_whatever_stands_in_one_runs_files_the_others_are_taken(tints: Store, name: str, text: str) -> None:
    bad, good = preparation.prepare(tints, config(seed=1)), preparation.prepare(tints, config(seed=2))
    given = json.loads(text) if name == "config.json" else None
    (bad / name).write_text(json.dumps({**bad.request(), **given}) if given else text, encoding="utf-8")
    intake.Ingester(tints).once()
    assert good.run_id in set(runs.list_runs(tints)["run_id"])


def test_what_a_model_said_of_another_picture_counts_no_more(tints: Store) -> None:
    trained, scored = worked(tints, config()), worked(tints, scoring())
    for run in (trained, scored):
        intake.ingest(tints, run)
    root, tables = datasets.get_dataset(tints, "tints").root, ("prediction", "score")
    replaced = datasets.examples(tints, "tints")["example"].iloc[0]
    was = (root / replaced).read_bytes()

    def said_of(example: str) -> list[int]:
        return [tints.rows(f"SELECT count(*) FROM {table} WHERE example = ?", [example])[0][0] for table in tables]

    before = said_of(replaced)
    assert min(before) > 0
    Image.new("RGB", (32, 32), "black").save(root / replaced)
    found = datasets.check_dataset(tints, "tints")
    assert (found.changed, found.scored) == (1, 1)
    assert "counts no more: score again" in " ".join(found.differences())
    assert said_of(replaced) == [0, 0]
    for run in (trained, scored):  # what stands in their directories doesn't bring it back
        intake.ingest(tints, run)
    assert said_of(replaced) == [0, 0]
    others = {table: tints.rows(f"SELECT count(DISTINCT example) FROM {table}")[0][0] for table in tables}
    assert others == dict.fromkeys(tables, 44)

    (root / replaced).write_bytes(was)
    assert datasets.check_dataset(tints, "tints").scored == 0
    for run in (trained, scored):
        intake.ingest(tints, run)
    assert said_of(replaced) == before, "the picture that they judged is back"
