"""Folders of images as label files: what is read, what is refused, copies and links out and in again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from curriculum.datasets import add_dataset, check_dataset, get_dataset
from curriculum.errors import ConfigError, DatasetError
from curriculum.label_files import ImportResult, export_labels, import_labels
from curriculum.store import Store
from tests.label_cases import filled, levels, refusal


def sorted_folder(store: Store, target: Path, places: dict[str, str]) -> Path:
    """Copies of the images (keys) at these places (values)."""
    root = get_dataset(store, "tiny").root
    for example, place in places.items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        (target / place).write_bytes((root / example).read_bytes())
    return target


def test_the_reports_folders_are_imported(tiny: Store, tmp_path: Path) -> None:
    places = {"a/a0.jpg": "easy/a/a0.jpg", "b/b1.jpg": "Medium/b1.jpg", "c/c2.jpg": "HARD/c/c2.jpg", "c/c3.jpg": "HARD/renamed.jpg"}
    folder = sorted_folder(tiny, tmp_path / "sorted", places)
    (folder / "easy/.DS_Store").write_bytes(b"x")
    (folder / "easy/Thumbs.db").write_bytes(b"x")
    assert import_labels(tiny, "tiny", folder, "Ann") == ImportResult(4, 4, ("Ann",))
    assert levels(tiny) == {"a/a0.jpg": "easy", "b/b1.jpg": "medium", "c/c2.jpg": "hard", "c/c3.jpg": "hard"}


def test_a_folder_needs_an_annotator_and_the_three_names(tiny: Store, tmp_path: Path) -> None:
    folder = sorted_folder(tiny, tmp_path / "sorted", {"a/a0.jpg": "easy/a0.jpg"})
    assert "--annotator" in refusal(tiny, folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no images below easy/, medium/, hard/" in refusal(tiny, empty, "Ann")


def test_bad_files_in_a_folder_refuse_it_by_their_place(tiny: Store, tmp_path: Path) -> None:
    root = get_dataset(tiny, "tiny").root
    folder = sorted_folder(
        tiny, tmp_path / "sorted", {"a/a0.jpg": "easy/a/a0.jpg", "a/a1.jpg": "easy/a/a1.jpg", "a/a2.jpg": "esay/a/a2.jpg"}
    )
    sorted_folder(tiny, folder, {"a/a0.jpg": "hard/a/a0.jpg"})
    (folder / "hard/notes.txt").write_text("x", encoding="utf-8")
    Image.new("RGB", (3, 3)).save(folder / "hard/stranger.jpg")
    outside = tmp_path / "outside.jpg"
    Image.new("RGB", (3, 3)).save(outside)
    (folder / "hard/link.jpg").symlink_to(outside)
    (folder / "hard/linked").symlink_to(root / "b")
    message = refusal(tiny, folder, "Ann")
    assert "esay: a folder that is none of easy, medium, hard" in message
    assert "hard/a/a0.jpg: Ann has a/a0.jpg as easy in easy/a/a0.jpg and as hard here" in message
    assert "hard/notes.txt: not an image file by its name" in message
    assert "hard/stranger.jpg: no such image in the data set: 'stranger.jpg'" in message
    assert "hard/link.jpg: a symbolic link that leads out" in message
    assert "hard/linked: not a file" in message
    assert "6 of 8 rows" in message


def test_content_decides_where_names_do_not(store: Store, tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = tiny_folder()
    Image.new("RGB", (9, 9), "red").save(root / "b/a0.jpg")
    (root / "c/twin.jpg").write_bytes((root / "c/c1.jpg").read_bytes())
    add_dataset(store, "tiny", root)
    folder = sorted_folder(store, tmp_path / "sorted", {"b/a0.jpg": "easy/a0.jpg"})
    import_labels(store, "tiny", folder, "Ann")
    assert levels(store) == {"b/a0.jpg": "easy"}
    sorted_folder(store, folder, {"c/c1.jpg": "hard/other.jpg"})
    assert "easy/a0.jpg" not in (message := refusal(store, folder, "Ann"))
    assert "hard/other.jpg: could be any of 2 images (c/c1.jpg, c/twin.jpg)" in message


def test_folders_hold_the_consensus_and_come_back(tiny: Store, other: Store, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()  # an empty one may be there
    assert export_labels(filled(tiny), "tiny", folder, who="people", format="folders") == 4
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert files == ["easy/c/c0.jpg", "hard/a/a0.jpg", "hard/b/b0.jpg", "medium/a/a1.jpg"]
    root = get_dataset(tiny, "tiny").root
    assert (folder / "hard/b/b0.jpg").read_bytes() == (root / "b/b0.jpg").read_bytes()
    assert import_labels(other, "tiny", folder, "Dora").appended == 4
    assert levels(other) == {"a/a0.jpg": "hard", "a/a1.jpg": "medium", "b/b0.jpg": "hard", "c/c0.jpg": "easy"}


def test_an_export_overwrites_no_folder_and_leaves_nothing_half_made(tiny: Store, tmp_path: Path) -> None:
    filled(tiny)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("x", encoding="utf-8")
    for path in (full, full / "mine.txt"):
        with pytest.raises(ConfigError, match="isn't an empty folder"):
            export_labels(tiny, "tiny", path, format="folders", overwrite=True)
    root = get_dataset(tiny, "tiny").root
    with pytest.raises(ConfigError, match="in the data set's own folder"):
        export_labels(tiny, "tiny", root / "a" / "sorted", format="links")
    (root / "b/b0.jpg").unlink()
    with pytest.raises(DatasetError, match=r"b0\.jpg is gone.*data check"):
        export_labels(tiny, "tiny", tmp_path / "half", format="folders")
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "home", "set"]


def test_links_lead_to_the_images_and_come_back(tiny: Store, other: Store, tmp_path: Path) -> None:
    folder, root = tmp_path / "out", get_dataset(tiny, "tiny").root
    assert export_labels(filled(tiny), "tiny", folder, who="people", format="links") == 4
    link = folder / "hard/b/b0.jpg"
    assert (link.resolve(), link.readlink().is_absolute()) == (root / "b/b0.jpg", False)
    assert import_labels(other, "tiny", folder, "Dora", "links") == ImportResult(4, 4, ("Dora",))
    assert levels(other) == {"a/a0.jpg": "hard", "a/a1.jpg": "medium", "b/b0.jpg": "hard", "c/c0.jpg": "easy"}
    (root / "b/b0.jpg").unlink()
    assert "hard/b/b0.jpg: not a file, or a link to one that is gone" in refusal(other, folder, "Eve")


def test_labels_of_images_that_are_gone_are_kept_in_the_csv(tiny: Store, tmp_path: Path) -> None:
    (get_dataset(filled(tiny), "tiny").root / "a/a0.jpg").unlink()
    check_dataset(tiny, "tiny")
    assert export_labels(tiny, "tiny", tmp_path / "out.csv") == 5
    assert export_labels(tiny, "tiny", tmp_path / "folders", format="folders") == 3


def test_links_in_a_circle_or_to_a_name_that_no_file_could_have_are_refused(tiny: Store, tmp_path: Path) -> None:
    folder = sorted_folder(tiny, tmp_path / "sorted", {"a/a0.jpg": "easy/a0.jpg"})
    (folder / "easy/circle.jpg").symlink_to("circle.jpg")
    (folder / "hard").mkdir()
    (folder / "hard/long.jpg").symlink_to("x" * 300)
    message = refusal(tiny, folder, "Ann")
    assert "easy/circle.jpg: not a file, or a link to one that is gone" in message
    assert "hard/long.jpg: not a file, or a link to one that is gone" in message
