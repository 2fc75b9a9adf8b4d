"""What `tests.fuzz` feeds the readers of labels: label files in every format, logs, folders of levels, `split.csv` and `classes.csv`."""

from __future__ import annotations

import io
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from curriculum import given
from curriculum import store as store_module
from curriculum.comparison_log import export_comparisons, import_comparisons
from curriculum.comparisons import Comparison
from curriculum.comparisons import record as record_comparison
from curriculum.datasets import add_dataset
from curriculum.errors import CurriculumError, StoreError
from curriculum.home import Home
from curriculum.label_files import COLUMNS, ImportResult, export_labels, import_labels
from curriculum.label_formats import TABLE_FORMATS, Format, read_table
from curriculum.label_log import export_log, import_log
from curriculum.store import Store
from tests.fuzz_chance import Chance, dumped
from tests.label_cases import NOON, current, filled, log

Input = Callable[[bytes], None]
_shown: list[str] = [""]


def shown() -> str:
    """What the latest input came to, for whoever reads a failure."""
    return _shown[0]


def show(what: object) -> None:
    try:
        _shown[0] = str(what) if isinstance(what, str) else repr(what)
    except RecursionError:
        _shown[0] = "nested without end"


class UndoneError(Exception):
    """Ends a transaction that nobody wants kept."""


@contextmanager
def undone(store: Store) -> Iterator[None]:
    """What is written inside is taken back at the end: `Store.write` is entered again inside, and only the outer one may end it."""
    cursor, whole = store._cursor(), store.write

    @contextmanager
    def nested() -> Iterator[Any]:
        try:
            yield cursor
        except duckdb.Error as error:
            raise StoreError("the database refused to write") from error

    cursor.execute("BEGIN")
    store.write = nested  # type: ignore[method-assign]
    try:
        yield
    finally:
        store.write = whole  # type: ignore[method-assign]
        with suppress(Exception):
            cursor.execute("ROLLBACK")


def pictures(folder: Path, classes: tuple[str, ...] = ("a", "b", "c"), each: int = 4) -> Path:
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(random.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(folder / name / f"{name}{number}.jpg")
    return folder


def opened(root: Path) -> Store:
    """A store whose database computes in one thread: for a dozen rows more are slower."""
    secure = store_module._secure
    with mock.patch.object(store_module, "_secure", lambda connection: (connection.execute("SET threads = 1"), secure(connection))):
        return Store.open(Home(root))


def made(folder: Path) -> tuple[Store, Store]:
    """A store with the labels of `label_cases` and some comparisons, an empty one with the same images, and what is out of bounds."""
    (folder / "outside").mkdir()
    (folder / "outside" / "secret.jpg").write_bytes(b"not for you")
    root, stores = pictures(folder / "set"), []
    for name in ("home", "other"):
        store = opened(folder / name)
        add_dataset(store, "tiny", root)
        stores.append(store)
    filled(stores[0])
    with stores[0].write() as cursor:
        cursor.execute("INSERT INTO annotator (annotator, simulated) VALUES ('Ann', false) ON CONFLICT DO NOTHING")
        for number in range(3):
            four = ("a/a0.jpg", "a/a1.jpg", "b/b0.jpg", "c/c0.jpg")
            done = Comparison(uuid.UUID(int=number + 1), "compare", NOON, four, four[number], four[3])
            record_comparison(cursor, "tiny", "Ann", done)
        record_comparison(cursor, "tiny", "Ann", Comparison(uuid.UUID(int=9), "undo_compare", datetime(2026, 4, 1, tzinfo=UTC)))
    return stores[0], stores[1]


def _counted(store: Store) -> int:
    return int(store.rows("SELECT (SELECT count(*) FROM annotation) + (SELECT count(*) FROM comparison)")[0][0])


def whole_or_nothing(store: Store, take: Callable[[], ImportResult]) -> bool:
    """Whether an import went in; one that was refused must have left nothing."""
    before = _counted(store)
    try:
        result = take()
    except CurriculumError:
        assert before == _counted(store), "a refused import left something"
        return False
    assert _counted(store) - before == result.appended, "an import appended another number of rows than it says"
    return True


def readable(path: Path, kind: Format, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> bool:
    """Whether a file is read at all, which needs no database and is quick."""
    try:
        return not all(row.problem for row in read_table(path, kind, required, optional))
    except CurriculumError:
        return False


def table_text(chance: Chance, rows: list[dict[str, Any]], kind: str) -> bytes:
    """A table of mutated rows in a text format."""
    rows = chance.changed(rows)
    rows = rows if isinstance(rows, list) else [rows]
    if kind == "jsonl":
        return b"".join(dumped(row) + b"\n" for row in rows)
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    separator = chance.pick((",", ";", "\t"))

    def cell(value: object) -> str:
        text = "" if value is None else dumped(value).decode() if isinstance(value, list | dict) else str(value)
        return '"' + text.replace('"', '""') + '"' if chance.yes() or set(text) & set(',;\t"\r\n') else text

    lines = [
        separator.join(map(cell, names)),
        *(separator.join(cell(row.get(name)) for name in names) for row in rows if isinstance(row, dict)),
    ]
    return chance.pick(("\n", "\r\n", "\r")).join(lines).encode("utf-8", "surrogatepass")


LABELS: list[dict[str, Any]] = [
    {"example": "a/a0.jpg", "annotator": "Ann", "level": "easy", "answered_at": "2026-03-01T12:00:00Z", "seconds": 1.5},
    {"example": "b1.jpg", "annotator": "simulated-1", "level": 2, "answered_at": None, "seconds": None},
    {"example": "c/c1.jpg", "annotator": "Bob", "level": "HARD", "answered_at": "2026-03-01 12:00", "seconds": "1e3"},
]
TASKS: list[Any] = [
    {"id": 1, "data": {"image": "/data/local-files/?d=a/a0.jpg"}, "annotations": [
        {"completed_by": 3, "created_at": "2026-03-01T12:00:00Z", "lead_time": 1.5,
         "result": [{"from_name": "level", "to_name": "image", "type": "choices", "value": {"choices": ["easy"]}}]}]},
    {"id": 2, "data": {"image": "/data/upload/1/01234567-b1.jpg"}, "annotations": [
        {"completed_by": {"email": "a@b"}, "was_cancelled": False, "result": [{"from_name": "level", "value": {"choices": ["hard"]}}]}]},
]  # fmt: skip


def labels(folder: Path) -> Input:
    """CSV, JSON Lines and Label Studio's JSON: taken whole or not at all, and what was taken comes back out of an export."""
    _, store = made(folder)
    path, back = folder / "file", folder / "back"

    def one(data: bytes) -> None:
        chance = Chance(data)
        kind: Format = chance.pick(("csv", "jsonl", "label-studio"))
        how = chance.number(0, 2)
        if how == 0:
            content = chance.raw()
        elif kind == "label-studio":
            content = chance.json(TASKS)
        else:
            content = table_text(chance, LABELS, kind)
            content = chance.damaged(content) if how == 1 else content
        show(content)
        path.write_bytes(content)
        if not readable(path, kind, *COLUMNS) and not chance.yes(20):
            return
        with undone(store):
            if whole_or_nothing(store, lambda: import_labels(store, "tiny", path, chance.pick((None, "Cem")), kind)):
                before, form = current(store), chance.pick((*TABLE_FORMATS, "label-studio"))
                export_labels(store, "tiny", back, format=form, overwrite=True)
                store.rows("DELETE FROM annotation")
                store.rows("DELETE FROM annotator")
                import_labels(store, "tiny", back, format=form)
                assert current(store) == before, f"the round trip through {form} lost something"

    return one


ARROW: list[Callable[[Chance], tuple[pa.DataType, Any]]] = [
    lambda c: (pa.string(), c.text().encode("utf-8", "replace").decode()),
    lambda c: (pa.timestamp(c.pick(("s", "ms", "us", "ns")), c.pick((None, "UTC", "Europe/Berlin", "+02:00", "Nowhere/Here", "x" * 30))),
               c.pick((0, 1, -1, 1772366400, 1772366400 * 10**6, 2**62, -(2**62), 253402300800, -62135596801))),
    lambda c: (c.pick((pa.date32(), pa.int32(), pa.time32("s"))), c.number(-(2**31), 2**31 - 1)),
    lambda c: (c.pick((pa.date64(), pa.int64(), pa.duration("us"), pa.time64("us"))), c.number(-(2**63), 2**63 - 1)),
    lambda c: (c.pick((pa.float64(), pa.float32())), float(c.number(-10, 10)) if c.yes() else c.pick((1e308, float("inf"), float("nan")))),
    lambda c: (pa.binary(), c.raw(20)),
    lambda c: (pa.list_(pa.string()), ["easy", None]),
    lambda c: (pa.map_(pa.string(), pa.int64()), [("easy", 1)]),
    lambda c: (pa.struct([("a", pa.string()), ("a", pa.string())]), None),
    lambda c: (pa.bool_(), c.yes()),
    lambda c: (pa.decimal128(30, 2), None),
    lambda c: (pa.dictionary(pa.int8(), pa.string()), "easy"),
    lambda c: (pa.large_string(), "a/a0.jpg"),
    lambda c: (pa.null(), None),
]  # fmt: skip


def _table(chance: Chance, columns: tuple[str, ...], valid: dict[str, Any]) -> pa.Table:
    """The valid values as text, but for some columns of another type, another name, or twice."""
    arrays, names, count = [], [], chance.number(1, 3)
    for name in columns:
        for _ in range(2 if chance.yes(12) else 1):
            kind, value = chance.pick(ARROW)(chance) if chance.yes(3) else (pa.string(), valid.get(name))
            try:
                array = pa.array([value] * count, type=kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                array = pa.array([None] * count, type=kind)
            arrays.append(array)
            names.append(
                chance.pick((name.upper(), f" {name}", chance.text().encode("utf-8", "replace").decode())) if chance.yes(12) else name
            )
    return pa.Table.from_arrays(arrays, names=names)


def label_parquet(folder: Path) -> Input:
    """Parquet files of labels: columns of every type, and files with damaged bytes."""
    _, store = made(folder)
    path = folder / "file.parquet"
    whole = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{**row, "level": str(row["level"]), "seconds": 1.0} for row in LABELS]), whole)

    def one(data: bytes) -> None:
        chance = Chance(data)
        how = chance.number(0, 2)
        content = whole.getvalue()
        if how:
            buffer = io.BytesIO()
            table = _table(chance, ("example", "annotator", "level", "answered_at", "seconds"), LABELS[0])
            with suppress(pa.ArrowException):  # what can't be written can't be read
                pq.write_table(table, buffer, compression=chance.pick(("snappy", "none", "gzip", "zstd")), store_schema=chance.yes())
                content = buffer.getvalue()
        if how != 1:
            content = chance.damaged(content)
        show(content)
        path.write_bytes(content)
        if not readable(path, "parquet", *COLUMNS) and not chance.yes(20):
            return
        with undone(store):
            whole_or_nothing(store, lambda: import_labels(store, "tiny", path, chance.pick((None, "Cem")), "parquet"))

    return one


def logs(folder: Path) -> Input:
    """Whole logs, of labels and of comparisons: refused, or in as they say, and out again the same."""
    full, empty = made(folder)
    files: dict[tuple[str, str], bytes] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for what, export in (("labels", export_log), ("comparisons", export_comparisons)):
        for kind in TABLE_FORMATS:
            export(full, "tiny", folder / "out", kind, overwrite=True)
            files[what, kind] = (folder / "out").read_bytes()
        frame = pd.read_json(io.BytesIO(files[what, "jsonl"]), lines=True, dtype=False, convert_dates=False)
        rows[what] = [
            {str(key): value for key, value in row.items()} for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
        ]
    path, back = folder / "file", folder / "back"
    take: dict[str, Any] = {
        "labels": (import_log, export_log, "annotation"),
        "comparisons": (import_comparisons, export_comparisons, "comparison"),
    }

    def one(data: bytes) -> None:
        chance = Chance(data)
        what, kind = chance.pick(tuple(take)), chance.pick(TABLE_FORMATS)
        if kind == "parquet" and chance.yes():
            buffer = io.BytesIO()
            with suppress(pa.ArrowException):
                pq.write_table(_table(chance, tuple(rows[what][0]), rows[what][0]), buffer)
            content = buffer.getvalue()
        elif kind == "parquet" or chance.yes(3):
            content = chance.damaged(files[what, kind])
        else:
            content = table_text(chance, rows[what], kind)
        show(content)
        path.write_bytes(content)
        import_it, export_it, table = take[what]
        if not readable(path, kind, tuple(rows[what][0])) and not chance.yes(20):
            return
        store = empty if chance.yes() else full
        with undone(store):
            if whole_or_nothing(store, lambda: import_it(store, "tiny", path, kind)):
                before = store.rows(f"SELECT COLUMNS(*)::TEXT FROM {table} ORDER BY {table}.seq")
                form = chance.pick(TABLE_FORMATS)
                export_it(store, "tiny", back, form, overwrite=True)
                assert import_it(store, "tiny", back, form).appended == 0, "what was taken out contradicts what is there"
                assert store.rows(f"SELECT COLUMNS(*)::TEXT FROM {table} ORDER BY {table}.seq") == before
        if store is full:
            assert len(log(full)) == 12 or log(full)

    return one


NAMES = ("a0.jpg", "b1.jpg", "x.png", "Thumbs.db", ".hidden.jpg", "a0.JPG", "c2.txt", "sub", "é.jpg", "-", "x" * 250 + ".jpg")


def folders(folder: Path) -> Input:
    """Folders of levels with files, links, loops and names of any bytes: read by content and name, nothing opened elsewhere."""
    _, store = made(folder)
    root, given_folder = folder / "set", folder / "given"

    def plant(chance: Chance, place: Path) -> None:
        name: str | bytes = chance.pick(NAMES)
        if chance.yes(4):
            name = chance.raw(12).replace(b"/", b"_").replace(b"\0", b"_") or b"x"
        target = Path(os.fsdecode(os.path.join(os.fsencode(place), os.fsencode(name))))  # noqa: PTH118
        if target.name in (".", "..", "") or os.path.lexists(target):  # to write into a pipe that is there would wait for a reader for ever
            return
        with suppress(OSError):
            match chance.number(0, 6):
                case 0 | 1:
                    shutil.copyfile(root / "a" / "a0.jpg", target)
                case 2:
                    target.symlink_to(chance.pick((str(root / "a" / "a1.jpg"), str(folder / "outside" / "secret.jpg"), "nowhere", target.name, "../../set/b/b0.jpg",
                                                   "../../outside", "..", "x" * 300)))  # fmt: skip
                case 3:
                    target.mkdir()
                    plant(chance, target)
                case 4:
                    os.mkfifo(target)
                case 5:
                    target.write_bytes(chance.raw(20))
                case _:
                    shutil.copyfile(root / "b" / "b1.jpg", target)

    def one(data: bytes) -> None:
        chance = Chance(data)
        shutil.rmtree(given_folder, ignore_errors=True)
        given_folder.mkdir()
        for _ in range(chance.number(0, 5)):
            level = given_folder / chance.pick(("easy", "medium", "hard", "EASY", "other"))
            if chance.yes(8):
                with suppress(OSError):
                    level.symlink_to(chance.pick((str(root / "a"), "easy", "hard", str(folder / "outside"))))
            with suppress(OSError):
                level.mkdir(exist_ok=True)
                plant(chance, level)
        show([(str(path), str(path.readlink()) if path.is_symlink() else "") for path in given_folder.rglob("*")])
        with undone(store):
            if whole_or_nothing(store, lambda: import_labels(store, "tiny", given_folder, "Cem", "folders")):
                export_labels(store, "tiny", folder / "back", format=chance.pick(("folders", "links")))
                shutil.rmtree(folder / "back")

    return one


def given_tables(chance: Chance, root: Path, kind: str) -> bytes:
    values = {"split.csv": ("train", "val", "test"), "classes.csv": ("a", "a b", "c b a")}[kind]
    header = {"split.csv": "split", "classes.csv": "classes"}[kind]
    rows = [{"example": f"{name}/{name}{number}.jpg", header: values[number % 3]} for name in "abc" for number in range(2)]
    return table_text(chance, rows, "csv")


def own_tables(folder: Path) -> Input:
    """`split.csv` and `classes.csv`: nothing but what they say of images that are there."""
    root = pictures(folder / "set")
    (folder / "outside").mkdir()

    def one(data: bytes) -> None:
        chance = Chance(data)
        kind = chance.pick(("split.csv", "classes.csv"))
        content = chance.raw() if chance.yes(3) else chance.damaged(given_tables(chance, root, kind))
        show(content)
        (root / kind).write_bytes(content)
        found = {"split.csv": given.split, "classes.csv": given.classes}[kind](root) or {}
        there = {f"{path.parent.name}/{path.name}" for path in root.glob("*/*")}
        assert set(found) <= there
        assert all(value in ("train", "val", "test") or set(value) <= {"a", "b", "c"} for value in found.values())

    return one
