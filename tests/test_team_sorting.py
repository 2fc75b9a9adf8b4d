"""Several sort at once while the server dies and connections break; `measure_team` does the same with twenty."""

from __future__ import annotations

from pathlib import Path

from tests.measure_team import compare, measure
from tests.ml import write_folder


def test_three_annotators_through_a_kill_and_a_lost_connection(tmp_path: Path) -> None:
    counts = measure(write_folder(tmp_path / "pictures", each=100), annotators=3, seconds=6, offline=4)
    assert counts.pop("pressed") >= counts["accepted"]
    assert counts.pop("accepted") > 40
    assert counts == {"lost": 0, "doubled": 0, "on a wrong image": 0}


def test_losses_doubles_and_wrong_images_are_seen() -> None:
    accepted = [("Ann", "a", "easy"), ("Ann", "b", "hard"), ("Bob", "a", "easy")]
    stored = [("Ann", "a", "easy"), ("Ann", "a", "easy"), ("Bob", "c", "easy")]
    assert compare(accepted, accepted) == {"accepted": 3, "lost": 0, "doubled": 0, "on a wrong image": 0}
    assert compare(accepted, stored) == {"accepted": 3, "lost": 2, "doubled": 1, "on a wrong image": 1}
