"""What each annotator has done and who has labelled which image, kept in memory and brought up to date from the log's new events.

To ask the database anew takes seconds where there are a million images, and it is asked after every few images that anybody sorts.
The log alone counts: what is kept follows from it, and is made anew where the data set was indexed again or the log isn't what it was.
"""

from __future__ import annotations

import threading
import uuid
from bisect import bisect_right, insort
from collections import OrderedDict
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from curriculum.config import SIMULATED_PREFIX
from curriculum.labels import REPEAT_AFTER
from curriculum.store import Store

MOST_KEPT = 64
"""Annotators of a data set whose work is kept: of a million images each takes 13 MB."""
LOTS = 1_000_000

Ints = NDArray[np.int32]


class Event(NamedTuple):
    """One line of the log, as far as it says what is asked next."""

    seq: int
    id: uuid.UUID
    example: str
    action: str
    repeat: bool
    source: str
    undoes: uuid.UUID | None


class Images:
    """The present images of a data set, by name, and how many people's label each has."""

    def __init__(self, store: Store, dataset: str, stamp: object) -> None:
        self.stamp, self._dataset = stamp, dataset
        frame = store.query("SELECT example, class FROM example WHERE dataset = ? AND present ORDER BY example", [dataset])
        self.names = pd.Index(frame["example"].to_numpy(object))
        code, classes = pd.factorize(frame["class"].to_numpy(object), sort=True)
        self.class_of, self.classes = code.astype(np.int32), [str(name) for name in classes]
        pairs = store.query(
            f"""SELECT DISTINCT example, annotator FROM standing_annotation WHERE dataset = ? AND action = 'label' AND NOT repeat
                AND NOT starts_with(annotator, '{SIMULATED_PREFIX}')""",
            [dataset],
        )
        place, (who, names) = self.places(pairs["example"].to_numpy(object)), pd.factorize(pairs["annotator"].to_numpy(object))
        self._codes = {str(name): number for number, name in enumerate(names)}
        there = place >= 0
        self._pairs = np.sort(place[there].astype(np.int64) << 32 | who[there])
        self._changed: dict[int, bool] = {}
        self.people: Ints = np.bincount(place[there], minlength=len(self.names)).astype(np.int32)
        self.events, self.seq = count_events(store, dataset)

    def places(self, names: NDArray[np.object_] | list[str]) -> NDArray[np.intp]:
        """Where these images stand among all; -1 for one that isn't there."""
        return np.asarray(self.names.get_indexer(pd.Index(names)))

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
            place = int(self.places([example])[0])
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
        self.order: Ints = np.lexsort([chance["place"].to_numpy(np.uint64), block]).astype(np.int32)
        """The places in the annotator's own order, balanced over the classes."""
        self.turn: Ints = np.empty(count, np.int32)
        self.turn[self.order] = np.arange(count, dtype=np.int32)
        self.lot: Ints = chance["lot"].to_numpy(np.int64).astype(np.int32)
        self.closed = np.zeros(count, dtype=bool)
        """Labelled or flagged."""
        self.skip: dict[int, int] = {}
        self.skip_again: dict[int, int] = {}
        self.flagged: set[int] = set()
        self.twice: set[int] = set()
        self.label: dict[int, tuple[int, str]] = {}
        """The first time's label in force: its number in the log, and where it was given."""
        self._done: dict[int, dict[uuid.UUID, Event]] = {}
        self._last: dict[int, int] = {}
        self._lasts: list[int] = []
        self.seq = 0

    def catch_up(self, store: Store, seq: int) -> None:
        """Take in this annotator's events up to a number."""
        if seq <= self.seq:
            return
        events = [Event(*row) for row in store.rows(
            """SELECT seq, id, example, action, repeat, source, undoes FROM annotation
               WHERE dataset = ? AND annotator = ? AND seq > ? AND seq <= ? ORDER BY seq""",
            [self._dataset, self._annotator, self.seq, seq],
        )]  # fmt: skip
        self.seq = seq
        touched = set()
        for place, event in zip(self.images.places([event.example for event in events]).tolist(), events, strict=True):
            if event.action == "label" and not event.repeat:
                self._labelled(place if place >= 0 else -event.seq, event.seq)
            if place >= 0:
                touched.add(place)
                mine = self._done.setdefault(place, {})
                if event.action == "undo":
                    mine.pop(event.undoes, None)  # type: ignore[arg-type]
                else:
                    mine[event.id] = event
        for place in touched:
            self._settle(place)

    def _labelled(self, place: int, seq: int) -> None:
        """The latest label of each image, taken back or not, is what counts as having been labelled since."""
        if before := self._last.get(place):
            del self._lasts[bisect_right(self._lasts, before) - 1]
        self._last[place] = seq
        insort(self._lasts, seq)

    def _settle(self, place: int) -> None:
        standing = self._done[place].values()
        first = [event for event in standing if not event.repeat]
        again = [event for event in standing if event.repeat]
        _set(self.label, place, max(((event.seq, event.source) for event in first if event.action == "label"), default=None))
        _set(self.skip, place, max((event.seq for event in first if event.action == "skip"), default=None))
        _set(self.skip_again, place, max((event.seq for event in again if event.action == "skip"), default=None))
        for where, there in (
            (self.flagged, any(event.action == "flag" for event in standing)),
            (self.twice, any(event.action in ("label", "flag") for event in again)),
        ):
            where.add(place) if there else where.discard(place)
        self.closed[place] = place in self.label or place in self.flagged

    def since(self, place: int) -> int:
        """How many other images were labelled after the label in force of this one."""
        own = self.label[place][0]
        return len(self._lasts) - bisect_right(self._lasts, own) - (self._last[place] > own)

    def drawn(self, place: int, share: float) -> bool:
        """Whether an image is one of those that come a second time."""
        sorted_here = place not in self.label or self.label[place][1] == "sort"
        return bool(self.lot[place] < share * LOTS) and sorted_here and place not in self.flagged and place not in self.twice

    def due(self, share: float) -> list[int]:
        """The labelled images whose second time has come."""
        ready = self._lasts[-REPEAT_AFTER] if len(self._lasts) >= REPEAT_AFTER else -1
        return [
            place for place, (seq, _) in self.label.items()
            if seq < ready and self.lot[place] < share * LOTS and self.drawn(place, share) and self.since(place) >= REPEAT_AFTER
        ]  # fmt: skip


def _set(where: dict[int, Any], place: int, value: Any) -> None:
    if value is None:
        where.pop(place, None)
    else:
        where[place] = value


def _rank_within(groups: Ints, values: NDArray[np.uint64]) -> Ints:
    """The place of each value among those of its group, from 0 on."""
    order = np.lexsort([values, groups])
    starts = np.searchsorted(groups[order], groups[order], side="left")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order)) - starts
    return rank


def count_events(store: Store, dataset: str) -> tuple[int, int]:
    """How many events a data set has, and the last one's number."""
    return store.rows("SELECT count(*), coalesce(max(seq), 0) FROM annotation WHERE dataset = ?", [dataset])[0]  # type: ignore[return-value]


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
    stamp = store.rows("SELECT epoch_us(indexed_at) FROM dataset WHERE dataset = ?", [dataset])
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
