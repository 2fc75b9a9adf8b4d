"""The page Why: what it shows at once, what it asks for, what it says when something is gone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from curriculum import evidence, people, runs
from curriculum.app import service
from curriculum.home import Home
from curriculum.store import Store
from tests.conftest import PIN
from tests.ml import trained


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str]:
    """A home with a trained model."""
    home = Home(tmp_path_factory.mktemp("asked"))
    with Store.open(home) as store:
        run = trained(home, store)
        people.register(store, "Ana", PIN)
    return home, run


@pytest.fixture
def opened(asked: tuple[Home, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page, as its lead sees it."""
    home, _ = asked
    with Store.open(home) as store:
        credential = people.credential(store, "Ana")
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    test = AppTest.from_string("from curriculum.app import layout, why\nlayout.guarded(why.page)", default_timeout=60)
    test.session_state["dataset"], test.session_state["annotator"], test.session_state["_credential"] = "textures", "Ana", credential
    yield test
    service.close_all()


def shown(test: AppTest) -> str:
    return "\n".join(str(one.value) for one in [*test.markdown, *test.caption, *test.info, *test.warning, *test.error, *test.success])


def press(test: AppTest, label: str) -> None:
    next(button for button in test.button if button.label.startswith(label)).click().run()
    assert not test.exception, test.exception


def until(test: AppTest, words: str) -> str:
    """As the page does by itself: draw it anew while something is being worked on."""
    deadline = time.monotonic() + 600
    while words not in shown(test):
        assert time.monotonic() < deadline and not test.exception, shown(test)
        time.sleep(0.2)
        test.run()
    return shown(test)


def test_from_the_address_to_the_verdict(opened: AppTest, asked: tuple[Home, str]) -> None:
    _, run = asked
    opened.query_params["run"], opened.query_params["example"] = run, "green/004.png"
    opened.run()
    assert not opened.exception, opened.exception
    row = evidence.judgement(service.current().store, run, "green/004.png")
    assert row is None, "its number is another class's"
    assert "There is no image green/004\\.png in this data set" in shown(opened)
    example = service.current().store.rows("SELECT example FROM example WHERE class = 'green' ORDER BY example LIMIT 1")[0][0]
    opened.session_state["why_example"] = example
    opened.run()
    row = evidence.judgement(service.current().store, run, example)
    assert row is not None
    assert "It is **green**" in shown(opened) and f"The model says **{row['predicted']}**, {row['probability']:.0%}" in shown(opened)
    assert example in (opened.query_params["example"], *opened.query_params["example"])
    opened.query_params["example"] = other = service.current().store.rows("SELECT example FROM example WHERE class = 'red' LIMIT 1")[0][0]
    opened.run()
    assert "It is **red**" in shown(opened), "a link from another page, while this one remembers an image"
    opened.query_params["example"] = example
    opened.run()
    assert other != example and "It is **green**" in shown(opened)
    assert service.current().explainer.process is None, "nothing is computed before somebody asks"
    opened.selectbox(key="_why_method").set_value("slic")
    opened.select_slider(key="_why_samples").set_value(200)
    opened.run()
    press(opened, "Explain with 200 samples")
    text = until(opened, "samplings the strongest regions overlap")
    assert "The weights explain" in text and "Predicted" in text
    assert len(opened.image) == 1 + (row["predicted"] != "green")
    assert not [button for button in opened.button if button.label.startswith("Explain")]


def test_what_is_gone_is_said_and_the_page_goes_on(opened: AppTest, asked: tuple[Home, str]) -> None:
    home, run = asked
    opened.query_params["run"] = "20200101-000000-staged-0000"
    opened.run()
    assert not opened.exception, opened.exception
    assert "There is no model of the run 20200101" in shown(opened)
    opened.session_state["_why_group"] = "test"
    opened.run()
    assert "It is **" in shown(opened)
    model = home.runs / run / "model.pt"
    aside = shutil.move(model, home.root / "model.pt")
    try:
        opened.run()
        assert "No finished run has kept its model" in shown(opened)
        assert not opened.exception
    finally:
        shutil.move(aside, model)
    assert len(runs.list_runs(service.current().store, "textures", "train")) == 1
