"""Where data sets come from: drawn scenes and RSSCN7, by a real server that breaks in every way that we thought of."""

from __future__ import annotations

import errno
import gc
import hashlib
import http.server
import io
import json
import socketserver
import stat
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from curriculum import given
from curriculum.download import download
from curriculum.errors import CallError, DatasetError, DownloadError
from curriculum.scenes import CLASSES, draw_scenes
from curriculum.sources import (
    RSSCN7_CHECKSUMS,
    Taken,
    demo_difficulty,
    fetch_rsscn7,
    make_demo,
    read_checksums,
    take_rsscn7,
)

IMAGES = {f"{name}/{name[0]}{k:03d}.jpg": hashlib.sha256(f"{name}{k}".encode()).digest() * 250 for name in CLASSES for k in (1, 2)}


def pack(members: dict[str, bytes]) -> bytes:
    """A zip of these members, stored, as an archive of a repository has them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in members.items():
            packed.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


ARCHIVE = pack({f"RSSCN7-master/{example}": content for example, content in IMAGES.items()} | {"RSSCN7-master/README.md": b"Hello"})


@pytest.fixture
def checksums(tmp_path: Path) -> Path:
    path = tmp_path / "fixture.sha256"
    path.write_text("".join(f"{hashlib.sha256(content).hexdigest()}  {example}\n" for example, content in IMAGES.items()))
    return path


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


class Server(http.server.ThreadingHTTPServer):
    """Serves `body`; each entry of `script` spoils one request: a status to answer, or ("cut", bytes to send)."""

    daemon_threads = True

    def __init__(self, body: bytes = ARCHIVE, *script: Any, etag: str = '"one"', ranges: bool = True, slow: float = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.script, self.etag, self.ranges, self.slow = body, list(script), etag, ranges, slow
        self.asked: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/archive.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(dict(self.headers))
        step = server.script.pop(0) if server.script else None
        if isinstance(step, int):
            self.send_error(step)
            return
        resumed = server.ranges and "Range" in self.headers and self.headers["If-Range"] == server.etag
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if resumed else 0
        self.send_response(206 if resumed else 200)
        self.send_header("Content-Length", str(len(server.body) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        if resumed:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        self.end_headers()
        end = start + step[1] if step else len(server.body)
        pieces = 8 if server.slow else 1
        size = -(-(end - start) // pieces)
        for at in range(start, end, size):
            self.wfile.write(server.body[at : min(at + size, end)])
            self.wfile.flush()
            time.sleep(server.slow)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
        pass


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(server: Server, data_dir: Path, checksums: Path, **options: Any) -> Taken:
    given = {"retries": 3, "backoff_seconds": 0.01, "timeout_seconds": 5.0} | options
    return fetch_rsscn7(data_dir, server.url, checksums, **given)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- the download ----------------------------------------------------------------------------------


def test_the_whole_arrives_and_nothing_else_stays(data_dir: Path, checksums: Path) -> None:
    told: list[tuple[int, int | None, str]] = []
    with serving(Server()) as server:
        taken = fetch(server, data_dir, checksums, progress=lambda *step: told.append(step))
    assert taken == Taken(data_dir / "rsscn7", 14, 14)
    assert contents(taken.path) == IMAGES
    assert left_in(data_dir) == {"rsscn7"}
    assert (len(ARCHIVE), len(ARCHIVE), "Downloading") in told
    assert told[-1][:2] == (14, 14)


def test_a_complete_folder_is_checked_and_not_fetched_again(data_dir: Path, checksums: Path) -> None:
    with serving(Server()) as server:
        first = fetch(server, data_dir, checksums)
        assert fetch(server, data_dir, checksums) == first
        assert len(server.asked) == 1
        (first.path / "aGrass" / "a001.jpg").write_bytes(b"changed")
        with pytest.raises(DownloadError, match="13 of 14 as published"):
            fetch(server, data_dir, checksums)
    assert (first.path / "aGrass" / "a001.jpg").read_bytes() == b"changed"


def test_a_cut_connection_goes_on_where_it_stopped(data_dir: Path, checksums: Path) -> None:
    told: list[str] = []
    with serving(Server(ARCHIVE, ("cut", 50_000))) as server:
        taken = fetch(server, data_dir, checksums, progress=lambda done, total, what: told.append(what))
        first, second = server.asked
    assert "Range" not in first
    assert (second["Range"], second["If-Range"]) == ("bytes=50000-", '"one"')
    assert contents(taken.path) == IMAGES
    assert left_in(data_dir) == {"rsscn7"}
    assert any("50,000 of" in what for what in told)


def test_always_cut_keeps_a_prefix_that_a_later_call_finishes(data_dir: Path, checksums: Path) -> None:
    with serving(Server(ARCHIVE, *[("cut", 9_000)] * 3)) as server:
        with pytest.raises(DownloadError, match=r"in 3 tries.*27,000 of .*27,000 bytes are kept.*--from"):
            fetch(server, data_dir, checksums, retries=2)
        assert left_in(data_dir) == {"rsscn7.zip.part", "rsscn7.zip.part.json"}
        assert (data_dir / "rsscn7.zip.part").read_bytes() == ARCHIVE[:27_000]
        assert contents(fetch(server, data_dir, checksums).path) == IMAGES
        assert server.asked[-1]["Range"] == "bytes=27000-"
    assert left_in(data_dir) == {"rsscn7"}


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_a_prefix_that_nothing_vouches_for_is_never_built_upon(data_dir: Path, checksums: Path, etag: str) -> None:
    with serving(Server(ARCHIVE, *[("cut", 9_000)] * 2, etag=etag)) as server:
        with pytest.raises(DownloadError, match="9,000 of"):
            fetch(server, data_dir, checksums, retries=1)
        assert left_in(data_dir) == set()
        assert contents(fetch(server, data_dir, checksums).path) == IMAGES
        assert not any("Range" in headers for headers in server.asked)


def test_a_file_that_changed_meanwhile_is_fetched_anew(data_dir: Path, checksums: Path) -> None:
    with serving(Server(b"x" * len(ARCHIVE), ("cut", 9_000))) as server:
        with pytest.raises(DownloadError):
            fetch(server, data_dir, checksums, retries=0)
        server.body, server.etag = ARCHIVE, '"two"'
        assert contents(fetch(server, data_dir, checksums).path) == IMAGES
        assert server.asked[-1]["If-Range"] == '"one"'


def test_a_server_that_ignores_range_sends_the_whole_again(data_dir: Path, checksums: Path) -> None:
    with serving(Server(ARCHIVE, ("cut", 50_000), ranges=False)) as server:
        assert contents(fetch(server, data_dir, checksums).path) == IMAGES
        assert "Range" in server.asked[1]


def test_a_prefix_longer_than_the_file_starts_anew(data_dir: Path, checksums: Path) -> None:
    with serving(Server(ARCHIVE, ("cut", 9_000), 416)) as server:
        assert contents(fetch(server, data_dir, checksums).path) == IMAGES
        assert [("Range" in headers) for headers in server.asked] == [False, True, False]


def test_a_wrong_byte_is_found_named_and_thrown_away(data_dir: Path, checksums: Path) -> None:
    members = {f"RSSCN7-master/{example}": content for example, content in IMAGES.items()}
    members["RSSCN7-master/cIndustry/c002.jpg"] = b"?" + members["RSSCN7-master/cIndustry/c002.jpg"][1:]
    with serving(Server(pack(members))) as server, pytest.raises(DownloadError, match=r"differs.*cIndustry/c002\.jpg"):
        fetch(server, data_dir, checksums)
    assert left_in(data_dir) == set()


def test_a_byte_that_flipped_on_the_way_is_found(data_dir: Path, checksums: Path) -> None:
    spoilt = bytearray(ARCHIVE)
    spoilt[len(spoilt) // 2] ^= 1
    with serving(Server(bytes(spoilt))) as server, pytest.raises(DownloadError, match="damaged"):
        fetch(server, data_dir, checksums)
    assert left_in(data_dir) == set()


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_bytes_that_are_none_are_found(tmp_path: Path, data_dir: Path, checksums: Path, packing: int) -> None:
    given = tmp_path / "given.zip"
    with zipfile.ZipFile(given, "w", packing) as packed:
        for example, content in IMAGES.items():
            packed.writestr(f"RSSCN7-master/{example}", content)
        spoilt = packed.infolist()[3]
    whole = bytearray(given.read_bytes())
    begin = spoilt.header_offset + 30 + len(spoilt.filename)
    whole[begin + 12 : begin + spoilt.compress_size] = bytes([0xA5]) * (spoilt.compress_size - 12)
    given.write_bytes(whole)
    with pytest.raises(DownloadError, match="damaged or not a zip"):
        take_rsscn7(data_dir, given, checksums)
    assert left_in(data_dir) == set()


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_not_tried_again(data_dir: Path, checksums: Path, status: int) -> None:
    with serving(Server(ARCHIVE, status)) as server:
        with pytest.raises(DownloadError, match=rf"refuses.*{status}.*--from"):
            fetch(server, data_dir, checksums)
        assert len(server.asked) == 1
    assert left_in(data_dir) == set()


def test_two_failures_of_the_server_are_survived(data_dir: Path, checksums: Path) -> None:
    with serving(Server(ARCHIVE, 500, 503)) as server:
        assert fetch(server, data_dir, checksums).matching == 14
        assert len(server.asked) == 3


def test_a_server_that_fails_for_ever_ends_in_an_error(data_dir: Path, checksums: Path) -> None:
    with serving(Server(ARCHIVE, *[500] * 9)) as server:
        with pytest.raises(DownloadError, match=r"in 4 tries.*500"):
            fetch(server, data_dir, checksums)
        assert len(server.asked) == 4
    assert left_in(data_dir) == set()


def test_nobody_listening_ends_in_an_error(data_dir: Path, checksums: Path) -> None:
    server = Server()
    server.server_close()
    with pytest.raises(DownloadError, match="no answer"):
        fetch(server, data_dir, checksums, retries=1)
    assert left_in(data_dir) == set()


def test_a_silent_server_runs_into_the_timeout(data_dir: Path, checksums: Path) -> None:
    with serving(Server(slow=0.6)) as server, pytest.raises(DownloadError, match=r"timed out|TimeoutError"):
        fetch(server, data_dir, checksums, retries=0, timeout_seconds=0.15)
    assert left_in(data_dir) <= {"rsscn7.zip.part", "rsscn7.zip.part.json"}


def test_a_slow_stream_reports_its_way(data_dir: Path, checksums: Path) -> None:
    told: list[int] = []
    with serving(Server(slow=0.03)) as server:
        fetch(server, data_dir, checksums, progress=lambda done, total, what: told.append(done) if what == "Downloading" else None)
    assert len(told) >= 4
    assert told == sorted(told)
    assert told[-1] == len(ARCHIVE)


def test_an_interruption_while_downloading_leaves_a_prefix_at_most(data_dir: Path, checksums: Path) -> None:
    with serving(Server(slow=0.03)) as server:
        with pytest.raises(KeyboardInterrupt):
            fetch(server, data_dir, checksums, progress=interrupt_at(2))
        kept = (data_dir / "rsscn7.zip.part").read_bytes()
        assert 0 < len(kept) < len(ARCHIVE)
        assert ARCHIVE.startswith(kept)
        assert "rsscn7" not in left_in(data_dir)
        assert contents(fetch(server, data_dir, checksums).path) == IMAGES


def test_an_interruption_while_unpacking_leaves_no_folder_and_no_second_download(data_dir: Path, checksums: Path) -> None:
    with serving(Server()) as server:
        with pytest.raises(KeyboardInterrupt):
            fetch(server, data_dir, checksums, progress=interrupt_at(3, "Unpacking"))
        assert left_in(data_dir) == {"rsscn7.zip.part", "rsscn7.zip.part.json"}
        assert contents(fetch(server, data_dir, checksums).path) == IMAGES
        assert len(server.asked) == 1


def test_only_the_web_is_fetched(data_dir: Path, checksums: Path) -> None:
    with pytest.raises(CallError, match="https"):
        fetch_rsscn7(data_dir, "file:///etc/passwd", checksums)


def interrupt_at(step: int, what: str = "") -> Callable[[int, int | None, str], None]:
    """A progress callback at whose nth call about `what` somebody presses Ctrl-C."""
    calls = iter(range(1, 10_000))

    def progress(done: int, total: int | None, now: str) -> None:
        if now.startswith(what) and next(calls) == step:
            raise KeyboardInterrupt

    return progress


# -- archives --------------------------------------------------------------------------------------


def linked(name: str) -> bytes:
    buffer = io.BytesIO(ARCHIVE)
    with zipfile.ZipFile(buffer, "a") as packed:
        link = zipfile.ZipInfo(name)
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
    return buffer.getvalue()


def huge() -> bytes:
    buffer = io.BytesIO(ARCHIVE)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as packed, packed.open("zeros.bin", "w") as member:
        for _ in range(51):
            member.write(bytes(2**20))
    return buffer.getvalue()


def members(**extra: bytes) -> dict[str, bytes]:
    return {f"RSSCN7-master/{example}": content for example, content in IMAGES.items()} | extra


BAD_ARCHIVES = {
    "climbs": (pack(members(**{"RSSCN7-master/../../aGrass/a001.jpg": b"evil"})), "climbs"),
    "climbs backwards": (pack(members(**{"RSSCN7-master\\..\\..\\evil.jpg": b"evil"})), "climbs"),
    "absolute": (pack(members(**{"/aGrass/a001.jpg": b"evil"})), "absolute"),
    "drive": (pack(members(**{"C:/aGrass/a001.jpg": b"evil"})), "absolute"),
    "link": (linked("RSSCN7-master/aGrass/a003.jpg"), "link"),
    "huge": (huge(), "larger than"),
    "twice": (pack(members(**{"other/aGrass/a001.jpg": IMAGES["aGrass/a001.jpg"]})), "twice"),
    "lacking": (pack({k: v for k, v in members().items() if "gParking/g002" not in k}), r"13 of 14 images.*gParking/g002\.jpg"),
    "not a zip": (b"<html>Please sign in</html>", "not a zip.*<html>"),
    "empty": (b"", "not a zip"),
    "half": (ARCHIVE[: len(ARCHIVE) // 2], "not a zip"),
}


@pytest.mark.parametrize(("archive", "reason"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_a_bad_archive_is_refused_whether_fetched_or_given(
    tmp_path: Path, data_dir: Path, checksums: Path, archive: bytes, reason: str
) -> None:
    with serving(Server(archive)) as server, pytest.raises(DownloadError, match=reason):
        fetch(server, data_dir, checksums)
    assert left_in(data_dir) == set()
    given = tmp_path / "given.zip"
    given.write_bytes(archive)
    with pytest.raises(DownloadError, match=reason):
        take_rsscn7(data_dir, given, checksums)
    assert left_in(data_dir) == set()
    assert given.read_bytes() == archive
    assert left_in(tmp_path) == {"given.zip", "fixture.sha256", "data"}


# -- a copy that is already here -------------------------------------------------------------------


def write_copy(folder: Path) -> Path:
    for example, content in IMAGES.items():
        (folder / example).parent.mkdir(parents=True, exist_ok=True)
        (folder / example).write_bytes(content)
    return folder


def test_a_zip_is_unpacked_and_stays(tmp_path: Path, data_dir: Path, checksums: Path) -> None:
    given = tmp_path / "mine.zip"
    given.write_bytes(ARCHIVE)
    assert take_rsscn7(data_dir, given, checksums) == Taken(data_dir / "rsscn7", 14, 14)
    assert contents(data_dir / "rsscn7") == IMAGES
    assert given.read_bytes() == ARCHIVE
    assert take_rsscn7(data_dir, given, checksums).matching == 14


@pytest.mark.parametrize("inside", ["", "RSSCN7-master"])
def test_a_folder_is_used_where_it_lies(tmp_path: Path, data_dir: Path, checksums: Path, inside: str) -> None:
    copy = write_copy(tmp_path / "mine" / inside)
    (copy / "aGrass" / "Thumbs.db").write_bytes(b"no image")
    assert take_rsscn7(data_dir, tmp_path / "mine", checksums) == Taken(copy, 14, 14)
    assert left_in(data_dir) == set()


def test_a_folder_of_changed_or_fewer_images_is_reported_by_count(tmp_path: Path, data_dir: Path, checksums: Path) -> None:
    copy = write_copy(tmp_path / "mine")
    (copy / "aGrass" / "a001.jpg").write_bytes(b"resized")
    (copy / "bField" / "b001.jpg").unlink()
    assert take_rsscn7(data_dir, copy, checksums) == Taken(copy, 13, 12)


def test_a_folder_without_all_classes_or_images_is_refused(tmp_path: Path, data_dir: Path, checksums: Path) -> None:
    copy = write_copy(tmp_path / "mine")
    (copy / "eForest").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="no eForest"):
        take_rsscn7(data_dir, copy, checksums)
    for name in CLASSES:
        (tmp_path / "bare" / name).mkdir(parents=True)
    with pytest.raises(DatasetError, match="hold no image"):
        take_rsscn7(data_dir, tmp_path / "bare", checksums)
    with pytest.raises(DatasetError, match="no such folder or zip"):
        take_rsscn7(data_dir, tmp_path / "nowhere", checksums)


def test_the_checksums_that_come_along_are_those_of_the_2800_images() -> None:
    expected = read_checksums(RSSCN7_CHECKSUMS)
    assert len(expected) == len(set(expected)) == 2800
    assert {name: sum(example.startswith(name) for example in expected) for name in CLASSES} == dict.fromkeys(CLASSES, 400)


@pytest.mark.parametrize("text", ["", "abc  aGrass/a001.jpg\n", f"{'0' * 64}  ../a001.jpg\n", f"{'0' * 64}  aGrass/x/../../y\n"])
def test_a_bad_checksum_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.sha256"
    path.write_text(text)
    with pytest.raises(DatasetError, match="checksums"):
        read_checksums(path)


# -- the demo --------------------------------------------------------------------------------------


def test_the_demo_is_drawn_once_with_its_difficulties_beside_it(data_dir: Path) -> None:
    told: list[tuple[int, int | None]] = []
    folder = make_demo(data_dir, per_class=2, seed=3, progress=lambda done, total, what: told.append((done, total)))
    assert told == [(k, 14) for k in range(1, 15)]
    assert left_in(data_dir) == {"demo", "demo-difficulty.csv"}
    assert demo_difficulty(data_dir) == {f"{s.class_name}/{s.name}.jpg": s.difficulty for s in draw_scenes(2, 3)}
    assert set(contents(folder)) == {"classes.csv", *demo_difficulty(data_dir)}
    assert given.classes(folder) == {f"{s.class_name}/{s.name}.jpg": s.classes for s in draw_scenes(2, 3)}
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (256, 256), "RGB")

    before = contents(folder)
    assert make_demo(data_dir, per_class=1, progress=interrupt_at(1)) == folder
    assert contents(folder) == before


@pytest.mark.parametrize("step", [1, 5, 7])
def test_an_interrupted_demo_leaves_nothing(data_dir: Path, step: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_demo(data_dir, per_class=1, progress=interrupt_at(step))
    assert left_in(data_dir) == set()
    make_demo(data_dir, per_class=1)
    assert len(demo_difficulty(data_dir)) == 7


def test_two_demos_at_once_end_with_one_whole(data_dir: Path) -> None:
    threads = [threading.Thread(target=make_demo, args=(data_dir, 1)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left_in(data_dir) == {"demo", "demo-difficulty.csv"}
    assert set(contents(data_dir / "demo")) == {"classes.csv", *demo_difficulty(data_dir)}


def test_missing_or_damaged_difficulties_are_said(data_dir: Path) -> None:
    with pytest.raises(DatasetError, match="data demo"):
        demo_difficulty(data_dir)
    make_demo(data_dir, per_class=1)
    (data_dir / "demo-difficulty.csv").write_text("example,difficulty,causes\naGrass/a001.jpg,much,\n")
    with pytest.raises(DatasetError, match="can't be read"):
        make_demo(data_dir)


def test_a_full_disk_is_said_and_nothing_stays(data_dir: Path, checksums: Path) -> None:
    def full(done: int, total: int | None, what: str) -> None:
        if what.startswith(("Drawing", "Unpacking")) and done == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DatasetError, match="disk is full"):
        make_demo(data_dir, per_class=1, progress=full)
    with serving(Server()) as server, pytest.raises(DownloadError, match="disk is full"):
        fetch(server, data_dir, checksums, progress=full)
    assert left_in(data_dir) == set()


def test_a_data_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(DatasetError, match="can't be used"):
        make_demo(tmp_path / "data", per_class=1)


# -- servers and notes that say anything -----------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "header"),
    [
        (200, "Content-Length: \xb2"),
        (200, f"Content-Length: {'9' * 5000}"),
        (206, f"Content-Range: bytes 0-1/{'9' * 5000}"),
        (301, "Location: http://["),
    ],
)
def test_whatever_a_server_says_is_a_download_or_an_error_of_ours(tmp_path: Path, status: int, header: str) -> None:
    class Says(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(f"HTTP/1.1 {status} x\r\n{header}\r\nConnection: close\r\n\r\nabc".encode("latin-1"))

    with socketserver.TCPServer(("127.0.0.1", 0), Says) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # urllib leaves the connection open where it can't follow
            with suppress(DownloadError):
                url = f"http://127.0.0.1:{server.server_address[1]}/x"
                download(url, tmp_path / "x", retries=0, backoff_seconds=0, timeout_seconds=5, limit_bytes=100)
                assert (tmp_path / "x").read_bytes() == b"abc"
            gc.collect()
        thread.join()


@pytest.mark.parametrize(
    "note", [{"mark": 5}, {"mark": "a\r\nb"}, {"mark": "ü"}, {"total": "x"}, {"total": 1.5}, {"mark": None}, "[" * 5000]
)
def test_a_note_that_is_no_note_begins_anew(data_dir: Path, checksums: Path, note: Any) -> None:
    with serving(Server()) as server:
        data_dir.mkdir()
        (data_dir / "rsscn7.zip.part").write_bytes(b"PK")
        text = note if isinstance(note, str) else json.dumps({"url": server.url, "mark": '"one"', "total": len(ARCHIVE)} | note)
        (data_dir / "rsscn7.zip.part.json").write_text(text)
        fetch(server, data_dir, checksums)
        assert "Range" not in server.asked[0]
