"""What `tests.fuzz` feeds the readers of runs: recipes, run directories, backups and snapshots, caches and stored answers."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from curriculum import backup, entering, intake, preparation, questions, recipe, recipe_runs, run_tables, runs
from curriculum.cache import ArrayCache
from curriculum.config import KINDS, ScoreConfig, TrainConfig, config_from_json
from curriculum.errors import ConfigError, CurriculumError
from curriculum.home import Home
from curriculum.questions import Answer
from curriculum.rundir import RunDir, Status
from curriculum.store import Store
from curriculum.vocabulary import SCALES
from tests.fuzz_chance import Chance, dumped
from tests.fuzz_labels import Input, made, opened, show, shown, undone
from tests.label_cases import log

__all__ = ["shown"]


# -- recipes -------------------------------------------------------------------------------------


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return dumped(value.encode("utf-8", "replace").decode()).decode()
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + "}"
        case None:
            return '""'
        case _:
            return repr(value)


def recipes(folder: Path) -> Input:
    """Recipes as TOML: every recipe of the program with parts changed, as values or as text; and changes from the command line."""
    import tomllib

    texts = {name: (recipe.FOLDER / f"{name}.toml").read_text(encoding="utf-8") for name in recipe.names()}
    read = {name: tomllib.loads(text) for name, text in texts.items()}
    names = sorted({f.name for kind in KINDS for f in dataclasses.fields(kind)})
    path = folder / "own.toml"

    def one(data: bytes) -> None:
        chance = Chance(data)
        name = chance.pick(sorted(texts))
        how = chance.number(0, 3)
        if how == 0:
            content = chance.damaged(texts[name].encode())
        elif how == 1:
            content = chance.raw()
        else:
            document = chance.changed(read[name])
            content = b""
            with suppress(RecursionError):
                content = (
                    "\n".join(f"{_toml(key)} = {_toml(value)}" for key, value in document.items()).encode()
                    if isinstance(document, dict)
                    else b""
                )
        show(content)
        path.write_bytes(content)
        with suppress(CurriculumError):
            changes = recipe.parse_changes([f"{chance.pick(names)}={chance.text()}" for _ in range(chance.number(0, 2))])
            recipe_made = recipe.read(str(path) if chance.yes(3) is False else chance.text())
            for step in recipe_made.steps:
                for scale in SCALES:
                    recipe.expand(recipe_made, step, scale, {role.name: "tiny" for role in recipe_made.roles},
                                  {each.name: "earlier-run" for each in recipe_made.steps}, changes)  # fmt: skip
        recipe.figure(chance.value() if chance.yes() else {"stages": [{"a": 1}]}, chance.pick(("stages.0.a", "stages.-1.a", chance.text())))

    return one


# -- run directories -----------------------------------------------------------------------------


def _finished(store: Store, config: Any) -> RunDir:
    """A run's directory as a worker leaves it, with made-up figures."""
    run = preparation.prepare(store, config)
    order = pd.read_parquet(run / "order.parquet")
    run.write_status(Status("done", epoch=2, epochs=2, seconds=3.0))
    for epoch in (1, 2):
        run.append_epoch({
            "epoch": epoch, "stage": "all", "subset_size": 8, "learning_rate": 1e-4, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0,
            "val_accuracy": 0.5, "val_knn": 0.5, "test_loss": None, "test_accuracy": None, "test_knn": None, "seconds": 1.0,
            "images_per_second": 8.0, "samples_seen": 8 * epoch,
        })  # fmt: skip
    if "split" in order:
        run.append_lesson(1, np.arange(int((order["split"] == "train").sum())) % 2 == 0)
    (run / "about.json").write_text('{"title": "a title", "note": "a note"}')
    (run / "result.json").write_text(json.dumps({
        "kind": "train", "epoch": 2, "test_accuracy": 0.5, "test_loss": 1.0, "test_knn": 0.5, "peak_test_accuracy": None, "samples_seen": 16,
        "examples": {"train": 8, "val": 2, "test": 2}, "stages": [{"own_accuracy": 0.5}], "notes": [], "val_accuracy": 0.5, "val_loss": 1.0,
    }))  # fmt: skip
    return run


def _frames(store: Store, run: RunDir) -> dict[str, pd.DataFrame]:
    """Rows as the tables of predictions and scores take them."""
    known = {name: store.rows("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", [name])
             for name in ("prediction", "score")}  # fmt: skip
    values: dict[str, Any] = {"VARCHAR": "a", "BOOLEAN": True, "VARCHAR[]": ["a"], "FLOAT[]": [0.5], "DOUBLE[]": [0.5]}
    return {
        {"prediction": "predictions.parquet", "score": "scores.parquet"}[table]: pd.DataFrame([{
            name: "a/a0.jpg" if name == "example" else "test" if name == "split" else "easy" if name == "level" else values.get(kind, 1)
            for name, kind in columns if name not in ("run_id", "dataset", "seed")
        }])
        for table, columns in known.items()
    }  # fmt: skip


def _odd_parquet(chance: Chance, valid: bytes) -> bytes:
    """A table with damaged bytes, or with columns dropped, renamed or of another type."""
    if chance.yes():
        return chance.damaged(valid)
    table = pq.read_table(io.BytesIO(valid))
    for _ in range(chance.number(0, 3)):
        at = chance.number(0, table.num_columns - 1) if table.num_columns else 0
        if not table.num_columns:
            break
        match chance.number(0, 3):
            case 0:
                table = table.remove_column(at)
            case 1:
                names = list(table.column_names)
                names[at] = chance.text().encode("utf-8", "replace").decode()
                table = table.rename_columns(names)
            case 2:
                kind, value = chance.pick(((pa.string(), "x"), (pa.int64(), 2**62), (pa.float64(), float("nan")), (pa.map_(pa.string(), pa.string()), [("a", "b")]),
                                           (pa.binary(), b"\xff"), (pa.timestamp("ns", "Nowhere/Here"), 2**62), (pa.null(), None),
                                           (pa.timestamp("s"), 2**62), (pa.large_list(pa.int8()), [1]), (pa.duration("s"), 2**60)))  # fmt: skip
                table = table.set_column(at, table.column_names[at], pa.array([value] * table.num_rows, type=kind))
            case _:
                table = table.replace_schema_metadata(
                    {"pandas": chance.json({"columns": [{"name": "a", "pandas_type": "unicode"}], "index_columns": []})}
                )
    buffer = io.BytesIO()
    with suppress(pa.ArrowException, ValueError, LookupError):
        pq.write_table(table, buffer)
    return buffer.getvalue()


def run_directories(folder: Path) -> Input:
    """Every file of a run's directory, changed as JSON, as bytes or as a table; read, taken into the database, shown in tables."""
    store, _ = made(folder)
    home = store.home
    whole: dict[str, dict[str, bytes]] = {}
    for config in (
        TrainConfig("tiny", mode="self-paced", weights="none", image_size=32),
        ScoreConfig("tiny", weights="none", image_size=32),
    ):
        run = _finished(store, config)
        for name, frame in _frames(store, run).items():
            frame.to_parquet(run / name, index=False)
        whole[run.run_id] = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
        with undone(store):
            intake.ingest(store, run)
    record = recipe_runs.prepare(
        home,
        recipe.read("squeezenet"),
        recipe_runs.Request("squeezenet", "small", {role.name: "tiny" for role in recipe.read("squeezenet").roles}, {}),
    )
    (record / "steps.json").write_text('{"x": ["a"]}')
    cooked = {path.name: path.read_bytes() for path in record.path.iterdir()}

    def change(chance: Chance, name: str, valid: bytes) -> bytes:
        with suppress(ValueError, RecursionError, KeyError, OSError, NotImplementedError):  # it is changed already
            if name.endswith(".parquet"):
                return _odd_parquet(chance, valid)
            if name.endswith(".json") and chance.number(0, 3):
                return chance.json(json.loads(valid))
            if name.endswith(".jsonl") and chance.number(0, 3):
                return b"\n".join(chance.json(json.loads(line)) for line in valid.splitlines()) + chance.pick((b"\n", b""))
        return chance.damaged(valid)

    def one(data: bytes) -> None:
        chance = Chance(data)
        run = RunDir(home.runs / chance.pick(sorted(whole)))
        files = dict(whole[run.run_id])
        for _ in range(chance.number(1, 2)):
            name = chance.pick(sorted(files))
            files[name] = change(chance, name, files[name])
        show({name: content for name, content in files.items() if content != whole[run.run_id][name]})
        for name, content in files.items():
            if content != whole[run.run_id][name]:
                (run / name).write_bytes(content)
        try:
            read_run(store, run)
        finally:
            for name, content in files.items():
                if content != whole[run.run_id][name]:
                    (run / name).write_bytes(whole[run.run_id][name])
        if chance.yes(4):
            name = chance.pick(sorted(cooked))
            (record / name).write_bytes(change(chance, name, cooked[name]))
            try:
                for read in (
                    recipe_runs.request_of,
                    recipe_runs.recipe_of,
                    recipe_runs.steps_of,
                    lambda run: recipe_runs.beside_the_reports(home, run),
                ):
                    with suppress(CurriculumError):
                        read(record)
            finally:
                (record / name).write_bytes(cooked[name])

    def read_run(store: Store, run: RunDir) -> None:
        status, about, result = run.status(), run.about(), run.result()
        assert isinstance(status.message + status.phase + about.title + about.note, str)
        assert status.done + status.total + status.epoch + status.seconds >= -1e300
        json.dumps(result)
        lessons, epochs = run.lessons(), run.epochs()
        assert all(isinstance(epoch["epoch"], int) for epoch in epochs)
        with suppress(CurriculumError):
            config = run.config()
            assert config_from_json(json.loads(json.dumps(config.to_json()))) == config, "a configuration isn't what it was written as"
        with suppress(CurriculumError), undone(store):
            intake.ingest(store, run)
            listed = runs.list_runs(store)
            run_tables.table(listed[listed["kind"] == "train"])
            run_tables.lines(run_tables.epochs_of(store, [run.run_id]), "loss", ("train", "val"))
        with suppress(CurriculumError):
            order = run.order()
            if {"split", "level"} <= set(order):
                entering.entries(order, lessons)

    return one


# -- backups and snapshots -----------------------------------------------------------------------


def backups(folder: Path) -> Input:
    """Backups and snapshots with a changed manifest and changed tables: restored as a whole, or not at all and nothing is lost."""
    full, other = made(folder)
    whole = backup.backup(full, folder / "backup")
    rows = log(full)
    files = {path.name: path.read_bytes() for path in whole.iterdir()}
    manifest = json.loads(files["manifest.json"])
    other.close()
    home, given = Home(folder / "restored"), folder / "given"

    def one(data: bytes) -> None:
        chance = Chance(data)
        changed = dict(files)
        for _ in range(chance.number(0, 2)):
            name = chance.pick(sorted(files))
            if name.endswith(".parquet"):
                changed[name] = _odd_parquet(chance, files[name])
            if chance.yes(8):
                del changed[name]
        shutil.rmtree(given, ignore_errors=True)
        given.mkdir()
        for name, content in changed.items():
            (given / name).write_bytes(content)
        if chance.yes(3):
            (given / "manifest.json").write_bytes(chance.json(manifest))
        else:  # a manifest that vouches for what is there
            with suppress(Exception):
                backup._vouch(given, manifest["schema_version"])
        differing = {name: (content, (given / name).read_bytes()) for name, content in files.items() if (given / name).exists()}
        show({name: new for name, (old, new) in differing.items() if old != new})
        if chance.yes():
            with suppress(CurriculumError):
                snapshot = Home(folder / "snapshot")
                shutil.rmtree(snapshot.root, ignore_errors=True)
                snapshot.labels.mkdir(parents=True)
                shutil.copytree(given, snapshot.snapshot)
                with Store.from_snapshot(snapshot) as store:
                    store.read_all()
            return
        shutil.rmtree(home.root, ignore_errors=True)
        home.labels.mkdir(parents=True)
        shutil.copyfile(full.home.database, home.database)
        try:
            done = backup.restore(home, given)
        except CurriculumError:
            assert sorted(path.name for path in home.labels.iterdir()) in (["curriculum.duckdb"], ["curriculum.duckdb", "secret.key"])
            assert home.database.read_bytes() == full.home.database.read_bytes(), "a refused restore changed the database"
            return
        with opened(home.root) as store:
            store.read_all()
            if all(content == files[name] for name, content in changed.items() if name != "manifest.json") and len(changed) == len(files):
                assert log(store) == rows
        assert done.kept and done.kept.is_file()

    full.rows("CHECKPOINT")
    return one


# -- caches --------------------------------------------------------------------------------------


def caches(folder: Path) -> Input:
    """A cache of arrays after whatever a crash may leave of its two files, and stored answers with damaged bytes."""
    place, answer_file = folder / "cache", folder / "answer.npz"
    answer = Answer({"predicted": "a", "r2": [0.5]}, {"image": np.zeros((4, 4, 3), np.uint8), "weights": np.arange(6.0).reshape(2, 3)})
    questions.write(answer_file, answer)
    valid = answer_file.read_bytes()
    keys = [f"{number:064x}" for number in range(8)]
    rows = np.arange(8 * 6, dtype=np.uint8).reshape(8, 2, 3)
    config = questions.Regions("run", "root", "a/a0.jpg", "0" * 64, None).to_json()

    def one(data: bytes) -> None:
        chance = Chance(data)
        if chance.yes():
            content = chance.damaged(valid) if chance.number(0, 3) else _odd_answer(chance)
            show(content)
            answer_file.write_bytes(content)
            found = questions.read(answer_file)
            assert found is None or isinstance(found.record, dict)
            with suppress(ConfigError):
                questions.from_json(chance.changed(config))
            return
        shutil.rmtree(place, ignore_errors=True)
        cache = ArrayCache(place, "x", (2, 3), np.uint8)
        cache.append(keys[:4], rows[:4])
        sizes = {path: chance.number(0, path.stat().st_size + 40) for path in (cache.rows_path, cache.keys_path)}
        if sizes[cache.rows_path] // 6 < min(4, sizes[cache.keys_path] // 32):
            sizes[cache.rows_path] = 24  # rows are on the disk before their keys are
        for path, size in sizes.items():
            path.write_bytes(path.read_bytes()[:size].ljust(size, b"\xab"))
        cache = ArrayCache(place, "x", (2, 3), np.uint8)
        first = cache.missing(keys)
        order = [chance.number(0, 7) for _ in range(chance.number(0, 8))]
        missing = cache.missing([keys[number] for number in order])
        if missing:
            cache.append([keys[order[number]] for number in missing], rows[[order[number] for number in missing]])
        there = [number for number in range(8) if number not in first or number in order]
        again = ArrayCache(place, "x", (2, 3), np.uint8)
        assert not again.missing([keys[number] for number in there])
        assert (again.rows([keys[number] for number in there])[:] == rows[there]).all(), "another row than was stored"

    return one


def _odd_answer(chance: Chance) -> bytes:
    """What numpy writes of other arrays, or a zip file with other members."""
    import zipfile

    buffer = io.BytesIO()
    match chance.number(0, 2):
        case 0:
            np.save(buffer, np.array(chance.pick(([1, 2], 5, "record", b"x"))), allow_pickle=False)
        case 1:
            np.savez(
                buffer,
                allow_pickle=False,
                record=np.array(chance.pick(("5", "null", "[]", "{}", "[" * 5000, "{", '{"a": NaN}'))),
                x=np.arange(3),
            )
        case _:
            method = chance.pick((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            with zipfile.ZipFile(buffer, "w", method) as packed:
                shape, kind = (
                    chance.pick(("(3,)", "(1000000000000,)", "(-1,)", "()", "(3, 10**9)", "'x'")),
                    chance.pick(("<f8", "|O", "<U999999999", "|V8", "x")),
                )
                header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
                packed.writestr("record.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + chance.raw(50))
    return chance.damaged(buffer.getvalue(), 2)
