"""The tables beside the class folders: what they say, and every way in which they can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from curriculum import given
from curriculum.errors import DatasetError
from curriculum.images import index_folder


@pytest.fixture
def root(tiny_folder: Callable[..., Path]) -> Path:
    """Classes a, b, c with two images each: a/a0.jpg, a/a1.jpg, ..."""
    return tiny_folder(per_class=2)


def put(root: Path, name: str, *lines: str) -> None:
    (root / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_a_folder_without_tables_says_nothing(root: Path) -> None:
    assert given.split(root) is None
    assert given.classes(root) is None


def test_the_tables_are_read_in_their_order(root: Path) -> None:
    put(root, "split.csv", "example,split", "b/b1.jpg,test", "", "a/a0.jpg,train", "c/c0.jpg,val")
    put(root, "classes.csv", "example,classes", "b/b1.jpg,b a", "a/a0.jpg,a")
    assert list((given.split(root) or {}).items()) == [("b/b1.jpg", "test"), ("a/a0.jpg", "train"), ("c/c0.jpg", "val")]
    assert given.classes(root) == {"b/b1.jpg": ("b", "a"), "a/a0.jpg": ("a",)}


def test_a_header_alone_names_nothing(root: Path) -> None:
    put(root, "split.csv", "example,split")
    put(root, "classes.csv", "example,classes")
    assert given.split(root) == {}
    assert given.classes(root) == {}


def test_a_table_saved_by_a_spreadsheet_is_read(root: Path) -> None:
    (root / "split.csv").write_bytes(b'\xef\xbb\xbfexample,split\r\n"a/a0.jpg",train\r\nb/b0.jpg,test\r\n')
    assert given.split(root) == {"a/a0.jpg": "train", "b/b0.jpg": "test"}


def test_what_is_gone_from_the_folder_is_left_out(root: Path) -> None:
    put(root, "split.csv", "example,split", "a/a0.jpg,train", "a/a1.jpg,train", "gone/x.jpg,test")
    put(root, "classes.csv", "example,classes", "a/a0.jpg,a", "a/a1.jpg,a b", "gone/x.jpg,gone a")
    (root / "a" / "a1.jpg").unlink()
    assert given.split(root) == {"a/a0.jpg": "train"}
    assert given.classes(root) == {"a/a0.jpg": ("a",)}


def test_the_tables_lie_beside_the_class_folders_without_complaint(root: Path) -> None:
    before = index_folder(root)
    put(root, "split.csv", "example,split", "a/a0.jpg,train")
    put(root, "classes.csv", "example,classes", "a/a0.jpg,a b")
    assert index_folder(root) == before
    assert before.rejected == ()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], ("line 1 of", "another header", "Got: ''", "Allowed: example,split")),
        (["file,part", "a/a0.jpg,train"], ("another header", "Got: 'file,part'", "Allowed: example,split")),
        (["a/a0.jpg,train"], ("another header", "Got: 'a/a0.jpg,train'")),
        (["example,split", "a/a0.jpg,Train"], ("line 2 of", "a split that doesn't exist", "Got: 'Train'", "Allowed: train, val, test")),
        (["example,split", "a/a0.jpg,"], ("a split that doesn't exist", "Got: ''")),
        (["example,split", "gone/x.jpg,valid"], ("a split that doesn't exist", "Got: 'valid'")),
        (["example,split", "a/a0.jpg,train", "b/b0.jpg,val", "a/a0.jpg,test"], ("line 4 of", "line 2 has already", "Got: 'a/a0.jpg'")),
        (["example,split", "a/a0.jpg"], ("has 1 values instead of 2", "Allowed: example,split")),
        (["example,split", "a/a0.jpg,train,easy"], ("has 3 values instead of 2", "Got: 'a/a0.jpg,train,easy'")),
        *((["example,split", f"{name},train"], ("names no example", f"Got: '{name}'", "Allowed: <class>/<file>"))
          for name in ("a0.jpg", "../a/a0.jpg", "../a0.jpg", "/a0.jpg", "a/", "a/.")),
    ],
)  # fmt: skip
def test_a_wrong_split_table_is_refused(root: Path, rows: list[str], said: tuple[str, ...]) -> None:
    put(root, "split.csv", *rows)
    with pytest.raises(DatasetError) as caught:
        given.split(root)
    for words in (str(root / "split.csv"), "Correct the file, or move it away", *said):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["example,split", "a/a0.jpg,a"], ("another header", "Got: 'example,split'", "Allowed: example,classes")),
        (["example,classes", "a/a0.jpg,a lined"], ("line 2 of", "a class that is no folder", "Got: 'lined'", "Allowed: a, b, c")),
        (["example,classes", "a/a0.jpg,a", "b/b0.jpg, "], ("line 3 of", "names no class", "Got: 'b/b0.jpg'")),
        (["example,classes", "a/a0.jpg,a b a"], ("a class twice", "Got: 'a b a'")),
        (["example,classes", "a/a0.jpg,a", "a/a0.jpg,b"], ("line 3 of", "line 2 has already")),
    ],
)
def test_a_wrong_classes_table_is_refused(root: Path, rows: list[str], said: tuple[str, ...]) -> None:
    put(root, "classes.csv", *rows)
    with pytest.raises(DatasetError) as caught:
        given.classes(root)
    for words in (str(root / "classes.csv"), "Correct the file, or move it away", *said):
        assert words in str(caught.value)


def test_what_is_no_text_is_refused(root: Path) -> None:
    (root / "split.csv").write_bytes("example,split\nWälder/a0.jpg,train\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"isn't text in UTF-8.*Save it again as UTF-8"):
        given.split(root)
    (root / "classes.csv").mkdir()
    with pytest.raises(DatasetError, match="can't be read"):
        given.classes(root)


def test_a_name_that_is_too_long_for_a_file_is_no_example(root: Path) -> None:
    put(root, "split.csv", "example,split", f"a/{'x' * 300}.jpg,test", "a/a0.jpg,train")
    put(root, "classes.csv", "example,classes", f"a/{'x' * 300}.jpg,a", "a/a0.jpg,a")
    assert given.split(root) == {"a/a0.jpg": "train"}
    assert given.classes(root) == {"a/a0.jpg": ("a",)}
