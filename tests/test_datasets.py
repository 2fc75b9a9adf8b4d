"""Data sets in the database: registered, checked again, never losing a label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from curriculum.datasets import Dataset, add_dataset, check_dataset, examples, get_dataset, list_datasets, rejected_files
from curriculum.errors import ConfigError, DatasetError, UnknownError
from curriculum.home import Home
from curriculum.images import Rejected
from curriculum.labels import annotate, consensus, judgements, summary
from curriculum.store import Store

Folder = Callable[..., Path]


def test_a_registered_set_is_listed_with_sorted_classes(store: Store, tiny_folder: Folder) -> None:
    assert list_datasets(store) == []
    root = tiny_folder(("b", "a", "c"), per_class=2)
    index = add_dataset(store, "tiny", root)
    assert index.classes == ("a", "b", "c")
    assert list_datasets(store) == [Dataset("tiny", root.resolve(), ("a", "b", "c"), 6)]
    assert get_dataset(store, "tiny") == Dataset("tiny", root.resolve(), ("a", "b", "c"), 6)


def test_examples_are_those_that_are_present_by_name(tiny: Store) -> None:
    frame = examples(tiny, "tiny")
    assert list(frame.columns) == ["example", "class", "width", "height", "sha256", "overlap_group"]
    assert frame["example"].tolist() == [f"{c}/{c}{i}.jpg" for c in "abc" for i in range(4)]
    assert set(frame["width"]) == {20}
    assert frame["overlap_group"].isna().all()


def test_an_unknown_set_is_an_error_that_names_the_known_ones(store: Store, tiny_folder: Folder) -> None:
    with pytest.raises(UnknownError, match=r"none is registered yet.*data demo"):
        get_dataset(store, "rsscn7")
    add_dataset(store, "tiny", tiny_folder())
    with pytest.raises(UnknownError, match=r"Got: 'tin'\. Allowed: tiny\."):
        examples(store, "tin")


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", "x" * 65, "a/b", "a\n"])
def test_names_that_cannot_be_used_are_refused(store: Store, tiny_folder: Folder, name: str) -> None:
    with pytest.raises(ConfigError, match="data set's name"):
        add_dataset(store, name, tiny_folder())
    assert list_datasets(store) == []


def test_one_name_never_stands_for_two_folders(store: Store, tiny_folder: Folder) -> None:
    root, other = tiny_folder(), tiny_folder(name="other")
    add_dataset(store, "tiny", root)
    with pytest.raises(ConfigError, match="stands for another folder"):
        add_dataset(store, "tiny", other)
    add_dataset(store, "second", other)
    assert [dataset.name for dataset in list_datasets(store)] == ["second", "tiny"]


def test_a_folder_that_cannot_serve_registers_nothing(store: Store, tiny_folder: Folder) -> None:
    with pytest.raises(DatasetError):
        add_dataset(store, "tiny", tiny_folder(("a",)))
    assert list_datasets(store) == []


def test_rejected_files_are_kept_until_the_next_look(store: Store, tiny_folder: Folder) -> None:
    root = tiny_folder()
    (root / "a/x.jpg").write_bytes(b"")
    add_dataset(store, "tiny", root)
    assert rejected_files(store, "tiny") == [Rejected("a/x.jpg", "empty file (0 bytes)")]
    (root / "a/x.jpg").unlink()
    check_dataset(store, "tiny")
    assert rejected_files(store, "tiny") == []


def test_a_file_that_goes_keeps_its_label_and_may_come_back(tiny: Store) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "hard")
    file = get_dataset(tiny, "tiny").root / "a/a0.jpg"
    away = file.rename(file.with_suffix(".away"))
    check_dataset(tiny, "tiny")
    assert get_dataset(tiny, "tiny").examples == 11
    assert "a/a0.jpg" not in set(examples(tiny, "tiny")["example"])
    assert (len(consensus(tiny, "tiny")), len(judgements(tiny, "tiny")), summary(tiny, "tiny")["labelled"]) == (0, 0, 0)
    away.rename(file)
    check_dataset(tiny, "tiny")
    assert "a/a0.jpg" in set(examples(tiny, "tiny")["example"])
    assert consensus(tiny, "tiny")["level"].tolist() == ["hard"]
    assert (len(judgements(tiny, "tiny")), summary(tiny, "tiny")["labelled"]) == (1, 1)


def test_a_second_look_tells_what_is_new_changed_gone_and_moved(tiny: Store) -> None:
    root = get_dataset(tiny, "tiny").root
    annotate(tiny, "tiny", "b/b0.jpg", "Ann", "hard")
    assert check_dataset(tiny, "tiny").differences() == []
    (root / "a/a0.jpg").rename(root / "a/z.jpg")
    (root / "a/a1.jpg").unlink()
    for name in ("b/b0.jpg", "c/c0.jpg"):  # other pictures under the old names
        Image.new("RGB", (9, 9), "red").save(root / name)
    found = check_dataset(tiny, "tiny")
    assert (found.new, found.changed, found.gone, found.moved, found.judged) == (1, 2, 2, 1, 1)
    said = " ".join(found.differences())
    assert "Since the last look 1 new, 2 with other content, 2 gone." in said
    assert "With other content and labels: 1." in said
    assert "Gone, but here under another name: 1." in said


def test_a_class_that_goes_whole_leaves_the_list_of_classes(tiny: Store) -> None:
    root = get_dataset(tiny, "tiny").root
    (root / "c").rename(root / "d")
    check_dataset(tiny, "tiny")
    assert get_dataset(tiny, "tiny").classes == ("a", "b", "d")


def test_a_second_look_reads_only_what_changed(tiny: Store, tiny_folder: Folder) -> None:
    before = examples(tiny, "tiny").set_index("example")["sha256"]
    root = get_dataset(tiny, "tiny").root
    (root / "b/b0.jpg").write_bytes((root / "b/b1.jpg").read_bytes())
    check_dataset(tiny, "tiny")
    after = examples(tiny, "tiny").set_index("example")["sha256"]
    assert before[before != after].index.tolist() == ["b/b0.jpg"]
    assert after["b/b0.jpg"] == after["b/b1.jpg"]


def test_a_home_can_be_moved_with_the_sets_inside_it(home: Home, tiny_folder: Folder, tmp_path: Path) -> None:
    home.data.mkdir(parents=True)
    inside = tiny_folder().rename(home.data / "set")
    outside = tiny_folder(name="outside")
    with Store.open(home) as store:
        add_dataset(store, "inside", inside)
        add_dataset(store, "outside", outside)
    moved = Home(home.root.rename(tmp_path / "moved"))
    with Store.open(moved) as store:
        assert get_dataset(store, "inside").root == (moved.data / "set").resolve()
        assert get_dataset(store, "outside").root == outside.resolve()
        assert len(check_dataset(store, "inside").examples) == 12
