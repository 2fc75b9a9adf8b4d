"""A data set's images: find, verify, decode once.

A data set is a folder of class folders. This module reads image files and nothing else: it knows no
database (`datasets` stores what it finds), no model and no labels.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from curriculum.cache import ArrayCache, CachedRows
from curriculum.errors import DatasetError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp"}
IGNORED = {"thumbs.db", "desktop.ini"}
MAX_PIXELS = {"JPEG": 100_000_000, "PNG": 100_000_000, "TIFF": 100_000_000, "WEBP": 30_000_000}
"""WebP's decoder keeps two canvases of its own beside the picture, however few the file's bytes are."""

MAX_BYTES = 500_000_000
PIXELS_TOGETHER = 200_000_000
"""That all threads decode at a time, at up to 8 bytes each: many small pictures, or two of the largest."""
CONVERTED_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L", "I;16N", "I"}
"""Pixel formats that have one sure way to RGB; any other (LAB, float, ...) is refused."""

TOGETHER = 1024
"""Files that are handed to the threads at a time."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Example:
    """One good image file. `example` is its path below the root, with forward slashes."""

    example: str
    class_name: str
    width: int
    height: int
    bytes: int
    mtime_ns: int
    sha256: str
    format: str


@dataclass(frozen=True)
class Rejected:
    """One file or folder that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Index:
    """What a folder holds: the classes (sorted by name), the good images, the ones left out."""

    root: Path
    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    rejected: tuple[Rejected, ...]


# -- finding and verifying -----------------------------------------------------------------------


def index_folder(
    root: Path,
    *,
    known: Mapping[str, Example] | None = None,
    progress: Progress | None = None,
) -> Index:
    """Find every image below the class folders of `root` and verify it by decoding it whole.

    Args:
        root: folder of class folders.
        known: earlier examples by path; a file of the same size and time isn't read again.
        progress: called with (files done, files in all).

    Raises:
        DatasetError: not a folder, class names that differ only by case, or fewer than two classes
            with a readable image. A bad file is never an error: it is listed in `rejected`.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise DatasetError("this is not a folder", got=str(root), todo="Give the folder that holds the class folders.")
    root = root.resolve()
    candidates, rejected = _find_files(root)
    refused = len(rejected)
    known = known or {}
    examples: list[Example] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for start in range(0, len(candidates), TOGETHER):  # what waits in a pool takes more memory than what comes out of it
            for outcome in pool.map(lambda path: _verify(root, path, known), candidates[start : start + TOGETHER]):
                if isinstance(outcome, Example):
                    examples.append(outcome)
                else:
                    rejected.append(outcome)
                if progress:
                    progress(len(examples) + len(rejected) - refused, len(candidates))
    classes = tuple(sorted({example.class_name for example in examples}))
    if len(classes) < 2:
        raise DatasetError(
            "a data set needs at least two class folders with a readable image each",
            got=f"{len(classes)} in {root}" + (f"; first refused file: {rejected[0].path}: {rejected[0].reason}" if rejected else ""),
            todo="Put each class's images (JPEG, PNG, TIFF, WebP) into a folder named after the class, and give their parent",
        )
    return Index(root, classes, tuple(examples), tuple(rejected))


def _find_files(root: Path) -> tuple[list[Path], list[Rejected]]:
    """Candidate files, sorted, and what is refused without reading."""
    candidates: list[Path] = []
    rejected: list[Rejected] = []
    by_folded: dict[str, str] = {}
    for entry in _visible(root):
        if not _inside(root, entry):
            rejected.append(Rejected(_shown(root, entry), "a symbolic link that leads out of the data set's folder"))
        elif not entry.is_dir():
            if entry.suffix.lower() in SUFFIXES:
                rejected.append(Rejected(_shown(root, entry), "lies beside the class folders, so it has no class"))
        elif not _nameable(entry.name):
            rejected.append(Rejected(_shown(root, entry), "the folder's name has control characters or isn't valid UTF-8"))
        else:
            other = by_folded.setdefault(entry.name.casefold(), entry.name)
            if other != entry.name:
                raise DatasetError("two class folders differ only by case", got=f"{other} and {entry.name}",
                                   todo="Rename or merge one of them: elsewhere they would be one folder.")  # fmt: skip
            for path in _visible(entry):
                reason = _refusal(root, path)
                if reason:
                    rejected.append(Rejected(_shown(root, path), reason))
                else:
                    candidates.append(path)
    return candidates, rejected


def _visible(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"the folder {folder} can't be read ({error.strerror})", todo="Check its permissions.") from error
    return (entry for entry in entries if not entry.name.startswith(".") and entry.name.lower() not in IGNORED)


def inside(root: Path, example: str) -> Path | None:
    """An example's file; None where there is none, or a link leads out of the data set's folder by now."""
    path, real = root / example, Path(os.path.realpath(root / example))
    return path if real.is_file() and real.is_relative_to(os.path.realpath(root)) else None


def _inside(root: Path, path: Path) -> bool:
    return not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(root)  # Path.resolve raises on a loop


def _nameable(name: str) -> bool:
    return name.isprintable() and not any("\ud800" <= letter <= "\udfff" for letter in name)


def _shown(root: Path, path: Path) -> str:
    """A path as text that every terminal, page and database takes."""
    text = path.relative_to(root).as_posix()
    return text if _nameable(text) else ascii(text)[1:-1]


def _refusal(root: Path, path: Path) -> str | None:
    """Why an entry of a class folder isn't even opened."""
    if not _nameable(path.name):
        return "the file's name has control characters or isn't valid UTF-8"
    if not _inside(root, path):
        return "a symbolic link that leads out of the data set's folder"
    if path.is_dir():
        return "a folder inside a class folder: only files directly below the class folder are read"
    if not path.is_file():
        return "a broken link" if path.is_symlink() else "not a regular file"
    if path.suffix.lower() not in SUFFIXES:
        return f"not an image file by its name (allowed: {' '.join(sorted(SUFFIXES))})"
    return None


def _verify(root: Path, path: Path, known: Mapping[str, Example]) -> Example | Rejected:
    name = path.relative_to(root).as_posix()
    try:
        stat = path.stat()
        before = known.get(name)
        if before and (before.bytes, before.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return before
        if stat.st_size == 0:
            return Rejected(name, "empty file (0 bytes)")
        if stat.st_size > MAX_BYTES:
            return Rejected(name, f"larger than {MAX_BYTES // 1_000_000} MB")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with _open(path) as image:
            image_format = image.format or ""
            width, height = _to_rgb(image).size
    except _UNREADABLE as error:
        return Rejected(name, _reason(error))
    return Example(name, path.parent.name, width, height, stat.st_size, stat.st_mtime_ns, digest, image_format)


_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError, IndexError, KeyError, TypeError,
               OverflowError, struct.error, zlib.error)  # fmt: skip
"""What Pillow's decoders raise on damaged files; anything of it means: this file is refused."""


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a readable JPEG, PNG, TIFF or WebP image"
    if isinstance(error, DatasetError):
        return error.what
    return f"damaged: {error}" if str(error) else f"damaged ({type(error).__name__})"


# -- decoding ------------------------------------------------------------------------------------


class _Quiet:
    """Pillow's warnings (large images, odd metadata) off while any thread decodes; our own limits follow.

    `warnings.catch_warnings` by itself, entered by several threads, leaves "ignore" behind for good.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


_pillow_quiet = _Quiet()


class _Room:
    """Pixels that are being decoded. Who has to wait for room is next, however small what comes after."""

    def __init__(self, pixels: int) -> None:
        self.free = pixels
        self._next, self._changed = threading.Lock(), threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        with self._next, self._changed:
            self._changed.wait_for(lambda: pixels <= self.free)
            self.free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self.free += pixels
                self._changed.notify()


_room = _Room(PIXELS_TOGETHER)


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """A file of an allowed format, when there is room for its pixels; its size is checked before any is decoded."""
    with _pillow_quiet:
        image = Image.open(path, formats=FORMATS)
    limit = MAX_PIXELS[image.format or ""]
    if image.width * image.height > limit:
        image.close()
        raise OSError(f"{image.width} x {image.height} pixels are more than {limit // 1_000_000} million")
    with image, _room.take(image.width * image.height):
        yield image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Decode whole, turn upright, convert to 8-bit RGB (16-bit scaled down, transparency over white).

    As few copies as can be: one of the largest picture allowed is 400 MB.
    """
    if image.mode not in CONVERTED_MODES:
        raise OSError(f"pixel format {image.mode} has no sure conversion to RGB")
    with _pillow_quiet:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        return _upper_bits(image).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        over = image if image.mode == "RGBA" else image.convert("RGBA")
        rgb = Image.new("RGB", over.size, "white")
        rgb.paste(over, mask=over)
        return rgb
    return image if image.mode == "RGB" else image.convert("RGB")


def _upper_bits(image: Image.Image) -> Image.Image:
    """The upper 8 of 16 bits, some rows at a time: as arrays all of them would take four times the picture."""
    grey, rows = Image.new("L", image.size), max(1, 1_000_000 // max(image.width, 1))
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise OSError("32-bit greyscale outside 0 to 65535 has no sure conversion to RGB")
        grey.paste(Image.fromarray((values >> 8).astype(np.uint8)), (0, top))
    return grey


def open_rgb(path: Path) -> Image.Image:
    """One image, upright, 8-bit RGB, at its own size.

    Raises:
        DatasetError: the file is gone, changed for the worse, or damaged.
    """
    return _read(path, lambda rgb: rgb)


def _read(path: Path, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What is made of an image, while there is room for it."""
    try:
        with _open(path) as image:
            return change(_to_rgb(image))
    except _UNREADABLE as error:
        raise DatasetError(f"the image {path} can't be read ({_reason(error)})", todo="Run `data check` on its data set.") from error


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """One image as uint8 (size, size, 3): shorter side scaled to `size`, centre square kept."""
    fitted = _read(path, lambda rgb: rgb if rgb.size == (size, size) else ImageOps.fit(rgb, (size, size), Image.Resampling.BICUBIC))
    return np.asarray(fitted, dtype=np.uint8)


def load_images(
    root: Path, examples: Sequence[str], sha256: Sequence[str], size: int, cache_folder: Path, progress: Progress | None = None
) -> CachedRows:
    """All these images as uint8 rows (size, size, 3), decoded once for all runs, read from the disk's cache after.

    Args:
        root: the data set's folder.
        examples: paths below it, n of them.
        sha256: of the files' content when they were indexed.
        size: pixels.
        cache_folder: where the caches lie.
        progress: called with (decoded, to decode in all); never called where all is cached.

    Raises:
        DatasetError: a file is gone or no longer what was indexed.
    """
    cache = ArrayCache(cache_folder, f"images-{size}", (size, size, 3), np.uint8)
    todo = cache.missing(sha256)
    done = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for start in range(0, len(todo), 128):
            block = todo[start : start + 128]
            rows = np.stack(list(pool.map(lambda i: _decode_indexed(root, examples[i], sha256[i], size), block)))
            cache.append([sha256[i] for i in block], rows)
            done += len(block)
            if progress:
                progress(done, len(todo))
    return cache.rows(sha256)


def _decode_indexed(root: Path, example: str, sha256: str, size: int) -> NDArray[np.uint8]:
    path = root / example
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"the image {path} can't be read ({error.strerror})", todo="Run `data check` on its data set.") from error
    if found != sha256:
        raise DatasetError(f"the image {path} has changed since it was indexed", todo="Run `data check` on its data set.")
    return decode(path, size)
