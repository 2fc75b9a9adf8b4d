"""Labels as the reports' three folders easy, medium and hard: read, or written as copies of the images or as links to them.

It never changes an image of a data set, and opens nothing outside the folder that it was given and the data set's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from curriculum.errors import ConfigError, DatasetError, LabelFileError
from curriculum.files import flush, flush_all
from curriculum.images import IGNORED, SUFFIXES, inside
from curriculum.label_formats import Row, cut
from curriculum.vocabulary import LEVELS


def read_folders(path: Path, root: Path) -> list[Row]:
    """A row for each image below easy/, medium/ and hard/: example (its path there), level, and its file.

    Args:
        root: the data set's folder, the only other place that links may lead to.

    Raises:
        LabelFileError: the folder can't be read, or holds no image.
    """
    rows = []
    for folder in _visible(path):
        level = folder.name.lower()
        if level in LEVELS and folder.is_dir():
            for file in _below(folder):
                cells: dict[str, str | None] = {"example": file.relative_to(folder).as_posix(), "level": level}
                rows.append(Row(cut(file.relative_to(path).as_posix()), cells, _problem(file, (path, root)), file))
        elif folder.is_dir():
            rows.append(Row(cut(folder.name), {}, f"a folder that is none of {', '.join(LEVELS)}"))
    if not any(row.file for row in rows):
        raise LabelFileError(f"{path} has no images below {', '.join(f'{level}/' for level in LEVELS)}; nothing was imported")
    return rows


def _visible(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise LabelFileError(f"{folder} can't be read ({error.strerror}); nothing was imported") from error
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name.lower() not in IGNORED]


def _below(folder: Path) -> Iterator[Path]:
    """All visible files at any depth; a linked folder counts as a file, because it isn't followed."""
    for entry in _visible(folder):
        if not entry.is_symlink() and entry.is_dir():
            yield from _below(entry)
        else:
            yield entry


def _problem(file: Path, allowed: Iterable[Path]) -> str:
    real = Path(os.path.realpath(file))  # Path.resolve raises on a loop
    if not any(real.is_relative_to(os.path.realpath(folder)) for folder in allowed):
        return "a symbolic link that leads out of the folder and of the data set"
    if not os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises where a link names what no system could have
        return "not a file, or a link to one that is gone"
    return "" if file.suffix.lower() in SUFFIXES else "not an image file by its name"


def write_folders(path: Path, root: Path, levels: dict[str, str], *, links: bool) -> None:
    """Put each example (below `root`) under its level in a new or empty folder, whole or not at all.

    Args:
        levels: the level of each example.
        links: relative symbolic links instead of copies.

    Raises:
        ConfigError: something is there already, or lies in the data set's own folder.
        DatasetError: an image is gone.
    """
    path = path.resolve()
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError("this exists and isn't an empty folder", got=str(path), todo="Choose a new folder: nothing is overwritten.")
    if path.is_relative_to(root):
        raise ConfigError("this lies in the data set's own folder", got=str(path), todo="Choose a folder elsewhere.")
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        for each in LEVELS:
            (fresh / each).mkdir(parents=True)
        for example, level in levels.items():
            source, place = inside(root, example), Path(level) / example
            if source is None:
                raise DatasetError(f"the image {root / example} is gone", todo="Run `data check` on its data set.")
            (fresh / place).parent.mkdir(exist_ok=True)
            if links:
                (fresh / place).symlink_to(os.path.relpath(source, (path / place).parent))
            else:
                shutil.copyfile(source, fresh / place)
        flush_all(fresh)
        if path.exists():
            path.rmdir()
        fresh.rename(path)
        flush(path.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
