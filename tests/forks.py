"""Processes of the program without the wait: what `runs.spawn` starts is forked from one that has imported what computes.

From its first line on such a process is the real one: its own session, its own environment, its module run as `-m` runs it, its end
told by an exit code. Only a cold start's imports are spared, a few seconds of a core each. `cold` is what the program does itself.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Sequence
from multiprocessing.context import ForkProcess, ForkServerProcess
from multiprocessing.process import _children  # type: ignore[attr-defined]
from pathlib import Path

from curriculum import runs

cold = runs.spawn
FORKS = multiprocessing.get_context("forkserver")
IMPORTED = [
    "curriculum.experiment",
    "curriculum.recipe_process",
    "curriculum.worker",
    "pytest",
    "scipy.stats",
    "sklearn.linear_model",
    "tests.forks",
]
FORKS.set_forkserver_preload(IMPORTED)


class Forked:
    """Asked like a `subprocess.Popen`."""

    def __init__(self, process: ForkProcess | ForkServerProcess) -> None:
        self.process = process
        process.start()
        _children.discard(process)  # or this process's end would wait for that of one that is to outlive it
        assert process.pid is not None
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.process.name), timeout or 0.0)
        return self.returncode

    def kill(self) -> None:
        self.process.kill()

    def terminate(self) -> None:
        self.process.terminate()


def spawn(program: str, directories: Sequence[Path], output: Path, environment: dict[str, str]) -> Forked:
    """Like `runs.spawn`. What is forked already forks its own: it is as warm."""
    runs.reap()
    what = (program, [str(path) for path in directories], str(output.absolute()), environment)
    if multiprocessing.parent_process():
        child = Forked(multiprocessing.get_context("fork").Process(target=_be, args=what, name=program))
    else:
        child = Forked(FORKS.Process(target=_be, args=what, name=program))
    runs._children.append(child)  # type: ignore[arg-type]
    return child


def _be(program: str, words: list[str], output: str, environment: dict[str, str]) -> None:
    """What `python -m PROGRAM WORDS` does in this environment, its words going to the file."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for of, there in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(of, there)
    os.chdir(runs.PACKAGE)
    import torch  # is there already: whoever starts this process may do without

    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1)
    runs._children.clear()  # those of the process that it was forked from
    runs.spawn = spawn  # type: ignore[assignment]
    sys.argv = [program, *words]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'curriculum.*' found in sys.modules", RuntimeWarning)  # that it is, is the point
        runpy.run_module(program, run_name="__main__", alter_sys=True)
