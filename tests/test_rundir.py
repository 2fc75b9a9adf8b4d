"""A run's directory: whole files or none, torn lines passed over, a status that tells the dead from the living."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curriculum import rundir
from curriculum.config import ScoreConfig, TrainConfig
from curriculum.errors import ConfigError, CurriculumError, RunError, UnknownError
from curriculum.files import write_json
from curriculum.home import Home
from curriculum.rundir import START_GRACE_SECONDS, About, RunDir, Status, all_runs, open_run
from curriculum.vocabulary import RunState

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    (tmp_path / "a-run").mkdir()
    return RunDir(tmp_path / "a-run")


def request(home: Home, run_id: str = "20250101-000000-fine-tune-aa") -> RunDir:
    run = RunDir(home.runs / run_id)
    order = pd.DataFrame({"example": ["a/1.png", "b/2.png"], "class": ["a", "b"], "level": ["easy", None]})
    run.write_request(TrainConfig("tiny", mode="fine-tune", seed=3), root=home.root / "set", home=home, classes=("a", "b"), order=order)
    return run


# -- the request ----------------------------------------------------------------------------------


def test_a_request_comes_back_as_it_was_written(home: Home) -> None:
    run = request(home)
    assert run.config() == TrainConfig("tiny", mode="fine-tune", seed=3)
    record = run.request()
    assert (record["run_id"], record["classes"], record["root"]) == (run.run_id, ["a", "b"], str(home.root / "set"))
    assert (record["cache"], record["runs"]) == (str(home.cache), str(home.runs))
    assert abs(record["created_at"] - time.time()) < 60
    order = pd.read_parquet(run / "order.parquet")
    assert order["example"].tolist() == ["a/1.png", "b/2.png"]
    assert order["level"].isna().tolist() == [False, True]
    assert run.status().state == "queued"


@pytest.mark.parametrize("config", [TrainConfig("d", stage_epochs=(1, 2, 3)), ScoreConfig("d", method="loss", run="x", seed=5)])
def test_every_kind_of_configuration_comes_back(home: Home, config: TrainConfig | ScoreConfig) -> None:
    run = RunDir(home.runs / "r")
    run.write_request(config, root=home.root, home=home, classes=("a", "b"), order=pd.DataFrame({"example": ["a/1.png"]}))
    assert run.config() == config


def test_a_run_is_never_written_over(home: Home) -> None:
    run = request(home)
    with pytest.raises(FileExistsError):
        request(home)
    (run / "status.json").unlink()  # killed before it was whole
    assert request(home).status().state == "queued"


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '"text"', "{}", '{"config": {}}'])
def test_a_damaged_request_is_a_clear_error(run: RunDir, content: str) -> None:
    (run / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=r"run a-run .*(can't be read|incomplete)"):
        run.request()


@pytest.mark.parametrize(
    "config", [{}, {"kind": "bake"}, {"kind": "train"}, {"kind": "train", "dataset": "d", "depth": 3}, [1], "train", None]
)
def test_a_damaged_configuration_is_a_clear_error(home: Home, config: object) -> None:
    run = request(home)
    record = run.request() | {"config": config}
    write_json(run / "config.json", record)
    with pytest.raises(ConfigError):
        run.config()


# -- the status -----------------------------------------------------------------------------------


def alive(state: RunState = "running", **changes: Any) -> Status:
    """Of a run whose process is this one."""
    return Status(state, **({"pid": os.getpid(), "pid_started": psutil.Process().create_time(), "epoch": 3} | changes))


def test_a_status_comes_back_as_it_was_written(run: RunDir) -> None:
    run.write_status(alive(phase="training", done=3, total=9, epochs=20, seconds=1.5, seconds_left=9.0))
    status = run.status()
    assert status.active
    assert (status.state, status.phase, status.done, status.total, status.epochs) == ("running", "training", 3, 9, 20)
    assert (status.seconds, status.seconds_left) == (1.5, 9.0)
    assert abs(status.updated_at - time.time()) < 60


def test_on_a_full_disk_a_status_is_written_over_the_old_one(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_status(Status("running", phase="training", message="long words that must not stay behind"))
    monkeypatch.setattr(rundir, "write_json", mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    run.write_status(Status("failed", message="The disk is full."))
    assert (run.status().state, run.status().message, run.status().phase) == ("failed", "The disk is full.", "")
    monkeypatch.setattr(rundir, "write_json", mock.Mock(side_effect=OSError(errno.EACCES, "Permission denied")))
    with pytest.raises(PermissionError):
        run.write_status(Status("done"))


def test_a_run_whose_process_has_ended_is_interrupted(run: RunDir) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run.write_status(alive(pid=child.pid, pid_started=psutil.Process(child.pid).create_time()))
    assert run.status().state == "running"
    child.communicate(b"\n")
    status = run.status()
    assert (status.state, status.epoch, status.active) == ("interrupted", 3, False)
    assert "resume" in status.message


def test_a_zombie_is_not_alive(run: RunDir) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    started = psutil.Process(child.pid).create_time()
    deadline = time.monotonic() + 30
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.02)
    run.write_status(alive(pid=child.pid, pid_started=started))
    assert run.status().state == "interrupted"
    child.wait()


@pytest.mark.parametrize("shift", [-100.0, 100.0])
def test_another_process_under_the_same_pid_is_not_the_run(run: RunDir, shift: float) -> None:
    run.write_status(alive(pid_started=psutil.Process().create_time() + shift))
    assert run.status().state == "interrupted"


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_a_finished_run_stays_what_it_was(run: RunDir, state: RunState) -> None:
    run.write_status(alive(state, pid=2**22 + 1, message="why"))
    assert (run.status().state, run.status().message) == (state, "why")


def test_a_run_that_no_process_took_up_is_interrupted_after_a_while(run: RunDir) -> None:
    run.write_status(Status("queued"))
    assert run.status().state == "queued"
    record = json.loads((run / "status.json").read_text(encoding="utf-8"))
    write_json(run / "status.json", record | {"updated_at": time.time() - START_GRACE_SECONDS - 1})
    assert run.status().state == "interrupted"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'"state"', b'{"state": "asleep"}', b'{"pid": 1}'])
def test_a_status_that_is_garbage_is_interrupted(run: RunDir, content: bytes) -> None:
    (run / "status.json").write_bytes(content)
    assert run.status() == Status("interrupted", message="The run's status can't be read.")


def test_a_missing_status_is_interrupted(run: RunDir) -> None:
    assert run.status().state == "interrupted"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {"state": st.sampled_from(["running", "queued", "done"]) | json_values},
        optional={"pid": json_values, "pid_started": json_values, "updated_at": json_values, "more": json_values},
    )
)
def test_no_status_file_breaks_its_reader(run: RunDir, record: dict[str, Any]) -> None:
    (run / "status.json").write_text(json.dumps(record), encoding="utf-8")
    assert run.status().state in get_args(RunState)


def test_a_wish_to_cancel_is_seen(run: RunDir) -> None:
    assert not run.cancel_asked()
    run.ask_to_cancel()
    assert run.cancel_asked()


# -- results --------------------------------------------------------------------------------------

EPOCHS = [{"epoch": number, "stage": "easy", "train_loss": 1 / number, "val_loss": None} for number in (1, 2, 3)]


def test_epochs_come_back_whole(run: RunDir) -> None:
    assert run.epochs() == []
    for record in EPOCHS:
        run.append_epoch(record)
    assert run.epochs() == EPOCHS


def test_a_torn_last_line_is_passed_over_wherever_it_tore(run: RunDir) -> None:
    for record in EPOCHS:
        run.append_epoch(record)
    whole = (run / "epochs.jsonl").read_bytes()
    for end in range(len(whole) + 1):
        (run / "epochs.jsonl").write_bytes(whole[:end])
        assert run.epochs() == EPOCHS[: whole[:end].count(b"\n")], end


@pytest.mark.parametrize("bad", [b"\xff\xfe\n", b"{]\n", b"17\n", b"\n", b"\0\0\0\0\n"])
def test_nothing_after_a_damaged_line_counts(run: RunDir, bad: bytes) -> None:
    lines = [json.dumps(record).encode() + b"\n" for record in EPOCHS]
    (run / "epochs.jsonl").write_bytes(lines[0] + bad + lines[1])
    assert run.epochs() == EPOCHS[:1]


@pytest.mark.parametrize("last", [0, 1, 2, 3, 9])
def test_kept_epochs_take_new_ones_after_a_torn_line(run: RunDir, last: int) -> None:
    for record in EPOCHS:
        run.append_epoch(record)
    with (run / "epochs.jsonl").open("ab") as file:
        file.write(b'{"epoch": 4, "sta')
    run.keep_epochs(last)
    run.append_epoch({"epoch": 99})
    assert run.epochs() == [*EPOCHS[:last], {"epoch": 99}]


def test_what_is_undefined_is_null_in_every_file(run: RunDir) -> None:
    run.append_epoch({"epoch": 1, "val_knn": float("nan"), "train_loss": float("inf")})
    write_json(run / "result.json", {"test_knn": float("nan"), "stages": [{"knn": float("nan"), "n": 1}], "pair": (1.0, float("-inf"))})
    assert run.epochs() == [{"epoch": 1, "val_knn": None, "train_loss": None}]
    assert run.result() == {"test_knn": None, "stages": [{"knn": None, "n": 1}], "pair": [1.0, None]}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff"])
def test_there_is_no_result_until_it_is_whole(run: RunDir, content: bytes | None) -> None:
    if content is not None:
        (run / "result.json").write_bytes(content)
    assert run.result() is None


# -- lessons --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, 8, 9, 2240])
def test_lessons_come_back_bit_by_bit(run: RunDir, count: int) -> None:
    assert run.lessons() == {}
    used = {epoch: np.random.default_rng(epoch).random(count) < epoch / 4 for epoch in (1, 2, 3, 4)}
    for epoch, each in used.items():
        run.append_lesson(epoch, each)
    found = run.lessons()
    assert list(found) == [1, 2, 3, 4]
    assert all(np.array_equal(found[epoch], used[epoch]) for epoch in used)
    assert (run / "lessons.jsonl").stat().st_size < 4 * (count / 8 * 4 / 3 + 60), "a bit an image, and little more"


def test_a_resumed_run_forgets_lessons_with_its_epochs(run: RunDir) -> None:
    for record in EPOCHS:
        run.append_lesson(record["epoch"], np.array([True, False]))  # type: ignore[arg-type]
        run.append_epoch(record)
    run.append_lesson(4, np.array([True, True]))  # killed before its epoch was written
    with (run / "lessons.jsonl").open("ab") as file:
        file.write(b'{"epoch": 5, "of')
    run.keep_epochs(2)
    run.append_lesson(3, np.array([False, True]))
    assert [(epoch, used.tolist()) for epoch, used in run.lessons().items()] == [(1, [True, False]), (2, [True, False]), (3, [False, True])]


@pytest.mark.parametrize(
    "bad",
    ['{"epoch": 2}', '{"epoch": 2, "of": 9, "used": "?"}', '{"epoch": 2, "of": 90, "used": "/w=="}', '{"epoch": 2, "of": 8, "used": 7}'],
)
def test_a_damaged_lesson_ends_them(run: RunDir, bad: str) -> None:
    run.append_lesson(1, np.array([True]))
    with (run / "lessons.jsonl").open("a") as file:
        file.write(bad + "\n")
    run.append_lesson(3, np.array([True]))
    assert list(run.lessons()) == [1]


# -- what people say of a run ---------------------------------------------------------------------


def test_a_title_is_one_line_and_a_note_keeps_its_lines(run: RunDir) -> None:
    assert run.about() == About()
    run.write_about(About("  the\nbest\tof \u202e\x00all ", "\nfirst\x00 line\nsecond\ud800 line\n"))
    assert run.about() == About("the best of all", "first line\nsecond line")
    run.write_about(About())
    assert run.about() == About()


def test_too_much_to_say_is_refused_and_changes_nothing(run: RunDir) -> None:
    run.write_about(About("title"))
    for title, note, name in (("x" * 101, "", "title"), ("", "x" * 5001, "note")):
        with pytest.raises(ConfigError, match=f"{name} is too long"):
            run.write_about(About(title, note))
    assert run.about() == About("title")


def test_a_directory_that_is_gone_takes_no_title(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="directory is gone"):
        RunDir(tmp_path / "gone").write_about(About("title"))
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", "17", json.dumps({"title": "x" * 101})])
def test_a_damaged_title_is_none(run: RunDir, content: str) -> None:
    (run / "about.json").write_text(content, encoding="utf-8")
    assert run.about() == About()


def test_the_end_of_a_log(run: RunDir) -> None:
    assert run.log_tail() == ""
    (run / "log.txt").write_bytes(b"\xff start\n" + b"".join(b"line %d\n" % number for number in range(9000)))
    assert run.log_tail(3).splitlines() == ["line 8997", "line 8998", "line 8999"]


# -- finding runs ---------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_and_other_folders_are_not_runs(home: Home) -> None:
    assert all_runs(home) == []
    for day in ("20250102", "20250103", "20250101"):
        request(home, f"{day}-000000-fine-tune-aa")
    (home.runs / "scratch").mkdir()
    (home.runs / "note.txt").write_text("x", encoding="utf-8")
    assert [run.run_id[:8] for run in all_runs(home)] == ["20250103", "20250102", "20250101"]


def test_a_run_is_opened_by_its_id(home: Home) -> None:
    run = request(home)
    assert open_run(home, run.run_id).path == run.path


@pytest.mark.parametrize("run_id", ["", ".", "..", "../runs/20250101-000000-fine-tune-aa", "nothing", "/etc", "a\0b", "x" * 300])
def test_an_unknown_run_is_refused_with_the_known_ones(home: Home, run_id: str) -> None:
    request(home)
    with pytest.raises(UnknownError, match="20250101-000000-fine-tune-aa"):
        open_run(home, run_id)


def test_where_there_are_no_runs_the_error_says_so(home: Home) -> None:
    with pytest.raises(CurriculumError, match="none has been started yet"):
        open_run(home, "x")


# -- damaged by anybody ---------------------------------------------------------------------------

DEEP = "[" * 5000 + "]" * 5000


def test_files_nested_too_deeply_or_with_half_a_letter_count_as_damaged(home: Home) -> None:
    run = request(home)
    for text in (f'{{"title": {DEEP}}}', '{"title": "\\ud800", "message": "\\udfff", "state": "done", "epoch": 1}'):
        for name in ("about.json", "status.json", "result.json", "epochs.jsonl", "config.json"):
            (run / name).write_text(text + "\n" * (name == "epochs.jsonl"), encoding="utf-8")
        assert (run.about(), run.status().state, run.result(), run.epochs()) == (About(), "interrupted", None, [])
        with pytest.raises(RunError, match="can't be read"):
            run.request()


def test_a_lesson_of_more_examples_than_it_has_bits_for_is_not_unpacked(run: RunDir) -> None:
    for count in ("1e999", str(10**13), "-8", "true", '"8"'):
        (run / "lessons.jsonl").write_text(f'{{"epoch": 1, "of": {count}, "used": "AA=="}}\n', encoding="utf-8")
        assert run.lessons() == {}


@pytest.mark.parametrize(
    "change", [{"done": "x"}, {"epoch": []}, {"message": 5}, {"seconds": None}, {"total": 10**400}, {"state": ["done"]}]
)
def test_a_status_with_text_for_a_number_is_damaged(run: RunDir, change: dict[str, Any]) -> None:
    (run / "status.json").write_text(json.dumps({"state": "done", "seconds": 1.5} | change), encoding="utf-8")
    assert run.status().state == "interrupted"


@pytest.mark.parametrize(
    "change", [{"root": 5}, {"runs": None}, {"classes": "a"}, {"classes": [1]}, {"config": []}, {"created_at": "noon"}]
)
def test_a_request_with_something_else_in_a_places_stead_is_damaged(home: Home, change: dict[str, Any]) -> None:
    run = request(home)
    write_json(run / "config.json", run.request() | change)
    with pytest.raises((RunError, ConfigError), match=f"damaged: {next(iter(change))}"):
        run.request()


def test_a_request_leads_to_no_other_home(home: Home, tmp_path: Path) -> None:
    run = request(home)
    write_json(run / "config.json", run.request() | {"cache": str(tmp_path / "evil"), "runs": str(tmp_path / "evil" / "data" / "runs")})
    record = run.request()
    assert (record["cache"], record["runs"]) == (str(home.cache), str(home.runs))


def test_a_home_of_a_name_too_long_for_any_folder_is_another_one(home: Home) -> None:
    run = request(home)
    write_json(run / "config.json", run.request() | {"runs": f"/{'x' * 300}/data/runs", "root": f"/{'x' * 300}/set"})
    assert run.request()["root"] == str(home.root / "set")


@pytest.mark.parametrize("damage", [b"", b"PAR1 torn", None])
def test_a_list_of_images_that_is_damaged_is_an_error_of_ours(home: Home, damage: bytes | None) -> None:
    run = request(home)
    if damage is None:
        pq.write_table(pa.table({"example": ["a"], "class": pa.array([0], pa.timestamp("us", "Nowhere/Here"))}), run / "order.parquet")
    else:
        (run / "order.parquet").write_bytes(damage)
    with pytest.raises(RunError, match=r"order\.parquet"):
        run.order()


def test_a_title_and_a_note_are_the_same_when_they_are_kept_again(run: RunDir) -> None:
    run.write_about(About("\x05 a\x00 \x07 b", "\x05\n first \n\x07"))
    assert run.about() == About("a b", "first")
    run.write_about(run.about())
    assert run.about() == About("a b", "first")
