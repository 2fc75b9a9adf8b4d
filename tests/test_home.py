"""Where a project's files lie, and which places are not for files of people."""

from __future__ import annotations

from pathlib import Path

import pytest

from curriculum.errors import ConfigError
from curriculum.home import Home

KEPT = ("labels/curriculum.duckdb", "labels/curriculum.duckdb.wal", "labels/curriculum.duckdb.20260131-120000-000000.bak", "labels/secret.key",
        "labels/taken.json", "labels/owner.json", "labels/.snapshot-12", "labels/snapshot/annotation.parquet", "labels/backups/mine/annotation.parquet",
        "data/runs", "data/runs/a-run/model.pt", "data/recipes/one/result.json", "data/cache/x/y.bin", "labels/../data/runs/x",
        "Labels/Curriculum.DuckDB")  # fmt: skip


@pytest.mark.parametrize("place", KEPT)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_the_program_keeps_is_for_nobody_else(home: Home, place: str, overwrite: bool) -> None:
    with pytest.raises(ConfigError, match="the program keeps its own there"):
        home.claim(home.root / place, overwrite=overwrite)


def test_links_lead_nowhere_else(home: Home, tmp_path: Path) -> None:
    home.data.mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    home.runs.symlink_to(tmp_path / "disk")
    (tmp_path / "link.html").symlink_to(home.database)
    (tmp_path / "folder").symlink_to(home.labels)
    for path in (home.runs / "x", tmp_path / "disk" / "x", tmp_path / "link.html", tmp_path / "folder" / "secret.key"):
        with pytest.raises(ConfigError, match="the program keeps its own there"):
            home.claim(path, overwrite=True)


def test_a_file_that_is_there_is_replaced_only_when_asked(home: Home, tmp_path: Path) -> None:
    home.labels.mkdir(parents=True)
    for path in (home.labels / "levels.csv", home.data / "demo" / "report.html", tmp_path / "mine.csv"):
        home.claim(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"there already.*--overwrite"):
            home.claim(path)
        home.claim(path, overwrite=True)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="there already"):
        home.claim(tmp_path / "nowhere")
    home.claim(tmp_path)
