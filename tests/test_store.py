"""The store: one owner, snapshots for everyone else, whole transactions, nothing acknowledged is ever lost."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curriculum import ownership, people
from curriculum.assignment import progress
from curriculum.backup import backup
from curriculum.datasets import Settings, add_dataset, check_dataset, settings
from curriculum.errors import StoreError, StoreLockedError
from curriculum.files import copy_apart
from curriculum.home import Home
from curriculum.labels import Event, annotate, append_many, consensus, record
from curriculum.ownership import THE_APP
from curriculum.schema import SCHEMA_VERSION, TABLES
from curriculum.store import Store, _keep_copy
from tests.conftest import CHECKOUT, PIN

Child = Callable[..., subprocess.Popen[str]]

OPEN = """
import sys
from pathlib import Path
from curriculum.home import Home
from curriculum.store import Store
try:
    Store.open(Home(Path(sys.argv[1])), patience=0).close()
    print("open")
except Exception as error:
    print(type(error).__name__)
"""
HOLD = """
import sys
import time
from pathlib import Path
from curriculum.home import Home
from curriculum.labels import annotate
from curriculum.store import Store
with Store.open(Home(Path(sys.argv[1])), owner=sys.argv[2]) as store:
    if "annotate" in sys.argv:
        annotate(store, "tiny", "a/a0.jpg", "Ann", "hard")
        store.write_snapshot()
    print("open", flush=True)
    time.sleep(float(sys.stdin.readline() or 0))
print("closed", flush=True)
"""

ANNOTATE_FOREVER = """
import itertools, sys
from pathlib import Path
from curriculum.home import Home
from curriculum.vocabulary import LEVELS
from curriculum.labels import annotate
from curriculum.store import Store
store = Store.open(Home(Path(sys.argv[1])))
examples = [row[0] for row in store.rows("SELECT example FROM example ORDER BY example")]
for n in itertools.count():
    print(annotate(store, "tiny", examples[n % len(examples)], "Ann", LEVELS[n % 3]), flush=True)
"""


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def registered(home: Home, tiny_folder: Callable[..., Path]) -> None:
    with Store.open(home) as store:
        add_dataset(store, "tiny", tiny_folder())


def test_another_process_is_locked_out_until_the_owner_closes(home: Home, child: Child) -> None:
    owner = child(HOLD, home.root, THE_APP)
    assert line(owner) == "open"
    with pytest.raises(
        StoreLockedError, match=f"open in another process, the app. Got: .owner process {owner.pid}.. Use its pages"
    ) as caught:
        Store.open(home)
    assert caught.value.pid == owner.pid
    with pytest.raises(StoreLockedError):  # there is no snapshot to read yet
        Store.open_or_snapshot(home)
    assert owner.communicate("0\n")[0] == "closed\n"
    with Store.open(home) as store:
        assert store.rows("SELECT max(version) FROM schema_version") == [(SCHEMA_VERSION,)]


@pytest.mark.parametrize("opened", [Store.open, Store.open_or_snapshot])
def test_a_command_waits_for_another_and_says_so(
    home: Home, child: Child, opened: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    with Store.open(home) as store:
        store.write_snapshot()  # of before: no command may take it for what is known now
    owner = child(HOLD, home.root, "labels import")
    assert line(owner) == "open"
    with pytest.raises(
        StoreLockedError, match=f"open in another process, labels import. Got: .owner process {owner.pid}.. Wait until that is done"
    ):
        opened(home, patience=0.2)
    assert owner.stdin is not None
    print("3", file=owner.stdin, flush=True)
    with opened(home) as store:
        assert store.writable
    assert f"open in another process, labels import (process {owner.pid}); waiting for up to 60 s" in caplog.text


@pytest.mark.parametrize(("mark", "holder", "app"), [
    ({"pid": 7, "what": THE_APP}, 7, True), ({"pid": 7, "what": THE_APP}, 8, False), ({"pid": 7, "what": THE_APP}, 0, True),
    ({"pid": 7, "what": THE_APP}, None, True), ({"pid": 7, "what": "labels import"}, 7, False), ({"pid": 7}, 7, False), ([], None, False),
])  # fmt: skip
def test_the_app_is_known_by_its_mark_and_its_pid(home: Home, mark: object, holder: int | None, app: bool) -> None:
    home.labels.mkdir(parents=True)
    (home.labels / "owner.json").write_text(json.dumps(mark))
    assert ownership.owned_by_the_app(home, holder) is app
    (home.labels / "owner.json").write_text("half {")
    assert not ownership.owned_by_the_app(home, holder)


def test_a_copy_of_the_database_leaves_its_lock(home: Home, child: Child, tmp_path: Path) -> None:
    """POSIX takes a process's locks on a file away as soon as it closes that file anywhere: a second process could have written."""
    with Store.open(home, owner=THE_APP) as store:
        _keep_copy(store, 2)
        copies = list(home.labels.glob("*.version-2.*.bak"))
        assert len(copies) == 1 and copies[0].stat().st_size == home.database.stat().st_size
        other = child(OPEN, home.root)
        assert other.communicate()[0] == "StoreLockedError\n"
        assert ownership.marked(home) == (os.getpid(), THE_APP)
    with pytest.raises(FileNotFoundError):
        copy_apart(tmp_path / "gone", tmp_path / "copy")


def test_nobody_takes_another_ones_mark_away(home: Home) -> None:
    store = Store.open(home)
    (home.labels / "owner.json").write_text(json.dumps({"pid": os.getpid() + 1, "what": THE_APP}))
    store.close()
    assert ownership.marked(home) == (os.getpid() + 1, THE_APP)


def test_snapshot_answers_while_locked_and_refuses_to_write(home: Home, tiny_folder: Callable[..., Path], child: Child) -> None:
    registered(home, tiny_folder)
    owner = child(HOLD, home.root, THE_APP, "annotate")
    assert line(owner) == "open"
    with Store.open_or_snapshot(home) as store:
        assert not store.writable
        assert consensus(store, "tiny").values.tolist() == [["a/a0.jpg", "hard", 1, 1, False]]
        with pytest.raises(StoreLockedError) as caught:
            annotate(store, "tiny", "a/a1.jpg", "Bob", "easy")
        assert caught.value.pid == owner.pid
        assert store.rows("SELECT count(*) FROM annotation") == [(1,)]
    assert (home.labels / "owner.json").exists()  # a reader's close must not remove the owner's mark


def test_closing_lets_another_process_in_while_the_object_lives(home: Home, child: Child) -> None:
    store = Store.open(home)
    with ThreadPoolExecutor(2) as pool:  # cursors of other threads must not keep the file locked
        list(pool.map(lambda n: store.rows("SELECT ?", [n]), range(4)))
    store.close()
    assert line(child(HOLD, home.root, "a command")) == "open"
    with pytest.raises(StoreError, match="just been closed"):
        store.rows("SELECT 1")


def test_a_thread_that_has_ended_leaves_no_cursor_behind(store: Store) -> None:
    """Streamlit runs a page in a thread of its own at each interaction: what they leave adds up over days."""
    for n in range(30):
        thread = threading.Thread(target=store.rows, args=("SELECT ?", [n]))
        thread.start()
        thread.join()
    assert len(store._cursors) <= 1  # this thread's, which opened the database


def test_second_open_in_the_same_process_is_refused_and_harms_nothing(home: Home, store: Store) -> None:
    with pytest.raises(StoreLockedError) as caught:
        Store.open(home)
    assert caught.value.pid == os.getpid()
    assert (home.labels / "owner.json").exists()
    assert store.rows("SELECT 1") == [(1,)]


def test_every_acknowledged_annotation_survives_kill_9(home: Home, tiny_folder: Callable[..., Path], child: Child) -> None:
    registered(home, tiny_folder)
    acknowledged: set[str] = set()
    for round_ in range(4):
        process = child(ANNOTATE_FOREVER, home.root)
        acknowledged |= {line(process) for _ in range(10 + 7 * round_)}
        process.kill()  # SIGKILL, by its id
        rest = process.communicate()[0].splitlines(keepends=True)
        acknowledged |= {text.strip() for text in rest if text.endswith("\n")}
        with Store.open(home) as store:
            kept = {str(row[0]) for row in store.rows("SELECT id FROM annotation")}
            assert acknowledged <= kept
            assert len(kept) <= len(acknowledged) + round_ + 1  # at most one a round was stored but not yet said
    assert len(acknowledged) >= 10 + 17 + 24 + 31


def test_threads_annotate_and_query_exactly(tiny: Store) -> None:
    examples = [row[0] for row in tiny.rows("SELECT example FROM example ORDER BY example")]
    wrong: list[object] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for n in range(24):
            annotate(tiny, "tiny", examples[n % 12], f"person {number}", "easy" if n < 12 else "hard")
            done = progress(tiny, "tiny", f"person {number}").mine
            expected = {"easy": 12 - max(n - 11, 0), "hard": max(n - 11, 0)} if n >= 12 else {"easy": n + 1, "hard": 0}
            if done != {**expected, "medium": 0} or tiny.rows("SELECT ?, ?", [number, n]) != [(number, n)]:
                wrong.append((number, n, done))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert wrong == []
    assert tiny.rows("SELECT count(*), count(DISTINCT id), count(DISTINCT seq) FROM annotation") == [(192, 192, 192)]
    assert tiny.rows("SELECT count(*) FROM current_label WHERE level = 'hard'") == [(96,)]


COUNT = "SELECT count(*) FROM standing_annotation WHERE dataset = ?"
"""A view of the log."""


def test_an_answer_is_remembered_until_what_it_was_read_from_changes(tiny: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ask = list[str](), tiny.rows

    def noted(sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return ask(sql, parameters)

    monkeypatch.setattr(tiny, "rows", noted)

    def count(dataset: str = "tiny") -> int:
        return int(tiny.remembered(COUNT, [dataset])[0][0])

    assert [count(), count(), count("another"), count()] == [0, 0, 0, 0]
    assert len(asked) == 2
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "hard")
    asked.clear()
    assert [count(), count()] == [1, 1]
    people.register(tiny, "Bob", PIN)  # another table
    assert count() == 1
    assert asked == [COUNT]
    tiny.close()
    with pytest.raises(StoreError, match="closed"):
        count()


def test_what_is_not_committed_is_remembered_by_nobody(tiny: Store) -> None:
    def count() -> int:
        return int(tiny.remembered(COUNT, ["tiny"])[0][0])

    assert count() == 0
    with suppress(ZeroDivisionError), tiny.write() as cursor:
        record(cursor, "tiny", "Ann", Event(uuid.uuid4(), "label", "a/a0.jpg", datetime.now(UTC), level="hard"))
        assert count() == 1, "one's own"
        with ThreadPoolExecutor(1) as another:
            assert another.submit(count).result() == 0
        raise ZeroDivisionError
    assert count() == 0


def test_who_has_written_reads_what_was_written_whoever_asks_meanwhile(tiny: Store) -> None:
    examples = [row[0] for row in tiny.rows("SELECT example FROM example ORDER BY example")]

    def work(n: int) -> list[int]:
        seen = []
        for example in examples:
            annotate(tiny, "tiny", example, f"P{n}", "easy")
            (said,) = tiny.remembered("SELECT count(*) FROM current_label WHERE annotator = ?", [f"P{n}"])[0]
            tiny.remembered(COUNT, ["tiny"])
            seen.append(said)
        return seen

    with ThreadPoolExecutor(4) as pool:
        assert set(map(tuple, pool.map(work, range(4)))) == {tuple(range(1, len(examples) + 1))}


def test_newer_database_is_refused_untouched(home: Home) -> None:
    with Store.open(home) as store, store.write() as cursor:
        cursor.execute("INSERT INTO schema_version (version) VALUES (?)", [SCHEMA_VERSION + 1])
    before = home.database.read_bytes()
    for _ in range(2):  # the second time shows that the first released the file
        with pytest.raises(StoreError, match=f"newer version.*schema version {SCHEMA_VERSION + 1}") as caught:
            Store.open(home)
        assert not isinstance(caught.value, StoreLockedError)
    assert home.database.read_bytes() == before


def test_damaged_file_is_an_error_that_says_what_to_do(home: Home) -> None:
    home.labels.mkdir(parents=True)
    home.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="snapshot, at most a minute old, becomes a backup") as caught:
        Store.open(home)
    assert not isinstance(caught.value, StoreLockedError)


def test_reopening_keeps_rows_and_version(home: Home) -> None:
    with Store.open(home) as store, store.write() as cursor:
        cursor.execute("INSERT INTO annotator (annotator, simulated) VALUES ('Ann', false)")
    with Store.open(home) as store:
        assert store.rows("SELECT annotator, simulated FROM annotator") == [("Ann", False)]
        assert store.rows("SELECT count(*) FROM schema_version") == [(1,)]
    assert not (home.labels / "owner.json").exists()


def test_a_block_that_raises_is_undone_whole(store: Store) -> None:
    changes = store.changes
    with pytest.raises(RuntimeError, match="stop"), store.write() as cursor:
        cursor.execute("INSERT INTO annotator (annotator, simulated) VALUES ('Ann', false)")
        raise RuntimeError("stop")
    assert store.rows("SELECT count(*) FROM annotator") == [(0,)]
    assert store.changes == changes


def test_a_statement_that_fails_undoes_those_before_it(store: Store) -> None:
    with pytest.raises(StoreError, match="refused to write"), store.write() as cursor:
        cursor.execute("INSERT INTO annotator (annotator, simulated) VALUES ('Ann', false)")
        cursor.execute("INSERT INTO annotator (annotator, simulated) VALUES ('Ann', false)")
    assert store.rows("SELECT count(*) FROM annotator") == [(0,)]
    with store.write() as cursor:  # and the store still works
        cursor.execute("INSERT INTO annotator (annotator, simulated) VALUES ('Bob', false)")
    assert store.rows("SELECT annotator FROM annotator") == [("Bob",)]


def test_a_row_that_does_not_fit_is_refused_with_what_was_wrong_with_it(store: Store) -> None:
    with pytest.raises(StoreError, match=r"(?s)twelve.*DOUBLE"), store.write() as cursor:
        store.insert(cursor, "epoch", pd.DataFrame({"run_id": ["r"], "epoch": [1], "train_loss": ["twelve"]}))


def test_insert_refuses_a_table_that_is_none(store: Store) -> None:
    with pytest.raises(StoreError, match="unknown table"), store.write() as cursor:
        store.insert(cursor, "annotator; DROP TABLE run", pd.DataFrame({"annotator": ["Ann"]}))


def test_sql_reaches_no_file(home: Home, store: Store) -> None:
    (home.root / "secret.csv").write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(StoreError, match="disabled"):
        store.query(f"SELECT * FROM read_csv('{home.root / 'secret.csv'}')")
    with pytest.raises(StoreError, match="locked"):
        store.query("SET enable_external_access = true")


def test_snapshot_holds_every_table(home: Home, tiny: Store) -> None:
    annotate(tiny, "tiny", "b/b1.jpg", "Ann", "medium")
    append_many(
        tiny, pd.DataFrame({"dataset": ["tiny"], "example": ["c/c0.jpg"], "annotator": ["simulated-1"], "level": ["easy"]}), "simulate"
    )
    with tiny.write() as cursor:
        cursor.execute(
            """INSERT INTO run (run_id, kind, dataset, mode, seed, config, state, created_at)
               VALUES ('r1', 'train', 'tiny', 'staged', 0, '{"epochs": 3}', 'done', now())"""
        )
        cursor.execute("INSERT INTO prediction VALUES ('r1', 'tiny', 'a/a0.jpg', 'test', 'a', 'b', 0.75, 0.25, 1.5, [0.25, 0.75])")
        cursor.execute("INSERT INTO rejected_file VALUES ('tiny', 'a/x.txt', 'not an image')")
    assert tiny.write_snapshot() == tiny.changes
    assert tiny.write_snapshot() == tiny.changes  # over the one that is there
    assert [path.name for path in home.labels.iterdir() if path.name.startswith(".snapshot")] == []
    with Store.from_snapshot(home) as copy:
        for table in TABLES:
            select = f"SELECT * FROM (SELECT COLUMNS(*)::TEXT FROM {table}) ORDER BY ALL"
            assert copy.rows(select) == tiny.rows(select), table
        assert copy.rows("SELECT config->>'epochs' FROM run") == [("3",)]


def test_who_writes_does_not_wait_for_a_snapshot_which_is_of_one_moment(home: Home, tiny: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    count, pool, real = itertools.count(), ThreadPoolExecutor(1), pq.ParquetWriter

    def write() -> None:
        annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")

    def writer(*arguments: object, **more: object) -> object:
        """Somebody labels between any two tables, on a thread of their own."""
        next(count)
        pool.submit(write).result(timeout=20)
        return real(*arguments, **more)

    monkeypatch.setattr(pq, "ParquetWriter", writer)
    before = tiny.changes
    assert tiny.write_snapshot() == before
    assert next(count) == len(TABLES) and tiny.rows("SELECT count(*) FROM annotation") == [(len(TABLES),)]
    with Store.from_snapshot(home) as copy:
        assert copy.rows("SELECT count(*) FROM annotation") == [(0,)]
        assert copy.rows("SELECT count(*) FROM example") == [(12,)]
    pool.shutdown()


def test_a_snapshot_writes_only_what_has_changed(home: Home, tiny: Store) -> None:
    def files() -> dict[str, int]:
        return {file.stem: file.stat().st_ino for file in home.snapshot.iterdir()}

    tiny.write_snapshot()
    before = files()
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    tiny.write_snapshot()
    assert {name for name, inode in files().items() if inode != before[name]} == {"annotation"}
    before = files()
    check_dataset(tiny, "tiny")  # nothing is new: images' rows stay as they are
    tiny.write_snapshot()
    assert {name for name, inode in files().items() if inode != before[name]} == {"dataset", "rejected_file"}
    with tiny.write() as cursor:
        cursor.execute("CREATE TABLE other (a INTEGER)")  # of which nobody knows what it changes
    before = files()
    tiny.write_snapshot()
    assert not set(files().items()) & set(before.items())


def test_a_backup_shares_no_file_with_the_snapshot(home: Home, tiny: Store) -> None:
    tiny.write_snapshot()
    folder = backup(tiny)
    assert {file.stat().st_nlink for file in folder.iterdir()} == {1}


def test_a_snapshot_is_of_one_moment_while_the_owner_replaces_it(home: Home, store: Store) -> None:
    store.write_snapshot()
    stop = threading.Event()

    def own() -> None:
        for n in itertools.takewhile(lambda _: not stop.is_set(), itertools.count()):
            with store.write() as cursor:
                cursor.execute("INSERT INTO annotator (annotator, simulated) VALUES (?, false)", [f"person {n}"])
                cursor.execute("INSERT INTO rejected_file VALUES ('tiny', ?, 'not an image')", [f"{n}.txt"])
            store.write_snapshot()

    with ThreadPoolExecutor(1) as pool:
        owner = pool.submit(own)
        counts: list[tuple[int, int]] = []
        while len(counts) < 30:
            with suppress(StoreError), Store.from_snapshot(home) as copy:  # refused and tried again, never mixed
                counts += copy.rows("SELECT (SELECT count(*) FROM annotator), (SELECT count(*) FROM rejected_file)")
        stop.set()
        owner.result()
    assert all(annotators == files for annotators, files in counts), counts
    assert counts[-1] > counts[0]


def test_damaged_snapshot_is_an_error(home: Home, store: Store) -> None:
    store.write_snapshot()
    (home.snapshot / "annotation.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(StoreError, match=r"annotation\.parquet can't be read"):
        Store.from_snapshot(home)


def test_closing_breaks_off_what_others_ask_and_lets_the_next_owner_in(home: Home) -> None:
    for _ in range(5):
        store = Store.open(home)
        told: list[str] = []

        def ask(store: Store = store, told: list[str] = told) -> None:
            with pytest.raises(StoreError) as caught:
                while True:
                    store.rows("SELECT sum(hash(a.range * b.range)) FROM range(2000) AS a, range(200) AS b")
            told.append(str(caught.value))

        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(ask) for _ in range(3)]
            while len(store._cursors) < 4:  # ours, from opening, and one a thread
                time.sleep(0.005)
            store.close()
            Store.open(home).close()
            for one in asked:
                one.result()
        assert len(told) == 3


# -- versions of the schema ----------------------------------------------------------------------

DESCRIBED = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default FROM duckdb_columns() WHERE NOT internal ORDER BY ALL",
    "SELECT table_name, constraint_text FROM duckdb_constraints() ORDER BY ALL",
    "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
    "SELECT function_name, parameters, macro_definition FROM duckdb_functions() WHERE NOT internal ORDER BY ALL",
    "SELECT sequence_name FROM duckdb_sequences() ORDER BY ALL",
)


YOUNGER = ("labels_per_image", "repeat_share", "    repeat ", "    batch ")
"""Columns that version 1 didn't have from its beginning."""


def made_with(home: Home, version: float) -> None:
    """A database as the given version of the program left it, with two labels and an undo; 0.5: version 1 in its beginnings."""
    home.labels.mkdir(parents=True)
    with closing(duckdb.connect(str(home.database))) as connection:
        for step in range(1, max(int(version), 1) + 1):
            sql = (CHECKOUT / f"curriculum/migrations/{step}.sql").read_text()
            if version < 1:
                tables = [text for text in sql.split(";\n") if "CREATE TABLE" in text or "CREATE SEQUENCE" in text]
                sql = "\n".join(line for line in ";\n".join(tables).splitlines() if not any(word in line for word in YOUNGER))
            connection.execute(sql)
        connection.execute("INSERT INTO schema_version (version) VALUES (?)", [max(int(version), 1)])
        connection.execute("INSERT INTO dataset (dataset, root) VALUES ('old', 'data/old')")
        connection.execute("INSERT INTO annotator (annotator, simulated) VALUES ('Ann', false)")
        for n, (action, level, undoes) in enumerate([("label", "easy", None), ("label", "hard", None), ("undo", "easy", 1)]):
            connection.execute(
                """INSERT INTO annotation (id, dataset, example, annotator, action, level, undoes, source, answered_at)
                   VALUES (?, 'old', 'a/a.jpg', 'Ann', ?, ?, ?, 'sort', '2026-01-01')""",
                [uuid.UUID(int=n), action, level, uuid.UUID(int=undoes) if undoes else None],
            )


def test_every_version_is_lifted_to_what_a_new_database_has(home: Home) -> None:
    with closing(duckdb.connect()) as fresh, closing(duckdb.connect()) as lifted:
        fresh.execute((CHECKOUT / "curriculum/schema.sql").read_text())
        for step in range(1, SCHEMA_VERSION + 1):
            lifted.execute((CHECKOUT / f"curriculum/migrations/{step}.sql").read_text())
        for question in DESCRIBED:
            assert lifted.execute(question).fetchall() == fresh.execute(question).fetchall()
    assert sorted(path.name for path in (CHECKOUT / "curriculum/migrations").iterdir()) == [
        f"{n}.sql" for n in range(1, SCHEMA_VERSION + 1)
    ]


@pytest.mark.parametrize("version", [0.5, *range(1, SCHEMA_VERSION)])
def test_an_older_database_is_copied_and_then_lifted_with_all_its_labels(home: Home, version: float) -> None:
    made_with(home, version)
    with Store.open(home) as store:
        assert store.rows("SELECT action, level FROM annotation ORDER BY seq") == [("label", "easy"), ("label", "hard"), ("undo", "easy")]
        assert store.rows("SELECT level FROM current_label") == [("easy",)]
        assert store.rows("SELECT annotator, role, pin_hash FROM annotator") == [("Ann", "annotator", None)]
        assert settings(store, "old") == Settings()
        with store.write() as cursor:  # the log goes on after what was there
            cursor.execute(
                """INSERT INTO annotation (id, dataset, example, annotator, action, level, source, answered_at)
                   VALUES (uuid(), 'old', 'a/a.jpg', 'Ann', 'label', 'medium', 'sort', '2026-01-02')"""
            )
        assert store.rows("SELECT level FROM current_label") == [("medium",)]
    (kept,) = home.labels.glob("*.bak")
    assert f"version-{max(int(version), 1)}" in kept.name
    kept.replace(home.database)  # which takes the upgrade back
    with closing(duckdb.connect(str(home.database), read_only=True)) as connection:
        assert connection.execute("SELECT max(version) FROM schema_version").fetchall() == [(max(int(version), 1),)]
        assert connection.execute("SELECT count(*) FROM annotation").fetchall() == [(3,)]


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(home: Home) -> None:
    made_with(home, SCHEMA_VERSION - 1)
    with closing(duckdb.connect(str(home.database))) as connection:
        connection.execute("ALTER TABLE run ADD COLUMN note TEXT")  # in the way of the new one
    with pytest.raises(StoreError, match="refused to write"):
        Store.open(home)
    with closing(duckdb.connect(str(home.database))) as connection:
        assert connection.execute("SELECT max(version) FROM schema_version").fetchall() == [(SCHEMA_VERSION - 1,)]
        assert connection.execute("SELECT level FROM current_label").fetchall() == [("easy",)]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_tables_of_an_older_version_are_lifted_as_they_are_loaded(home: Home, tmp_path: Path, version: int) -> None:
    made_with(home, version)
    folder = tmp_path / "tables"
    folder.mkdir()
    with closing(duckdb.connect(str(home.database))) as connection:
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            pq.write_table(connection.sql(f"SELECT * FROM {table}").to_arrow_table(), folder / f"{table}.parquet")
    built = Home(tmp_path / "built")
    Store.build(built, folder)
    with Store.open(built) as store:
        assert store.rows("SELECT level FROM current_label") == [("easy",)]
        assert store.rows("SELECT nextval('annotation_seq') > max(seq) FROM annotation") == [(True,)]
    assert not list(built.labels.glob("*.bak"))


def test_a_snapshot_with_other_columns_or_columns_of_another_kind_is_an_error(home: Home, store: Store) -> None:
    store.write_snapshot()
    for table in (
        pa.table({"annotator": [["Ann"]]}),
        pa.table({"else": [1]}),
        pa.table({"since": pa.array([0], pa.timestamp("us", "Nowhere/Here"))}),
    ):
        pq.write_table(table, home.snapshot / "annotator.parquet")
        with pytest.raises(StoreError, match="snapshot"):
            Store.from_snapshot(home)
