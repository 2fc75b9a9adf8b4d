"""Questions, their answers on disk, and the process that finds them: what it says, what it keeps, and what happens when it dies."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from curriculum import questions, regions
from curriculum.asking import Explainer, Job
from curriculum.errors import ConfigError, CurriculumError, DatasetError, RunError, UnknownError
from curriculum.explainer import Desk
from curriculum.home import Home
from curriculum.images import index_folder
from curriculum.questions import Answer, Checks, FeatureMap, Layers, Neighbours, Question, Regions
from curriculum.store import Store
from tests.ml import CLASSES, trained

LONG = 20_000
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Regions]:
    """A home with a trained model, and a question about an image of it."""
    home = Home(tmp_path_factory.mktemp("asked"))
    with Store.open(home) as store:
        run = trained(home, store)
    index = index_folder(home.root / "pictures")
    example = index.examples[0]
    question = Regions(run, str(index.root), example.example, example.sha256, example.class_name, superpixels="slic", samples=100)
    return home, question


@pytest.fixture(scope="module")
def explainer(asked: tuple[Home, Regions]) -> Iterator[Explainer]:
    one = Explainer(asked[0])
    yield one
    one.close()


def quiet(*_: object) -> None:
    pass


def desk(home: Home) -> Desk:
    return Desk(home, quiet, lambda: False, CPU)


def settled(job: Job) -> Job:
    deadline = time.monotonic() + 600
    while job.active:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


def working(job: Job) -> Job:
    """Wait until the process is in the middle of it."""
    deadline = time.monotonic() + 600
    while not (job.state == "running" and job.done):
        assert job.active and time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


# -- questions and answers -----------------------------------------------------------------------


def test_a_key_depends_on_all_that_the_answer_does(asked: tuple[Home, Regions], tmp_path: Path) -> None:
    home, question = asked
    key = questions.key(home, question)
    assert key == questions.key(home, replace(question, root="/elsewhere", example="other/name.png")), "the image is known by its content"
    others: list[Question] = [
        replace(question, samples=101), replace(question, seed=1), replace(question, superpixels="quickshift"), replace(question, true=None),
        replace(question, sha256="0" * 64), Checks(**{k: v for k, v in question.to_json().items() if k != "kind"}),
    ]  # fmt: skip
    assert len({key, *(questions.key(home, other) for other in others)}) == 1 + len(others)
    moved = Home(tmp_path / "moved")
    shutil.copytree(home.runs / question.run, moved.runs / "renamed")
    assert questions.key(moved, replace(question, run="renamed")) == key
    with (moved.runs / "renamed" / "model.pt").open("ab") as model:
        model.write(b"!")
    assert questions.key(moved, replace(question, run="renamed")) != key


def test_a_question_survives_the_pipe_and_a_wrong_one_is_refused(asked: tuple[Home, Regions]) -> None:
    _, question = asked
    for one in (question, Neighbours(question.run, "/r", "a/b", "0" * 64, "all", 7), FeatureMap(question.run, "/r", "test", "t-sne")):
        assert questions.from_json(json.loads(json.dumps(one.to_json()))) == one
    changes: tuple[dict[str, object], ...] = ({"samples": 3}, {"superpixels": "grid"}, {"kind": "guess"}, {"kind": ["regions"]})
    for change in changes:
        with pytest.raises(ConfigError, match="Allowed"):
            questions.from_json(question.to_json() | change)
    with pytest.raises(ConfigError, match="other fields"):
        questions.from_json({"kind": "regions", "run": question.run})
    with pytest.raises(ConfigError, match="1 to 50"):
        Neighbours(question.run, "/r", "a/b", "0" * 64, k=0)


def test_an_answer_comes_back_whole_or_not_at_all(tmp_path: Path) -> None:
    path, random = tmp_path / "aa" / "one.npz", np.random.default_rng(0)
    answer = Answer(
        {"r2": [0.5, float("nan")], "name": "Grün"}, {"weights": random.normal(size=(2, 300)), "segments": np.arange(12).reshape(3, 4)}
    )
    assert questions.read(path) is None
    questions.write(path, answer)
    found = questions.read(path)
    assert found is not None and found.record == {"r2": [0.5, None], "name": "Grün"}
    assert all(np.array_equal(found.arrays[name], answer.arrays[name]) for name in answer.arrays)
    assert [each.name for each in path.parent.iterdir()] == ["one.npz"], "nothing is left beside it"
    whole = path.read_bytes()
    for damaged in (whole[:-200], whole[:1000] + bytes([whole[1000] ^ 255]) + whole[1001:], b"", b"no zip at all", bytes(len(whole))):
        path.write_bytes(damaged)
        assert questions.read(path) is None


def test_what_numpy_reads_and_is_no_answer_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    for record in ("[]", "5", "null", "[" * 5000):
        np.savez(path, record=np.array(record))
        assert questions.read(path) is None
    np.save(tmp_path / "one.npy", np.arange(3))
    (tmp_path / "one.npy").rename(path)
    assert questions.read(path) is None
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as packed:
            packed.writestr("record.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        assert questions.read(path) is None


# -- the desk, in this process -------------------------------------------------------------------


@pytest.mark.usefixtures("one_thread")
def test_regions_and_their_checks(asked: tuple[Home, Regions]) -> None:
    home, question = asked
    found = desk(home).answer(question)
    classes, said = found.record["explained"], np.array(found.record["probabilities"])
    assert found.record["predicted"] == classes[0] == CLASSES[said.argmax()] and question.true in classes
    assert found.arrays["image"].shape == (32, 32, 3) and found.arrays["segments"].shape == (32, 32)
    assert found.arrays["weights"].shape == (len(classes), found.arrays["segments"].max() + 1)
    checks = desk(home).answer(Checks(**{name: value for name, value in question.to_json().items() if name != "kind"}))
    assert [one["class"] for one in checks.record["classes"]] == classes
    assert checks.arrays["weights"].shape == (3, *found.arrays["weights"].shape)
    assert np.array_equal(checks.arrays["weights"][0], found.arrays["weights"]), "the first sampling is the one that is shown"
    again = desk(home).answer(replace(question, seed=1))
    assert np.allclose(checks.arrays["weights"][1], again.arrays["weights"], atol=0.02), "the second is that of the next seed"
    first = checks.record["classes"][0]
    assert first["stability"]["overlap"] == pytest.approx(regions.stability(checks.arrays["weights"][:, 0]).overlap)
    assert first["regions"] == regions.leading(found.arrays["weights"][0], regions.areas(found.arrays["segments"]))


@pytest.mark.usefixtures("one_thread")
def test_neighbours_leave_the_image_itself_out_and_agree_with_the_run(asked: tuple[Home, Regions]) -> None:
    home, question = asked
    found = desk(home).answer(Neighbours(question.run, question.root, question.example, question.sha256, "all", 5))
    near = found.record["neighbours"]
    assert len(near) == 5 and question.example not in [one["example"] for one in near]
    assert [one["distance"] for one in near] == sorted(one["distance"] for one in near)
    among_test = desk(home).answer(Neighbours(question.run, question.root, question.example, question.sha256, "test", 5))
    result = questions.trained(home, question.run).result()
    assert result is not None and among_test.record["mean_share"] == pytest.approx(result["test_knn"], abs=0.1)


@pytest.mark.usefixtures("one_thread")
def test_layers_and_map(asked: tuple[Home, Regions]) -> None:
    home, question = asked
    layers = desk(home).answer(Layers(question.run, question.root, question.example, question.sha256))
    assert layers.arrays["filters"].shape == (64, 7, 7, 3) and layers.arrays["after"].min() == 0
    assert layers.record["activation"] == "ReLU"
    places = desk(home).answer(FeatureMap(question.run, question.root, "all", "pca"))
    assert places.arrays["places"].shape == (36, 2) and len(set(places.record["examples"])) == 36


def test_what_can_t_be_answered_says_why(asked: tuple[Home, Regions], tmp_path: Path) -> None:
    home, question = asked
    gone: list[tuple[Question, type[CurriculumError], str]] = [
        (replace(question, run="20200101-000000-staged-0000"), UnknownError, "no such run"),
        (replace(question, example="blue/none.png", sha256="1" * 64), DatasetError, "can't be read"),
        (replace(question, example="blue/000.png", sha256="1" * 64), DatasetError, "has changed"),
    ]
    for wrong, kind, words in gone:
        with pytest.raises(kind, match=words):
            desk(home).answer(wrong)
    empty = Home(tmp_path / "without")
    shutil.copytree(home.runs / question.run, empty.runs / question.run, ignore=shutil.ignore_patterns("model.pt"))
    with pytest.raises(RunError, match="left no model"):
        Explainer(empty).ask(question, "Ana")


# -- the process ---------------------------------------------------------------------------------


def test_it_tells_how_far_it_is_and_keeps_what_it_found(asked: tuple[Home, Regions], explainer: Explainer) -> None:
    home, question = asked
    question = replace(question, samples=700, seed=5)
    job = explainer.ask(question, "Ana")
    phases = set()
    while job.active:
        phases.add((job.phase, job.total))
        time.sleep(0.01)
    assert job.state == "done", job
    assert any(phase == "covered images" and 0 < total <= 700 for phase, total in phases)
    answer = Explainer(home).answer(question)  # anybody finds it on the disk
    assert answer is not None and answer.record["seconds"] > 0
    path = questions.place(home, questions.key(home, question))
    path.write_bytes(path.read_bytes()[:-100])
    assert explainer.answer(question) is None
    assert settled(explainer.ask(question, "Ana")).state == "done"
    again = explainer.answer(question)
    assert again is not None and np.array_equal(again.arrays["weights"], answer.arrays["weights"]), "the same seed, the same weights"


def test_two_who_ask_the_same_share_it_and_it_ends_when_both_have_cancelled(asked: tuple[Home, Regions], explainer: Explainer) -> None:
    _, question = asked
    long = replace(question, samples=LONG, seed=8)
    job = explainer.ask(long, "Ana")
    assert explainer.ask(long, "Bo") is job
    behind = explainer.ask(replace(question, seed=9), "Cem")
    working(job)
    assert explainer.ahead(behind) == 1 and explainer.ahead(job) == 0
    explainer.cancel(job, "Ana")
    time.sleep(0.3)
    assert job.state == "running", "Bo waits for it"
    explainer.cancel(job, "Bo")
    assert settled(job).state == "cancelled" and explainer.answer(long) is None
    assert settled(behind).state == "done", "what waits behind comes next"


def test_one_that_waits_and_is_cancelled_never_starts(asked: tuple[Home, Regions], explainer: Explainer) -> None:
    _, question = asked
    first, second = (explainer.ask(replace(question, samples=LONG, seed=seed), "Ana") for seed in (20, 21))
    working(first)
    explainer.cancel(second, "Ana")
    assert second.state == "cancelled"
    explainer.cancel(first, "Ana")
    settled(first)
    assert (second.phase, second.done) == ("", 0)


def test_a_killed_process_takes_one_question_with_it_and_the_next_gets_a_new_one(asked: tuple[Home, Regions], explainer: Explainer) -> None:
    _, question = asked
    job = explainer.ask(replace(question, samples=LONG, seed=30), "Ana")
    behind = explainer.ask(replace(question, seed=31), "Bo")
    working(job)
    assert explainer.process is not None
    killed = explainer.process.pid
    explainer.process.kill()
    assert settled(job).state == "failed" and "ended in the middle of its work" in job.message and "Ask again" in job.message
    assert settled(behind).state == "done"
    assert explainer.process.pid != killed
    gone = settled(explainer.ask(replace(question, example="blue/none.png", sha256="2" * 64), "Ana"))
    assert gone.state == "failed" and "can't be read" in gone.message
    assert settled(explainer.ask(replace(question, seed=32), "Ana")).state == "done", "an error ends no process"


def test_it_ends_when_nothing_is_asked(asked: tuple[Home, Regions], explainer: Explainer) -> None:
    """The last that asks this one."""
    explainer.idle_seconds = 0.5
    assert settled(explainer.ask(replace(asked[1], seed=40), "Ana")).state == "done"
    process, deadline = explainer.process, time.monotonic() + 20
    assert process is not None
    while process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_ends_with_the_process_that_asks(asked: tuple[Home, Regions], child: Callable[..., subprocess.Popen[str]]) -> None:
    home, question = asked
    code = """if True:
        import json, sys, time
        from curriculum.asking import Explainer
        from curriculum.home import Home
        from curriculum.questions import from_json
        one = Explainer(Home.find(sys.argv[1]))
        job = one.ask(from_json(json.loads(sys.argv[2])), "Ana")
        while not job.done:
            time.sleep(0.02)
        print(one.process.pid, flush=True)
        time.sleep(600)
    """
    parent = child(code, home.root, json.dumps(replace(question, samples=LONG, seed=50).to_json()))
    assert parent.stdout is not None
    process = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    gone, _ = psutil.wait_procs([process], timeout=20)
    assert gone
