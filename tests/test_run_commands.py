"""`runs rename`, `runs note`, `runs diff`, and what `runs list` and `runs show` say of titles; also while another process owns the database."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from curriculum import intake, preparation
from curriculum.cli import main
from curriculum.config import TrainConfig
from curriculum.home import Home
from curriculum.rundir import About, RunDir, open_run
from curriculum.store import Store

Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def two(tiny: Store) -> list[RunDir]:
    """Two runs that wait; the database is free."""
    configs = [TrainConfig("tiny", mode="fine-tune", weights="none", image_size=32, seed=seed, epochs=5) for seed in (0, 1)]
    prepared = [preparation.prepare(tiny, config) for config in configs]
    tiny.close()
    return prepared


@pytest.fixture
def call(home: Home, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command of `runs` on the test's home; returns exit code and document, or text for people."""

    def run(*words: str, people: bool = False) -> tuple[int, Any]:
        code = main(["--home", str(home.root), "runs", *words, *([] if people else ["--json"])])
        out = capsys.readouterr().out
        return code, out if people else json.loads(out)

    return run


def test_a_title_and_a_note_show_wherever_the_run_does(call: Call, two: list[RunDir]) -> None:
    run_id = two[0].run_id
    assert call("rename", run_id, "Ana's  levels") == (0, {"run_id": run_id, "title": "Ana's levels", "note": None})
    assert call("note", run_id, "one\ntwo") == (0, {"run_id": run_id, "title": "Ana's levels", "note": "one\ntwo"})
    listed = {row["run_id"]: (row["title"], row["note"]) for row in call("list")[1]["runs"]}
    assert listed == {run_id: ("Ana's levels", "one\ntwo"), two[1].run_id: (None, None)}
    shown = call("show", run_id)[1]
    assert (shown["title"], shown["note"]) == ("Ana's levels", "one\ntwo")
    assert call("show", run_id, people=True)[1].startswith("Ana's levels\none\ntwo\nrun ")
    assert "# Ana's levels  note: one two\n" in call("list", people=True)[1]
    assert call("rename", run_id, "", people=True) == (0, f"{run_id} has no title any more\n")
    assert two[0].about() == About("", "one\ntwo")


def test_what_can_t_be_a_title_is_refused(call: Call, two: list[RunDir]) -> None:
    code, document = call("rename", two[0].run_id, "x" * 101)
    assert (code, "up to 100" in document["error"]) == (2, True)
    assert call("note", "unknown", "x")[1]["error"].startswith("no such run")


def test_what_two_runs_differ_in(call: Call, two: list[RunDir]) -> None:
    a, b = (run.run_id for run in two)
    assert call("diff", a, b) == (0, {"a": a, "b": b, "differences": [{"option": "seed", "a": "0", "b": "1"}]})
    assert call("diff", a, b, people=True)[1].splitlines() == [f"      a: {a}", f"      b: {b}", "seed  0  1"]
    assert call("diff", a, a) == (0, {"a": a, "b": a, "differences": []})
    assert "the same configuration" in call("diff", a, a, people=True)[1]
    assert call("diff", a, "unknown")[0] == 2


def test_a_title_given_while_the_app_owns_the_database_waits_for_it(
    call: Call, two: list[RunDir], home: Home, child: Callable[..., subprocess.Popen[str]]
) -> None:
    owner = child(
        "import sys; from curriculum.home import Home; from curriculum.store import Store; "
        "store = Store.open(Home.find(sys.argv[1]), owner='the app'); store.write_snapshot(); print('ready', flush=True); sys.stdin.read(); store.close()",
        home.root,
    )
    assert owner.stdout is not None and owner.stdout.readline() == "ready\n"
    assert call("rename", two[0].run_id, "meanwhile")[1]["title"] == "meanwhile"
    owner.communicate()
    assert open_run(home, two[0].run_id).about() == About("meanwhile")
    with Store.open(home) as store:
        intake.Ingester(store).once()
        assert store.rows("SELECT title FROM run WHERE run_id = ?", [two[0].run_id]) == [("meanwhile",)]
