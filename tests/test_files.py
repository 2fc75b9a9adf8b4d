"""Whole files: what a failed writer leaves, what JSON can't say."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from curriculum.files import digest, write_json, write_whole


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_whole(path, lambda temporary: temporary.write_text("old", encoding="utf-8"))

    def fail(temporary: Path) -> None:
        temporary.write_text("ne", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old", "readers must not see a file in the making"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text(encoding="utf-8") == "old"


def test_what_failed_gives_its_room_back_though_an_error_holds_the_file(tmp_path: Path) -> None:
    opened = []

    def fail(temporary: Path) -> None:
        file = temporary.open("wb")
        opened.append(file)
        file.write(b"much")
        file.flush()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "file.bin", fail)
    with opened[0] as file:
        assert os.fstat(file.fileno()).st_size == 0
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"n": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"n": object()})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"n": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00\n" * 300_000)
    assert digest(tmp_path / "a") == hashlib.sha256(b"\x00\n" * 300_000).hexdigest()
