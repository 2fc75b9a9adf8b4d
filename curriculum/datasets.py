"""The data sets that the database knows: register, check again, list, read back, and how the team sorts each.

`images` looks at files, this module keeps what it found. A file that goes away leaves its row, marked
absent, so that no label is ever lost with it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from curriculum import overlaps
from curriculum.errors import ConfigError, DatasetError, UnknownError
from curriculum.home import Home
from curriculum.images import Example, Index, Progress, Rejected, index_folder, load_images
from curriculum.overlaps import Overlap
from curriculum.store import Store

MAX_LABELS, MAX_REPEAT_SHARE = 1000, 0.5
PART = 50_000
"""Images that are written to the database together."""
_looking = threading.Lock()


@dataclass(frozen=True)
class Dataset:
    """A registered data set; `classes` are sorted by name, as every probability vector is."""

    name: str
    root: Path
    classes: tuple[str, ...]
    examples: int


@dataclass(frozen=True)
class Registered(Index):
    """A folder as it was registered, and what differs from the look before: images that are new, of other content, gone.

    `moved`: of the gone, those whose content came in under another name; `judged`, `scored`: of those of other content, how many have
    labels, and of how many models had said something, which counts no more.
    """

    new: int = 0
    changed: int = 0
    gone: int = 0
    moved: int = 0
    judged: int = 0
    scored: int = 0

    def differences(self) -> list[str]:
        """In sentences, with what to do; none where nothing is changed or gone."""
        said = []
        if self.changed or self.gone:
            said.append(f"Since the last look {self.new:,} new, {self.changed:,} with other content, {self.gone:,} gone.")
        if self.judged:
            said.append(f"With other content and labels: {self.judged:,}. The labels stay with the name. If these are other pictures than those "
                        "that people judged, give them a folder and a data set of their own.")  # fmt: skip
        if self.scored:
            said.append(
                f"With other content, and judged by models before: {self.scored:,}. What was said of them counts no more: score again."
            )
        if self.moved:
            said.append(f"Gone, but here under another name: {self.moved:,}. Their labels stay with the old name, and count again when a file of "
                        "that name is back.")  # fmt: skip
        return said


@dataclass(frozen=True)
class Settings:
    """How a team shares a data set out. `labels_per_image`: how many people sort each image, None: everybody every image.
    `repeat_share`: of an annotator's images, how many are asked a second time, 0 to 0.5."""

    labels_per_image: int | None = None
    repeat_share: float = 0.05

    def __post_init__(self) -> None:
        k, share = self.labels_per_image, self.repeat_share
        if k is not None and not 1 <= k <= MAX_LABELS:
            raise ConfigError("--labels-per-image is out of range", got=k, allowed=f"1 to {MAX_LABELS:,}, or all")
        if not 0 <= share <= MAX_REPEAT_SHARE:
            raise ConfigError("--repeat-share is out of range", got=share, allowed=f"0 to {MAX_REPEAT_SHARE}",
                              todo="0.05 asks one image in twenty a second time, 0 none.")  # fmt: skip


def add_dataset(store: Store, name: str, folder: Path, progress: Progress | None = None) -> Registered:
    """Index a folder of class folders and register it, or bring a registered one up to date.

    Raises:
        ConfigError: the name isn't usable, or stands for another folder already. Where that folder is gone and the new one has most of
            its images, it was moved: the name goes with it.
        DatasetError: the folder can't serve as a data set.
    """
    if not re.fullmatch(r"[\w.-]{1,64}", name) or name.startswith("."):
        raise ConfigError("a data set's name has letters, digits, '_', '-' and '.' only, up to 64", got=name)
    folder = folder.expanduser().resolve()
    registered = store.rows("SELECT root FROM dataset WHERE dataset = ?", [name])
    before = _absolute(store.home, registered[0][0]) if registered else folder
    if before != folder and before.is_dir():
        raise ConfigError(f"the name {name} stands for another folder", got=str(before), todo="Choose another --name.")
    if before == folder and registered and not folder.is_dir():
        raise DatasetError(f"the folder of {name} is gone", got=str(folder), todo=f"Bring it back, or `data add NEW-PLACE --name {name}`")
    known = _known(store, name)
    index = index_folder(folder, known=known, progress=progress)
    if before != folder and 2 * sum(
        known.get(each.example, each).sha256 == each.sha256 for each in index.examples if each.example in known
    ) < len(known):
        raise ConfigError(f"the name {name} stands for another folder, which is gone, and this one has other images", got=str(before),
                          todo="Choose another --name, or give the place where that folder lies now.")  # fmt: skip
    return _save(store, name, index)


def check_dataset(store: Store, name: str, progress: Progress | None = None) -> Registered:
    """Look at a registered data set's folder again: new, changed and missing files are noted."""
    return add_dataset(store, name, get_dataset(store, name).root, progress)


def _known(store: Store, name: str) -> dict[str, Example]:
    rows = store.rows(
        "SELECT example, class, width, height, bytes, mtime_ns, sha256, format FROM example WHERE dataset = ? AND present", [name]
    )
    return {row[0]: Example(*row) for row in rows}


def _save(store: Store, name: str, index: Index) -> Registered:
    rejected = pd.DataFrame([asdict(r) for r in index.rejected], columns=["path", "reason"])
    rejected["dataset"] = name
    before = _known(store, name)
    fresh = [example for example in index.examples if before.get(example.example) != example]
    gone = sorted(before.keys() - {example.example for example in index.examples})
    new = {example.sha256 for example in fresh if example.example not in before}
    changed = [example.example for example in fresh if before.get(example.example, example).sha256 != example.sha256]
    judged = store.rows(
        "SELECT count(DISTINCT example) FROM current_label WHERE dataset = ? AND example IN (SELECT unnest(?::TEXT[]))", [name, changed]
    )
    with store.write() as cursor:
        cursor.execute(
            """INSERT INTO dataset (dataset, root) VALUES (?, ?)
               ON CONFLICT DO UPDATE SET root = excluded.root, indexed_at = excluded.indexed_at""",
            [name, _portable(store.home, index.root)],
        )
        if new or changed or gone:
            cursor.execute("UPDATE dataset SET overlaps_at = NULL WHERE dataset = ?", [name])
        scored = set[str]()
        if changed:
            for table in ("score", "prediction"):  # of another picture: intake leaves them out from now on, too
                told = cursor.execute(
                    f"DELETE FROM {table} WHERE dataset = ? AND example IN (SELECT unnest(?::TEXT[])) RETURNING example", [name, changed]
                )
                scored |= {row[0] for row in told.fetchall()}
        if gone:
            cursor.execute("UPDATE example SET present = false WHERE dataset = ? AND example IN (SELECT unnest(?::TEXT[]))", [name, gone])
        for start in range(0, len(fresh), PART):
            store.upsert(cursor, "example", _frame(fresh[start : start + PART], name), ("dataset", "example"))
        cursor.execute("DELETE FROM rejected_file WHERE dataset = ?", [name])
        store.insert(cursor, "rejected_file", rejected)
    return Registered(
        **vars(index), new=sum(example.example not in before for example in fresh), changed=len(changed), gone=len(gone),
        moved=sum(before[example].sha256 in new for example in gone), judged=judged[0][0], scored=len(scored),
    )  # fmt: skip


def _frame(found: list[Example], name: str) -> pd.DataFrame:
    """Rows of the table `example`."""
    columns = {field.name: [getattr(example, field.name) for example in found] for field in fields(Example)}
    return pd.DataFrame(columns).rename(columns={"class_name": "class"}).assign(dataset=name, present=True)


def _portable(home: Home, root: Path) -> str:
    """Relative to the home where it lies inside, so that a home can be moved."""
    inside = root.is_relative_to(home.root.resolve())
    return root.relative_to(home.root.resolve()).as_posix() if inside else str(root)


def _absolute(home: Home, root: str) -> Path:
    return (home.root / root).resolve()


def look_for_overlaps(store: Store, name: str, progress: overlaps.Progress | None = None) -> list[Overlap]:
    """Find the images of a data set that show the same ground, and keep each group on one side of every honest split to come.

    Raises:
        DatasetError: an image can't be read, or there are too many.
    """
    dataset, frame = get_dataset(store, name), examples(store, name)
    overlaps.check_count(len(frame))  # before an image is decoded
    names = frame["example"].tolist()

    def decoded(done: int, total: int) -> None:
        if progress:
            progress(done, total, "decoding images")

    rows = load_images(dataset.root, names, frame["sha256"].tolist(), overlaps.SIZE, store.home.cache, decoded)
    found = overlaps.find_overlaps(rows, progress)
    pairs = pd.DataFrame([asdict(overlap) for overlap in found], columns=[field.name for field in fields(Overlap)])
    pairs = pairs.assign(dataset=name, example=pairs.pop("a").map(names.__getitem__), other=pairs.pop("b").map(names.__getitem__))
    groups = pd.DataFrame({"example": names, "overlap_group": overlaps.group([(o.a, o.b) for o in found], len(names))})
    with store.write() as cursor:
        cursor.execute("DELETE FROM overlap WHERE dataset = ?", [name])
        store.insert(cursor, "overlap", pairs)
        cursor.execute("UPDATE example SET overlap_group = NULL WHERE dataset = ?", [name])
        members = groups.dropna()
        cursor.executemany(
            "UPDATE example SET overlap_group = ? WHERE dataset = ? AND example = ?",
            [[int(group), name, example] for example, group in zip(members["example"], members["overlap_group"], strict=True)]
            or [[None, "", ""]],
        )
        cursor.execute("UPDATE dataset SET overlaps_at = current_timestamp WHERE dataset = ?", [name])
    return found


def ensure_overlaps(store: Store, name: str, progress: overlaps.Progress | None = None) -> None:
    """Look for overlaps where nobody has since the files came or changed; left alone where there are too many, or nothing may be written.

    While another thread looks, this one waits for what it finds.
    """

    def wanted() -> bool:
        return store.writable and known_overlaps(store, name) is None and get_dataset(store, name).examples <= overlaps.MAX_IMAGES

    if wanted():
        with _looking:
            if wanted():  # still
                look_for_overlaps(store, name, progress)


def known_overlaps(store: Store, name: str) -> pd.DataFrame | None:
    """The pairs that were found, the most alike first: example, other, score, area, scale, rotation; None: not looked for yet."""
    get_dataset(store, name)
    if store.rows("SELECT 1 FROM dataset WHERE dataset = ? AND overlaps_at IS NULL", [name]):
        return None
    return store.query(
        "SELECT example, other, score, area, scale, rotation FROM overlap WHERE dataset = ? ORDER BY score DESC, example, other", [name]
    )


def list_datasets(store: Store) -> list[Dataset]:
    """Every registered data set, by name."""
    return _datasets(store, None)


def _datasets(store: Store, name: str | None) -> list[Dataset]:
    rows = store.rows(
        """SELECT dataset, any_value(root), list(class ORDER BY class) FILTER (images > 0), sum(images)::INTEGER FROM dataset JOIN (
               SELECT dataset, class, count(*) FILTER (present) AS images FROM example WHERE $name IS NULL OR dataset = $name GROUP BY ALL
           ) USING (dataset) GROUP BY dataset ORDER BY dataset""",
        {"name": name},
    )
    return [Dataset(name, _absolute(store.home, root), tuple(classes or ()), count) for name, root, classes, count in rows]


def get_dataset(store: Store, name: str) -> Dataset:
    """One registered data set; an unknown name raises UnknownError with the known ones."""
    for dataset in _datasets(store, name):
        return dataset
    raise UnknownError(
        "no such data set", got=name, allowed=[d.name for d in list_datasets(store)] or "none is registered yet",
        todo="Add one: `data demo`, `data fetch rsscn7` or `data add PATH --name NAME`.",
    )  # fmt: skip


def settings(store: Store, name: str) -> Settings:
    """How the team sorts a data set."""
    rows = store.remembered("SELECT labels_per_image, repeat_share FROM dataset WHERE dataset = ?", [name])
    if not rows:
        get_dataset(store, name)  # says which there are
    return Settings(*rows[0])


def change_settings(store: Store, name: str, new: Settings) -> None:
    """From now on the team sorts so; no label that is there is touched."""
    get_dataset(store, name)
    with store.write() as cursor:
        cursor.execute(
            "UPDATE dataset SET labels_per_image = ?, repeat_share = ? WHERE dataset = ?", [new.labels_per_image, new.repeat_share, name]
        )


def examples(store: Store, name: str) -> pd.DataFrame:
    """The present examples, by example: example, class, width, height, sha256, overlap_group."""
    get_dataset(store, name)
    return store.query(
        """SELECT example, class, width, height, sha256, overlap_group FROM example
           WHERE dataset = ? AND present ORDER BY example""",
        [name],
    )


def described(store: Store, name: str, wanted: Sequence[str]) -> pd.DataFrame:
    """Class and content of some images, gone ones too, in no order: example, class, sha256."""
    return store.query(
        "SELECT example, class, sha256 FROM example WHERE dataset = ? AND example IN (SELECT unnest(?::TEXT[]))", [name, list(wanted)]
    )


def rejected_files(store: Store, name: str) -> list[Rejected]:
    """What the last look at the folder left out, and why."""
    return [Rejected(*row) for row in store.rows("SELECT path, reason FROM rejected_file WHERE dataset = ? ORDER BY path", [name])]
