"""What the doctor finds: well where all is well, and each fault by its name, with what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest import mock

import psutil
import pytest

from curriculum import backup, doctor, machine, ownership, people
from curriculum.cli import main
from curriculum.config import TrainConfig
from curriculum.datasets import get_dataset
from curriculum.doctor import CHECKS, Check, examine
from curriculum.home import Home
from curriculum.labels import annotate
from curriculum.preparation import prepare
from curriculum.rundir import RunDir, Status
from curriculum.schema import SCHEMA_VERSION
from curriculum.store import Store
from tests.conftest import CHECKOUT, PIN

CHEAP = tuple(name for name in CHECKS if name not in ("device", "weights"))
"""Those that import torch in a process of its own are looked at once, below."""


def check(home: Home, name: str, store: Store | None = None) -> Check:
    (found,) = examine(home, store, only=(name,))
    return found


def test_an_empty_home_is_well_and_stays_empty(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(home.root), "doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in document["checks"]] == list(CHECKS)
    assert all(set(each) == {"name", "ok", "detail"} for each in document["checks"])
    assert {each["name"]: each["detail"] for each in document["checks"] if not each["ok"] and each["name"] not in ("memory", "disk")} == {}
    assert not home.root.exists()


def test_of_a_home_in_use_everything_is_told(tiny: Store, home: Home) -> None:
    people.register(tiny, "Ana", PIN)
    annotate(tiny, "tiny", "a/a0.jpg", "Ana", "easy")
    found = {each.name: each for each in examine(home, tiny, only=CHEAP)}
    assert all(each.ok for name, each in found.items() if name not in ("memory", "disk"))
    assert f"schema version {SCHEMA_VERSION}" in found["database"].detail
    assert "1 of them annotations" in found["database"].detail
    assert found["people"].detail == "1, of whom 1 leads"
    assert "tiny (12 images)" in found["data sets"].detail
    assert "none yet: 1 annotation" in found["backup"].detail


def test_while_another_process_owns_the_database_its_snapshot_is_looked_at(home: Home, tiny: Store) -> None:
    tiny.write_snapshot()
    ownership.mark(home, ownership.THE_APP)
    said = subprocess.run(
        [sys.executable, "-c", "import sys; from curriculum.home import Home; from curriculum.doctor import examine\n"
         "print(examine(Home.find(sys.argv[1]), only=('database',))[0])", str(home.root)],
        capture_output=True, text=True, cwd=CHECKOUT, timeout=60,
    ).stdout  # fmt: skip
    assert f"the snapshot of process {os.getpid()}" in said
    assert "ok=True" in said


def test_looking_lifts_no_older_database(home: Home) -> None:
    with Store.open(home) as store, store.write() as cursor:
        cursor.execute("UPDATE schema_version SET version = ?", [SCHEMA_VERSION - 1])
    before = home.database.read_bytes()
    found = check(home, "database")
    assert found.ok
    assert f"schema version {SCHEMA_VERSION - 1}, which the next start lifts" in found.detail
    assert home.database.read_bytes() == before
    with Store.open_to_look(home) as store:
        assert store.version() == SCHEMA_VERSION - 1


@pytest.mark.parametrize("offset", [0.0, 0.1, 0.4, 0.9])
def test_a_damaged_database_is_found_wherever_the_damage_is(home: Home, offset: float) -> None:
    with Store.open(home) as store:
        store.rows("CHECKPOINT")
    whole = bytearray(home.database.read_bytes())
    used = 12_288 + int(offset * 200_000)  # behind the three headers, of which the first two are checked by their own sums
    whole[used] ^= 0xFF
    home.database.write_bytes(bytes(whole))
    found = check(home, "database")
    assert not found.ok
    assert "The newest backup" in found.detail or "could not answer" in found.detail


def test_a_file_that_is_no_database_is_named_with_the_newest_backup(home: Home, tiny: Store) -> None:
    folder = backup.backup(tiny)
    tiny.close()
    home.database.write_bytes(b"half a")
    found = check(home, "database")
    assert not found.ok
    assert str(folder) in found.detail


def test_a_folder_called_lock_is_no_lock(tmp_path: Path) -> None:
    home = Home(tmp_path / "block of locks")
    home.labels.mkdir(parents=True)
    home.database.mkdir()  # what DuckDB reports as an input or output error, with the path in it
    found = check(home, "database")
    assert not found.ok
    assert "another process" not in found.detail


def test_labels_of_more_than_a_week_that_no_backup_has(tiny: Store, home: Home) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ana", "easy")
    with tiny.write() as cursor:
        cursor.execute("UPDATE annotation SET recorded_at = ?", [datetime.now(UTC) - timedelta(days=8)])
    assert not (found := check(home, "backup", tiny)).ok
    assert "labels backup" in found.detail
    backup.backup(tiny)
    assert check(home, "backup", tiny).ok


def test_a_clock_that_was_set_back(tiny: Store, home: Home) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ana", "easy")
    assert check(home, "clock", tiny).ok
    with tiny.write() as cursor:
        cursor.execute("UPDATE annotation SET recorded_at = ?", [datetime.now(UTC) + timedelta(hours=1)])
    assert not (found := check(home, "clock", tiny)).ok
    assert "set the clock" in found.detail


def test_a_lead_whom_anybody_could_become(tiny: Store, home: Home) -> None:
    people.register(tiny, "Ana", PIN)
    people.reset_pin(tiny, "Ana")
    assert not (found := check(home, "people", tiny)).ok
    assert "Ana" in found.detail


def test_images_and_folders_that_are_gone(tiny: Store, home: Home) -> None:
    root = get_dataset(tiny, "tiny").root
    (root / "a" / "a1.jpg").unlink()
    assert "1 of 12 images are gone, such as a/a1.jpg" in check(home, "data sets", tiny).detail
    shutil.rmtree(root)
    found = check(home, "data sets", tiny)
    assert not found.ok
    assert f"its folder {root} is gone" in found.detail


def test_runs_without_a_process_and_half_made_ones(tiny: Store, home: Home) -> None:
    run = prepare(tiny, TrainConfig("tiny", weights="none", mode="fine-tune", image_size=32))
    assert check(home, "runs", tiny).ok
    run.write_status(Status("running", pid=2**22 + 1, pid_started=0.0))
    arm = RunDir(home.runs / f"{run.run_id}-fine-tune-s0")
    shutil.copytree(run.path, arm.path)
    (home.runs / "half").mkdir()
    found = check(home, "runs", tiny)
    assert not found.ok
    assert f"1 interrupted. {run.run_id}: " in found.detail, "an arm belongs to its comparison, which is resumed as one"
    assert "half in" in found.detail


def test_what_killed_processes_left(home: Home, store: Store) -> None:
    left = home.labels / ".curriculum.csv.12345"
    left.touch()
    assert check(home, "left behind").ok, "it may be being written"
    old = (datetime.now() - timedelta(hours=2)).timestamp()
    os.utime(left, (old, old))
    found = check(home, "left behind")
    assert not found.ok
    assert str(left) in found.detail


def test_a_secret_that_others_can_read(home: Home) -> None:
    home.labels.mkdir(parents=True)
    secret = home.labels / "secret.key"
    secret.write_bytes(b"secret")
    secret.chmod(0o600)
    assert check(home, "folders").ok
    secret.chmod(0o644)
    assert "chmod 600" in check(home, "folders").detail


class Space(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("name", "target", "value"),
    [("disk", "curriculum.doctor.shutil.disk_usage", Space(10**12, 10**12 - 10**9, 10**9)),
     ("memory", "curriculum.doctor.psutil.virtual_memory", psutil.virtual_memory()._replace(available=10**9))],
)  # fmt: skip
def test_too_little_room(home: Home, name: Literal["disk", "memory"], target: str, value: object) -> None:
    with mock.patch(target, return_value=value):
        assert not (found := check(home, name)).ok
    assert "1.0 GB" in found.detail


def test_a_library_of_another_version(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.0" if name == "streamlit" else real(name))
    found = check(home, "libraries")
    assert not found.ok
    assert "streamlit 1.0, not" in found.detail


@pytest.mark.parametrize(("variable", "value", "ok"), [
    ("STREAMLIT_SERVER_ADDRESS", "0.0.0.0", True), ("STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION", "false", False),
])  # fmt: skip
def test_how_the_server_listens(home: Home, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, ok: bool) -> None:
    assert "this machine alone" in check(home, "server").detail
    monkeypatch.setenv(variable, value)
    found = check(home, "server")
    assert found.ok is ok
    assert "this machine alone" not in found.detail


SEEN: dict[str, Any] = {"cpu": "a CPU", "cores": 2, "torch": "2", "cuda": "13", "gpu": None, "driver": False, "precision": "float32",
        "weights": {name: {"path": f"{name}-00000000.pth", "state": "there"} for name in ("resnet18", "squeezenet1_0", "squeezenet1_1", "vit_b_16")}}  # fmt: skip


def seen(**states: str) -> dict[str, Any]:
    """Weights that are in another state than whole."""
    return {"weights": SEEN["weights"] | {name: {"path": f"{name}.pth", "state": state} for name, state in states.items()}}


@pytest.mark.parametrize(("name", "change", "ok", "says"), [
    ("device", {}, True, "2 cores of a CPU, no GPU"),
    ("device", {"gpu": "a GPU"}, True, "a GPU"),
    ("device", {"driver": True}, False, "nvidia-smi"),
    ("weights", {}, True, "whole"),
    ("weights", seen(resnet18="not there"), True, "aren't there yet of ResNet18 (resnet18.pth): the first run or recipe"),
    ("weights", seen(vit_b_16="not there"), True, "aren't there yet of ViT-B/16 (vit_b_16.pth): the first run or recipe"),
    ("weights", seen(resnet18="damaged"), False, "damaged of ResNet18 (resnet18.pth). Delete"),
    ("weights", seen(squeezenet1_0="damaged"), False, "damaged of SqueezeNet 1.0 (squeezenet1_0.pth). Delete"),
])  # fmt: skip
def test_what_the_machine_says(home: Home, name: str, change: dict[str, Any], ok: bool, says: str) -> None:
    with mock.patch.object(doctor.Patient, "machine", {**SEEN, **change}):
        found = check(home, name)
    assert found.ok is ok
    assert says in found.detail


def test_torch_that_cannot_be_loaded_is_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert "torch can't be used" in check(home, "device").detail


def test_published_weights_by_the_sum_in_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = machine.published_weights()
    assert found["state"] == "not there"
    Path(found["path"]).parent.mkdir(parents=True)
    Path(found["path"]).write_bytes(b"half of it")
    assert machine.published_weights()["state"] == "damaged"
    assert machine.published_weights("lenet5")["state"] == "not there"


def test_a_check_that_fails_hides_no_other(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: doctor.Patient) -> doctor.Finding:
        raise ZeroDivisionError("of all things")

    monkeypatch.setitem(CHECKS, "disk", broken)
    found = {each.name: each for each in examine(home, only=("disk", "folders"))}
    assert "ZeroDivisionError: of all things" in found["disk"].detail
    assert found["folders"].ok


def test_for_people_what_needs_a_look_stands_out(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    home.database.parent.mkdir(parents=True)
    home.database.write_bytes(b"")
    home.database.write_bytes(b"half a")
    for slow in ("device", "weights"):
        monkeypatch.delitem(CHECKS, slow)
    assert main(["--home", str(home.root), "doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("LOOK")][-1] == "database"
    assert lines[-1].endswith("need a look.")
