"""Computing in a process of its own: seconds of pure Python in this one would keep everybody waiting who sorts meanwhile."""

from __future__ import annotations

import os
import threading
import time
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
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)) as pool:
            return pool.submit(function, *arguments, **named).result()
    except BrokenProcessPool:
        return function(*arguments, **named)


def _begin(parent: int) -> None:
    step_back(5)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Who asked may be killed: then nobody wants the answer."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
