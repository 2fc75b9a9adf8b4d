"""What is computed in another process is what this one would have computed, its errors too."""

from __future__ import annotations

import os

import pytest

from curriculum import aside
from curriculum.errors import ConfigError


def killed(_number: int) -> int:
    if os.getpid() != PARENT:
        os._exit(1)
    return _number


PARENT = int(os.environ.setdefault("TEST_ASIDE_PARENT", str(os.getpid())))


def refuse() -> None:
    raise ConfigError("it can't be had", got=str(os.getpid()))


def test_it_is_another_process_whose_answer_and_error_come_here() -> None:
    assert aside.compute(os.getpid) != os.getpid()
    with pytest.raises(ConfigError, match="it can't be had") as caught:
        aside.compute(refuse)
    assert str(os.getpid()) not in str(caught.value)


def test_where_that_process_is_killed_this_one_computes() -> None:
    assert aside.compute(killed, 7) == 7
