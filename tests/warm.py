"""Servers without the wait: `python -m tests.warm` imports once what every server imports, then forks one for each line that it reads.

A line says how: the words after `streamlit`, the environment and the file that takes the output; the answer is the server's PID. What
is forked goes through Streamlit's own command from its first line on: it reads the settings, the app's modules and the home by itself.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from argon2 import PasswordHasher

from curriculum import people

READ_ALREADY = (
    "altair",
    "cleanlab.filter",
    "scipy.stats",
    "skimage.segmentation",
    "sklearn.linear_model",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "streamlit.web.cli",
    "streamlit.web.bootstrap",
    "streamlit.web.server.app_discovery",
    "streamlit.web.server.starlette.starlette_server",
    "curriculum.asking",
    "curriculum.backup",
    "curriculum.explained",
    "curriculum.report",
    "curriculum.scaling",
    "curriculum.simulate",
    "curriculum.charts.overlays",
)
"""What takes the time: Streamlit itself, and below the app's modules all that computes and draws."""


def quick_pins() -> PasswordHasher:
    """From now on this process makes a PIN's hash in no time; it is made to take half a second of a core. Returns what did so before."""
    before, people._hasher = people._hasher, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return before


def main() -> None:
    """Until the last line: then whoever asked has gone, and the servers go too."""
    for name in READ_ALREADY:
        importlib.import_module(name)
    quick_pins()
    running: set[int] = set()

    def bury(_signal: int, _frame: FrameType | None) -> None:
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                running.discard(pid)

    signal.signal(signal.SIGCHLD, bury)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            serve(json.loads(line))
        running.add(pid)
        print(pid, flush=True)
    for pid in list(running):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def serve(wish: dict[str, Any]) -> None:
    """Be the server; comes back to nobody."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(Path(wish["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for of, there in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(of, there)
    os.environ.clear()
    os.environ.update(wish["environment"])
    sys.argv = ["streamlit", *wish["arguments"]]
    from streamlit.web.cli import main as streamlit

    streamlit(prog_name="streamlit")
    sys.exit()


if __name__ == "__main__":
    main()
