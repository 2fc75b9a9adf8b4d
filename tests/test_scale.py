"""The finer scale as a lead sees it, on the team page and from the command line."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from streamlit.testing.v1 import AppTest

from curriculum import comparisons, labels
from curriculum.app import service
from curriculum.cli import main
from curriculum.comparisons import Comparison
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.store import Store
from tests.ml import write_folder

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def home(home: Home) -> Home:
    """A home with 15 images on which Ann and Bob differ."""
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=5))
        for (example,) in store.rows("SELECT example FROM example"):
            labels.annotate(store, "textures", example, "Ann", "easy")
            labels.annotate(store, "textures", example, "Bob", "hard")
    return home


def compare(home: Home, each: int, noise: float = 1.0) -> None:
    """Ann and Bob find an image the harder the later its name comes, more or less."""
    chance = random.Random(0)
    with Store.open(home) as store:
        for annotator in ("Ann", "Bob"):
            done = 0
            while done < each:
                for four in comparisons.next_fours(store, "textures", annotator, min(10, each - done)).fours:
                    felt = {name: int(name[-7:-4]) / 3 + chance.gauss(0, noise) for name in four.examples}
                    said = max(felt, key=felt.__getitem__), min(felt, key=felt.__getitem__)
                    with store.write() as cursor:
                        made = Comparison(uuid.uuid4(), "compare", NOON, four.examples, *said, four.adaptive, seconds=2.5)
                        comparisons.record(cursor, "textures", annotator, made)
                    done += 1


@pytest.fixture
def section(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Home], AppTest]]:
    """Shows the section of the team page on a home."""

    def show(home: Home) -> AppTest:
        monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
        test = AppTest.from_string(
            "from curriculum.app import layout, scale\nlayout.guarded(lambda: scale.section('textures'))", default_timeout=60
        )
        return test.run()

    yield show
    service.close_all()


def words(test: AppTest) -> str:
    assert not test.exception
    return "\n".join(str(element.value) for element in [*test.header, *test.subheader, *test.caption, *test.warning, *test.error])


def test_before_anybody_compared(section: Callable[[Home], AppTest], home: Home) -> None:
    assert "15 uncertain images wait there" in words(section(home))


def test_too_little_is_undefined_because(section: Callable[[Home], AppTest], home: Home) -> None:
    compare(home, 3)
    test = section(home)
    assert [metric.value for metric in test.metric] == ["6", "undefined", "undefined", "undefined"]
    said = words(test)
    assert "Undefined, because " in said
    assert "How reliable the scale is can't be said yet." in said


def test_who_compared_how_reliable_and_in_which_order(section: Callable[[Home], AppTest], home: Home) -> None:
    compare(home, 60)
    test = section(home)
    count, *figures = [metric.value for metric in test.metric]
    assert count == "120"
    assert all(0.5 < float(value) <= 1 for value in figures)
    people, levels = (frame.value for frame in test.dataframe)
    assert people[["annotator", "comparisons", "seconds"]].to_numpy().tolist() == [["Ann", 60, 2.5], ["Bob", 60, 2.5]]
    assert people["random"].tolist() == [12, 12]
    assert levels["people's level"].tolist() == ["● hard"]  # of a tie, the harder
    assert float(levels["mean on the scale"].iloc[0]) == pytest.approx(0, abs=1e-6)
    said = words(test)
    assert "95 % interval" in said
    assert "Measured on the 24 fours that were drawn by chance" in said
    gallery = next(text for text in (str(getattr(each, "value", "")) for each in test.get("html")) if "figure" in text)
    order = [int(part[:3]) for part in gallery.split("/") if part[3:7] == ".png"]
    assert len(order) == 30  # alt and title of each
    assert order[0] < 5
    assert order[-1] > 9


def test_the_command_says_the_same(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--home", str(home.root), "labels"]
    assert main([*call, "scale", "--dataset", "textures", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["examples"], found["reliability"]["ssr"], found["reliability"]["reason"]) == (
        [],
        None,
        "nobody has compared four images yet",
    )
    compare(home, 40)
    assert main([*call, "scale", "--dataset", "textures", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["examples"][0]) == {"example", "difficulty", "latent", "sd", "comparisons", "component"}
    assert [found["examples"][place]["difficulty"] for place in (0, -1)] == [0, 1]
    assert {"ssr", "interval", "split_half", "random_comparisons", "reason"} <= found["reliability"].keys()
    assert found["reliability"]["random_comparisons"] == 16
    assert found["by_annotator"][0] == {"annotator": "Ann", "comparisons": 40, "random": 8, "seconds": 2.5}
    assert main([*call, "scale", "--dataset", "textures"]) == 0
    text = capsys.readouterr().out.splitlines()
    assert len(text) == 16
    assert text[-1].startswith("reliability of 80 comparisons, from the 16 drawn by chance: 0.")
    assert main([*call, "scale", "--dataset", "nothing"]) == 2


def test_comparisons_go_out_and_into_another_home(
    home: Home, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(home, 5)
    other, path = Home(tmp_path_factory.mktemp("other")), home.root / "fours.csv"
    with Store.open(other) as store:
        add_dataset(store, "textures", home.root / "pictures")
    assert main(["--home", str(home.root), "labels", "export", "--dataset", "textures", str(path), "--comparisons", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"] == 10
    assert main(["--home", str(other.root), "labels", "import", "--dataset", "textures", str(path), "--comparisons"]) == 0
    assert capsys.readouterr().out == "10 comparisons read, 10 were new; annotators: Ann, Bob\n"
