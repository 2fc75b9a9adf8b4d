"""What a data set's folder itself says beside its images: which split an example belongs to, and which classes it shows.

Two tables may lie beside the class folders, `split.csv` and `classes.csv`. This module reads and checks them; it opens no image, writes
nothing, and divides nothing by itself.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

from curriculum.errors import DatasetError
from curriculum.vocabulary import SPLITS

SPLIT_FILE, CLASSES_FILE = "split.csv", "classes.csv"

_TODO = "Correct the file, or move it away to go on without it"


def split(root: Path) -> dict[str, str] | None:
    """train, val or test for each example that the folder's `split.csv` names.

    Args:
        root: folder of class folders.

    Returns:
        The split by example ("<class>/<file>"), in the file's order; None where the folder has no such file. What is no longer in the
        folder is left out; an example that the file doesn't name isn't there either.

    Raises:
        DatasetError: the file can't be read, has another header, names an example twice or a split that doesn't exist.
    """
    path = root / SPLIT_FILE
    rows = _rows(path, ("example", "split"))
    if rows is None:
        return None
    for line, _example, word in rows:
        if word not in SPLITS:
            raise _wrong(path, line, "names a split that doesn't exist", word, SPLITS)
    return {example: word for _line, example, word in rows if _there(root, example)}


def classes(root: Path) -> dict[str, tuple[str, ...]] | None:
    """All classes that each example shows, as the folder's `classes.csv` says: for images that show more than the class they lie in.

    Args:
        root: folder of class folders.

    Returns:
        The classes by example ("<class>/<file>"), in the file's order; None where the folder has no such file. Nothing is added to
        what the file says, not even the class in whose folder an example lies. What is no longer in the folder is left out.

    Raises:
        DatasetError: the file can't be read, has another header, names an example twice, no class, a class twice or one without a folder.
    """
    path = root / CLASSES_FILE
    rows = _rows(path, ("example", "classes"))
    if rows is None:
        return None
    folders, found = _folders(root), dict[str, tuple[str, ...]]()
    for line, example, words in rows:
        names = tuple(words.split())
        if not names:
            raise _wrong(path, line, "names no class", example, "one class or more, with a space between them")
        if len(set(names)) < len(names):
            raise _wrong(path, line, "names a class twice", words, "each class once")
        if _there(root, example):
            if unknown := [name for name in names if name not in folders]:
                raise _wrong(path, line, "names a class that is no folder here", unknown[0], folders)
            found[example] = names
    return found


def _rows(path: Path, header: tuple[str, str]) -> list[tuple[int, str, str]] | None:
    """Line, example and value of every row below the header; None where there is no such file."""
    try:
        first, *others = _read(path) or [(1, [])]
    except FileNotFoundError:
        return None
    except UnicodeError as error:
        raise DatasetError(f"{path} isn't text in UTF-8", got=str(error), allowed="UTF-8", todo="Save it again as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path} can't be read ({error})", todo=_TODO) from error
    if tuple(first[1]) != header:
        raise _wrong(path, first[0], "is another header than expected", ",".join(first[1]), ",".join(header))
    seen: dict[str, int] = {}
    for line, row in others:
        if len(row) != len(header):
            raise _wrong(path, line, f"has {len(row)} values instead of {len(header)}", ",".join(row), ",".join(header))
        if not _is_example(row[0]):
            raise _wrong(path, line, "names no example", row[0], "<class>/<file>")
        if row[0] in seen:
            raise _wrong(path, line, f"names an example that line {seen[row[0]]} has already", row[0], "each example once")
        seen[row[0]] = line
    return [(line, row[0], row[1]) for line, row in others]


def _read(path: Path) -> list[tuple[int, list[str]]]:
    """Every row that isn't empty, with its line. A spreadsheet may have put a byte order mark before the first."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        return [(reader.line_num, row) for row in reader if row]


def _is_example(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and not {"", ".", ".."} & set(parts) and "\0" not in name


def _there(root: Path, example: str) -> bool:
    return os.path.isfile(root / example)  # noqa: PTH113 - Path.is_file raises for a name that is too long for any file


def _folders(root: Path) -> list[str]:
    try:
        return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"the folder {root} can't be read ({error.strerror})", todo="Check its permissions") from error


def _wrong(path: Path, line: int, what: str, got: str, allowed: object) -> DatasetError:
    return DatasetError(f"line {line} of {path} {what}", got=got, allowed=allowed, todo=_TODO)
