"""Images by the SHA-256 of their content: the same as a look at every row, without one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from curriculum import content
from curriculum.datasets import check_dataset, examples, get_dataset
from curriculum.store import Store


def test_every_image_is_found_and_nothing_else(tiny: Store) -> None:
    for row in examples(tiny, "tiny").to_dict("records"):
        found = content.find(tiny, row["sha256"])
        assert found is not None
        assert (found.example, found.format) == (row["example"], "JPEG")
    for strange in ("", "0" * 64, "a/a0.jpg", "x' OR 1"):
        assert content.find(tiny, strange) is None


def test_what_is_gone_is_not_found_and_what_came_is(tiny: Store) -> None:
    root = get_dataset(tiny, "tiny").root
    before = dict(zip(*(examples(tiny, "tiny")[name] for name in ("example", "sha256")), strict=True))
    assert content.find(tiny, before["a/a0.jpg"])
    (root / "a" / "a0.jpg").write_bytes((root / "b" / "b0.jpg").read_bytes() + b"more")
    check_dataset(tiny, "tiny")
    assert content.find(tiny, before["a/a0.jpg"]) is None
    after = dict(zip(*(examples(tiny, "tiny")[name] for name in ("example", "sha256")), strict=True))
    found = content.find(tiny, after["a/a0.jpg"])
    assert found is not None and found.example == "a/a0.jpg"


def test_rows_that_have_moved_are_found_all_the_same(tiny: Store) -> None:
    shas = examples(tiny, "tiny")["sha256"].tolist()
    content.find(tiny, shas[0])
    table = content._tables[tiny]
    content._tables[tiny] = dataclasses.replace(table, rows=np.roll(table.rows, 1))
    assert all(content.find(tiny, sha256) for sha256 in shas)


def test_an_image_costs_a_question_once_and_an_address_that_nobody_has_none(tiny: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = examples(tiny, "tiny")["sha256"].tolist()
    content.find(tiny, first)
    asked: list[str] = []
    ask = tiny.rows

    def noted(sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return ask(sql, parameters)

    monkeypatch.setattr(tiny, "rows", noted)
    for _ in range(2):
        assert all(content.find(tiny, sha256) for sha256 in (first, *others))
        assert len(asked) == len(others)
    assert content.find(tiny, "1" * 64) is None
    assert len(asked) == len(others)
