"""Small jobs of many threads, done together by the one whose turn it is: what each costs beside its own work is paid once for all.

So a database's transaction takes the answers of everybody who waits for it, and the more wait, the less each of them costs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class Together(Generic[J, R]):
    """One line of waiting jobs."""

    def __init__(self, most: int) -> None:
        """`most`: the sum of sizes up to which jobs are done together."""
        self._most, self._turn, self._waiting = most, threading.Lock(), deque[tuple[J, int, Future[R]]]()

    def do(self, job: J, size: int, work: Callable[[Sequence[J]], Sequence[R]]) -> R:
        """What `work` gives, or raises, for this job, whoever of those who wait calls it. Jobs are done in the order in which they came.

        Args:
            work: does all jobs or, where it raises, none: then each is done alone, so that a bad one spoils no other.
        """
        mine: Future[R] = Future()
        self._waiting.append((job, size, mine))
        with self._turn:
            while not mine.done():
                self._some(work)
        return mine.result()

    def _some(self, work: Callable[[Sequence[J]], Sequence[R]]) -> None:
        taken = [self._waiting.popleft()]
        room = self._most - taken[0][1]
        while self._waiting and self._waiting[0][1] <= room:
            taken.append(self._waiting.popleft())
            room -= taken[-1][1]
        try:
            for (_, _, future), result in list(zip(taken, work([job for job, _, _ in taken]), strict=True)):
                future.set_result(result)
        except BaseException as error:
            for job, _, future in taken:
                if len(taken) == 1:
                    future.set_exception(error)
                else:
                    self._alone(job, future, work)

    def _alone(self, job: J, future: Future[R], work: Callable[[Sequence[J]], Sequence[R]]) -> None:
        try:
            future.set_result(work([job])[0])
        except BaseException as error:
            future.set_exception(error)
