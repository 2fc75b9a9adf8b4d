"""What goes wrong around the program: clocks that are set, files that are lost, half made, moved or somebody else's, disks without room.

Nothing that was committed is lost, nothing half-made is taken for whole, and there is always a way on. docs/reliability.md lists them.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from filelock import FileLock
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from streamlit.testing.v1 import AppTest

from curriculum import (
    backup,
    building,
    datasets,
    doctor,
    intake,
    label_files,
    labels,
    people,
    preparation,
    recipe,
    recipe_process,
    recipe_runs,
    snapshot,
)
from curriculum.app import identity, journal, server, service
from curriculum.config import TrainConfig
from curriculum.errors import CancelledError, ConfigError, DatasetError, StoreError
from curriculum.files import write_whole
from curriculum.home import Home
from curriculum.recipe_runs import Request as Asked
from curriculum.reporter import Reporter
from curriculum.rundir import RunDir, Status
from curriculum.store import Store
from tests.conftest import PIN, until

HOUR = 3600.0


def prepared(store: Store) -> RunDir:
    return preparation.prepare(store, TrainConfig("tiny", weights="none", mode="fine-tune", image_size=32))


# -- the clock -----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-24 * HOUR, -HOUR, 5.0, 24 * HOUR])
def test_a_run_goes_on_though_the_clock_is_set(tiny: Store, step: float) -> None:
    run, myself = prepared(tiny), psutil.Process()
    run.write_status(Status("running", pid=myself.pid, pid_started=myself.create_time() + step))
    assert run.status().state == "interrupted", "a process of that number that doesn't work here is another one"
    with FileLock(run / "lock"):
        assert run.status().state == "running"
    assert run.status().state == "interrupted"


def test_a_run_that_never_started_is_given_up_though_the_clock_was_set_back(tiny: Store) -> None:
    run = prepared(tiny)
    assert run.status().state == "queued"
    with mock.patch("curriculum.rundir.time.time", return_value=time.time() - 24 * HOUR):
        assert run.status().state == "interrupted"
    run.write_status(Status("running", pid=1, host="another machine"))
    with mock.patch("curriculum.rundir.time.time", return_value=time.time() - 24 * HOUR):
        assert run.status().state == "interrupted"


# -- the database --------------------------------------------------------------------------------


@pytest.fixture
def at_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home whose app stores two labels, writes its snapshot and ends."""
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    yield home
    service.close_all()


def test_labels_of_a_database_that_was_lost_come_back_from_the_snapshot(at_home: Home, tiny_folder: Callable[..., Path]) -> None:
    running = service.current()
    datasets.add_dataset(running.store, "tiny", tiny_folder())
    for name in ("a/a0.jpg", "b/b0.jpg"):
        labels.annotate(running.store, "tiny", name, "Ana", "hard")
    running.save_snapshot()
    service.close_all()
    at_home.database.unlink()

    running = service.current()
    running.save_snapshot()
    assert running.store.rows("SELECT count(*) FROM annotation") == [(0,)]
    (rescued,) = (at_home.labels / "backups").glob("rescued-*")
    (found,) = doctor.examine(at_home, running.store, only=("database",))
    assert not found.ok
    assert "labels restore FOLDER" in found.detail
    assert str(rescued) in found.detail
    service.close_all()

    assert backup.restore(at_home, rescued).rows["annotation"] == 2
    assert service.current().store.rows("SELECT example, level FROM annotation ORDER BY example") == [
        ("a/a0.jpg", "hard"),
        ("b/b0.jpg", "hard"),
    ]
    assert len(list((at_home.labels / "backups").iterdir())) == 1, "who goes back to an older state on purpose gets no second copy"


@pytest.fixture
def lost(at_home: Home, tiny_folder: Callable[..., Path]) -> Home:
    """A home with two labels whose database is gone; the snapshot has them."""
    with Store.open(at_home) as store:
        datasets.add_dataset(store, "tiny", tiny_folder())
        for name in ("a/a0.jpg", "b/b0.jpg"):
            labels.annotate(store, "tiny", name, "Ana", "hard")
        store.write_snapshot()
    at_home.database.unlink()
    return at_home


@pytest.mark.parametrize("table", ["comparison", "schema_version", "overlap", "annotation"])
@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: whole[:4] + bytes(8) + whole[12:]], ids=["cut", "0"]
)
def test_a_snapshot_with_a_torn_file_is_kept_with_all_else_that_it_has(lost: Home, table: str, damage: Callable[[bytes], bytes]) -> None:
    file = lost.snapshot / f"{table}.parquet"
    file.write_bytes(damage(file.read_bytes()))
    readable = not snapshot.torn(lost.snapshot)  # an empty table has nothing to tear there
    running = service.current()
    running.save_snapshot()
    (kept,) = (lost.labels / "backups").iterdir()
    assert kept.name.startswith(backup.RESCUED if readable else backup.TORN)
    (found,) = doctor.examine(lost, running.store, only=("database",))
    assert not found.ok and str(kept) in found.detail and "labels restore FOLDER" in found.detail
    service.close_all()
    done = backup.restore(lost, kept)
    assert done.torn == (() if readable else (table,))
    assert service.current().store.rows("SELECT count(*) FROM annotation") == [(0 if table in done.torn and table == "annotation" else 2,)]


def test_a_snapshot_that_cannot_be_kept_is_not_written_over_and_the_app_starts(lost: Home) -> None:
    in_the_way = lost.labels / "backups"
    in_the_way.write_text("no folder")
    running = service.current()
    for _ in range(2):
        with pytest.raises(StoreError, match="couldn't be kept as a backup"):
            running.save_snapshot()
    assert running.trouble() == "no snapshot can be written"
    test = AppTest.from_string("from curriculum.app import layout, health\nlayout.guarded(health.page)", default_timeout=120)
    with mock.patch.dict(doctor.CHECKS, {"database": doctor.CHECKS["database"]}, clear=True):
        test.run()
    assert [str(lost.snapshot) in each.value for each in test.text] == [True]
    datasets.add_dataset(running.store, "tiny", lost.root.parent / "set")
    for name in ("c/c0.jpg", "c/c1.jpg", "c/c2.jpg"):  # more than the snapshot has, which is kept all the same
        labels.annotate(running.store, "tiny", name, "Ana", "easy")
    in_the_way.unlink()
    running.save_snapshot()
    (rescued,) = in_the_way.iterdir()
    assert (running.unsaved, running.trouble()) == ("", "")
    assert json.loads((rescued / "manifest.json").read_text())["rows"]["annotation"] == 2


@pytest.mark.parametrize("left", [[".snapshot-old-77"], [".snapshot-old-77", ".snapshot-77"]])
def test_a_snapshot_under_its_other_name_is_put_back(lost: Home, left: list[str]) -> None:
    """As a process leaves it that is killed between the two renames."""
    for name in left:
        shutil.copytree(lost.snapshot, lost.labels / name)
    shutil.rmtree(lost.snapshot)
    service.current()
    (rescued,) = (lost.labels / "backups").glob("rescued-*")
    assert json.loads((rescued / "manifest.json").read_text())["rows"]["annotation"] == 2


def test_a_snapshot_that_fails_gives_its_room_back_and_is_not_tried_at_once(
    at_home: Home, monkeypatch: pytest.MonkeyPatch, tiny_folder: Callable[..., Path]
) -> None:
    monkeypatch.setattr(service, "INGEST_EVERY_SECONDS", 0.01)
    running = service.current()
    until(lambda: running._saved == running.store.changes)
    before = {file.name: file.read_bytes() for file in at_home.snapshot.iterdir()}
    real, tried = Store.write_tables, list[Path]()

    def fails(store: Store, folder: Path, *, link: bool = False) -> int:
        real(store, folder, link=link)
        tried.append(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Store, "write_tables", fails)
    datasets.add_dataset(running.store, "tiny", tiny_folder())
    running._tried_at = 0.0
    until(lambda: bool(running.unsaved))
    time.sleep(0.3)
    assert len(tried) == 1
    assert "No space left on device" in running.unsaved and running.trouble() == "no snapshot can be written"
    assert {file.name: file.read_bytes() for file in at_home.snapshot.iterdir()} == before
    assert not list(at_home.labels.glob(".snapshot*"))
    monkeypatch.setattr(Store, "write_tables", real)
    running.save_snapshot()
    assert (running.unsaved, running.trouble()) == ("", "")


def test_a_snapshot_that_a_killed_process_left_stops_no_other(tiny: Store, home: Home) -> None:
    for left in (f".snapshot-old-{os.getpid()}", f".snapshot-{os.getpid()}", ".snapshot-12345"):
        (home.labels / left).mkdir()
        (home.labels / left / "annotation.parquet").write_bytes(b"half")
    tiny.write_snapshot()
    tiny.write_snapshot()
    assert not list(home.labels.glob(".snapshot*"))


@pytest.mark.parametrize("name", ["what? why", "back\\slash"])
def test_a_path_that_duckdb_takes_for_something_else_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="Move or rename"):
        Store.open(Home(tmp_path / name))
    assert not (tmp_path / name).exists()


def test_what_only_helps_stops_nobody(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.labels / "owner.json").mkdir(parents=True)  # can't be written
    home.data.mkdir()
    (home.data / "logs").write_text("no folder")
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    assert service.current().store.rows("SELECT 1") == [(1,)]
    service.close_all()
    journal.end(journal.begin(home))


# -- files ---------------------------------------------------------------------------------------


def test_threads_that_write_one_file_never_show_half_of_it(tmp_path: Path) -> None:
    path, sizes = tmp_path / "file", (100_000, 150_000)
    write_whole(path, lambda fresh: fresh.write_bytes(b"x" * sizes[0]), sync=False)
    seen: set[int] = set()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.add(len(path.read_bytes()))

    def write(size: int) -> None:
        for _ in range(100):
            write_whole(path, lambda fresh: fresh.write_bytes(b"x" * size), sync=False)

    with ThreadPoolExecutor(3) as pool:
        reading, *writing = (pool.submit(read), *(pool.submit(write, size) for size in sizes))
        for each in writing:
            each.result()
        over.set()
        reading.result()
    assert seen <= set(sizes)
    assert list(tmp_path.iterdir()) == [path]


def test_what_gets_its_place_is_on_the_disk_and_its_name_too(
    tiny: Store, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, real = set[int](), os.fsync

    def fsync(descriptor: int) -> None:
        flushed.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    labels.annotate(tiny, "tiny", "a/a0.jpg", "Ana", "hard")
    tiny.write_snapshot()
    label_files.export_labels(tiny, "tiny", tmp_path / "levels", format="folders")
    label_files.export_labels(tiny, "tiny", tmp_path / "levels.csv")
    identity.read_secret(home.labels / "secret.key")
    made = [home.snapshot, backup.backup(tiny), tmp_path / "levels", tmp_path / "levels.csv", home.labels / "secret.key"]
    for path in made:
        assert {each.stat().st_ino for each in (path.parent, path, *path.rglob("*"))} <= flushed, path
    flushed.clear()
    write_whole(tmp_path / "quick", lambda fresh: fresh.touch(), sync=False)
    assert not flushed


def test_what_a_killed_restore_left_is_cleared(at_home: Home, tmp_path: Path) -> None:
    with Store.open(at_home) as store:
        saved = backup.backup(store, tmp_path / "saved")
    dead, alive = (at_home.labels / f".restore-{pid}-x" for pid in (2**22 + 1, os.getppid()))
    for clear in (lambda: backup.restore(at_home, saved), service.current):
        for folder in (dead, alive):
            folder.mkdir(exist_ok=True)
        clear()
        assert (dead.exists(), alive.exists()) == (False, True)


def test_a_folder_that_another_process_is_building_is_left_alone(tmp_path: Path) -> None:
    alive, dead = (tmp_path / f".set-{pid}-x" for pid in (os.getppid(), 2**22 + 1))
    for each in (alive, dead):
        each.mkdir()
        os.utime(each, (0, 0))
    with building.building(tmp_path / "set", DatasetError):
        pass
    assert alive.exists() and not dead.exists()


def asked(running: service.Service, route: Callable[[Request], Response], example: str) -> Response:
    ((sha256,),) = running.store.rows("SELECT sha256 FROM example WHERE example = ?", [example])
    return route(Request({"type": "http", "path_params": {"sha256": sha256}}))


def test_images_that_are_not_what_was_indexed_are_kept_under_no_address(at_home: Home, tiny_folder: Callable[..., Path]) -> None:
    running, root = service.current(), tiny_folder()
    datasets.add_dataset(running.store, "tiny", root)
    first = asked(running, server.thumbnail, "a/a0.jpg")
    assert first.body and "immutable" in first.headers["cache-control"]
    (made,) = (at_home.cache / "thumbnails").rglob("*.jpg")
    made.write_bytes(b"")  # what a power cut may leave
    assert asked(running, server.thumbnail, "a/a0.jpg").body == first.body == made.read_bytes()
    os.utime(root / "a" / "a0.jpg", (0, 0))  # copied without its times
    assert "immutable" in asked(running, server.image, "a/a0.jpg").headers["cache-control"]
    original = (root / "a" / "a0.jpg").read_bytes()
    shutil.copyfile(root / "b" / "b0.jpg", root / "a" / "a0.jpg")
    for route in (server.image, server.thumbnail):
        assert asked(running, route, "a/a0.jpg").headers["cache-control"] == "no-store"
    (root / "a" / "a0.jpg").write_bytes(original)
    datasets.check_dataset(running.store, "tiny")
    assert "immutable" in asked(running, server.image, "a/a0.jpg").headers["cache-control"]


@pytest.mark.parametrize("route", [server.image, server.thumbnail])
def test_a_picture_that_was_made_and_torn_is_made_anew(
    at_home: Home, tiny_folder: Callable[..., Path], route: Callable[..., Response]
) -> None:
    running, root = service.current(), tiny_folder()
    Image.effect_noise((300, 200), 80).save(root / "a" / "a0.tif")
    datasets.add_dataset(running.store, "tiny", root)
    first = bytes(asked(running, route, "a/a0.tif").body)
    (made,) = (at_home.cache / ("shown" if route is server.image else "thumbnails")).rglob("*.*")
    size = len(first)
    for torn in (
        b"",
        first[:1],
        first[:300],
        first[: size // 2],
        first[:-10],
        first[:-1],
        bytes(size),
        first[: size // 2] + bytes(size // 2),
    ):
        made.write_bytes(torn)
        assert asked(running, route, "a/a0.tif").body == first == made.read_bytes(), len(torn)


def test_thumbnails_are_shown_though_they_cannot_be_kept(at_home: Home, tiny_folder: Callable[..., Path]) -> None:
    running = service.current()
    datasets.add_dataset(running.store, "tiny", tiny_folder())
    at_home.cache.parent.mkdir(parents=True, exist_ok=True)
    at_home.cache.write_text("no folder, so that nothing can be written there")
    answer = asked(running, server.thumbnail, "a/a0.jpg")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert bytes(answer.body).startswith(b"\xff\xd8")


# -- folders that move ---------------------------------------------------------------------------


def test_a_data_set_that_was_moved_is_found_again_with_its_labels(tiny: Store, tmp_path: Path, tiny_folder: Callable[..., Path]) -> None:
    labels.annotate(tiny, "tiny", "a/a0.jpg", "Ana", "hard")
    before = datasets.get_dataset(tiny, "tiny").root
    other = tiny_folder(("a", "b", "x"), per_class=2, name="other")
    with pytest.raises(ConfigError, match="stands for another folder"):
        datasets.add_dataset(tiny, "tiny", other)
    now = before.rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="data add NEW-PLACE --name tiny"):
        datasets.check_dataset(tiny, "tiny")
    for file in other.glob("*/*.jpg"):
        file.write_bytes((now / "c" / "c3.jpg").read_bytes())
    with pytest.raises(ConfigError, match="this one has other images"):
        datasets.add_dataset(tiny, "tiny", other)
    assert len(datasets.add_dataset(tiny, "tiny", now).examples) == 12
    assert datasets.get_dataset(tiny, "tiny").root == now
    assert labels.consensus(tiny, "tiny")["example"].tolist() == ["a/a0.jpg"]


def test_a_run_knows_its_folders_in_a_home_that_was_moved(home: Home, tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    with Store.open(home) as store:
        inside = home.data / "tiny"
        inside.parent.mkdir(exist_ok=True)
        tiny_folder().rename(inside)
        datasets.add_dataset(store, "tiny", inside)
        run_id = prepared(store).run_id
    before = RunDir(home.runs / run_id).request()
    moved = Home(home.root.rename(tmp_path / "moved"))
    request = RunDir(moved.runs / run_id).request()
    assert {key: request[key] for key in ("root", "cache", "runs")} == {
        "root": str(moved.data / "tiny"), "cache": str(moved.cache), "runs": str(moved.runs)
    }  # fmt: skip
    assert {key: value for key, value in request.items() if key not in ("root", "cache", "runs")} == {
        key: value for key, value in before.items() if key not in ("root", "cache", "runs")
    }


# -- recipes -------------------------------------------------------------------------------------


@pytest.fixture
def cooking(home: Home, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A recipe of two steps whose runs take no time."""
    with Store.open(home) as store:
        datasets.add_dataset(store, "demo", tiny_folder(per_class=16))
    made = recipe.read("small-networks-dtd")
    done = '{"test_accuracy": 0.5, "val_accuracy": 0.5}'
    monkeypatch.setattr(recipe_process, "_work", lambda member, _config: (member / "result.json").write_text(done))
    return recipe_runs.prepare(home, made, Asked(made.name, "small", {role.name: "demo" for role in made.roles}, {}))


def test_a_recipe_whose_run_somebody_deleted_makes_it_anew(cooking: RunDir, home: Home) -> None:
    recipe_process.conduct(cooking, Reporter(cooking))
    gone, kept = (ids[0] for ids in recipe_runs.steps_of(cooking).values())
    (cooking / "result.json").unlink()
    shutil.rmtree(home.runs / gone)
    recipe_process.conduct(cooking, Reporter(cooking))
    anew, still = (ids[0] for ids in recipe_runs.steps_of(cooking).values())
    assert (anew != gone, still) == (True, kept)
    assert cooking.result()


def test_a_recipe_is_cancelled_though_its_status_cannot_be_written(cooking: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_process, "WATCH_SECONDS", 0.01)
    reporter, refused = Reporter(cooking), mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))

    def work(member: RunDir, _config: Any) -> None:
        monkeypatch.setattr(reporter, "write", refused)
        deadline = time.monotonic() + 20
        while not refused.call_count:
            time.sleep(0.01)
        cooking.ask_to_cancel()
        while not member.cancel_asked():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        raise CancelledError("as asked")

    monkeypatch.setattr(recipe_process, "_work", work)
    with pytest.raises(CancelledError, match="as asked"):
        recipe_process.conduct(cooking, reporter)


# -- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "The disk is full. Nothing that was stored is lost"), (errno.EROFS, "The system refused")]
)
def test_what_the_system_refuses_is_a_sentence_on_pages_and_in_callbacks(at_home: Home, number: int, says: str) -> None:
    store = service.current().store
    people.register(store, "Ana", PIN)
    script = f"""
        import streamlit as st
        from curriculum.app import layout, session
        @session.for_leads
        def refused():
            raise OSError({number}, "as the system says")
        @st.fragment
        @session.for_leads
        def part():
            raise OSError({number}, "as the system says")
        def page():
            raise OSError({number}, "as the system says")
        st.button("press", on_click=refused)
        part()
        layout.guarded(page)
    """
    test = AppTest.from_string("\n".join(line[8:] for line in script.splitlines()), default_timeout=30)
    test.session_state["annotator"], test.session_state["_credential"] = "Ana", people.credential(store, "Ana")
    test.run()
    assert not test.exception
    assert [says in each.value for each in test.error] == [True, True]
    test.button[0].click().run()
    assert not test.exception
    assert len(test.error) == 3


def test_a_status_that_is_somebody_elses_is_no_run_that_stops_the_others(tiny: Store) -> None:
    good, bad = prepared(tiny), prepared(tiny)
    real = RunDir.epochs

    def refused(run: RunDir) -> list[dict[str, Any]]:
        if run.run_id == bad.run_id:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(run)

    with mock.patch.object(RunDir, "epochs", refused):
        failed = intake.Ingester(tiny).once()
    assert list(failed) == [bad.run_id]
    assert tiny.rows("SELECT run_id FROM run") == [(good.run_id,)]


def test_lines_that_are_no_epochs_end_the_curve(tiny: Store) -> None:
    run = prepared(tiny)
    (run / "epochs.jsonl").write_text('{"epoch": 1}\n{"epoch": "two"}\n{"epoch": 3}\n', encoding="utf-8")
    assert run.epochs() == [{"epoch": 1}]
    run.keep_epochs(1)
    assert json.loads((run / "epochs.jsonl").read_text(encoding="utf-8")) == {"epoch": 1}
    assert replace(run.status(), updated_at=0.0).state == "queued"
