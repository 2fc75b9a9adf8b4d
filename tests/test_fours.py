"""Which four come next: one of five by chance, the others where the scale is uncertain, none twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from curriculum import fours, scaling
from curriculum.fours import Known
from curriculum.scaling import PRIOR_VARIANCE, Scale

POOL = [f"{i:02}" for i in range(40)]


def scale(names: list[str], latent: list[float], sd: float) -> Scale:
    count = len(names)
    return Scale(tuple(names), np.array(latent), np.eye(count) * sd**2, np.ones(count, dtype=np.int64), np.zeros(count, dtype=np.int64))


def nothing() -> Scale:
    return scaling.fit(pd.DataFrame(columns=list(scaling.COLUMNS)))


def test_one_of_each_five_is_drawn_by_chance() -> None:
    turns = np.array([fours.by_chance(turn, "set", "Ann") for turn in range(1000)])
    assert turns.reshape(-1, 5).sum(1).tolist() == [1] * 200
    places = Counter(np.flatnonzero(turns) % 5)
    assert all(count > 20 for count in places.values())  # where, nobody can tell
    assert len(places) == 5
    assert [fours.by_chance(turn, "set", "Bob") for turn in range(1000)] != turns.tolist()


def test_chance_draws_every_image_before_one_comes_again() -> None:
    counts: Counter[str] = Counter()
    random = fours.seeded("x")
    known = Known(POOL, scale(POOL, [float(i) for i in range(40)], 0.1), counts, set())
    for _ in range(20):
        four = fours.next_four(known, True, random)
        assert four is not None
        assert not four.adaptive
        counts.update(four.examples)
    assert set(counts.values()) == {2}


def test_what_chance_draws_looks_at_no_answer() -> None:
    def drawn(latent: list[float]) -> list[fours.Four | None]:
        known = Known(POOL, scale(POOL, latent, 0.5), {}, set())
        return [fours.next_four(known, True, fours.seeded("x", turn)) for turn in range(10)]

    assert drawn([0.0] * 40) == drawn([float(i) for i in range(40)])


def test_the_rest_are_uncertain_and_close() -> None:
    """Of 40 well-known images in a row, those without a place are chosen first; of well-known ones, neighbours."""
    new = [f"new{i}" for i in range(4)]
    far = scale(POOL, [float(i) - 20 for i in range(40)], 0.3)
    first = fours.next_four(Known([*POOL, *new], far, {}, set()), False, fours.seeded("x"))
    assert first is not None
    assert first.adaptive
    assert len({*first.examples} & {*new}) >= 3
    for turn in range(10):
        four = fours.next_four(Known(POOL, far, {}, set()), False, fours.seeded(turn))
        assert four is not None
        assert np.ptp([int(name) for name in four.examples]) <= 6


def test_telling_by_hand() -> None:
    """Two images of the prior: their difference varies by 20, either may be harder: 20 / 4. One's own tells nothing."""
    mean, covariance = np.array([0.0, 0.0, 8.0]), np.diag([PRIOR_VARIANCE, PRIOR_VARIANCE, 0.0])
    worth = fours.telling(mean, covariance, 0)
    assert worth[:2].tolist() == [0, 5]
    certain = 1 / (1 + np.exp(8 / np.sqrt(1 + np.pi * 10 / 8)))
    assert worth[2] == pytest.approx(10 * certain * (1 - certain))


def test_the_order_on_the_page_says_nothing() -> None:
    known = Known(POOL, scale(POOL, [float(i) for i in range(40)], 0.3), {}, set())
    ranks = []
    for turn in range(200):
        four = fours.next_four(known, False, fours.seeded(turn))
        assert four is not None
        ranks.append(np.argsort(np.argsort(four.examples)))
    assert np.abs(np.mean(ranks, axis=0) - 1.5).max() < 0.25


@pytest.mark.parametrize("count", [4, 5, 6, 13, 16])
@pytest.mark.parametrize("chance", [True, False])
def test_nothing_comes_twice_and_small_pools_end(count: int, chance: bool) -> None:
    names = POOL[:count]
    known, random = Known(names, nothing(), {}, set()), fours.seeded(count)
    total = min(len(names) * (len(names) - 1) * (len(names) - 2) * (len(names) - 3) // 24, 200)
    found = [fours.next_four(known, chance, random) for _ in range(total)]
    assert len({frozenset(four.examples) for four in found if four}) == total
    assert all(four and len(set(four.examples)) == 4 and set(four.examples) <= set(names) for four in found)
    if total < 200:
        assert fours.next_four(known, chance, random) is None


def test_an_image_doesnt_stand_there_twice_in_a_row() -> None:
    known = Known(POOL, nothing(), {}, set())
    found = [fours.next_four(known, False, fours.seeded(turn)) for turn in range(8)]
    names = [name for four in found if four for name in four.examples]
    assert len(set(names)) == 32


def test_fewer_than_four_are_none() -> None:
    assert fours.next_four(Known(POOL[:3], nothing(), {}, set()), True, fours.seeded("x")) is None
