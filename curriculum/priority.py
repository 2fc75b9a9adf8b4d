"""Processes that compute step back behind people who sort images at the same machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

GROUP = Path("/proc/self/autogroup")


def step_back(steps: int) -> None:
    """From now on this process computes with what the others leave, the more so the more steps (1 to 19); where nobody else computes, with all.

    Linux may share the processors out between sessions first, and looks at single processes only within one: so a process that leads
    a session of its own lowers that too.
    """
    if not hasattr(os, "nice"):  # Windows
        return
    lowered = os.nice(steps)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # no Linux, or one that makes no such groups
            GROUP.write_text(str(lowered))
