"""Who has which images in hand just now, so that two people aren't handed more of an image than it still needs.

In memory: one process owns the database and hands out every image. A lease reserves, it never forbids: a label that
comes after its end is stored like any other. After a restart nobody holds anything, so what was in hand then may come
to be labelled once more than it needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

LEASE_SECONDS = 600.0


class Leases:
    """Safe to share between threads; hold `lock` while reading who has what and taking more, so that nobody comes between."""

    def __init__(self, seconds: float = LEASE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock = seconds, clock
        self.lock = threading.RLock()
        self._until: dict[tuple[str, str], dict[str, float]] = {}  # (data set, annotator) -> example -> when the lease ends

    def take(self, dataset: str, annotator: str, examples: Iterable[str]) -> None:
        """From now on this annotator has these images in hand."""
        with self.lock:
            self._until.setdefault((dataset, annotator), {}).update(dict.fromkeys(examples, self._clock() + self.seconds))

    def renew(self, dataset: str, annotator: str, examples: Iterable[str]) -> None:
        """The annotator still has these in hand: those that were leased, also where the lease had ended, begin anew."""
        with self.lock:
            self.take(dataset, annotator, [name for name in examples if name in self._until.get((dataset, annotator), {})])

    def end_others(self, dataset: str, annotator: str, examples: Iterable[str]) -> None:
        """Of all that this annotator looked at, only these are in hand now: the other leases end, until `renew` names one, as another tab may."""
        with self.lock:
            now, kept, mine = self._clock(), set(examples), self._until.get((dataset, annotator), {})
            mine.update({name: now for name, until in mine.items() if name not in kept and until > now})

    def release(self, dataset: str, annotator: str, examples: Iterable[str]) -> None:
        """The annotator has judged or passed over these."""
        with self.lock:
            mine = self._until.get((dataset, annotator), {})
            for example in examples:
                mine.pop(example, None)

    def held(self, dataset: str) -> list[tuple[str, str]]:
        """Example and annotator of every lease of a data set that hasn't ended."""
        with self.lock:
            now = self._clock()
            leases = [(name, who, until) for (of, who), mine in self._until.items() if of == dataset for name, until in mine.items()]
        return [(name, who) for name, who, until in leases if until > now]
