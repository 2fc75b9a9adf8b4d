"""What an annotator is asked next, and how far everybody has come.

An annotator's order is seeded by the name and balanced over the classes. With `labels_per_image` set, an image that as
many people have labelled isn't asked any more, and the least labelled come first; before all, those that a lead wants one more
opinion on. Images that show what the levels mean are never asked. Some images are asked a second time,
which nothing shows: their turn comes among the new ones, and the counts go on as for any image, because a count that
stands still would give them away. Nothing here tells one annotator what another said.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curriculum import datasets, worklists
from curriculum.labels import REPEAT_AFTER
from curriculum.leases import Leases
from curriculum.store import Store
from curriculum.vocabulary import LEVELS, SIMULATED_PREFIX
from curriculum.worklists import Ints

HAND = 12
"""With fewer labels an image than people: how many images one may have in hand, so that the last ones are shared out."""
LOOK = 4096
"""Images of an order that are looked at together."""


@dataclass(frozen=True)
class Progress:
    """How far one annotator, and the team, have come. What was asked a second time counts as an image of its own in all but `team`."""

    mine: dict[str, int]  # images by level
    skipped: int  # seen and passed over: they come again
    flagged: int  # set aside with a reason, without a level
    total: int  # images that were, or still may be, asked of me: where everybody sorts all, those of the data set
    team: int  # images labelled by at least one person
    median_seconds: float | None  # my own, from image shown to key; None before the first


@dataclass(frozen=True)
class Handout:
    """The next images; where there are none, `end` says why, and `later` whether one may come yet."""

    examples: list[str]
    end: str | None = None
    later: bool = False


# -- what is next --------------------------------------------------------------------------------


def queue(
    store: Store,
    dataset: str,
    annotator: str,
    limit: int = 20,
    exclude: Sequence[str] = (),
    held: Sequence[tuple[str, str]] = (),
    of_class: str | None = None,
) -> list[str]:
    """The next examples for an annotator, in an order of their own; skipped ones last, flagged ones not at all.

    The order is seeded by the annotator's name and balanced over the classes: each block of as many images as there are
    classes holds every class once, while they last. Where `labels_per_image` is set, the images with the fewest people
    come first; before them, those with a lead's wish for one more. Repeats: a share of the annotator's images, seeded by
    the name, comes again when `REPEAT_AFTER` others have been labelled; of those in hand no larger share is such, however
    many are due, until nothing else is left.

    Args:
        exclude: those in hand already.
        held: example and annotator of what people have in hand: counts like a label of theirs.
        of_class: of this class alone, and nothing a second time: beside others of its class an image shows what it is.
    """
    with worklists.lock(store):
        asked = _Asked(store, dataset, annotator, held)
        again, skipped = asked.again(of_class), asked.skipped(of_class)
        away = {place for place in asked.images.places(exclude) if place >= 0}
        room = math.ceil(asked.share * (limit + len(exclude))) - len(away.intersection(again))
        again = [place for place in again if place not in away]
        room = min(max(room, 0), len(again), limit)
        fresh = asked.fresh(limit - room, away, of_class)
        found = (_mixed(fresh, again[:room]) + again[room:] + [place for place in skipped if place not in away])[:limit]
        return [asked.images.names[place] for place in found]


class _Asked:
    """Every image of a data set, with what one annotator has done and whether it is still open to be asked; under `worklists.lock`."""

    def __init__(self, store: Store, dataset: str, annotator: str, held: Sequence[tuple[str, str]] = ()) -> None:
        settings = datasets.settings(store, dataset)
        self.wanted, self.share = settings.labels_per_image, settings.repeat_share
        self.images = worklists.images_of(store, dataset)
        self.own = worklists.own_of(store, self.images, dataset, annotator)
        shown = store.remembered("SELECT example FROM calibration_image WHERE dataset = ?", [dataset])
        self.shown = [place for place in self.images.places(name for (name,) in shown) if place >= 0]
        wishes = store.remembered("SELECT example, people FROM request WHERE dataset = ? AND what = 'opinion'", [dataset])
        place = self.images.places(name for name, _ in wishes)
        people = self.images.people
        self.wished = {at: before for at, (_, before) in zip(place, wishes, strict=True) if at >= 0 and people[at] <= before}
        """Where a lead wants one more person's level, and how many had given one when it was asked for."""
        self.has = self.images.people if self.wanted is not None else None  # how many other people's label or hand each has
        if self.has is not None:
            self.has = self.has.copy()
            for at, who in {*zip(self.images.places(name for name, _ in held), (who for _, who in held), strict=True)}:
                if at >= 0 and who != annotator and not self.images.labelled_by(at, who):
                    self.has[at] += 1
            if not annotator.startswith(SIMULATED_PREFIX):
                self.has[self.own.label > 0] -= 1
        self.open = ~self.own.closed
        self.open[self.shown] = False
        self.drawn = self.own.drawn(self.share)
        self.drawn[self.shown] = False
        if self.has is not None:
            self.open &= self.has < self.needed()

    def needed(self) -> Ints:
        """How many people each image is for: one more than it had where a lead wished so."""
        needed = np.full(len(self.images.names), int(self.wanted or 0), np.int32)
        for at, before in self.wished.items():
            needed[at] = max(needed[at], before + 1)
        return needed

    def lacking(self) -> bool:
        """Whether an image has fewer people's labels than it is for, whoever may give one still."""
        lacks = self.images.people < self.needed()
        lacks[self.shown] = False
        return bool(lacks.any())

    def key(self, place: int) -> tuple[float, ...]:
        """What comes first: never skipped, the longest ago; wished for; with the fewest people; its turn."""
        skip = (self.own.skip if self.open[place] else self.own.skip_again).get(place, -1)
        return skip, self.wished.get(place, math.inf), 0 if self.has is None else int(self.has[place]), int(self.own.turn[place])

    def of(self, of_class: str | None) -> NDArray[np.bool_]:
        """The open images, or those of a class."""
        if of_class is None:
            return self.open
        known = of_class in self.images.classes
        return np.asarray(self.open & (self.images.class_of == (self.images.classes.index(of_class) if known else -1)))

    def again(self, of_class: str | None) -> list[int]:
        """Those to be asked a second time, but for the skipped, in their order."""
        return sorted((at for at in self._due(of_class) if at not in self.own.skip_again), key=self.key)

    def skipped(self, of_class: str | None) -> list[int]:
        """Those that were passed over, of the first and of the second time, in their order."""
        may = self.of(of_class)
        fresh = [at for at in {*self.own.skip, *self.own.skip_again} if may[at]]
        return sorted([*fresh, *(at for at in self._due(of_class) if at in self.own.skip_again)], key=self.key)

    def _due(self, of_class: str | None) -> list[int]:
        return [] if of_class else self.own.labelled_since(np.flatnonzero(self.drawn & (self.own.label > 0)), REPEAT_AFTER).tolist()

    def fresh(self, count: int, away: Collection[int], of_class: str | None) -> list[int]:
        """The first open ones that were never passed over."""
        may = self.of(of_class).copy()
        may[[*away, *self.own.skip, *self.own.skip_again]] = False
        first = sorted((at for at in self.wished if may[at]), key=self.key)
        may[first] = False
        found = first[:count]
        for people in self._steps():
            if len(found) >= count:
                break
            ready = may if people is None else may & (self.has == people)
            found += self._first(ready, count - len(found))
        return found

    def _steps(self) -> list[int | None]:
        return [None] if self.has is None else [int(people) for people in np.unique(self.has)]

    def _first(self, ready: NDArray[np.bool_], count: int, *, last: bool = False) -> list[int]:
        """So many of these by turn, the first or the last, without a look at all of them."""
        order, found = self.own.order[::-1] if last else self.own.order, list[int]()
        for start in range(0, len(order), LOOK):
            if len(found) >= count:
                break
            block = order[start : start + LOOK]
            found += block[ready[block]].tolist()
        return found[:count]

    def total(self) -> int:
        """How many were, or still may be, asked, with those that come a second time."""
        left, to_come = int(self.open.sum()), self.open & self.drawn
        again = int(to_come.sum()) - int(to_come[self._last(REPEAT_AFTER)].sum())
        again += len(self.own.labelled_since(np.flatnonzero(self.drawn & (self.own.label > 0)), REPEAT_AFTER - left))
        return left + int(self.own.closed.sum()) + int(self.own.twice.sum()) + again

    def _last(self, count: int) -> list[int]:
        """The open ones whose turn comes last."""
        skipped = sorted((at for at in self.own.skip if self.open[at]), key=self.key)
        may = self.open.copy()
        may[[*skipped, *self.wished]] = False
        found = skipped[::-1]
        for people in self._steps()[::-1]:
            if len(found) >= count:
                break
            found += self._first(may if people is None else may & (self.has == people), count - len(found), last=True)
        rest = sorted((at for at in self.wished if self.open[at] and at not in self.own.skip), key=self.key)
        return (found + rest[::-1])[:count]


def _mixed(fresh: list[int], again: list[int]) -> list[int]:
    """The second list spread evenly through the first."""
    mixed = list(fresh)
    for n, name in enumerate(again, start=1):
        mixed.insert(n * len(fresh) // (len(again) + 1) + n - 1, name)
    return mixed


def left_by_class(store: Store, dataset: str, annotator: str) -> dict[str, int]:
    """How many images of each class may still be asked of this annotator for the first time, by class name; 0 where none is left."""
    with worklists.lock(store):
        asked = _Asked(store, dataset, annotator)
        left = np.bincount(asked.images.class_of[asked.open], minlength=len(asked.images.classes))
        return dict(zip(asked.images.classes, left.tolist(), strict=True))


def hand_out(
    store: Store, leases: Leases, dataset: str, annotator: str, limit: int, exclude: Sequence[str] = (), of_class: str | None = None
) -> Handout:
    """The next examples, leased to this annotator where not everybody sorts every image. Those in `exclude` stay leased; other leases
    of theirs end where more is asked for: who turned to another class or view has what was in hand there no longer."""
    wanted = datasets.settings(store, dataset).labels_per_image
    if wanted is None:
        examples = queue(store, dataset, annotator, limit, exclude, of_class=of_class)
        return Handout(
            examples, None if examples or exclude or not limit or of_class else f"You have sorted every image of {dataset}. Thank you!"
        )
    with leases.lock:
        leases.renew(dataset, annotator, exclude)
        if limit:  # else it is asked how far all are, perhaps while the images asked for before are on their way
            leases.end_others(dataset, annotator, exclude)
        few = max(0, min(limit, HAND - len(exclude)))
        examples = queue(store, dataset, annotator, few, exclude, leases.held(dataset), of_class)
        leases.take(dataset, annotator, examples)
    if examples or exclude or not limit:
        return Handout(examples)
    if queue(store, dataset, annotator, 1, exclude, of_class=of_class):
        return Handout([], "The last images are in other people's hands. If one is left over, it comes here by itself.", later=True)
    return Handout([], None if of_class else _end(store, dataset, annotator, wanted))


def _end(store: Store, dataset: str, annotator: str, wanted: int) -> str:
    """What is said to whom no image can be given, of the labels that there are."""
    with worklists.lock(store):
        lacking = _Asked(store, dataset, annotator).lacking()
    if lacking:
        return "You have sorted every image that you can; some still need labels of other people. Thank you!"
    return f"Every image has its {wanted} label{'s' if wanted > 1 else ''}. Thank you!"


# -- how far ---------------------------------------------------------------------------------------


def progress(store: Store, dataset: str, annotator: str) -> Progress:
    """How many images this annotator has put into each level, of how many, and how far the team is."""
    with worklists.lock(store):
        asked = _Asked(store, dataset, annotator)
        states = np.bincount(np.concatenate([asked.own.first, asked.own.again]), minlength=len(worklists.STATES))
        total, team = asked.total(), int((asked.images.people > 0).sum())
    done = dict(zip(worklists.STATES, states.tolist(), strict=True))
    median = store.rows(
        "SELECT median(seconds) FROM annotation WHERE dataset = ? AND annotator = ? AND action = 'label'", [dataset, annotator]
    )[0][0]
    return Progress({level: done[level] for level in LEVELS}, done["skip"], done["flag"], total, team, median)
