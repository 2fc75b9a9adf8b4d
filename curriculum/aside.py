"""Computing in a process of its own: seconds of pure Python in this one would keep everybody waiting who sorts meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def compute(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """What a function of a module returns or raises, computed elsewhere (some seconds to start); here, where that process is killed."""
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_step_back) as pool:
            return pool.submit(function, *arguments, **named).result()
    except BrokenProcessPool:
        return function(*arguments, **named)


def _step_back() -> None:
    """People who wait for this come after those who sort."""
    if hasattr(os, "nice"):
        os.nice(5)
