"""What is computed in another process is what this one would have computed, its errors too."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from curriculum import aside
from curriculum.errors import ConfigError
from tests.conftest import CHECKOUT


def killed(_number: int) -> int:
    if os.getpid() != PARENT:
        os._exit(1)
    return _number


PARENT = int(os.environ.setdefault("TEST_ASIDE_PARENT", str(os.getpid())))


def refuse() -> None:
    raise ConfigError("it can't be had", got=str(os.getpid()))


def test_it_is_another_process_whose_answer_and_error_come_here() -> None:
    assert aside.compute(os.getpid) != os.getpid()
    with pytest.raises(ConfigError, match="it can't be had") as caught:
        aside.compute(refuse)
    assert str(os.getpid()) not in str(caught.value)


def test_where_that_process_is_killed_this_one_computes() -> None:
    assert aside.compute(killed, 7) == 7


WAIT = """
import os, sys, time
from curriculum import aside
if __name__ == "__main__":
    aside.compute(time.sleep, 600)
"""


def test_it_ends_with_who_asked(tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text(WAIT)
    with subprocess.Popen([sys.executable, script], env={**os.environ, "PYTHONPATH": str(CHECKOUT)}) as asking:
        here = psutil.Process(asking.pid)
        while not (computing := [each for each in here.children() if "spawn_main" in " ".join(each.cmdline())]):
            time.sleep(0.05)
        asking.kill()
    gone, alive = psutil.wait_procs(computing, timeout=20)
    assert gone and not alive
