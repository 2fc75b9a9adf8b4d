"""torchvision's data sets in this project's form: `python -m curriculum.torchvision_data NAME FOLDER [--from PATH]`, started by `fetching`.

torchvision's own classes download, verify and read; this module makes class folders of what they read, with `split.csv` and, where images
show several classes, `classes.csv` beside them (`given` reads both). On standard output it says how far it is, one JSON document a line;
the last one is the error if there was one. It is a process of its own because the commands and the app do without torch.
"""

from __future__ import annotations

import _thread
import argparse
import contextlib
import csv
import errno
import http.client
import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets
from torchvision.datasets.utils import check_integrity, extract_archive

from curriculum.building import building, put, tell
from curriculum.download import Progress
from curriculum.errors import CurriculumError, DatasetError, DownloadError
from curriculum.files import NO_ROOM

SILENCE_SECONDS = 30.0
"""Of a server, before torchvision gives up."""
SAY_EVERY_SECONDS = 0.2

_FAILED = (OSError, http.client.HTTPException, RuntimeError, ValueError)
"""What torchvision raises where a download fails: of the system and of urllib, and its own where the MD5 is wrong."""
_ARCHIVE_INSTEAD = "Give the archive instead, or fetch it anew without --from"


@dataclass(frozen=True)
class Item:
    """One image to be: its name ("<class>/<file>"), its split (empty: the data set has none), and a file to copy or pixels to save as PNG."""

    example: str
    split: str
    image: Path | NDArray[np.uint8]


@dataclass(frozen=True)
class Found:
    """What torchvision reads: the images, and all classes of each where the data set knows more than one."""

    items: list[Item]
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A data set of torchvision: `reader` its class, `md5` and `bytes` of the archive at `url`, which torchvision unpacks into the folder
    `inside` of its root, and what must then be there (`holds`, for messages)."""

    reader: Any
    url: str
    md5: str
    bytes: int
    inside: str
    holds: str
    read: Callable[[Any, Path], Found]

    @property
    def archive(self) -> str:
        return self.url.rsplit("/", 1)[-1]


# -- what torchvision's classes read ---------------------------------------------------------------


def read_textures(reader: Any, root: Path) -> Found:
    """DTD with the train, val and test of its first partition, and all textures that its joint annotation sees in each image."""
    items = []
    for split in ("train", "val", "test"):
        files = reader(root, split=split, partition=1)._image_files
        items += [Item(f"{path.parent.name}/{path.name}", split, path) for path in files]
    names = {item.example for item in items}
    classes = {}
    joint = root / "dtd" / "dtd" / "labels" / "labels_joint_anno.txt"
    for line in joint.read_text(encoding="utf-8").splitlines():
        example, *seen = line.split() or [""]
        if example in names:
            classes[example] = tuple(dict.fromkeys(seen))
    if lacking := sorted(names - {example for example, seen in classes.items() if seen}):
        raise ValueError(f"{joint} has no class for {len(lacking):,} images, {lacking[0]} is one of them")
    return Found(items, classes)


def read_satellite(reader: Any, root: Path) -> Found:
    """EuroSAT, which has no split of its own."""
    found = reader(root)
    return Found([Item(f"{found.classes[label]}/{Path(path).name}", "", Path(path)) for path, label in found.samples])


def read_arrays(reader: Any, root: Path) -> Found:
    """CIFAR's pictures, each named after its part and its place there.

    Its files are pickles, and to read a pickle is to run what it says: torchvision holds each to its published MD5, and so does this
    function, for all of them, before the first one is opened.
    """
    for name, md5 in (*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])):
        path = root / reader.base_folder / name
        if not check_integrity(path, md5):
            why = "its MD5 isn't the published one, and as a pickle it could run any code" if path.is_file() else "it isn't there"
            raise ValueError(f"{path} was not opened: {why}")
    items = []
    for split in ("train", "test"):
        part = reader(root, train=split == "train")
        items += [
            Item(f"{part.classes[label]}/{split}-{number:05d}.png", split, pixels)
            for number, (pixels, label) in enumerate(zip(part.data, part.targets, strict=True))
        ]
    return Found(items)


KINDS = {
    "dtd": Kind(datasets.DTD, datasets.DTD._URL, datasets.DTD._MD5, 625_239_812, "dtd", "dtd/dtd/images and dtd/dtd/labels", read_textures),
    "eurosat": Kind(
        datasets.EuroSAT,
        # torchvision has both inside a function alone; a test holds them to it.
        "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
        "c8fa014336c82ac7804f0398fcb19387",
        94_280_567,
        "eurosat",
        "eurosat/2750",
        read_satellite,
    ),
    **{
        name: Kind(reader, reader.url, reader.tgz_md5, size, "", reader.base_folder, read_arrays)
        for name, reader, size in (("cifar10", datasets.CIFAR10, 170_498_071), ("cifar100", datasets.CIFAR100, 169_001_437))
    },
}


# -- from there to here ----------------------------------------------------------------------------


def make(kind: Kind, folder: Path, source: Path | None = None, progress: Progress | None = None) -> None:
    """Make `folder` of a data set of torchvision: downloaded, or taken from a copy that is already here.

    Args:
        folder: where the class folders will lie; there whole or not at all.
        source: torchvision's root folder, or its archive; None: download it.
        progress: called with done, in all (None: unknown), what.

    Raises:
        DownloadError: it can't be had, or the archive isn't the published one.
        DatasetError: there is no such copy, it isn't what torchvision would have made, or the disk can't take it.
    """
    if source is not None and not source.exists():
        raise DatasetError("there is no such folder or archive", got=str(source), todo="Check --from")
    with building(folder, DatasetError) as temporary:
        root = temporary / "root"
        if source is None:
            _download(kind, root, progress)
        elif source.is_dir():
            root = source
        else:
            _unpack(kind, source, root / kind.inside, progress)
        tell(progress, 0, None, "Reading")
        found = _read(kind, root)
        write(found, temporary / folder.name, keep=root == source, progress=progress)
        put(temporary / folder.name, folder)


def write(found: Found, folder: Path, *, keep: bool, progress: Progress | None = None) -> None:
    """Class folders with the images as they are (pixels as PNG), and the tables beside them.

    Args:
        folder: it isn't there yet.
        keep: copy the files; False: move them, which needs no second place on the disk.

    Raises:
        DatasetError: two images would have the same name, one isn't there, or a name would lead out of the folder.
    """
    folder.mkdir(parents=True)
    for done, item in enumerate(found.items, start=1):
        if "\0" in item.example:
            raise DatasetError("no file can have an image's name", got=repr(item.example), todo=_ARCHIVE_INSTEAD)
        path = folder / item.example
        if {"", ".", ".."} & set(item.example.split("/")) or path.parent.parent != folder:
            raise DatasetError("an image would lie outside its class folder", got=item.example, allowed="<class>/<file>")
        if path.exists():
            raise DatasetError("two images have the same name", got=item.example, todo=_ARCHIVE_INSTEAD)
        path.parent.mkdir(exist_ok=True)
        if not isinstance(item.image, Path):
            Image.fromarray(item.image).save(path)
        elif not item.image.is_file():
            raise DatasetError("an image that the data set names isn't there", got=str(item.image), todo=_ARCHIVE_INSTEAD)
        elif keep:
            shutil.copyfile(item.image, path)
        else:
            item.image.replace(path)
        tell(progress, done, len(found.items), "Writing the images")
    if any(item.split for item in found.items):
        _table(folder / "split.csv", [("example", "split"), *((item.example, item.split) for item in found.items)])
    if found.classes:
        _table(folder / "classes.csv", [("example", "classes"), *((example, " ".join(seen)) for example, seen in found.classes.items())])


def _table(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _read(kind: Kind, root: Path) -> Found:
    """What torchvision's class makes of a root folder; its errors in our words."""
    try:
        found = kind.read(kind.reader, root)
    except (RuntimeError, OSError, ValueError, LookupError) as error:
        raise DatasetError(f"torchvision's {kind.reader.__name__} can't be read from {root} ({_short(error)})",
                           allowed=f"a folder with {kind.holds} as torchvision unpacks them, or the archive {kind.archive}",
                           todo=_ARCHIVE_INSTEAD) from error  # fmt: skip
    if not found.items:
        raise DatasetError(f"torchvision's {kind.reader.__name__} holds no image", got=str(root), todo=_ARCHIVE_INSTEAD)
    return found


def _unpack(kind: Kind, archive: Path, into: Path, progress: Progress | None) -> None:
    """Unpack an archive that is the published one, byte for byte, and no other: who made another could have put anything in it."""
    tell(progress, 0, None, "Verifying the archive")
    if not check_integrity(archive, kind.md5):
        raise DownloadError(f"{archive} isn't the published archive of {kind.reader.__name__}: its MD5 is another", allowed=kind.md5,
                            todo=f"Fetch it again: {kind.url}")  # fmt: skip
    tell(progress, 0, None, "Unpacking")
    into.mkdir(parents=True)
    try:
        extract_archive(archive, into)
    except RuntimeError as error:  # torchvision goes by the name's end
        raise DownloadError(f"{archive} can't be unpacked ({_short(error)})", todo=f"Rename it to {kind.archive}") from error


def _download(kind: Kind, root: Path, progress: Progress | None) -> None:
    """Let torchvision download, verify and unpack."""
    root.mkdir()
    try:
        with _watching(root, kind, progress):
            kind.reader(root, download=True)
    except _FAILED as error:
        _raise_if_full(error)
        raise DownloadError(
            f"torchvision's {kind.reader.__name__} could not be downloaded ({_short(error)})",
            todo=f"Try again later; or fetch {kind.url} by hand (about {kind.bytes / 1e6:.0f} MB) and give the file: --from {kind.archive}",
        ) from error


def _raise_if_full(error: BaseException | None) -> None:
    """A full disk, or one that may not be written, is no failure of the network, though torchvision then tries another address."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (*NO_ROOM, errno.EACCES, errno.EROFS):
            raise error
        error = error.__context__


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _watching(root: Path, kind: Kind, progress: Progress | None) -> Iterator[None]:
    """Say how much has arrived: torchvision draws a bar of its own, which nobody sees."""
    archive, stop = root / kind.inside / kind.archive, threading.Event()

    def watch() -> None:
        while not stop.wait(SAY_EVERY_SECONDS):
            os.utime(root.parent)  # somebody is still building here, see `building`
            done = archive.stat().st_size if archive.exists() else 0
            try:
                if done < kind.bytes:
                    tell(progress, done, kind.bytes, "Downloading")
                else:
                    tell(progress, 0, None, "Verifying and unpacking")
            except BrokenPipeError:  # whoever waited for it is gone
                _thread.interrupt_main()
                return

    thread = threading.Thread(target=watch, name="watch the download", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# -- the process -----------------------------------------------------------------------------------


class _Speaker:
    """Says how far it is, one JSON document a line; not more often than somebody can read."""

    def __init__(self) -> None:
        self.what, self.at = "", 0.0

    def __call__(self, done: int, total: int | None, what: str) -> None:
        if what != self.what or done == total or time.monotonic() - self.at >= SAY_EVERY_SECONDS:
            self.what, self.at = what, time.monotonic()
            print(json.dumps({"done": done, "total": total, "what": what}), flush=True)


def main() -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m curriculum.torchvision_data")
    parser.add_argument("name", choices=sorted(KINDS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--from", dest="source", type=Path)
    options = parser.parse_args()
    socket.setdefaulttimeout(SILENCE_SECONDS)  # torchvision itself would wait for ever
    try:
        make(KINDS[options.name], options.folder, options.source, _Speaker())
    except CurriculumError as error:
        said = {"kind": type(error).__name__, "what": error.what, "got": error.got, "allowed": error.allowed, "todo": error.todo}
        print(json.dumps({"error": said}), flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
