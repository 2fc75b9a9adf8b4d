"""torchvision's data sets become class folders: its real classes read small copies of their layout, and refuse what isn't the published data."""

from __future__ import annotations

import functools
import hashlib
import http.server
import inspect
import json
import pickle
import shutil
import signal
import socket
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from curriculum import fetching, given
from curriculum.cli import main
from curriculum.errors import DatasetError, DownloadError, UnknownError
from curriculum.images import index_folder
from curriculum.torchvision_data import KINDS, Found, Item, Kind, make, write

TEXTURES = ("banded", "dotted", "lined")
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def pack(root: Path, archive: Path) -> Path:
    """A tar or zip of all that lies in a folder."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in sorted(root.rglob("*")):
                packed.write(path, path.relative_to(root))
    else:
        with tarfile.open(archive, "w:gz") as tar:
            for path in sorted(root.iterdir()):
                tar.add(path, path.name)
    return archive


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def jpeg(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def textures(tmp_path: Path) -> Path:
    """A root folder with DTD as torchvision unpacks it: three textures, one image of each in train, val and test."""
    root = tmp_path / "given"
    base = root / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    joint = []
    for number, split in enumerate(("train", "val", "test")):
        names = [f"{texture}/{texture}_{number:04d}.jpg" for texture in TEXTURES]
        for place, name in enumerate(names):
            jpeg(base / "images" / name, 10 * number + place)
            joint.append(f"{name} {name.split('/')[0]} {'lined ' if number == 1 else ''}\n")
        (base / "labels" / f"{split}1.txt").write_text("".join(f"{name}\n" for name in names))
    (base / "labels" / "labels_joint_anno.txt").write_text("".join(joint))
    (base / "images" / "dotted" / ".directory").write_text("left by a file manager")
    return root


@pytest.fixture
def satellite(tmp_path: Path) -> Path:
    """A root folder with EuroSAT as torchvision unpacks it."""
    root = tmp_path / "given"
    for number, name in enumerate(("Forest", "River")):
        for place in (1, 2):
            jpeg(root / "eurosat" / "2750" / name / f"{name}_{place}.jpg", 10 * number + place)
    return root


@pytest.fixture
def arrays(tmp_path: Path) -> tuple[Path, Kind]:
    """A root folder with CIFAR-10 as torchvision unpacks it, two batches and a test batch of four, and torchvision's class with their MD5s."""
    root = tmp_path / "given"
    base = root / "cifar-10-batches-py"
    base.mkdir(parents=True)

    def save(name: str, content: dict[str, Any]) -> list[str]:
        (base / name).write_bytes(pickle.dumps(content))
        return [name, md5(base / name)]

    rows = PIXELS.transpose(0, 3, 1, 2).reshape(12, -1)
    batches = [save(name, {"data": rows[i : i + 4], "labels": [0, 1, 1, 0]}) for name, i in (("data_batch_1", 0), ("data_batch_2", 4))]
    test = [save("test_batch", {"data": rows[8:], "labels": [1, 0, 0, 1]})]
    name, digest = save("batches.meta", {"label_names": ["cat", "dog"]})
    meta = {"filename": name, "key": "label_names", "md5": digest}
    reader = type("CIFAR10", (datasets.CIFAR10,), {"train_list": batches, "test_list": test, "meta": meta})
    return root, replace(KINDS["cifar10"], reader=reader)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[str]:
    """A server of the files in tmp_path; its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def with_archive(kind: Kind, archive: Path) -> Kind:
    return replace(kind, md5=md5(archive), bytes=archive.stat().st_size)


# -- what is known ---------------------------------------------------------------------------------


def test_both_processes_know_the_same_data_sets() -> None:
    assert list(KINDS) == list(fetching.KNOWN)
    assert [round(kind.bytes / 1e6) for kind in KINDS.values()] == [known.megabytes for known in fetching.KNOWN.values()]


def test_the_archive_of_eurosat_is_torchvisions() -> None:
    source = inspect.getsource(datasets.EuroSAT.download)
    assert f'"{KINDS["eurosat"].url}"' in source
    assert f'md5="{KINDS["eurosat"].md5}"' in source


# -- textures --------------------------------------------------------------------------------------


def test_textures_keep_their_bytes_their_split_and_all_their_classes(textures: Path, tmp_path: Path) -> None:
    before, folder = contents(textures), tmp_path / "data" / "dtd"
    make(KINDS["dtd"], folder, textures)
    images = {name.removeprefix("dtd/dtd/images/"): content for name, content in before.items() if name.endswith(".jpg")}
    assert {name: content for name, content in contents(folder).items() if name.endswith(".jpg")} == images
    split, classes = given.split(folder), given.classes(folder)
    assert split == {f"{name}/{name}_{k:04d}.jpg": word for k, word in enumerate(("train", "val", "test")) for name in TEXTURES}
    assert classes is not None
    assert classes["banded/banded_0000.jpg"] == ("banded",)
    assert classes["banded/banded_0001.jpg"] == ("banded", "lined")
    assert classes["lined/lined_0001.jpg"] == ("lined",)
    assert classes.keys() == split.keys()
    assert (folder / "split.csv").read_text().startswith("example,split\nbanded/banded_0000.jpg,train\n")
    assert "\nbanded/banded_0001.jpg,banded lined\n" in (folder / "classes.csv").read_text()
    found = index_folder(folder)
    assert (len(found.examples), found.classes, found.rejected) == (9, TEXTURES, ())
    assert contents(textures) == before
    assert left_in(tmp_path / "data") == {"dtd"}


def test_the_published_archive_gives_the_same_as_the_folder(textures: Path, tmp_path: Path) -> None:
    archive = pack(textures / "dtd", tmp_path / "dtd-r1.0.1.tar.gz")
    make(KINDS["dtd"], tmp_path / "one" / "dtd", textures)
    make(with_archive(KINDS["dtd"], archive), tmp_path / "two" / "dtd", archive)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert left_in(tmp_path / "two") == {"dtd"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda base: shutil.rmtree(base), "Dataset not found"),
        (lambda base: (base / "labels" / "val1.txt").unlink(), "val1.txt"),
        (lambda base: (base / "labels" / "val1.txt").write_text("banded_0001.jpg\n"), "can't be read"),
        (lambda base: (base / "labels" / "val1.txt").write_text("../labels\n"), "no class for 1 images"),
        (lambda base: (base / "labels" / "labels_joint_anno.txt").unlink(), "labels_joint_anno.txt"),
        (lambda base: (base / "labels" / "labels_joint_anno.txt").write_text("banded/banded_0000.jpg banded\n"), "no class for 8 images"),
        (lambda base: (base / "images" / "lined" / "lined_0002.jpg").unlink(), "isn't there. Got: '.*lined_0002.jpg'"),
    ],
)
def test_textures_that_arent_whole_are_refused(textures: Path, tmp_path: Path, spoil: Any, said: str) -> None:
    spoil(textures / "dtd" / "dtd")
    with pytest.raises(DatasetError, match=said) as caught:
        make(KINDS["dtd"], tmp_path / "data" / "dtd", textures)
    assert "Give the archive instead" in str(caught.value)
    assert left_in(tmp_path / "data") == set()


# -- satellite images ------------------------------------------------------------------------------


def test_satellite_images_have_no_split(satellite: Path, tmp_path: Path) -> None:
    archive = pack(satellite / "eurosat", tmp_path / "EuroSAT.zip")
    make(KINDS["eurosat"], tmp_path / "one" / "eurosat", satellite)
    make(with_archive(KINDS["eurosat"], archive), tmp_path / "two" / "eurosat", archive)
    wanted = {name.removeprefix("eurosat/2750/"): content for name, content in contents(satellite).items()}
    assert contents(tmp_path / "one" / "eurosat") == contents(tmp_path / "two" / "eurosat") == wanted
    assert given.split(tmp_path / "one" / "eurosat") is None
    assert given.classes(tmp_path / "one" / "eurosat") is None


# -- arrays ----------------------------------------------------------------------------------------


def test_arrays_become_pictures_without_loss(arrays: tuple[Path, Kind], tmp_path: Path) -> None:
    root, kind = arrays
    folder = tmp_path / "data" / "cifar10"
    make(kind, folder, root)
    labels = [0, 1, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1]
    names = [f"train-{k:05d}.png" for k in range(8)] + [f"test-{k:05d}.png" for k in range(4)]
    wanted = [f"{('cat', 'dog')[label]}/{name}" for label, name in zip(labels, names, strict=True)]
    assert given.split(folder) == {example: example.split("/")[1].split("-")[0] for example in wanted}
    for example, pixels in zip(wanted, PIXELS, strict=True):
        with Image.open(folder / example) as image:
            assert (image.format, image.mode) == ("PNG", "RGB")
            assert np.array_equal(np.asarray(image), pixels)
    assert len(index_folder(folder).examples) == 12


def test_an_array_data_set_arrives_by_its_archive_and_by_the_network(arrays: tuple[Path, Kind], tmp_path: Path, serve: str) -> None:
    root, kind = arrays
    archive = pack(root, tmp_path / "cifar-10-python.tar.gz")
    kind.reader.url, kind.reader.tgz_md5 = f"{serve}/{archive.name}", md5(archive)
    kind = replace(with_archive(kind, archive), url=kind.reader.url)
    told: list[tuple[int, int | None, str]] = []
    for name, source in (("folder", root), ("archive", archive), ("network", None)):
        make(kind, tmp_path / name / "cifar10", source, lambda *step: told.append(step))
        assert told[-1] == (12, 12, "Writing the images")
        assert left_in(tmp_path / name) == {"cifar10"}
        assert contents(tmp_path / name) == contents(tmp_path / "folder")


def test_a_download_with_another_md5_is_refused(arrays: tuple[Path, Kind], tmp_path: Path, serve: str) -> None:
    root, kind = arrays
    archive = pack(root, tmp_path / "cifar-10-python.tar.gz")
    kind.reader.url = f"{serve}/{archive.name}"
    with pytest.raises(DownloadError, match="corrupted") as caught:
        make(replace(kind, url=kind.reader.url), tmp_path / "data" / "cifar10")
    assert f"fetch {serve}/cifar-10-python.tar.gz by hand (about 170 MB) and give the file: --from" in str(caught.value)
    assert left_in(tmp_path / "data") == set()


class Trap:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_pickle_that_isnt_the_published_one_is_not_opened(name: str, tmp_path: Path) -> None:
    reader = KINDS[name].reader
    base = tmp_path / "given" / reader.base_folder
    base.mkdir(parents=True)
    for file in (*(name for name, _ in (*reader.train_list, *reader.test_list)), reader.meta["filename"]):
        (base / file).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(DatasetError, match="was not opened: its MD5 isn't the published one"):
        make(KINDS[name], tmp_path / "data" / name, tmp_path / "given")
    assert not (tmp_path / "sprung").exists()
    pickle.loads((base / reader.meta["filename"]).read_bytes())
    assert (tmp_path / "sprung").exists(), "the trap works"
    assert left_in(tmp_path / "data") == set()


def test_a_single_bad_or_missing_pickle_is_named(arrays: tuple[Path, Kind], tmp_path: Path) -> None:
    root, kind = arrays
    meta = root / "cifar-10-batches-py" / "batches.meta"
    meta.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(DatasetError, match=r"batches\.meta was not opened: its MD5"):
        make(kind, tmp_path / "data" / "cifar10", root)
    assert not (tmp_path / "sprung").exists()
    meta.unlink()
    with pytest.raises(DatasetError, match=r"batches\.meta was not opened: it isn't there"):
        make(kind, tmp_path / "data" / "cifar10", root)


# -- any of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(KINDS))
def test_an_archive_with_another_md5_is_refused(name: str, textures: Path, tmp_path: Path) -> None:
    archive = pack(textures, tmp_path / KINDS[name].archive)
    with pytest.raises(DownloadError, match="isn't the published archive") as caught:
        make(KINDS[name], tmp_path / "data" / name, archive)
    assert f"Fetch it again: {KINDS[name].url}" in str(caught.value)
    assert left_in(tmp_path / "data") == set()


@pytest.mark.parametrize("name", list(KINDS))
def test_an_empty_folder_and_nothing_at_all_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError) as caught:
        make(KINDS[name], tmp_path / "data" / name, tmp_path / "empty")
    assert KINDS[name].holds in str(caught.value)
    with pytest.raises(DatasetError, match="no such folder or archive"):
        make(KINDS[name], tmp_path / "data" / name, tmp_path / "nothing")
    assert left_in(tmp_path / "data") == set()


def test_an_archive_with_a_strange_name_is_refused_in_words(textures: Path, tmp_path: Path) -> None:
    archive = pack(textures / "dtd", tmp_path / "dtd.tar.gz").rename(tmp_path / "dtd")
    with pytest.raises(DownloadError, match=r"can't be unpacked.*Rename it to dtd-r1\.0\.1\.tar\.gz"):
        make(with_archive(KINDS["dtd"], archive), tmp_path / "data" / "dtd", archive)


def test_a_disk_that_refuses_is_said(textures: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(DatasetError, match="can't be used"):
        make(KINDS["dtd"], tmp_path / "data" / "dtd", textures)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (["a/x.png", "a/x.png"], "two images have the same name"),
        (["a\0/x.png"], "no file can have an image's name"),
        (["../x.png"], "outside its class folder"),
        (["a/../x.png"], "outside its class folder"),
        (["a/b/x.png"], "outside its class folder"),
        (["x.png"], "outside its class folder"),
    ],
)
def test_names_that_cant_be_are_refused(examples: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=said):
        write(Found([Item(example, "train", PIXELS[0]) for example in examples]), tmp_path / "folder", keep=True)


# -- the process -----------------------------------------------------------------------------------


def test_the_command_fetches_and_leaves_alone_what_is_there(
    textures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["--home", str(tmp_path / "home"), "data", "fetch", "dtd", "--from", "given", "--json"]
    assert main(call) == 0
    out, err = capsys.readouterr()
    document = {
        "dataset": "dtd",
        "examples": 9,
        "classes": list(TEXTURES),
        "rejected": [],
        "changed": 0,
        "gone": 0,
        "moved": 0,
        "judged": 0,
        "scored": 0,
    }
    assert json.loads(out) == {**document, "new": 9, "was_there": False}
    assert "Writing the images" in err
    shutil.rmtree(textures)
    assert main(call) == 0
    assert json.loads(capsys.readouterr().out) == {**document, "new": 0, "was_there": True}


def test_an_unknown_name_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnknownError, match="Allowed: dtd, eurosat, cifar10, cifar100"):
        fetching.fetch("mnist", tmp_path / "data")
    assert left_in(tmp_path / "data") == set()


def test_no_network_names_what_to_fetch_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    with pytest.raises(DownloadError, match=r"CIFAR100 could not be downloaded \(.*refused") as caught:
        fetching.fetch("cifar100", tmp_path / "data")
    assert "fetch https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz by hand (about 169 MB)" in str(caught.value)
    assert left_in(tmp_path / "data") == set()


def test_who_gives_up_ends_the_process_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(_done: int, _total: int | None, what: str) -> None:
        assert what == "Downloading"
        assert len(left_in(tmp_path / "data")) == 1
        raise KeyboardInterrupt

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(KeyboardInterrupt):
            fetching.fetch("cifar10", tmp_path / "data", progress=give_up)
    assert left_in(tmp_path / "data") == set()


def test_what_a_process_that_hears_nothing_leaves_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = "import os, signal, sys, tempfile, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    deaf += "print(tempfile.mkdtemp(prefix=f'.cifar10-{os.getpid()}-', dir=sys.argv[1]), flush=True); time.sleep(60)"
    other = tmp_path / ".cifar10-1-another"
    other.mkdir()
    monkeypatch.setattr(fetching, "END_SECONDS", 0.1)
    command = [sys.executable, "-c", deaf, str(tmp_path)]
    with (
        (tmp_path / "log").open("w") as log,
        pytest.raises(KeyboardInterrupt),
        fetching._process(command, log, tmp_path / "cifar10") as process,
    ):
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        assert left.is_dir()
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGKILL
    assert not left.exists()
    assert other.is_dir(), "another process's is its own"


def test_a_process_that_cant_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "nowhere"))
    with pytest.raises(DownloadError, match=r"ended with code \d+.*Got: '.+'"):
        fetching.fetch("dtd", tmp_path / "data", tmp_path)
