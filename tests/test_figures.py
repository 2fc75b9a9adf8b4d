"""The figures that pages show, once more on some twenty images: from the runs' files and the log alone, by SQL, scipy and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, log_loss
from streamlit.testing.v1 import AppTest

from curriculum import labels, people
from curriculum.app import human_model, service
from curriculum.config import ScoreConfig, TrainConfig
from curriculum.datasets import add_dataset, examples
from curriculum.home import Home
from curriculum.store import Store
from curriculum.vocabulary import LEVELS
from tests.conftest import PIN
from tests.ml import CLASSES, SIZE, made, write_folder

LABELLED = 20
SMALL: dict[str, Any] = {"weights": "none", "image_size": SIZE, "device": "cpu"}
TRAIN: dict[str, Any] = {**SMALL, "mode": "fine-tune", "architecture": "small_cnn", "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """99 images, 21 of them test; two people's levels of 20, a ranking, two runs on the same split that err."""
    home = Home(tmp_path_factory.mktemp("counted"))
    random = np.random.default_rng(3)
    with Store.open(home) as store:
        add_dataset(store, "tints", write_folder(home.root / "tints", 33, noise=250.0))
        made(store, ScoreConfig("tints", **SMALL))
        made(store, TrainConfig("tints", epochs=1, **TRAIN))
        made(store, TrainConfig("tints", epochs=3, **TRAIN))
        people.register(store, "Ana", PIN, "lead")
        names = examples(store, "tints")["example"].sample(LABELLED, random_state=1)
        hardness = dict(store.rows("SELECT example, difficulty FROM score WHERE method = 'oof_loss'"))
        for annotator, blur in {"Ana": 0.1, "Bo": 0.4}.items():
            for name in names:
                level = LEVELS[int(np.clip((hardness[name] + random.normal(0, blur)) * 3, 0, 2))]
                labels.annotate(store, "tints", name, annotator, level)
    return home


@pytest.fixture
def opened(counted: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], AppTest]]:
    monkeypatch.setenv("CURRICULUM_HOME", str(counted.root))

    def run(page: str) -> AppTest:
        test = AppTest.from_string(f"from curriculum.app import layout, {page}\nlayout.guarded({page}.page)", default_timeout=60)
        test.session_state["annotator"], test.session_state["_credential"] = "Ana", people.credential(service.current().store, "Ana")
        test.session_state["dataset"] = "tints"
        test.run()
        assert not test.exception, test.exception
        return test

    yield run
    service.close_all()


@pytest.fixture(scope="module")
def files(counted: Home) -> dict[str, pd.DataFrame]:
    """What lies on the disk, read by nothing of the program: each training run's answers to its test images, the log's levels, the ranking."""
    runs = sorted(path for path in counted.runs.iterdir() if (path / "predictions.parquet").exists())
    (ranking,) = counted.runs.glob("*-oof-loss-*/scores.parquet")
    connection = duckdb.connect()
    read = {
        f"run {i}": _frame(connection, f"FROM '{path / 'predictions.parquet'}' WHERE split = 'test' ORDER BY example")
        for i, path in enumerate(runs)
    }
    read["difficulty"] = _frame(
        connection, f"SELECT example, (rank() OVER (ORDER BY value) + count(*) OVER (PARTITION BY value) / 2.0 - 0.5 - 1) / (count(*) OVER () - 1) AS difficulty "
        f"FROM '{ranking}' WHERE method = 'oof_loss'",
    )  # fmt: skip
    connection.execute(f"ATTACH '{counted.labels / 'curriculum.duckdb'}' AS home (READ_ONLY)")
    read["log"] = _frame(connection, "SELECT annotator, example, level FROM home.annotation WHERE action = 'label' ORDER BY seq")
    connection.close()
    return read


def _frame(connection: duckdb.DuckDBPyConnection, sql: str) -> pd.DataFrame:
    return connection.execute(sql).df()


def drawn(test: AppTest, place: int) -> pd.DataFrame:
    """The data of a page's chart, as it is sent to the browser."""
    proto = test.get("vega_lite_chart")[place].proto
    sent: pd.DataFrame = pa.ipc.open_stream(proto.datasets[0].data.data).read_pandas()
    return sent


def text(test: AppTest) -> str:
    return "\n".join(str(element.value) for element in [*test.markdown, *test.caption])


def test_human_and_model(opened: Callable[[str], AppTest], files: dict[str, pd.DataFrame]) -> None:
    test = opened("human_model")
    votes = files["log"].assign(place=files["log"]["level"].map(LEVELS.index))
    agreed = votes.groupby("example")["place"].max()  # of two votes the majority, and of tied ones the harder
    both = files["difficulty"].set_index("example").assign(level=agreed).dropna()
    assert len(both) == LABELLED
    edges = np.cumsum(both["level"].value_counts().reindex([0, 1, 2], fill_value=0))
    model = both["difficulty"].rank(method="first").map(lambda rank: int(np.searchsorted(edges, rank)))
    shown = {metric.label: metric.value for metric in test.metric}
    assert shown["Spearman's rho"] == f"{stats.spearmanr(both['level'], both['difficulty']).statistic:.2f}"
    assert shown["Kendall's tau-b"] == f"{stats.kendalltau(both['level'], both['difficulty']).statistic:.2f}"
    assert shown["Weighted kappa"] == f"{cohen_kappa_score(both['level'], model, weights='quadratic'):.2f}"
    table = drawn(test, 1).pivot(index="people", columns="model", values="images").reindex(index=LEVELS, columns=LEVELS)
    assert table.to_numpy().tolist() == confusion_matrix(both["level"], model, labels=[0, 1, 2]).tolist()
    groups = test.dataframe[0].value.set_index("name")
    for annotator in ("Ana", "Bo"):
        own = votes[votes["annotator"] == annotator].set_index("example")["place"]
        rank = files["difficulty"].set_index("example")["difficulty"].reindex(own.index)
        assert groups.loc[annotator, "n"] == LABELLED
        assert groups.loc[annotator, "spearman"] == pytest.approx(stats.spearmanr(own, rank).statistic, abs=1e-12)


def test_side_by_side_the_clearest_come_first() -> None:
    names = [f"c/{i}.png" for i in range(6)]
    rows = pd.DataFrame(
        {"example": names, "votes": [2, 2, 5, 3, 3, 3], "annotators": [3, 2, 5, 3, 3, 3], "difficulty": [0.0, 0.9, 0.5, 0.1, 0.2, 0.3]}
    )
    people = human_model._clearest_first(rows, "level", "easy")
    assert (people[0], people[-2], people[-1]) == (2, 1, 0), "five of five before two of two before two of three"
    other = rows.assign(difficulty=rows["difficulty"].to_numpy()[::-1])
    assert np.array_equal(human_model._clearest_first(other, "level", "easy"), people), "whatever the model thinks"
    assert human_model._clearest_first(rows, "model_level", "easy").tolist() == [0, 3, 4, 5, 2, 1]
    assert human_model._clearest_first(rows, "model_level", "hard").tolist() == [1, 2, 5, 4, 3, 0]
    assert human_model._clearest_first(rows, "model_level", "medium")[:2].tolist() == [4, 5]


def test_the_pages_of_side_by_side_reach_the_end_of_the_longest_column() -> None:
    """Of one class the model may call more images easy than people do."""
    rows = pd.DataFrame({"level": ["easy", "medium", "medium", "hard", "hard"], "model_level": ["easy", "easy", "easy", "easy", "hard"]})
    assert human_model._longest(rows, 5) == 4
    assert human_model._longest(rows.rename(columns={"level": "model_level", "model_level": "level"}), 5) == 4
    assert human_model._longest(rows.head(0), 7) == 3


def test_team(opened: Callable[[str], AppTest], files: dict[str, pd.DataFrame]) -> None:
    test = opened("team")
    ana, bo = (
        files["log"].query("annotator == @name").sort_values("example")["level"].map(LEVELS.index).to_numpy() for name in ("Ana", "Bo")
    )
    assert [metric.value for metric in test.metric[:2]] == [str(LABELLED)] * 2
    (pair,) = {round(value, 12) for value in drawn(test, 0)["kappa"]}
    assert pair == pytest.approx(cohen_kappa_score(ana, bo, weights="quadratic"), abs=1e-9)
    table = test.dataframe[0].value.set_index("annotator")
    assert table.loc["Ana", "with the others"] == pytest.approx(100 * (ana == bo).mean())
    assert table.loc["Ana", "finds harder by"] == round((ana - bo).mean(), 2)
    # Fleiss' kappa of two raters by its definition: the shares of each level over both, and pairs that are equal
    shares = np.bincount(np.r_[ana, bo], minlength=3) / (2 * LABELLED)
    assert test.metric[3].value == f"{((ana == bo).mean() - (shares**2).sum()) / (1 - (shares**2).sum()):.2f}"
    assert f"{(ana != bo).sum()} images have two different levels or more" in text(test)


def test_runs(opened: Callable[[str], AppTest], files: dict[str, pd.DataFrame]) -> None:
    test = opened("runs")
    table = test.dataframe[0].value
    for row, answers in zip(table.to_dict("records"), (files["run 1"], files["run 0"]), strict=True):  # the newest first
        right = int((answers["class"] == answers["predicted"]).sum())
        low, high = stats.binomtest(right, len(answers)).proportion_ci(method="wilson")
        assert row["accuracy"] == pytest.approx(accuracy_score(answers["class"], answers["predicted"]), abs=1e-12)
        assert row["95 % interval"] == f"{low:.3f} to {high:.3f}"
        assert row["loss"] == pytest.approx(
            log_loss(answers["class"], np.stack(answers["probabilities"].tolist()), labels=list(CLASSES)), abs=1e-4
        )
    assert test.metric[0].value == f"{table['accuracy'][0]:.1%}"


def test_errors(opened: Callable[[str], AppTest], files: dict[str, pd.DataFrame]) -> None:
    test, answers, before = opened("errors"), files["run 1"], files["run 0"]
    wrong = answers["class"] != answers["predicted"]
    assert len(answers) == 21 and 0 < wrong.sum() < 21
    assert f"**{wrong.sum()} of 21** test images are misclassified ({wrong.mean():.1%})" in text(test)
    matrix = drawn(test, 0).pivot(index="true class", columns="predicted class", values="images").reindex(index=CLASSES, columns=CLASSES)
    assert matrix.to_numpy().tolist() == confusion_matrix(answers["class"], answers["predicted"], labels=list(CLASSES)).tolist()
    for row in drawn(test, 1).to_dict("records"):
        mine = wrong[answers["class"] == row["class"]]
        assert (row["wrong"], row["images"]) == (mine.sum(), len(mine))
        assert (row["low"], row["high"]) == pytest.approx(
            tuple(stats.binomtest(int(mine.sum()), len(mine)).proportion_ci(method="wilson")), abs=1e-9
        )
    test.session_state["_errors_tab"] = "The same images in other runs"
    test.run()
    earlier = before["class"] != before["predicted"]
    counts = {"Fixed": earlier & ~wrong, "Broken": wrong & ~earlier, "Wrong in both": wrong & earlier, "Right in both": ~wrong & ~earlier}
    assert {metric.label: metric.value for metric in test.metric} == {name: str(int(rows.sum())) for name, rows in counts.items()}
    fixed, broken = int(counts["Fixed"].sum()), int(counts["Broken"].sum())
    p = stats.binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    assert f"p = {p:.2g}" in text(test)


def test_why(opened: Callable[[str], AppTest], files: dict[str, pd.DataFrame], counted: Home) -> None:
    answers = files["run 1"]
    wrong = answers[answers["class"] != answers["predicted"]]
    shares = np.stack(wrong["probabilities"].tolist())
    losses = -np.log(shares[np.arange(len(wrong)), [CLASSES.index(name) for name in wrong["class"]]])
    worst = wrong.iloc[int(losses.argmax())]
    test = opened("why")
    assert test.selectbox(key="_why_image").value == worst["example"]
    assert f"The model says **{worst['predicted']}**, {np.max(worst['probabilities']):.0%}, wrongly." in text(test)
    assert f"Loss: {losses.max():.2f} nats" in text(test)
    assert sorted(drawn(test, 0)["probability"], reverse=True) == pytest.approx(sorted(worst["probabilities"], reverse=True))
    assert Path(counted.root / "tints" / worst["example"]).is_file()
