"""Processes that compute step back behind people who sort images at the same machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

GROUP = Path("/proc/self/autogroup")
TRIES = 30
SWITCH = "CURRICULUM_STEP_BACK"


def step_back(steps: int) -> None:
    """From now on this process computes with what the others leave, the more so the more steps (1 to 19); where nobody else computes, with all.

    Linux may share the processors out between sessions first, and looks at single processes only within one: so a process that leads
    a session of its own lowers that too. CURRICULUM_STEP_BACK=no: everything computes alike.
    """
    if not hasattr(os, "nice") or os.environ.get(SWITCH) == "no":  # Windows has no such thing
        return
    lowered = os.nice(max(0, steps - os.nice(0)))  # not once more where whoever started it has stepped back
    if os.getsid(0) != os.getpid():
        return
    for _ in range(TRIES):
        try:
            GROUP.write_text(str(lowered))
        except BlockingIOError:  # but for root, the whole machine may change one in a tenth of a second
            time.sleep(0.1)
        except OSError:  # no Linux, or one that makes no such groups
            return
        else:
            return
