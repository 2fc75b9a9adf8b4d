"""Every page, empty and filled, without a browser: what it says and what its buttons do."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from streamlit.testing.v1 import AppTest

from curriculum import agreement, analysis, assignment, datasets, labels, people, runs
from curriculum.app import layout, service, team
from curriculum.errors import StoreError
from curriculum.home import Home
from curriculum.store import Store
from curriculum.vocabulary import Level
from tests.conftest import PIN
from tests.ml import fill, write_folder

PAGES = ["start", "sort", "team", "people", "examples", "decide", "labels", "human_model", "train", "comparison", "runs", "errors", "why"]
Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a data set, simulated labels, twelve of Ana's, a ranking, a finished run and a failed one."""
    home = Home(tmp_path_factory.mktemp("filled"))
    with Store.open(home) as store:
        fill(store, home, {"Ana": ["easy", "medium", "hard"] * 4})
        people.register(store, "Ana", PIN)
    return home


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens one page on a home, as the given person."""

    def run(page: str, home: Home, **session: str) -> AppTest:
        monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
        test = AppTest.from_string(f"from curriculum.app import layout, {page}\nlayout.guarded({page}.page)", default_timeout=60)
        for key, value in session.items():
            test.session_state[key] = value
        if "annotator" in session:
            test.session_state["_credential"] = people.credential(service.current().store, session["annotator"])
        return test.run()

    yield run
    service.close_all()


def _text(test: AppTest) -> str:
    shown = [*test.title, *test.subheader, *test.markdown, *test.caption, *test.info, *test.error, *test.warning, *test.success]
    return "\n".join(str(element.value) for element in shown)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("start", "people")])
def test_an_empty_home_says_where_to_begin(open_page: Open, home: Home, page: str) -> None:
    test = open_page(page, home)
    assert not test.exception
    assert "There is no data set yet" in _text(test)


@pytest.mark.parametrize("page", PAGES)
def test_a_filled_home_shows_every_page(open_page: Open, filled: Home, page: str) -> None:
    test = open_page(page, filled, annotator="Ana", dataset="textures")
    assert not test.exception
    assert not test.error
    assert "no data set" not in _text(test)


def test_sorting_needs_a_name(open_page: Open, filled: Home) -> None:
    assert "Sign in on the start page" in _text(open_page("sort", filled, dataset="textures"))


def test_human_and_model_counts_agree_with_the_database(open_page: Open, filled: Home) -> None:
    test = open_page("human_model", filled, dataset="textures")
    assert "12 images with a level from people" in _text(test)
    assert "**12 images with a level tell too little yet.**" in _text(test)
    assert "No interval: of 12 images it would flatter; it takes 20" in _text(test)
    store = service.current().store
    both = store.query(
        """SELECT example, list_position(['easy', 'medium', 'hard'], c.level) - 1 AS level, difficulty
           FROM current_label AS c JOIN score USING (dataset, example) WHERE NOT simulated AND method = 'oof_loss'"""
    )
    assert len(both) == 12
    shown = {metric.label: metric.value for metric in test.metric}
    assert shown["Spearman's rho"] == f"{stats.spearmanr(both['level'], both['difficulty']).statistic:.2f}"
    assert shown["Kendall's tau-b"] == f"{stats.kendalltau(both['level'], both['difficulty']).statistic:.2f}"
    counts = both["level"].value_counts().reindex([0, 1, 2])
    cut = both["difficulty"].rank(method="first").apply(lambda rank: int(rank > counts[0]) + int(rank > counts[0] + counts[1]))
    assert shown["Weighted kappa"] == f"{cohen_kappa_score(both['level'], cut, weights='quadratic'):.2f}"
    groups = next(table.value for table in test.dataframe if "tau_b" in table.value)
    assert groups.set_index("name").loc["Ana", "n"] == 12
    test.selectbox(key="_who_textures").select("simulated").run()
    assert "45 images with a level from simulated annotators" in _text(test)
    assert "Simulated levels are shown" in _text(test)
    scored = analysis.scored_runs(service.current().store, "textures")
    assert scored[["kind", "method"]].to_numpy().tolist() == [["score", "oof_loss"], ["train", "staged"]]
    ranking = next(box for box in test.sidebar.selectbox if box.label == "Model's ranking")
    assert (ranking.value, len(ranking.options)) == (analysis.latest_score(service.current().store, "textures"), 2)
    assert ranking.value == scored["run_id"][0] and "staged" in ranking.options[1]


def test_runs_and_errors_show_the_stored_figures(open_page: Open, filled: Home) -> None:
    test = open_page("runs", filled, annotator="Ana", dataset="textures")
    stored = runs.list_runs(service.current().store, "textures", "train")
    accuracy = {row["run_id"]: row["result"]["test_accuracy"] for row in stored.to_dict("records") if row["result"]}
    assert test.metric[0].value in {f"{value:.1%}" for value in accuracy.values()}
    assert test.dataframe[0].value["accuracy"].dropna().tolist() == list(accuracy.values())
    test = open_page("errors", filled, dataset="textures")
    newest = next(iter(accuracy))
    wrong = service.current().store.rows(
        "SELECT count(*) FILTER (class <> predicted), count(*) FROM prediction WHERE run_id = ? AND split = 'test'", [newest]
    )[0]
    assert f"{wrong[0]} of {wrong[1]}** test images are misclassified" in _text(test)


@pytest.fixture
def broken(filled: Home, home: Home) -> Home:
    """The filled home, where the one finished run says blue of every image, a comparison has failed and an image's file is gone from the disk."""
    shutil.copytree(filled.root, home.root)
    shutil.rmtree(home.runs)  # or what they said would be taken in anew
    with Store.open(home) as store:
        with store.write() as cursor:
            cursor.execute("UPDATE prediction SET predicted = 'blue'")
            cursor.execute("""INSERT INTO run BY NAME SELECT * REPLACE ('20260101-000000-compare-aaaa' AS run_id, 'compare' AS kind, NULL AS result,
                              'The disk is full.' AS message, 'failed' AS state) FROM run WHERE kind = 'train' LIMIT 1""")  # fmt: skip
        gone = store.rows("SELECT example FROM example ORDER BY example LIMIT 1")[0][0]
        (datasets.get_dataset(store, "textures").root / gone).unlink()
    return home


def test_a_class_that_is_never_said_and_a_run_without_another(open_page: Open, broken: Home) -> None:
    test = open_page("errors", broken, annotator="Ana", dataset="textures")
    assert "Never said: green, red" in _text(test)
    test.session_state["_errors_tab"] = "The same images in other runs"
    assert "This is the only finished run" in _text(test.run())
    assert "Wrong again and again" in [header.value for header in test.header]
    assert not test.exception


def test_a_comparison_that_failed_says_why_and_one_can_be_started(open_page: Open, broken: Home) -> None:
    test = open_page("comparison", broken, annotator="Ana", dataset="textures")
    assert layout.plain("The disk is full.") in _text(test) and not test.exception
    labelled = [button.label for button in test.button]
    assert "Delete" in labelled and "Resume" not in labelled, "its directory is gone"
    assert any(label.startswith("Train") for label in labelled)


@pytest.mark.parametrize("page", ["human_model", "errors"])
def test_an_image_whose_file_is_gone_is_still_told_of(open_page: Open, broken: Home, page: str) -> None:
    test = open_page(page, broken, annotator="Ana", dataset="textures")
    test.session_state["_looked_at"] = service.current().store.rows("SELECT example FROM example ORDER BY example LIMIT 1")[0][0]
    test.run()
    assert not test.exception
    assert "The file has gone; what was said of it is kept." in _text(test) and "**Class** blue" in _text(test)


def test_training_without_easy_labels_is_refused_before_it_starts(open_page: Open, home: Home, tmp_path: Path) -> None:
    with Store.open(home) as store:
        datasets.add_dataset(store, "few", write_folder(tmp_path / "few", each=10))
    test = open_page("train", home, dataset="few")
    assert "No image is labelled easy" in _text(test)
    test.selectbox(key="train_weights").select("none").run()
    next(button for button in test.button if button.label.startswith("Train ")).click().run()
    assert "staged training needs levels" in test.error[0].value
    assert not any(home.runs.glob("*"))


def test_a_folder_that_is_added_is_looked_through_for_the_same_ground(open_page: Open, home: Home, tmp_path: Path) -> None:
    with Store.open(home) as store:
        datasets.add_dataset(store, "few", write_folder(tmp_path / "few", each=3))
        people.register(store, "Ana", PIN)
    test = open_page("start", home, annotator="Ana", dataset="few")
    path, name = (next(box for box in test.text_input if box.label.startswith(label)) for label in ("Folder that", "Name for"))
    path.set_value(str(write_folder(tmp_path / "mine", each=3, seed=1)))
    name.set_value("mine")
    next(button for button in test.button if button.label == "Add").click().run()
    running, deadline = service.current(), time.monotonic() + 60
    while not (len(running.jobs) == 2 and all(job.finished for job in running.jobs.values())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [job.error for job in running.jobs.values()] == ["", ""]
    assert datasets.known_overlaps(running.store, "mine") is not None
    assert datasets.known_overlaps(running.store, "few") is None
    assert not test.run().exception


def test_a_data_set_of_torchvision_is_added_by_name(open_page: Open, home: Home, tmp_path: Path) -> None:
    write_folder(home.data / "cifar10", each=3)  # as if it had been fetched before: nothing is downloaded
    with Store.open(home) as store:
        datasets.add_dataset(store, "few", write_folder(tmp_path / "few", each=3))
        people.register(store, "Ana", PIN)
    test = open_page("start", home, annotator="Ana", dataset="few")
    next(box for box in test.selectbox if box.label == "Which of them").select("cifar10").run()
    assert "60,000 small pictures of 10 classes" in _text(test)
    next(button for button in test.button if button.label == "Download CIFAR-10").click().run()
    running, deadline = service.current(), time.monotonic() + 60
    while not (len(running.jobs) == 2 and all(job.finished for job in running.jobs.values())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [job.error for job in running.jobs.values()] == ["", ""]
    assert datasets.get_dataset(running.store, "cifar10").root == (home.data / "cifar10").resolve()
    test.run()
    next(box for box in test.selectbox if box.label == "Which of them").select("cifar10").run()
    assert "It is there: pick **cifar10**" in _text(test)
    assert not test.exception


def test_names_with_markup_stay_text() -> None:
    assert layout.plain("**x** <b>`y`") == r"\*\*x\*\* \<b\>\`y\`"
    assert layout.class_titles(["aGrass", "dRiverLake"]) == {"aGrass": "Grass", "dRiverLake": "River Lake"}
    assert layout.class_titles(["cat", "big_dog"]) == {"cat": "cat", "big_dog": "big dog"}


def test_the_team_page_tells_what_agreement_says(open_page: Open, filled: Home) -> None:
    test = open_page("team", filled, dataset="textures")
    assert "Only one annotator" in _text(test) or "one annotator" in _text(test).lower()
    test.sidebar.radio[0].set_value("simulated").run()
    assert not test.exception
    judged = labels.judgements(service.current().store, "textures", "simulated")
    assert test.metric[2].value == f"{agreement.alpha(judged).value:.2f}"
    divided = int((judged.groupby("example")["level"].nunique() > 1).sum())
    assert f"{divided} images have two different levels or more" in _text(test)
    assert len(test.dataframe[0].value) == 3


def test_slow_figures_of_the_team_stay_until_somebody_asks(
    open_page: Open, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(team, "KEPT_FOR", 1e9)
    with Store.open(home) as store:
        datasets.add_dataset(store, "textures", write_folder(tmp_path / "pictures", each=5))
        people.register(store, "Ana", PIN, "lead")
        names = datasets.examples(store, "textures")["example"].tolist()
        for name in names[:4]:
            labels.annotate(store, "textures", name, "Ana", "easy")
    test = open_page("team", home, annotator="Ana", dataset="textures")
    assert [metric.value for metric in test.metric[:2]] == ["4", "0"]
    for name in names[3:5]:
        labels.annotate(service.current().store, "textures", name, "Ben", "hard")
    test.run()
    assert "There are new ones" in _text(test)
    assert [metric.value for metric in test.metric[:2]] == ["4", "0"]
    next(button for button in test.button if button.label == "Measure again").click().run()
    for _ in range(2):
        assert "There are new ones" not in _text(test)
        assert [metric.value for metric in test.metric[:2]] == ["5", "1"]
        test.run()
    assert not test.exception


def test_drift_is_measured_on_what_came_in_random_order(open_page: Open, home: Home, tmp_path: Path) -> None:
    with Store.open(home) as store:
        datasets.add_dataset(store, "textures", write_folder(tmp_path / "pictures", each=70))
        people.register(store, "Ana", PIN, "lead")
        names = datasets.examples(store, "textures")["example"].tolist()
        _in_grid(store, "easy", names[:50])
        _in_grid(store, "hard", names[50:100])
    test = open_page("team", home, annotator="Ana", dataset="textures")
    assert "To be seen once somebody has sorted 100 images here one by one." in _text(test)
    with service.current().store.write() as cursor:
        for name in names[100:200]:
            labels.record(cursor, "textures", "Ana", labels.Event(uuid.uuid4(), "label", name, datetime.now(UTC), "medium", place=0))
    drift = team._computed("textures", "people").drift
    assert drift[["labels", "mean_level"]].to_numpy().tolist() == [[50, 1.0], [100, 1.0]], "she judges as she did"
    test.run()
    assert "Answers of the Grid are left out" in _text(test)


def _in_grid(store: Store, level: Level, names: list[str]) -> None:
    """Ana puts images into a level with one key press of the Grid."""
    batch = uuid.uuid4()
    events = [labels.Event(uuid.uuid4(), "label", name, datetime.now(UTC), level, batch=batch) for name in names]
    with store.write() as cursor:
        labels.record_together(cursor, [("textures", "Ana", event) for event in events])


def test_only_what_takes_long_is_kept_and_not_for_ever() -> None:
    assert not team.stands(0.5, 0.0)
    assert team.stands(10.0, 299.0)
    assert not team.stands(10.0, 301.0)


def test_the_team_page_sets_how_we_sort_and_shows_who_repeats_themselves(open_page: Open, home: Home, tmp_path: Path) -> None:
    with Store.open(home) as store:
        datasets.add_dataset(store, "textures", write_folder(tmp_path / "pictures", each=30))
    test = open_page("team", home, dataset="textures")
    test.checkbox[0].uncheck()
    test.number_input[0].set_value(3)
    test.slider[0].set_value(50.0)
    next(button for button in test.button if button.label == "Save").click().run()
    assert "Saved." in _text(test) and not test.exception
    store = service.current().store
    assert datasets.settings(store, "textures") == datasets.Settings(3, 0.5)
    for annotator in ("Ana", "Ben"):
        for example in assignment.queue(store, "textures", annotator, 90):
            labels.annotate(store, "textures", example, annotator, "easy")
    test.run()
    assert test.metric[4].value == "undefined" and "No image has been judged a second time yet" in _text(test)
    assert "same level again" not in test.dataframe[0].value, "a column of nothing"
    for example in (again := assignment.queue(store, "textures", "Ana", 90)):
        with store.write() as cursor:
            event = labels.Event(uuid.uuid4(), "label", example, datetime.now(UTC), "easy" if example != again[0] else "hard", place=0)
            labels.record(cursor, "textures", "Ana", event)
    test.run()
    share = (len(again) - 1) / len(again)
    assert test.metric[4].value == f"{share:.0%}"
    table = test.dataframe[0].value.set_index("annotator")
    assert table.loc["Ana", "same level again"] == pytest.approx(100 * share)
    assert str(table.loc["Ana", "95 % interval"]).endswith(f"{len(again)} images")
    assert table.loc["Ben", "95 % interval"] == "none yet"


def test_backups_are_offered_by_their_time_the_latest_first(open_page: Open, home: Home, tmp_path: Path) -> None:
    with Store.open(home) as store:
        datasets.add_dataset(store, "textures", write_folder(tmp_path / "pictures", each=2))
        people.register(store, "Ana", PIN, "lead")
    for name in ("rescued-20260101-101500-000000", "20260301-080000-123456", "zz by hand", "20251224-235959-000001", ".unfinished"):
        (home.labels / "backups" / name).mkdir(parents=True)
    test = open_page("labels", home, annotator="Ana", dataset="textures")
    box = next(box for box in test.selectbox if "backups, the latest first" in box.label)
    assert box.options == ["2026-03-01 08:00:00", "rescued, 2026-01-01 10:15:00", "2025-12-24 23:59:59", "zz by hand"]
    assert box.value == "20260301-080000-123456"


def test_the_app_goes_back_to_a_backup_while_it_runs(open_page: Open, filled: Home) -> None:
    test = open_page("labels", filled, annotator="Ana", dataset="textures")
    next(button for button in test.button if button.label == "Back up everything now").click().run()
    old = service.current().store
    count = "SELECT count(*) FROM current_label WHERE NOT simulated"
    before = old.rows(count)
    labels.annotate(old, "textures", assignment.queue(old, "textures", "Zoe", 1)[0], "Zoe", "hard")
    (backup,) = (filled.labels / "backups").iterdir()
    done = service.go_back_to(backup)
    assert done.kept is not None and done.kept.exists()
    assert service.current().store.rows(count) == before != [(0,)]
    with pytest.raises(StoreError, match="has just been closed"):
        old.rows("SELECT 1")
    with pytest.raises(StoreError, match="no whole backup"):
        service.go_back_to(filled.labels)
    assert service.current().store.rows(count) == before
