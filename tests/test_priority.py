"""Who computes steps back, among the processes of a session and, on Linux, among sessions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from curriculum.priority import GROUP, SWITCH
from tests.conftest import CHECKOUT

SAY = """
import os
from curriculum.priority import GROUP, step_back
step_back(7)
step_back(7)
print(os.nice(0), GROUP.read_text() if GROUP.exists() else "")
"""


def said(*, leads: bool, backs: bool = True) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SAY], cwd=CHECKOUT, start_new_session=leads, capture_output=True, text=True, check=True,
                          env={**os.environ, SWITCH: "" if backs else "no"})  # fmt: skip
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(os, "nice"), reason="Windows has other priorities")
def test_a_process_with_a_session_of_its_own_lowers_that_too() -> None:
    before = os.nice(0)
    lowered = str(max(before, 7))
    alone, among = said(leads=True), said(leads=False)
    assert alone[0] == among[0] == lowered
    if GROUP.exists():
        assert alone[3:] in ([lowered], []), "or it would get as much as all others together"
        assert among[1:] == GROUP.read_text().split(), "the others of the session are nobody's business"
    assert said(leads=True, backs=False)[0] == str(before)
