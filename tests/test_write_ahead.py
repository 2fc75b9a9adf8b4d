"""The write-ahead log after a power cut: all that stands before the damage counts, in its order, and what was there is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from curriculum import doctor
from curriculum.datasets import add_dataset
from curriculum.errors import StoreError
from curriculum.home import Home
from curriculum.store import Store
from curriculum.write_ahead import COMMITTED, DAMAGED, damaged_at, log_of, passed_over
from tests.conftest import CHECKOUT
from tests.ml import write_folder
from tests.test_store import Child, line

LABELS = 12
ANNOTATE = """
import os, sys
from pathlib import Path
from curriculum.home import Home
from curriculum.labels import annotate
from curriculum.store import Store
store = Store.open(Home(Path(sys.argv[1])))
(example,) = store.rows("SELECT min(example) FROM example")[0]
for _ in range(int(sys.argv[2])):
    print(annotate(store, "tiny", example, "Ann", "hard"), flush=True)
os._exit(1)  # as kill -9: the log stays behind
"""
OPEN_SLOWLY = """
import shutil, sys, time
from pathlib import Path
from curriculum.home import Home
from curriculum.store import Store
def slowly(*paths, copy=shutil.copy2):
    print("copying", flush=True)
    time.sleep(3)
    return copy(*paths)
shutil.copy2 = slowly
Store.open(Home(Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, list[str]]:
    """A home whose last owner was killed, and the ids of the labels that it had acknowledged."""
    home = Home(tmp_path_factory.mktemp("killed") / "home")
    with Store.open(home) as store:
        add_dataset(store, "tiny", write_folder(home.root / "tiny", each=1))
    command = [sys.executable, "-c", ANNOTATE, str(home.root), str(LABELS)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    assert len(done.stdout.split()) == LABELS, done.stderr
    return home, done.stdout.split()


def flipped(log: bytes, place: int) -> bytes:
    return log[:place] + bytes([log[place] ^ 8]) + log[place + 1 :]


Damage = Callable[[bytes], bytes]
"""Within an entry, or of its length: one that begins with zeros counts as cut off with DuckDB itself."""
WHOLE: Damage = bytes
DAMAGES: dict[str, Damage] = {
    "cut off": lambda log: log[: len(log) * 2 // 3],
    "zeros at the end": lambda log: log[: log.index(b"hard", len(log) // 2)].ljust(len(log), b"\0"),
    "a bit of a label in the middle": lambda log: flipped(log, log.index(b"hard", len(log) // 2)),
    "a bit of the last label": lambda log: flipped(log, log.rindex(b"hard")),
    "a bit of a length in the middle": lambda log: flipped(log, log.index(COMMITTED, len(log) // 2) - 4),
    "a bit of the last length": lambda log: flipped(log, log.rindex(COMMITTED) - 4),
}


def damaged(home: Home, damage: Damage, copy: Home) -> Home:
    shutil.copytree(home.labels, copy.labels)
    log_of(copy.database).write_bytes(damage(log_of(copy.database).read_bytes()))
    return copy


@pytest.mark.parametrize("name", DAMAGES)
def test_what_stands_before_the_damage_counts(killed: tuple[Home, list[str]], home: Home, name: str) -> None:
    before, acknowledged = killed
    damaged(before, DAMAGES[name], home)
    as_it_was = home.database.read_bytes(), log_of(home.database).read_bytes()
    with Store.open(home) as store:
        kept = [str(row[0]) for row in store.rows("SELECT id FROM annotation ORDER BY seq")]
        assert kept == acknowledged[: len(kept)]
        assert LABELS // 3 < len(kept) < LABELS
    with Store.open(home) as store:
        assert store.rows("SELECT count(*) FROM annotation") == [(len(kept),)]
    copies = [path for path in home.labels.glob(f"*{DAMAGED}*") if path.suffix != ".wal"]
    assert len(copies) == (name != "cut off")
    assert all((path.read_bytes(), log_of(path).read_bytes()) == as_it_was for path in copies)
    (check,) = doctor.examine(home, only=("database",))
    assert check.ok == (not copies)
    assert all(str(path) in check.detail for path in copies)


def test_of_a_whole_log_nothing_is_cut(killed: tuple[Home, list[str]], home: Home) -> None:
    before, acknowledged = killed
    with Store.open(damaged(before, WHOLE, home)) as store:
        assert [str(row[0]) for row in store.rows("SELECT id FROM annotation ORDER BY seq")] == acknowledged
    assert not list(home.labels.glob(f"*{DAMAGED}*"))


def test_who_only_looks_is_told_and_mends_nothing(killed: tuple[Home, list[str]], home: Home) -> None:
    damaged(killed[0], DAMAGES["zeros at the end"], home)
    before = log_of(home.database).read_bytes()
    with pytest.raises(StoreError, match="Start the app"):
        Store.open_to_look(home)
    assert log_of(home.database).read_bytes() == before


def test_another_error_is_not_mended(home: Home) -> None:
    assert damaged_at("WAL does not match database file") is None
    home.labels.mkdir(parents=True)
    home.database.write_bytes(b"what it was")
    log_of(home.database).write_bytes(b"and its log")
    with pytest.raises(StoreError, match="can't be opened"):
        Store.open(home)
    assert log_of(home.database).read_bytes() == b"and its log"
    assert sorted(path.name for path in home.labels.iterdir()) == [home.database.name, log_of(home.database).name]


@pytest.mark.parametrize(("place", "bit"), [(0, 8), (5, 128)])
def test_a_log_whose_beginning_is_damaged_is_kept(killed: tuple[Home, list[str]], home: Home, place: int, bit: int) -> None:
    damaged(killed[0], lambda log: log[:place] + bytes([log[place] ^ bit]) + log[place + 1 :], home)
    with Store.open(home) as store:  # DuckDB says nothing, and has nothing of it
        assert store.rows("SELECT count(*) FROM annotation") == [(0,)]
    (kept,) = home.labels.glob(f"*{DAMAGED}*.wal")
    assert kept.stat().st_size == log_of(killed[0].database).stat().st_size
    assert not doctor.examine(home, only=("database",))[0].ok


def test_a_log_whose_database_is_gone_is_kept(killed: tuple[Home, list[str]], home: Home) -> None:
    damaged(killed[0], WHOLE, home).database.unlink()
    with Store.open(home):
        pass
    (kept,) = home.labels.glob(f"*{DAMAGED}*")
    assert kept.read_bytes() == log_of(killed[0].database).read_bytes()
    (check,) = doctor.examine(home, only=("database",))
    assert str(kept).removesuffix(".wal") in check.detail


def test_a_log_that_a_killed_process_left_torn_is_no_alarm_wherever_it_ends(killed: tuple[Home, list[str]], home: Home) -> None:
    log = log_of(damaged(killed[0], WHOLE, home).database)
    for size in reversed(range(log.stat().st_size + 1)):
        os.truncate(log, size)
        assert not passed_over(home.database), size


def test_who_comes_second_to_a_damaged_log_cuts_no_label_of_the_first(killed: tuple[Home, list[str]], home: Home, child: Child) -> None:
    """Each copies the database first, which takes a while where it is large."""
    damaged(killed[0], DAMAGES["zeros at the end"], home)
    slow = child(OPEN_SLOWLY, home.root)
    assert line(slow) == "copying"
    quick = child(ANNOTATE, home.root, 20)
    acknowledged = quick.communicate()[0].split()
    slow.communicate()
    assert len(acknowledged) == 20
    with Store.open(home) as store:
        assert set(acknowledged) <= {str(row[0]) for row in store.rows("SELECT id FROM annotation")}
    assert len(list(home.labels.glob(f"*{DAMAGED}*.wal"))) == 1
