"""Run directories that earlier versions wrote (`older/`, by the schema of their time; without models) are taken in and shown like today's."""

from __future__ import annotations

import shutil

import pytest

from curriculum import report, run_tables, runs
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.intake import Ingester
from curriculum.rundir import RunDir
from curriculum.schema import SCHEMA_VERSION
from curriculum.store import Store
from tests.conftest import CHECKOUT
from tests.ml import write_folder

VERSIONS = range(1, SCHEMA_VERSION)


@pytest.fixture(params=VERSIONS)
def older(request: pytest.FixtureRequest, home: Home) -> tuple[Store, list[RunDir]]:
    """A home with one version's runs, all taken in."""
    shutil.copytree(CHECKOUT / "tests/older" / str(request.param), home.runs)
    store = Store.open(home)
    request.addfinalizer(store.close)
    add_dataset(store, "tints", write_folder(home.root / "pictures", each=8))
    assert Ingester(store).once() == {}
    return store, [RunDir(path) for path in sorted(home.runs.iterdir())]


def test_their_rows_say_what_their_files_say(older: tuple[Store, list[RunDir]]) -> None:
    store, found = older
    rows = runs.list_runs(store).set_index("run_id")
    assert sorted(rows.index) == [run.run_id for run in found]
    for run in found:
        row, result = rows.loc[run.run_id], run.result()
        assert row["state"] == ("done" if result else "interrupted")
        assert row["result"] == result
        assert store.rows("SELECT count(*) FROM epoch WHERE run_id = ?", [run.run_id]) == [(len(run.epochs()),)]
        if result and "test_accuracy" in result:
            right = "SELECT avg((predicted = class)::INT) FROM prediction WHERE run_id = ? AND split = 'test'"
            assert store.rows(right, [run.run_id])[0][0] == pytest.approx(result["test_accuracy"])


def test_they_stand_in_tables_and_reports(older: tuple[Store, list[RunDir]]) -> None:
    store, found = older
    trained = runs.list_runs(store, kind="train")
    table = run_tables.table(trained)
    assert table["accuracy"].notna().sum() == sum(1 for run in found if "test_accuracy" in (run.result() or {}))
    for run in found:
        if run.result() and run.run_id not in runs.list_runs(store, kind="score")["run_id"].tolist():
            assert run.run_id in report.build(store, run)
