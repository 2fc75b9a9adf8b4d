"""`python -m curriculum people`: for a server without a browser, and for a lead who forgot the PIN."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from curriculum import labels, people
from curriculum.cli import main
from curriculum.home import Home
from curriculum.store import Store
from tests.conftest import CHECKOUT, PIN

Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def call(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a command with --json and the given standard input; returns exit code and document."""

    def run(*words: str, typed: str = "") -> tuple[int, Any]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = main(["--home", str(home.root), "people", *words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_people_come_lead_and_get_a_new_pin(call: Call, home: Home, tiny: Store) -> None:
    labels.annotate(tiny, "tiny", "a/a0.jpg", "Imported", "easy")
    labels.add_annotator(tiny, "Imported")
    tiny.close()
    assert call("add", "Ann", typed=f"{PIN}\nrest\n") == (0, {"name": "Ann", "role": "lead"})
    assert call("add", "Bob", "--role", "lead", typed=PIN) == (0, {"name": "Bob", "role": "lead"})
    code, document = call("list")
    assert code == 0
    assert [(one["name"], one["role"], one["signs_in"], one["labels"]) for one in document["people"]] == [
        ("Ann", "lead", "PIN", 0), ("Bob", "lead", "PIN", 0), ("Imported", "annotator", "not yet", 1),
    ]  # fmt: skip
    assert document["people"][2]["last_seen"].startswith("20")
    assert "hash" not in json.dumps(document) and "argon" not in json.dumps(document)
    assert call("role", "Ann", "annotator")[0] == 0
    code, document = call("role", "Bob", "annotator")
    assert (code, "somebody must lead" in document["error"]) == (2, True)
    assert call("reset-pin", "Bob") == (0, {"name": "Bob", "pin": None})
    assert call("reset-pin", "Ann", "--choose", typed="other pin\n") == (0, {"name": "Ann", "pin": "new"})
    with Store.open(home) as store:
        assert people.sign_in(store, "Ann", "other pin") == "Ann"
        assert people.credential(store, "Bob") is None


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        (("add", "Ann"), "1234\n", "everybody tries first"),
        (("add", "Ann"), "", "4 to 64 printable characters"),
        (("add", "simulated-1"), PIN, "simulated annotators"),
        (("add", "Ann", "--role", "annotator"), PIN, "somebody must lead"),
        (("role", "Nobody", "lead"), "", "nobody has this name"),
        (("reset-pin", "Nobody"), "", "nobody has this name"),
    ],
)
def test_wrong_calls_say_why_and_register_nobody(call: Call, home: Home, words: tuple[str, ...], typed: str, said: str) -> None:
    code, document = call(*words, typed=typed)
    assert code == 2
    assert said in document["error"]
    with Store.open(home) as store:
        assert people.list_people(store) == []


def test_a_pin_is_no_argument(call: Call) -> None:
    assert call("add", "Ann", PIN)[0] == 2


def test_at_a_terminal_the_pin_is_asked_for_twice_and_never_shown(home: Home) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "curriculum", "--home", str(home.root), "people", "add", "Ann"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    for prompt in (b"A PIN for Ann: ", b"The same again: "):
        while prompt not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, f"{PIN}\n".encode())
    while b"role: lead" not in shown:
        shown += os.read(ours, 1000)
    assert process.wait(timeout=60) == 0
    os.close(ours)
    assert PIN.encode() not in shown
    with Store.open(home) as store:
        assert people.sign_in(store, "Ann", PIN) == "Ann"
