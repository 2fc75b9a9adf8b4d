"""Where data sets come from: the drawn demo scenes, RSSCN7 from its public repository, and a copy that one already has.

Every folder that this module makes is built under another name and renamed when it is whole, so that an interrupted call
leaves nothing half-made. It doesn't index or decode images, and knows no database.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from curriculum.building import building, put, tell
from curriculum.download import Progress, discard, disk_errors, download
from curriculum.errors import DatasetError, DownloadError
from curriculum.scenes import CLASSES, draw_scenes

RSSCN7_URL = "https://github.com/palewithout/RSSCN7/archive/refs/heads/master.zip"
RSSCN7_CHECKSUMS = Path(__file__).resolve().parent.parent / "data" / "rsscn7.sha256"
MAX_MEMBER_BYTES, MAX_TOTAL_BYTES = 50 * 2**20, 2 * 2**30

_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
_ELSEWHERE = "Or get the data set another way and give it: `data fetch rsscn7 --from FOLDER|ZIP`"
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, UnicodeError)  # RuntimeError: encrypted


@dataclass(frozen=True)
class Taken:
    """Where RSSCN7 lies, how many images are there, and how many of them are byte for byte the published originals."""

    path: Path
    examples: int
    matching: int


# -- demo scenes ---------------------------------------------------------------------------------


def make_demo(data_dir: Path, per_class: int = 60, seed: int = 0, progress: Progress | None = None) -> Path:
    """Draw the demo scenes into `data_dir/demo`, their built-in difficulty into `data_dir/demo-difficulty.csv` beside it.

    A finished demo is left as it is, whatever `per_class` and `seed` say: labels may hang on it.

    Returns:
        The folder of class folders.

    Raises:
        CallError: `per_class` or `seed` is out of range.
        DatasetError: the disk can't take it, or the folder is there without its difficulties.
    """
    folder, table = data_dir / "demo", _difficulty_file(data_dir)
    if folder.is_dir():
        demo_difficulty(data_dir)
        return folder
    scenes = draw_scenes(per_class, seed)
    with building(folder, DatasetError) as temporary:
        rows, shown, pictures = [("example", "difficulty", "causes")], [("example", "classes")], temporary / "demo"
        for done, scene in enumerate(scenes, start=1):
            path = pictures / scene.class_name / f"{scene.name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            scene.image.save(path, quality=90)
            rows.append((f"{scene.class_name}/{path.name}", repr(scene.difficulty), " ".join(scene.causes)))
            shown.append((rows[-1][0], " ".join(scene.classes)))
            tell(progress, done, len(CLASSES) * per_class, "Drawing the demo scenes")
        drawn = temporary / table.name
        for place, lines in ((drawn, rows), (pictures / "classes.csv", shown)):
            with place.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(lines)
        drawn.replace(table)  # first: the folder is what says that the demo is complete
        put(pictures, folder)
    return folder


def demo_difficulty(data_dir: Path) -> dict[str, float]:
    """The built-in difficulty (0 to 1, higher = harder) of every demo scene, by example ("<class>/<file>").

    Raises:
        DatasetError: the table isn't there or can't be read.
    """
    table = _difficulty_file(data_dir)
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return {row["example"]: float(row["difficulty"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, ValueError) as error:
        todo = f"Delete {data_dir / 'demo'} and run `data demo`"
        raise DatasetError(f"the demo's difficulties can't be read from {table} ({error!r})", todo=todo) from error


def _difficulty_file(data_dir: Path) -> Path:
    return data_dir / "demo-difficulty.csv"


# -- RSSCN7 --------------------------------------------------------------------------------------


def fetch_rsscn7(
    data_dir: Path,
    url: str = RSSCN7_URL,
    checksums: Path | None = None,
    progress: Progress | None = None,
    *,
    retries: int = 4,
    backoff_seconds: float = 1.0,
    timeout_seconds: float = 30.0,
) -> Taken:
    """Download RSSCN7's archive, check every image against the published originals, unpack into `data_dir/rsscn7`.

    A broken download goes on where it stopped when the server can prove that the file is still the same one. A complete
    folder is checked and left as it is.

    Args:
        checksums: lines of `sha256sum`, "<hash>  <class>/<file>"; by default those of the 2,800 published images.
        retries: further tries after a cut connection or a server's failure.
        backoff_seconds: wait before the first retry; doubles with each.
        timeout_seconds: longest silence of the server.

    Raises:
        DownloadError: it failed; of the data set nothing was left behind.
        DatasetError: the checksums can't be read, or a folder of that name is there and isn't RSSCN7.
    """
    expected, folder = read_checksums(checksums or RSSCN7_CHECKSUMS), data_dir / "rsscn7"
    if folder.is_dir():
        return _check_finished(folder, expected, progress)
    part = data_dir / "rsscn7.zip.part"
    with disk_errors(data_dir, DownloadError):
        data_dir.mkdir(parents=True, exist_ok=True)
    try:
        download(
            url,
            part,
            retries=retries,
            backoff_seconds=backoff_seconds,
            timeout_seconds=timeout_seconds,
            limit_bytes=MAX_TOTAL_BYTES,
            progress=progress,
        )
    except DownloadError as error:
        todo = f"{error.todo}. {_ELSEWHERE}" if error.todo else _ELSEWHERE
        raise DownloadError(error.what, got=error.got, allowed=error.allowed, todo=todo) from error
    try:
        taken = _unpack(part, folder, expected, progress, f"the archive from {url}", f"Try again. {_ELSEWHERE}")
    except DownloadError:
        discard(part)  # what arrived is damaged: going on from it would not help
        raise
    discard(part)
    return taken


def take_rsscn7(data_dir: Path, source: Path, checksums: Path | None = None, progress: Progress | None = None) -> Taken:
    """Use a copy of RSSCN7 that is already here: a folder where it lies, a zip unpacked into `data_dir/rsscn7`.

    A folder's images may differ from the published ones (people resize them): `matching` says how many don't. A zip is
    held to every checksum, like a download.

    Raises:
        DatasetError: the folder lacks a class, or holds no image, or nothing is there.
        DownloadError: the zip is damaged, unsafe or not the published data set; it stays, nothing was unpacked.
    """
    expected = read_checksums(checksums or RSSCN7_CHECKSUMS)
    if source.is_dir():
        with disk_errors(source, DatasetError):
            return _count(_find_classes(source), expected, progress)
    if not source.is_file():
        raise DatasetError("there is no such folder or zip", got=str(source), todo="Check --from")
    folder = data_dir / "rsscn7"
    if folder.is_dir():
        return _check_finished(folder, expected, progress)
    todo = "If its images were changed on purpose, unpack it and give the folder: --from FOLDER"
    return _unpack(source, folder, expected, progress, str(source), todo)


def read_checksums(path: Path) -> dict[str, str]:
    """The SHA-256 of every example ("<class>/<file>") that a file of `sha256sum` lines names.

    Raises:
        DatasetError: the file can't be read, is empty, or a line isn't of that form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise DatasetError(f"the checksums can't be read from {path} ({error})", todo="Restore it from git") from error
    pattern = re.compile(rf"([0-9a-f]{{64}}) [ *]((?:{'|'.join(CLASSES)})/[^/\\]+)")
    found = {number: pattern.fullmatch(line) for number, line in enumerate(lines, start=1)}
    if not found or None in found.values():
        bad = next((number for number, match in found.items() if match is None), 0)
        raise DatasetError(
            f"{path} isn't a list of checksums", got=f"line {bad}" if bad else "an empty file", allowed="<sha256>  <class>/<file>"
        )
    return {match[2]: match[1] for match in found.values() if match}


def _find_classes(source: Path) -> Path:
    """The folder with the seven class folders: `source`, or one folder in it."""
    nearest, lacking = source, list(CLASSES)
    for folder in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        missing = [name for name in CLASSES if not (folder / name).is_dir()]
        if not missing:
            return folder
        if len(missing) < len(lacking):
            nearest, lacking = folder, missing
    raise DatasetError(f"{nearest} lacks class folders of RSSCN7", got=f"no {', '.join(lacking)}", allowed=CLASSES)


def _count(folder: Path, expected: dict[str, str], progress: Progress | None) -> Taken:
    images = sorted(
        path
        for name in CLASSES
        for path in (folder / name).glob("*")
        if path.suffix.lower() in _IMAGES and not path.name.startswith(".") and path.is_file()
    )
    if not images:
        raise DatasetError("the class folders of RSSCN7 hold no image", got=str(folder), allowed=sorted(_IMAGES))
    matching = 0
    for done, path in enumerate(images, start=1):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        matching += expected.get(f"{path.parent.name}/{path.name}") == digest
        tell(progress, done, len(images), "Comparing with the published originals")
    return Taken(folder, len(images), matching)


def _check_finished(folder: Path, expected: dict[str, str], progress: Progress | None) -> Taken:
    with disk_errors(folder, DatasetError):
        taken = _count(_find_classes(folder), expected, progress)
    if taken.matching != len(expected):
        raise DownloadError(
            f"{folder} is there, but isn't the published data set",
            got=f"{taken.examples:,} images, {taken.matching:,} of {len(expected):,} as published",
            todo="Move or delete that folder and call again; or use it as it is: --from that folder",
        )
    return taken


# -- archives ------------------------------------------------------------------------------------


def _unpack(archive: Path, folder: Path, expected: dict[str, str], progress: Progress | None, what: str, todo: str) -> Taken:
    with _broken_zip(archive, what, todo):
        packed = zipfile.ZipFile(archive)
    with packed, building(folder, DownloadError) as temporary:
        members = _choose(packed, expected, what, todo)
        for done, (example, member) in enumerate(sorted(members.items()), start=1):
            # One byte more than declared, never all: a member may lie about its size.
            with _broken_zip(archive, what, todo), packed.open(member) as stream:
                content = stream.read(member.file_size + 1)
            digest = hashlib.sha256(content).hexdigest()
            if digest != expected[example]:
                got = f"{example} with SHA-256 {digest}, published {expected[example]}"
                raise DownloadError(f"{what} holds an image that differs from the published one", got=got, todo=todo)
            path = temporary / "rsscn7" / example
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            tell(progress, done, len(members), "Unpacking and verifying RSSCN7")
        put(temporary / "rsscn7", folder)
    return Taken(folder, len(expected), len(expected))


@contextlib.contextmanager
def _broken_zip(archive: Path, what: str, todo: str) -> Iterator[None]:
    try:
        with disk_errors(archive, DownloadError):
            try:
                yield
            except OSError as error:
                if error.errno is None:  # bzip2's way to say that the bytes are none of its
                    raise zipfile.BadZipFile(str(error)) from error
                raise
    except _BROKEN_ZIP as error:
        with archive.open("rb") as file:
            got = f"{archive.stat().st_size:,} bytes that begin {file.read(24)!r}"
        raise DownloadError(f"{what} is damaged or not a zip ({error})", got=got, todo=todo) from error


def _choose(packed: zipfile.ZipFile, expected: dict[str, str], what: str, todo: str) -> dict[str, zipfile.ZipInfo]:
    """The archive's member for each expected example; an unsafe member anywhere refuses the whole archive."""
    members: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for member in packed.infolist():
        total += member.file_size
        if danger := _danger(member, total):
            raise DownloadError(f"{what} was refused: {danger}", got=member.filename, todo=todo)
        example = "/".join(PurePosixPath(member.filename).parts[-2:])
        if example in expected and not member.is_dir():
            if example in members:
                raise DownloadError(f"{what} was refused: an image comes twice", got=member.filename, todo=todo)
            members[example] = member
    if missing := sorted(set(expected) - set(members)):
        got = f"{len(members):,} of {len(expected):,} images; the first missing is {missing[0]}"
        raise DownloadError(f"{what} isn't the whole of RSSCN7", got=got, todo=todo)
    return members


def _danger(member: zipfile.ZipInfo, total: int) -> str:
    """Why a member must not be unpacked, empty when it may."""
    # orig_filename: ZipInfo cuts filename at a NUL and turns the platform's separator.
    name = member.orig_filename
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or "\0" in name:
        return "a path is absolute"
    if ".." in re.split(r"[/\\]", name):
        return "a path climbs out of the folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "it holds a link"
    if member.file_size > MAX_MEMBER_BYTES:
        return f"a file of {member.file_size:,} bytes is larger than {MAX_MEMBER_BYTES:,}"
    return f"it unpacks to more than {MAX_TOTAL_BYTES:,} bytes" if total > MAX_TOTAL_BYTES else ""
