"""Backups: everything comes back, nothing half-made is left or taken, the database that was there is never lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curriculum.backup import Restored, _vouch, backup, restore
from curriculum.datasets import add_dataset
from curriculum.errors import ConfigError, StoreError, StoreLockedError
from curriculum.files import digest, write_json
from curriculum.home import Home
from curriculum.labels import annotate
from curriculum.ownership import THE_APP
from curriculum.schema import SCHEMA_VERSION, TABLES
from curriculum.store import Store
from tests.label_cases import filled, levels, log
from tests.test_store import ANNOTATE_FOREVER, HOLD, Child, line


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    return {table: store.rows(f"SELECT * FROM (SELECT COLUMNS(*)::TEXT FROM {table}) ORDER BY ALL") for table in TABLES}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def saved(tmp_path: Path, home: Home, tiny_folder: Callable[..., Path]) -> Path:
    """A backup of a labelled data set; the database that it is of has one label more since."""
    with Store.open(home) as store:
        add_dataset(store, "tiny", tiny_folder())
        folder = backup(filled(store), tmp_path / "saved")
        annotate(store, "tiny", "b/b3.jpg", "Zoe", "hard")
    return folder


def test_everything_comes_back_in_a_new_home(tiny: Store, tmp_path: Path) -> None:
    with filled(tiny).write() as cursor:
        cursor.execute(
            """INSERT INTO run (run_id, kind, dataset, mode, seed, config, state, created_at)
               VALUES ('r1', 'train', 'tiny', 'staged', 0, '{"epochs": 3}', 'done', now())"""
        )
        cursor.execute("INSERT INTO prediction VALUES ('r1', 'tiny', 'a/a0.jpg', 'test', 'a', 'b', 0.75, 0.25, 1.5, [0.25, 0.75])")
    folder = backup(tiny)
    assert folder.parent == tiny.home.labels / "backups"
    assert names(folder) == sorted(["manifest.json", *(f"{table}.parquet" for table in TABLES)])
    assert names(folder.parent) == [folder.name]
    restored = Home(tmp_path / "new")
    done = restore(restored, folder)
    assert done == Restored(None, {table: len(rows) for table, rows in everything(tiny).items()})
    assert names(restored.labels) == ["curriculum.duckdb"]
    with Store.open(restored) as store:
        assert everything(store) == everything(tiny)
        annotate(store, "tiny", "a/a0.jpg", "Ann", "easy")  # which comes after all that was there
        assert store.rows("SELECT level, seq = (SELECT max(seq) FROM annotation) FROM current_label WHERE example = 'a/a0.jpg'") == [
            ("easy", True)
        ]


def test_a_restore_keeps_the_database_that_was_there(home: Home, saved: Path) -> None:
    with Store.open(home) as store:
        store.write_snapshot()
    done = restore(home, saved)
    with Store.open(home) as store:
        assert "b/b3.jpg" not in levels(store)
        assert len(log(store)) == 11
    assert not home.snapshot.exists()
    assert done.kept is not None
    assert names(home.labels) == sorted(["curriculum.duckdb", done.kept.name])
    shutil.copy2(done.kept, home.database)
    with Store.open(home) as store:
        assert levels(store)["b/b3.jpg"] == "hard"


def test_a_backup_holds_what_only_the_write_ahead_log_had(
    home: Home, tiny_folder: Callable[..., Path], tmp_path: Path, child: Child
) -> None:
    with Store.open(home) as store:
        add_dataset(store, "tiny", tiny_folder())
    process = child(ANNOTATE_FOREVER, home.root)
    acknowledged = {line(process) for _ in range(20)}
    process.kill()
    process.communicate()
    assert home.database.with_name("curriculum.duckdb.wal").stat().st_size > 0
    with Store.open_or_snapshot(home) as store:
        folder = backup(store, tmp_path / "saved")
    restore(Home(tmp_path / "new"), folder)
    with Store.open(Home(tmp_path / "new")) as store:
        assert acknowledged <= {str(row[0]) for row in store.rows("SELECT id FROM annotation")}


def test_while_another_process_owns_the_database_a_backup_is_of_its_snapshot_and_a_restore_is_refused(
    home: Home, tiny_folder: Callable[..., Path], tmp_path: Path, child: Child
) -> None:
    with Store.open(home) as store:
        add_dataset(store, "tiny", tiny_folder())
    owner = child(HOLD, home.root, THE_APP, "annotate")
    assert line(owner) == "open"
    with Store.open_or_snapshot(home) as store:
        folder = backup(store, tmp_path / "saved")
    before = {path: path.stat().st_ino for path in home.labels.iterdir()}
    with pytest.raises(StoreLockedError, match=f"owner process {owner.pid}"):
        restore(home, folder)
    assert {path: path.stat().st_ino for path in home.labels.iterdir()} == before
    restore(Home(tmp_path / "new"), folder)
    with Store.open(Home(tmp_path / "new")) as store:
        assert levels(store) == {"a/a0.jpg": "hard"}


def test_a_database_that_cannot_be_opened_is_replaced_and_kept(home: Home, saved: Path) -> None:
    home.database.write_bytes(b"not a database" * 1000)
    done = restore(home, saved)
    assert done.kept is not None
    assert done.kept.read_bytes() == b"not a database" * 1000
    with Store.open(home) as store:
        assert len(log(store)) == 11


def test_of_a_database_that_cannot_be_opened_the_last_snapshot_is_kept_as_a_backup(home: Home, saved: Path) -> None:
    with Store.open(home) as store:
        assert levels(store)["b/b3.jpg"] == "hard"  # which the backup doesn't have
        store.write_snapshot()
    home.database.write_bytes(b"not a database" * 1000)
    restore(home, saved)
    (rescued,) = (home.labels / "backups").glob("rescued-*")
    restore(home, rescued)
    with Store.open(home) as store:
        assert levels(store)["b/b3.jpg"] == "hard"
    assert list((home.labels / "backups").iterdir()) == [rescued]


def _truncate(folder: Path) -> None:
    path = folder / "annotation.parquet"
    path.write_bytes(path.read_bytes()[:-1])


def _manifest(folder: Path, **change: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | change), encoding="utf-8")


def _bad_level(folder: Path) -> None:
    path = folder / "annotation.parquet"
    frame = pd.read_parquet(path)
    frame["level"] = "impossible"
    frame.to_parquet(path)
    sums = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"]
    _manifest(folder, sha256=sums | {path.name: digest(path)})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_truncate, "changed or damaged. Got: 'annotation.parquet'"),
        (_bad_level, "can't be put into a database"),
        (lambda folder: (folder / "score.parquet").unlink(), "no whole backup"),
        (lambda folder: (folder / "manifest.json").unlink(), "no whole backup"),
        (lambda folder: (folder / "manifest.json").write_text("{", encoding="utf-8"), "no whole backup"),
        (lambda folder: (folder / "manifest.json").write_text("[]", encoding="utf-8"), "no whole backup"),
        (lambda folder: _manifest(folder, rows={}), "no whole backup"),
        (lambda folder: _manifest(folder, schema_version=SCHEMA_VERSION + 1), "newer version of this program"),
        (shutil.rmtree, "no whole backup"),
    ],
)
def test_what_is_no_whole_backup_changes_nothing(home: Home, saved: Path, damage: Callable[[Path], object], says: str) -> None:
    damage(saved)
    before = home.database.read_bytes()
    with pytest.raises(StoreError) as caught:
        restore(home, saved)
    assert says in str(caught.value)
    assert not isinstance(caught.value, StoreLockedError)
    assert names(home.labels) == ["curriculum.duckdb"]
    assert home.database.read_bytes() == before


def test_a_backup_overwrites_nothing_and_leaves_nothing_half_made(tiny: Store, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x", encoding="utf-8")
    for path in (tmp_path / "mine.txt", tmp_path / "set"):
        with pytest.raises(ConfigError, match="there already"):
            backup(tiny, path)
    with pytest.raises(OSError, match="Not a directory"):
        backup(tiny, tmp_path / "mine.txt" / "saved")
    for place in (tiny.home.runs / "saved", tiny.home.snapshot / "saved"):
        with pytest.raises(ConfigError, match="the program keeps its own there"):
            backup(tiny, place)
    assert names(tmp_path) == ["home", "mine.txt", "set"]
    mine = tiny.home.labels / "backups" / "mine"
    assert backup(tiny, mine) == mine


@pytest.mark.parametrize("change", [{"rows": {"annotation": float("inf")}}, {"schema_version": 0.5}])
def test_a_manifest_that_says_nothing_sensible_is_refused(home: Home, saved: Path, change: dict[str, Any]) -> None:
    (saved / "manifest.json").write_text(json.dumps(json.loads((saved / "manifest.json").read_text()) | change))
    with pytest.raises(StoreError, match="is no whole backup"):
        restore(home, saved)


def test_a_manifest_that_names_a_file_elsewhere_is_refused(home: Home, saved: Path) -> None:
    outside = saved.parent / "outside.parquet"
    outside.write_bytes(b"not for you")
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["rows"]["../outside"], manifest["sha256"]["../outside.parquet"] = 1, digest(outside)
    write_json(saved / "manifest.json", manifest)
    with pytest.raises(StoreError, match="is no table"):
        restore(home, saved)


def replaced(folder: Path, table: str, **columns: Any) -> None:
    """A table with other columns, and a manifest that vouches for it."""
    rows = pq.read_table(folder / f"{table}.parquet").to_pydict() | columns
    pq.write_table(pa.table(rows), folder / f"{table}.parquet")
    _vouch(folder, SCHEMA_VERSION)


@pytest.mark.parametrize("version", [["3"], [None], [], [0], [float("nan")],
                                     pa.array([0], pa.timestamp("us", "Nowhere/Here"))])  # fmt: skip
def test_a_backup_whose_tables_tell_no_version_is_refused(home: Home, saved: Path, version: list[Any]) -> None:
    replaced(saved, "schema_version", version=version, applied_at=[None] * len(version))
    with pytest.raises(StoreError, match="doesn't say the version"):
        restore(home, saved)


def test_a_log_whose_numbers_would_be_counted_up_to_for_years_is_refused(home: Home, saved: Path) -> None:
    seq = pq.read_table(saved / "annotation.parquet")["seq"].to_pylist()
    replaced(saved, "annotation", seq=[*seq[:-1], 2**62])
    with pytest.raises(StoreError, match="larger than any log's"):
        restore(home, saved)
