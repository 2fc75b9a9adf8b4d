"""What each annotator has done and who has labelled which image, kept in memory and brought up to date from the log's new events.

To ask the database anew takes seconds where there are a million images, and it is asked after every few images that anybody sorts.
The log alone counts: what is kept follows from it, and is made anew where the data set was indexed again or the log isn't what it was.
"""

from __future__ import annotations

import threading
import uuid
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from curriculum import datasets
from curriculum.store import Store
from curriculum.vocabulary import LEVELS, SIMULATED_PREFIX

MOST_KEPT = 32
"""Annotators of a data set whose work is kept: of a million images each takes 25 MB."""
LOTS = 1_000_000
STATES = ("", *LEVELS, "flag", "skip")

Ints = NDArray[np.int32]


class Event(NamedTuple):
    """One line of the log, as far as it says what is asked next."""

    seq: int
    id: uuid.UUID
    example: str
    action: str
    level: str | None
    repeat: bool
    source: str
    undoes: uuid.UUID | None


class Images:
    """The present images of a data set, by name, and how many people's label each has."""

    def __init__(self, store: Store, dataset: str, stamp: object) -> None:
        self.stamp, self._dataset = stamp, dataset
        frame = store.query("SELECT example, class, rowid FROM example WHERE dataset = ? AND present ORDER BY example", [dataset])
        self.names: list[str] = frame["example"].to_numpy(object).tolist()
        self._place = dict(zip(self.names, range(len(self.names)), strict=True))
        self.rowid: NDArray[np.int64] = frame["rowid"].to_numpy(np.int64)
        """Where the database has each: a hint, for rows may move."""
        code, classes = pd.factorize(frame["class"].to_numpy(object), sort=True)
        self.class_of, self.classes = code.astype(np.int32), [str(name) for name in classes]
        pairs = store.query(
            f"""SELECT DISTINCT example, annotator FROM standing_annotation WHERE dataset = ? AND action = 'label' AND NOT repeat
                AND NOT starts_with(annotator, '{SIMULATED_PREFIX}')""",
            [dataset],
        )
        place = np.array(self.places(pairs["example"].to_numpy(object).tolist()), dtype=np.int64)
        who, names = pd.factorize(pairs["annotator"].to_numpy(object))
        self._codes = {str(name): number for number, name in enumerate(names)}
        there = place >= 0
        self._pairs = np.sort(place[there] << 32 | who[there])
        self._changed: dict[int, bool] = {}
        self.people: Ints = np.bincount(place[there], minlength=len(self.names)).astype(np.int32)
        self.events, self.seq = count_events(store, dataset)

    def places(self, names: Iterable[str]) -> list[int]:
        """Where these images stand among all; -1 for one that isn't there."""
        return [self._place.get(name, -1) for name in names]

    def labelled_by(self, place: int, annotator: str) -> bool:
        """Whether this person's label counts for an image."""
        return annotator in self._codes and self._has(place << 32 | self._codes[annotator])

    def _has(self, pair: int) -> bool:
        found = int(np.searchsorted(self._pairs, pair))
        return self._changed.get(pair, found < len(self._pairs) and int(self._pairs[found]) == pair)

    def catch_up(self, store: Store, events: int, seq: int) -> bool:
        """Take in what was logged since; False where the log isn't the one that was read."""
        rows = store.rows(
            "SELECT example, annotator, action, repeat FROM annotation WHERE dataset = ? AND seq > ? AND seq <= ? ORDER BY seq",
            [self._dataset, self.seq, seq],
        )
        if self.events + len(rows) != events:
            return False
        self.events, self.seq = events, seq
        for example, annotator, action, repeat in rows:
            place = self._place.get(example, -1)
            if place < 0 or repeat or action not in ("label", "undo") or annotator.startswith(SIMULATED_PREFIX):
                continue
            pair = place << 32 | self._codes.setdefault(annotator, len(self._codes))
            counts = action == "label" or bool(store.rows(STANDS, [self._dataset, example, annotator]))
            self.people[place] += int(counts) - int(self._has(pair))
            self._changed[pair] = counts
        return True


STANDS = """
SELECT 1 FROM standing_annotation WHERE dataset = ? AND example = ? AND annotator = ? AND action = 'label' AND NOT repeat LIMIT 1
"""


class Own:
    """What one annotator has done: a fold of their events, in the log's order. Images by their place in `Images`."""

    def __init__(self, store: Store, dataset: str, annotator: str, images: Images) -> None:
        self.images, self._dataset, self._annotator = images, dataset, annotator
        chance = store.query(
            f"""SELECT hash(example || $annotator) AS own, hash($annotator || example) AS place, hash('again' || example || $annotator) % {LOTS} AS lot
                FROM example WHERE dataset = $dataset AND present ORDER BY example""",
            {"dataset": dataset, "annotator": annotator},
        )
        count = len(images.names)
        block = _rank_within(images.class_of, chance["own"].to_numpy(np.uint64))
        self.order: Ints = np.lexsort((chance["place"].to_numpy(np.uint64), block)).astype(np.int32)
        """The places in the annotator's own order, balanced over the classes."""
        self.turn: Ints = np.empty(count, np.int32)
        self.turn[self.order] = np.arange(count, dtype=np.int32)
        self.lot: Ints = chance["lot"].to_numpy(np.int64).astype(np.int32)
        self.first, self.again = np.zeros(count, np.int8), np.zeros(count, np.int8)
        """What stands of the first and of the second time, by its place in `STATES`."""
        self.closed = np.zeros(count, dtype=bool)
        """Labelled or flagged."""
        self.skip: dict[int, int] = {}
        self.skip_again: dict[int, int] = {}
        self.flagged, self.twice = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        self.label = np.zeros(count, dtype=np.int64)
        """Of the first time's label in force its number in the log; 0: there is none."""
        self.brought = np.zeros(count, dtype=bool)
        """Labelled by a file or a simulation: such an image isn't asked again."""
        self._done: dict[int, dict[uuid.UUID, Event]] = {}
        self._last: dict[int | str, int] = {}
        self._lasts: list[int] = []
        self.seq = 0

    def catch_up(self, store: Store, seq: int) -> None:
        """Take in this annotator's events up to a number."""
        if seq <= self.seq:
            return
        events = [Event(*row) for row in store.rows(
            """SELECT seq, id, example, action, level, repeat, source, undoes FROM annotation
               WHERE dataset = ? AND annotator = ? AND seq > ? AND seq <= ? ORDER BY seq""",
            [self._dataset, self._annotator, self.seq, seq],
        )]  # fmt: skip
        self.seq = seq
        touched = set()
        for place, event in zip(self.images.places(event.example for event in events), events, strict=True):
            if event.action == "label" and not event.repeat:
                self._labelled(place if place >= 0 else event.example, event.seq)
            if place >= 0:
                touched.add(place)
                mine = self._done.setdefault(place, {})
                if event.action == "undo":
                    mine.pop(event.undoes, None)  # type: ignore[arg-type]
                else:
                    mine[event.id] = event
        for place in touched:
            self._settle(place)

    def _labelled(self, place: int | str, seq: int) -> None:
        """The latest label of each image, taken back or not, is what counts as having been labelled since; gone images by their name."""
        if before := self._last.get(place):
            del self._lasts[bisect_right(self._lasts, before) - 1]
        self._last[place] = seq
        insort(self._lasts, seq)

    def _settle(self, place: int) -> None:
        standing = self._done[place].values()
        first = [event for event in standing if not event.repeat]
        again = [event for event in standing if event.repeat]
        self.label[place], source = max(((event.seq, event.source) for event in first if event.action == "label"), default=(0, "sort"))
        self.brought[place] = source != "sort"
        _set(self.skip, place, max((event.seq for event in first if event.action == "skip"), default=None))
        _set(self.skip_again, place, max((event.seq for event in again if event.action == "skip"), default=None))
        self.first[place], self.again[place] = _state(first), _state(again)
        self.flagged[place] = any(event.action == "flag" for event in standing)
        self.twice[place] = any(event.action in ("label", "flag") for event in again)
        self.closed[place] = self.label[place] > 0 or self.flagged[place]

    def since(self, place: int) -> int:
        """How many other images were labelled after the label in force of this one."""
        own = int(self.label[place])
        return len(self._lasts) - bisect_right(self._lasts, own) - (self._last[place] > own)

    def drawn(self, share: float) -> NDArray[np.bool_]:
        """Which images come a second time, of those that were or will be labelled."""
        return np.asarray((self.lot < share * LOTS) & ~self.brought & ~self.flagged & ~self.twice)

    def labelled_since(self, places: NDArray[np.intp], after: int) -> NDArray[np.intp]:
        """Those of these labelled images after which so many others were labelled."""
        if after <= 0:
            return places
        ready = self._lasts[-after] if len(self._lasts) >= after else 0
        return np.array([place for place in places[self.label[places] < ready].tolist() if self.since(place) >= after], dtype=np.intp)


def _state(standing: list[Event]) -> int:
    """The latest level, else a flag, else that it was skipped."""
    if levels := [(event.seq, str(event.level)) for event in standing if event.action == "label"]:
        return STATES.index(max(levels)[1])
    actions = {event.action for event in standing}
    return STATES.index("flag" if "flag" in actions else "skip" if "skip" in actions else "")


def _set(where: dict[int, Any], place: int, value: Any) -> None:
    if value is None:
        where.pop(place, None)
    else:
        where[place] = value


def _rank_within(groups: Ints, values: NDArray[np.uint64]) -> Ints:
    """The place of each value among those of its group, from 0 on."""
    order = np.lexsort((values, groups.astype(np.uint64)))
    starts = np.searchsorted(groups[order], groups[order], side="left")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order)) - starts
    return rank


def count_events(store: Store, dataset: str) -> tuple[int, int]:
    """How many events a data set has, and the last one's number."""
    count, last = store.remembered("SELECT count(*), coalesce(max(seq), 0) FROM annotation WHERE dataset = ?", [dataset])[0]
    return int(count), int(last)


class _Kept:
    """Of one database: by data set its images, and the work of those who were asked for last."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.images: dict[str, Images] = {}
        self.own: dict[str, OrderedDict[str, Own]] = {}


_kept: WeakKeyDictionary[Store, _Kept] = WeakKeyDictionary()
_making = threading.Lock()


def lock(store: Store) -> threading.RLock:
    """Held by whoever reads what the two functions below give: they change it."""
    with _making:
        return _kept.setdefault(store, _Kept()).lock


def images_of(store: Store, dataset: str) -> Images:
    """A data set's images as the log is now; under `lock`."""
    kept = _kept[store]
    stamp = store.remembered("SELECT epoch_us(indexed_at) FROM dataset WHERE dataset = ?", [dataset])
    found, now = kept.images.get(dataset), count_events(store, dataset)
    if found is None or found.stamp != stamp or ((found.events, found.seq) != now and not found.catch_up(store, *now)):
        found = kept.images[dataset] = Images(store, dataset, stamp)
        kept.own.pop(dataset, None)
    return found


def own_of(store: Store, images: Images, dataset: str, annotator: str) -> Own:
    """What an annotator has done, as of the same event of the log; under `lock`."""
    mine = _kept[store].own.setdefault(dataset, OrderedDict())
    own = mine.get(annotator) or Own(store, dataset, annotator, images)
    mine[annotator] = own
    mine.move_to_end(annotator)
    if len(mine) > MOST_KEPT:
        mine.popitem(last=False)
    own.catch_up(store, images.seq)
    return own


def described(store: Store, dataset: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Content (SHA-256) and class of some images, by name: where their rows stood is looked at first, else all rows are."""
    with lock(store):
        images = images_of(store, dataset)
        rows = [int(images.rowid[place]) for place in images.places(names) if place >= 0]
    found = store.rows(
        "SELECT example, sha256, class FROM example WHERE rowid IN (SELECT unnest(?::BIGINT[])) AND dataset = ?", [rows, dataset]
    )
    wanted = set(names)
    here = {name: (sha256, class_name) for name, sha256, class_name in found if name in wanted}
    if missing := sorted(wanted - here.keys()):
        rest = datasets.described(store, dataset, missing)
        here |= {row["example"]: (row["sha256"], row["class"]) for row in rest.to_dict("records")}
    return here
