"""A comparison's runs on the machines of a Ray cluster instead of processes of this one.

Ray is optional (`requirements-ray.txt`). Every machine needs this program with its requirements, and the home folder and the data
sets under the same paths, such as on a shared file system: runs tell how they stand in their directories there.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curriculum import runs
from curriculum.errors import ConfigError, RunError

START_ONE = "Start one with `ray start --head`, or leave --ray out"


class Cluster:
    """A connection to a Ray cluster.

    Args:
        address: of its head, such as 10.0.0.1:6379; auto: the one that this machine belongs to.
        gpus: whether each chain of runs takes a GPU of its own, where the cluster has any; else a CPU core.

    Raises:
        ConfigError: Ray isn't installed. RunError: nothing answers at the address.
    """

    def __init__(self, address: str, *, gpus: bool) -> None:
        _check_answers(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about this work is told to anybody
        try:
            import ray
        except ImportError as error:
            todo = "python -m pip install -r requirements-ray.txt, here and on the cluster's machines; or leave --ray out"
            raise ConfigError("--ray needs Ray, which isn't installed", todo=todo) from error
        self.ray = ray
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False, configure_logging=False, namespace="curriculum")
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise RunError(f"no Ray cluster answers ({error})", got=address, todo=START_ONE) from error
        wanted: dict[str, Any] = {"num_gpus": 1} if gpus and ray.cluster_resources().get("GPU") else {"num_cpus": 1}
        self._task = ray.remote(max_retries=0, **wanted)(work)

    def start(self, paths: Sequence[Path]) -> Task:
        """One chain of runs, on whichever machine has room."""
        return Task(self.ray, self._task.remote([str(path) for path in paths]))

    def close(self) -> None:
        self.ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise RunError(
            f"no Ray cluster answers ({error})", got=address, allowed="HOST:PORT of a cluster's head, or auto", todo=START_ONE
        ) from error


class Task:
    """A chain that a cluster works on; asked like a process."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def poll(self) -> int | None:
        """Its exit code; None while it is waiting or going on."""
        done, _ = self._ray.wait([self._reference], timeout=0)
        if not done:
            return None
        try:
            return int(self._ray.get(done[0]))
        except self._ray.exceptions.RayError:
            return 1  # the machine has gone; its runs can be resumed


def work(paths: list[str]) -> int:
    """On a machine of the cluster: work on these run directories, one after another, in a process of their own."""
    with (Path(paths[0]) / "log.txt").open("ab") as log:
        return subprocess.call(
            [sys.executable, "-m", "curriculum.worker", *paths],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=runs.worker_environment(), cwd=runs.PACKAGE,
        )  # fmt: skip
