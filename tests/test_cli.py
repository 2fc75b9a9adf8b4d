"""The command line: each command's JSON document, exit codes, and the five steps without a browser."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from curriculum import commands, labels, preparation, recipe
from curriculum.cli import clean, main, parser
from curriculum.config import CompareConfig, TrainConfig
from curriculum.files import write_json
from curriculum.home import Home
from curriculum.labels import Event
from curriculum.rundir import Status
from curriculum.store import Store
from tests.browser import free_port
from tests.conftest import CHECKOUT, until
from tests.ml import CLASSES, write_folder

QUICK = ["--weights", "none", "--image-size", "32", "--device", "cpu"]
Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def call(home: Home, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command with --json on the test's home; returns exit code and document."""

    def run(*words: object) -> tuple[int, Any]:
        code = main(["--home", str(home.root), *map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def textures(call: Call, tmp_path: Path) -> str:
    """A registered data set that a network learns in seconds."""
    code, document = call("data", "add", write_folder(tmp_path / "pictures", each=15), "--name", "textures")
    assert code == 0
    seen = {"new": 45, "changed": 0, "gone": 0, "moved": 0, "judged": 0, "scored": 0}
    assert document == {"dataset": "textures", "examples": 45, "classes": list(CLASSES), "rejected": [], **seen}
    return "textures"


def test_the_five_steps_without_a_browser(call: Call, textures: str, tmp_path: Path, home: Home) -> None:
    code, document = call("score", "--dataset", textures, "--method", "oof-loss", *QUICK)
    assert code == 0
    assert {"dataset": textures, "method": "oof_loss", "examples": 45}.items() <= document.items()
    assert document["seconds"] > 0

    code, document = call("labels", "simulate", "--dataset", textures, "--annotators", "2")
    assert code == 0
    assert document["appended"] == 90
    code, document = call("labels", "agreement", "--dataset", textures, "--who", "simulated")
    assert code == 0
    assert {"alpha", "alpha_interval", "pairwise_kappa", "fleiss_kappa", "self_consistency"} <= document.keys()
    assert document["alpha_interval"][0] <= document["alpha"] <= document["alpha_interval"][1]
    assert document["self_consistency"] is None
    code, document = call("labels", "agreement", "--dataset", textures)
    assert (code, document["alpha"], document["pairwise_kappa"]) == (0, None, [])
    assert document["reasons"]["alpha"]

    people = tmp_path / "people.csv"
    people.write_text("example,annotator,level\nred/030.png,Ana,easy\nred/031.png,Ana,hard\nblue/000.png,Ana,medium\n")
    assert call("labels", "import", "--dataset", textures, people)[1]["appended"] == 3
    code, document = call("labels", "summary", "--dataset", textures)
    assert {
        "dataset": textures,
        "annotators": 1,
        "annotations": 3,
        "labelled": 3,
        "levels": {"easy": 1, "medium": 1, "hard": 1},
    }.items() <= document.items()
    assert document["simulated"]["labelled"] == 45

    code, document = call("train", "--dataset", textures, "--mode", "staged", "--levels", "simulated", "--stage-epochs", 2, 1, 1, *QUICK)
    assert code == 0
    wanted = {
        "run_id",
        "mode",
        "protocol",
        "epoch",
        "val_accuracy",
        "test_accuracy",
        "test_loss",
        "test_knn",
        "peak_test_accuracy",
        "peak_test_epoch",
        "peak_test_loss",
        "peak_test_knn",
        "all_images_epoch",
        "seconds",
        "samples_seen",
    }
    assert wanted <= document.keys()
    assert (document["mode"], document["protocol"], document["peak_test_accuracy"]) == ("staged", "honest", None)
    assert document["all_images_epoch"] == 4, "the last stage's first"
    assert [stage["stage"] for stage in document["stages"]] == ["easy", "easy+medium", "all"]

    shown = call("runs", "show", document["run_id"])[1]
    assert [epoch["epoch"] for epoch in shown["epochs"]] == [1, 2, 3, 4]
    assert sum(epoch["subset_size"] for epoch in shown["epochs"]) == document["samples_seen"]
    listed = call("runs", "list", "--dataset", textures)[1]["runs"]
    assert [(run["kind"], run["state"]) for run in listed] == [("train", "done"), ("score", "done")]
    assert call("runs", "delete", document["run_id"])[1] == {"run_id": document["run_id"], "deleted": True}
    assert len(call("runs", "list")[1]["runs"]) == 1
    assert not (home.runs / document["run_id"]).exists()


def test_a_run_is_reported_in_words(call: Call, textures: str, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    learnt_nothing = ["--mode", "fine-tune", "--epochs", 1, "--learning-rate", 1e-6]
    assert main(["--home", str(home.root), "train", "--dataset", textures, *map(str, learnt_nothing), *QUICK]) == 0
    report = capsys.readouterr().out
    assert "rows: true class, columns: predicted" in report
    assert "people: no level" in report
    assert "nan" not in report


def test_labels_go_out_in_and_back(call: Call, textures: str, tmp_path: Path, home: Home) -> None:
    people = tmp_path / "people.csv"
    people.write_text("example;annotator;level\nred/030.png;Ana;easy\nred/031.png;Ana;hard\nblue/000.png;Bob;medium\n")
    wanted = {"dataset": textures, "read": 3, "appended": 3, "annotators": ["Ana", "Bob"], "decisions": 0}
    assert call("labels", "import", "--dataset", textures, people) == (0, wanted)
    for form, flags in (("csv", []), ("jsonl", ["--log"]), ("parquet", ["--log"]), ("label-studio", []), ("links", []), ("folders", [])):
        path, what = tmp_path / f"out-{form}", "events" if flags else "labels"
        code, document = call("labels", "export", "--dataset", textures, path, "--format", form, *flags)
        assert (code, document) == (0, {"dataset": textures, "path": str(path), what: 3})
        who = ["--annotator", "Cem"] if form in ("links", "folders") else []
        code, document = call("labels", "import", "--dataset", textures, path, "--format", form, *flags, *who)
        assert (code, document["read"], document["appended"]) == (0, 3, 3 if form == "links" else 0)
        code, document = call("labels", "export", "--dataset", textures, path, "--format", form, *flags)
        assert code == 2, "nothing is overwritten unasked"
    assert call("labels", "export", "--dataset", textures, tmp_path / "out-csv", "--overwrite")[1]["labels"] == 6

    code, document = call("labels", "backup")
    assert (code, document["from"]) == (0, "database")
    folder = Path(document["path"])
    assert call("labels", "import", "--dataset", textures, "--annotator", "Dan", tmp_path / "out-links")[1]["appended"] == 3
    events = call("labels", "history", "--dataset", textures, "red/030.png")[1]["events"]
    assert [(event["annotator"], event["action"], event["level"], event["undone"]) for event in events] == [
        (name, "label", "easy", False) for name in ("Ana", "Cem", "Dan")
    ]
    code, document = call("labels", "replay", "--dataset", textures, "--until", events[0]["recorded_at"])
    assert code == 0
    assert {(label["example"], label["annotator"], label["level"]) for label in document["labels"]} == {
        ("red/030.png", "Ana", "easy"), ("red/031.png", "Ana", "hard"), ("blue/000.png", "Bob", "medium"),
    }  # fmt: skip
    assert len(call("labels", "replay", "--dataset", textures)[1]["labels"]) == 9
    code, document = call("labels", "restore", folder)
    assert (code, document["path"], document["rows"]["annotation"]) == (0, str(home.database), 6)
    assert Path(document["kept"]).is_file()
    assert len(call("labels", "replay", "--dataset", textures)[1]["labels"]) == 6


def test_settings_are_shown_and_changed(call: Call, textures: str, capsys: pytest.CaptureFixture[str], home: Home) -> None:
    assert call("labels", "settings", "--dataset", textures) == (0, {"dataset": textures, "labels_per_image": "all", "repeat_share": 0.05})
    assert call("labels", "settings", "--dataset", textures, "--labels-per-image", "2")[0] == 0
    code, document = call("labels", "settings", "--dataset", textures, "--repeat-share", "0.1")
    assert (code, document) == (0, {"dataset": textures, "labels_per_image": 2, "repeat_share": 0.1})
    assert call("labels", "settings", "--dataset", textures, "--labels-per-image", "all")[1]["labels_per_image"] == "all"
    code, document = call("labels", "settings", "--dataset", textures, "--repeat-share", "0.6")
    assert (code, "0 to 0.5" in document["error"]) == (2, True)
    assert call("labels", "settings", "--dataset", textures, "--labels-per-image", "0")[0] == 2
    assert main(["labels", "settings", "--dataset", textures, "--labels-per-image", "some"]) == 2
    assert "neither a whole number" in capsys.readouterr().err
    assert main(["--home", str(home.root), "labels", "settings", "--dataset", textures]) == 0
    assert capsys.readouterr().out == "textures: labels per image: all; asked a second time: 10.0% of each annotator's images\n"


def test_looking_back_for_people(call: Call, textures: str, tmp_path: Path, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    people = tmp_path / "people.csv"
    people.write_text("example,annotator,level,answered_at\nred/030.png,Ana,easy,2026-03-01\n")
    call("labels", "import", "--dataset", textures, people)
    assert main(["--home", str(home.root), "labels", "replay", "--dataset", textures, "--until", "2126-01-31"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "red/030.png  Ana: easy", "textures as of 2126-01-31T00:00:00+00:00: 1 labels (easy 1, medium 0, hard 0)",
    ]  # fmt: skip
    assert main(["--home", str(home.root), "labels", "history", "--dataset", textures, "red/030.png"]) == 0
    assert capsys.readouterr().out == "2026-03-01T00:00:00+00:00 Ana: label easy\n"
    assert main(["--home", str(home.root), "labels", "history", "--dataset", textures, "red/031.png"]) == 0
    assert capsys.readouterr().out == "Nobody has judged red/031.png yet.\n"


def test_results_for_people_name_errors_and_confusion(call: Call, textures: str, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(home.root), "train", "--dataset", textures, "--mode", "fine-tune", "--epochs", "1", *QUICK]) == 0
    text = capsys.readouterr().out
    assert "test accuracy" in text
    assert "rows: true class, columns: predicted" in text
    assert all(f"{name}: " in text for name in CLASSES)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "--dataset", "none"], "no such data set"),
        (["train", "--dataset", "textures", "--mode", "staged"], "labels simulate"),
        (["train", "--dataset", "textures", "--mode", "transfer", "--stage-epochs", "1", "1", "1"], "--stage-epochs only fits"),
        (["train", "--dataset", "textures", "--image-size", "7"], "--image-size is out of range"),
        (["train", "--dataset", "textures", "--mode", "fine-tune", "--weights", "nowhere.pth"], "no such weights"),
        (["train", "--dataset", "textures", "--mode", "fine-tune", "--weights", "run:unknown"], "no such run"),
        (["score", "--dataset", "textures", "--method", "loss"], "--run"),
        (["labels", "simulate", "--dataset", "textures"], "Run `score`"),
        (["labels", "simulate", "--dataset", "textures", "--basis", "built-in"], "only the demo scenes"),
        (["labels", "import", "--dataset", "textures", "nowhere.csv"], "can't be read (No such file"),
        (["labels", "import", "--dataset", "textures", "--log", "--annotator", "Ana", "x"], "--annotator doesn't fit --log"),
        (["labels", "export", "--dataset", "textures", "--log", "--who", "people", "x"], "--who doesn't fit --log"),
        (["labels", "export", "--dataset", "textures", "--comparisons", "--who", "people", "x"], "--who doesn't fit --comparisons"),
        (["labels", "import", "--dataset", "textures", "--comparisons", "--log", "x"], "--log and --comparisons are two files"),
        (["labels", "export", "--dataset", "textures", "--log", "--format", "links", "x"], "Allowed: csv, jsonl, parquet"),
        (["labels", "replay", "--dataset", "textures", "--until", "yesterday"], "--until takes an ISO time"),
        (["labels", "history", "--dataset", "textures", "red/999.png"], "no such image"),
        (["labels", "restore", "nowhere"], "no whole backup"),
        (["runs", "show", "unknown"], "no such run"),
        (["runs", "show", "../data"], "no such run"),
        (["data", "add", "/nowhere/at/all", "--name", "x"], "not a folder"),
        (["data", "add", ".", "--name", "../x"], "letters, digits"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Call, textures: str, words: list[str], says: str) -> None:
    code, document = call(*words)
    assert code in (1, 2)
    assert says in document["error"]


def test_an_unknown_flag_or_choice_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["nonsense"], [], ["train"], ["train", "--dataset", "x", "--mode", "backwards"]):
        assert main(words) == 2
        out, said = capsys.readouterr()
        assert out == "" and said.startswith("usage: python -m curriculum") and "\nerror: " in said
    assert "self-paced" in said


def test_hyphen_and_underscore_are_one_choice() -> None:
    for word in ("oof-loss", "oof_loss"):
        assert parser().parse_args(["score", "--dataset", "x", "--method", word]).method == "oof_loss"


def test_while_the_app_owns_the_database(call: Call, textures: str, home: Home) -> None:
    """Reading and computing go on from the snapshot, writing refuses by name, and the run is taken in later."""
    owner = subprocess.Popen(
        [sys.executable, "-c", "import sys; from curriculum.home import Home; from curriculum.store import Store; "
         "store = Store.open(Home.find(sys.argv[1]), owner='the app'); store.write_snapshot(); "
         "print('ready', flush=True); sys.stdin.read(); store.close()", str(home.root)],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        assert call("data", "list")[1]["datasets"][0]["dataset"] == textures
        code, document = call("labels", "simulate", "--dataset", textures)
        assert code == 1
        assert str(owner.pid) in document["error"]
        code, document = call("labels", "backup")
        assert (code, document["from"]) == (0, "snapshot")
        code, document = call("labels", "restore", document["path"])
        assert code == 1
        assert str(owner.pid) in document["error"]
        code, document = call("score", "--dataset", textures, *QUICK)
        assert code == 0
        assert document["examples"] == 45
    finally:
        owner.communicate()
    assert call("runs", "ingest")[1] == {"runs": 1, "failed": {}}
    with Store.open(home) as store:
        assert store.rows("SELECT count(*) FROM score JOIN run USING (run_id) WHERE method = mode")[0][0] == 45


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [["app"], ["score"], ["train"], *(["data", name] for name in ("demo", "fetch", "add", "check", "list"))]
    commands += [["labels", name] for name in ("import", "export", "summary", "agreement", "simulate")]
    commands += [["labels", name] for name in ("replay", "history", "backup", "restore")]
    commands += [["runs", name] for name in ("list", "show", "cancel", "resume", "delete", "rename", "note", "diff", "ingest")]
    for words in commands:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--help"])
        assert ended.value.code == 0
        assert "example: python -m curriculum" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("recipe", "list"), ("recipe", "list", "--json"), ("recipe", "--help")])
def test_whoever_reads_may_have_enough(words: tuple[str, ...]) -> None:
    """As `head` does: the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "curriculum", *words], cwd=CHECKOUT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_recipes_are_listed_with_where_their_data_comes_from_and_when_figures_were_seen(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--home", str(home.root), "recipe", "list"]) == 0
    said = capsys.readouterr().out
    for made in map(recipe.read, recipe.names()):
        assert all(f"{role.what} ({role.get}; or {role.shape} of yours)" in said for role in made.roles)
        assert all(f"{one.figure} {one.value:g} ({one.at})" in said for step in made.steps for one in step.reported if one.at)
    assert "peak_test_accuracy 0.8554 (epoch 42)" in said


def test_json_has_no_nan() -> None:
    assert clean({"a": float("nan"), "b": [float("inf"), 1.5], 3: None}) == {"a": None, "b": [None, 1.5], "3": None}


# -- one document, whatever happens --------------------------------------------------------------


def every_command(top: argparse.ArgumentParser, *words: str) -> list[tuple[str, ...]]:
    groups = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    found = [each for group in groups for name, below in group.choices.items() for each in every_command(below, *words, name)]
    return found if groups else [words]


@pytest.mark.parametrize("command", every_command(parser()), ids=" ".join)
@pytest.mark.parametrize("wrong", ["--nonsense", "--json=1"])
def test_a_wrong_flag_is_told_as_json_too(call: Call, command: tuple[str, ...], wrong: str) -> None:
    code, document = call(*command, wrong)
    assert (code, list(document)) == (2, ["error"])


def test_a_defect_is_told_as_json_and_can_be_found(
    call: Call, home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("peak")

    monkeypatch.setattr(commands, "data_list", broken)
    code, document = call("data", "list")
    assert (code, document["error"].startswith("KeyError: 'peak'")) == (1, True)
    assert main(["--home", str(home.root), "data", "list"]) == 1
    out, said = capsys.readouterr()
    assert out == "" and "Traceback" in said and "in broken" in said


def test_a_damaged_result_is_named(call: Call, home: Home, tiny: Store) -> None:
    run = preparation.prepare(tiny, CompareConfig("tiny", arms=("transfer",), weights="none", image_size=32, seeds=1))
    write_json(
        run / "result.json",
        {"run_id": run.run_id, "verdict": "", "noise": 0, "protocol": "honest", "passes": 1, "arms": [{"arm": "transfer"}]},
    )
    other = preparation.prepare(tiny, TrainConfig("tiny", mode="transfer", weights="none", image_size=32, epochs=1))
    write_json(other / "result.json", {"run_id": other.run_id})
    for each in (run, other):
        each.write_status(Status("done"))
    tiny.close()
    for each in (run, other):
        code, document = call("runs", "show", each.run_id)
        assert (code, f"result.json of run {each.run_id} is damaged" in document["error"]) == (1, True)
    assert len(call("runs", "list")[1]["runs"]) == 2


def test_output_fits_any_encoding(tmp_path: Path) -> None:
    def said(*words: str) -> bytes:
        return subprocess.run(
            [sys.executable, "-m", "curriculum", "--home", str(tmp_path / "ömé"), *words],
            cwd=CHECKOUT, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=True,
        ).stdout  # fmt: skip

    folder = tmp_path / "ömé" / "labels" / "backups" / "é"
    assert json.loads(said("labels", "backup", str(folder), "--json"))["path"] == str(folder)
    assert said("labels", "backup", str(folder) + "2").endswith(b"backups/\\xe92\n")


def test_a_strangers_text_moves_no_terminal(home: Home, tiny: Store, capsys: pytest.CaptureFixture[str]) -> None:
    note = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp\u2066\tö"
    with tiny.write() as cursor:
        labels.record(cursor, "tiny", "Bob", Event(uuid.uuid4(), "note", "c/c0.jpg", datetime.now(UTC), note=note))
    tiny.close()
    for words in (["labels", "history", "--dataset", "tiny", "c/c0.jpg"], ["labels", "history", "--dataset", "tiny", "x", "\x1b[2J\u202e"]):
        main(["--home", str(home.root), *words])
        out, said = capsys.readouterr()
        assert not [letter for letter in out + said if not (letter.isprintable() or letter in "\n\t")]
        assert "\\x1b[2J" in out + said
    main(["--home", str(home.root), "labels", "history", "--dataset", "tiny", "c/c0.jpg"])
    assert "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\u202egnp\\u2066\tö\n" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--json", "--"], ["--"]])
def test_the_app_takes_streamlits_options(home: Home, flags: list[str], tmp_path: Path) -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "curriculum",
        "--home",
        str(home.root),
        "app",
        *flags,
        "--server.headless",
        "true",
        "--server.port",
        str(port),
    ]
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    try:
        until(lambda: healthy(port), 120)
        until(lambda: b"You can now view" in (tmp_path / ("err" if "--json" in flags else "out")).read_bytes())
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            each.kill()
        process.wait(timeout=20)
    assert "--json" not in flags or (tmp_path / "out").read_bytes() == b"", "the document comes at the end"


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
