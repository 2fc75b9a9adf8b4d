"""Computing in a process of its own: seconds of pure Python in this one would keep everybody waiting who sorts meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

from curriculum.priority import step_back

P = ParamSpec("P")
R = TypeVar("R")


def compute(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """What a function of a module returns or raises, computed elsewhere (some seconds to start); here, where that process is killed."""
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=step_back, initargs=(5,)) as pool:
            return pool.submit(function, *arguments, **named).result()
    except BrokenProcessPool:
        return function(*arguments, **named)
