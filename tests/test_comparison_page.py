"""The page Comparison: started with its button, watched, concluded; the figures on it are those of the result."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from curriculum import people, runs
from curriculum.app import layout, service
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.rundir import all_runs
from curriculum.store import Store
from curriculum.words import P_OF_PAIRS
from tests.conftest import PIN
from tests.ml import SIZE, write_folder


@pytest.fixture
def opened(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page on a home with one data set, as its lead sees it."""
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=15))
        people.register(store, "Ana", PIN)
        credential = people.credential(store, "Ana")
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    test = AppTest.from_string("from curriculum.app import comparison, layout\nlayout.guarded(comparison.page)", default_timeout=60)
    test.session_state["dataset"], test.session_state["annotator"], test.session_state["_credential"] = "textures", "Ana", credential
    yield test.run()
    service.close_all()
    for child in runs._children:
        if child.poll() is None:
            child.kill()
        child.wait(timeout=20)


def shown(test: AppTest) -> str:
    return "\n".join(str(element.value) for element in [*test.markdown, *test.caption, *test.info, *test.warning])


def test_from_the_button_to_the_verdict(opened: AppTest, home: Home) -> None:
    assert [box.value for box in opened.multiselect] == [["self-paced"]], "nobody has labelled, so no arm follows people's levels"
    opened.multiselect[0].set_value(["paced"])
    opened.selectbox(key="compare_weights").set_value("none")
    opened.select_slider(key="_compare_size").set_value(SIZE)
    for box in opened.number_input:
        if box.label in ("Seeds", "Passes over the training images", "Arms at a time"):
            box.set_value(2)
    opened.run()
    button = next(button for button in opened.button if button.label.startswith("Train"))
    assert button.label == "Train 6 runs and compare"
    button.click().run()
    assert not opened.exception, opened.exception
    assert "The arms are training" in shown(opened)

    run = next(run for run in all_runs(home) if run.request()["config"]["kind"] == "compare")
    deadline = time.monotonic() + 600
    while run.status().active:
        assert time.monotonic() < deadline, run.status()
        time.sleep(0.3)
    assert run.status().state == "done", run.status()
    result = run.result()
    assert result is not None
    opened.run()
    assert not opened.exception, opened.exception
    text = shown(opened)
    assert layout.plain("Only 2 seeds: at least 5 are needed to rely on this.") in text
    assert "2 passes over the training images" in text
    arms, pairs = (frame.value for frame in opened.dataframe)
    assert arms["arm"].tolist() == ["fine-tune", "paced", "paced-random"]
    assert arms["mean"].tolist() == [arm["mean"] for arm in result["arms"]]
    assert pairs[["arm", "less"]].to_numpy().tolist() == [["paced", "fine-tune"], ["paced", "paced-random"]]
    assert pairs["difference"].tolist() == pytest.approx([100 * pair["difference"] for pair in result["pairs"]])
    assert len(service.current().store.rows("SELECT 1 FROM run WHERE kind = 'train'")) == 6


TABLES = """
import pandas as pd
from curriculum.app import comparison
arms = pd.DataFrame([{"arm": "paced", "mean": 0.9, "sd": 0.01, "loss": 0.3, "knn": 0.8, "peak": None, "seeds": [0.89, 0.91]}])
pairs = pd.DataFrame([{"a": "paced", "b": "fine-tune", "difference": 0.1, "low": 0.0, "high": 0.2, "p": 0.01, "p_holm": 0.02, "seeds": 2}])
comparison._tables({}, arms, pairs)
"""


def test_p_is_told_as_the_report_tells_it() -> None:
    test = AppTest.from_string(TABLES).run()
    assert not test.exception, test.exception
    help_of_p = json.loads(test.dataframe[1].proto.columns)["p"]["help"]
    assert help_of_p.lower() == f"{P_OF_PAIRS}.".lower()
    assert "Student's over the seeds" in help_of_p


def test_what_can_t_start_says_why(opened: AppTest) -> None:
    opened.multiselect[0].set_value(["staged"])
    opened.run()
    opened.selectbox(key="compare_weights").set_value("none")
    opened.run()
    next(button for button in opened.button if button.label.startswith("Train")).click().run()
    assert "staged training needs levels" in opened.error[0].value
    opened.multiselect[0].set_value([])
    opened.run()
    assert next(button for button in opened.button if button.label.startswith("Train")).disabled
