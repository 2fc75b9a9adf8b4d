"""Simulated annotators: marked, in the reports' proportions, repeatable, never near people's labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.datasets import add_dataset, examples
from curriculum.difficulty import REPORT_COUNTS, level_counts
from curriculum.errors import ConfigError, UnknownError
from curriculum.labels import annotate
from curriculum.simulate import simulate_annotators
from curriculum.store import Store
from curriculum.vocabulary import LEVELS

Labels = dict[tuple[str, str], str]


def labels(store: Store) -> Labels:
    return {(annotator, example): level for annotator, example, level in store.rows("SELECT annotator, example, level FROM current_label")}


def ramp(store: Store) -> dict[str, float]:
    """Difficulty 0, 1/11, ... 1 in the order of the names."""
    return {name: i / 11 for i, name in enumerate(examples(store, "tiny")["example"])}


@pytest.mark.parametrize("class_name", REPORT_COUNTS)
def test_the_reports_own_numbers_come_out_exactly(class_name: str) -> None:
    assert level_counts(class_name, sum(REPORT_COUNTS[class_name])) == REPORT_COUNTS[class_name]


def test_levels_are_shared_out_by_hand_computed_counts() -> None:
    assert level_counts("aGrass", 400) == (135, 166, 99)
    assert level_counts("dRiverLake", 400) == (142, 156, 102)  # of 399: 142.36, 155.39, 102.26
    assert level_counts("fResident", 100) == (24, 30, 46)  # of 390: 23.85, 29.74, 46.41
    assert level_counts("a class of another data set", 2785) == (908, 1065, 812)
    assert level_counts("a class of another data set", 10) == (3, 4, 3)  # 3.26, 3.82, 2.92
    assert level_counts("aGrass", 0) == (0, 0, 0)


@given(st.sampled_from([*REPORT_COUNTS, "other"]), st.integers(0, 5000))
def test_every_image_gets_one_level(class_name: str, n: int) -> None:
    counts = level_counts(class_name, n)
    assert sum(counts) == n
    shares = REPORT_COUNTS.get(class_name, (908, 1065, 812))
    assert all(abs(count - n * share / sum(shares)) < 1 for count, share in zip(counts, shares, strict=True))


def test_without_noise_each_class_is_cut_by_difficulty(tiny: Store) -> None:
    assert simulate_annotators(tiny, "tiny", ramp(tiny), annotators=1, noise=0.0) == 12
    assert level_counts("a", 4) == (1, 2, 1)  # 1.30, 1.53, 1.17
    for class_name in "abc":
        found = [labels(tiny)["simulated-1", f"{class_name}/{class_name}{i}.jpg"] for i in range(4)]
        assert found == ["easy", "medium", "medium", "hard"]


def test_labels_are_marked_and_have_no_times_to_answer(tiny: Store) -> None:
    assert simulate_annotators(tiny, "tiny", ramp(tiny)) == 36
    assert tiny.rows("SELECT DISTINCT annotator, source, simulated FROM current_label ORDER BY 1") == [
        (f"simulated-{k}", "simulate", True) for k in (1, 2, 3)
    ]
    assert tiny.rows("SELECT count(*) FROM annotation WHERE seconds IS NOT NULL OR shown_at IS NOT NULL") == [(0,)]
    assert tiny.rows("SELECT count(*) FROM annotator WHERE simulated") == [(3,)]


def test_the_real_classes_get_the_reports_proportions(store: Store, tiny_folder: Callable[..., Path]) -> None:
    add_dataset(store, "tiny", tiny_folder(("fResident", "cIndustry"), per_class=40))
    difficulty = dict.fromkeys(examples(store, "tiny")["example"], 0.5)
    simulate_annotators(store, "tiny", difficulty, annotators=2)
    rows = store.rows("SELECT annotator, class, level FROM current_label JOIN example USING (dataset, example)")
    counts = Counter(rows)
    for annotator in ("simulated-1", "simulated-2"):
        assert [counts[annotator, "fResident", level] for level in LEVELS] == [9, 12, 19]  # of 390: 9.54, 11.90, 18.56
        assert [counts[annotator, "cIndustry", level] for level in LEVELS] == [14, 17, 9]  # of 400: 13.5, 17.0, 9.5


def test_the_seed_decides_and_others_do_not_matter(tiny: Store, store: Store) -> None:
    noisy = dict.fromkeys(ramp(tiny), 0.5)
    simulate_annotators(tiny, "tiny", noisy, annotators=3, seed=1)
    first = labels(tiny)
    assert simulate_annotators(tiny, "tiny", noisy, annotators=2, seed=1) == 0
    assert labels(tiny) == first
    assert simulate_annotators(tiny, "tiny", noisy, annotators=3, seed=2) > 0
    assert labels(tiny) != first
    by_one, by_two = ([first[f"simulated-{k}", name] for name in noisy] for k in (1, 2))
    assert by_one != by_two


def test_more_noise_means_less_agreement_with_the_difficulty(store: Store, tiny_folder: Callable[..., Path]) -> None:
    add_dataset(store, "tiny", tiny_folder(per_class=60, size=(4, 4)))
    names = examples(store, "tiny")["example"].tolist()
    difficulty = dict(zip(names, np.random.default_rng(0).random(len(names)).tolist(), strict=True))

    def same_as_without_noise(noise: float) -> float:
        simulate_annotators(store, "tiny", difficulty, annotators=1, noise=0.0)
        exact = labels(store)
        simulate_annotators(store, "tiny", difficulty, annotators=1, noise=noise)
        noisy = labels(store)
        return sum(exact[key] == noisy[key] for key in exact) / len(exact)

    shares = [same_as_without_noise(noise) for noise in (0.01, 0.15, 5.0)]
    assert shares[0] > 0.9 > shares[1] > 0.55 > shares[2] > 0.2


def test_images_without_a_difficulty_are_an_error_that_counts_them(tiny: Store) -> None:
    some = dict(list(ramp(tiny).items())[:9])
    with pytest.raises(UnknownError, match=r"3 of 12 images have no difficulty yet.*`score"):
        simulate_annotators(tiny, "tiny", some)
    with pytest.raises(ConfigError, match=r"difficulty is out of range\. Got: nan"):
        simulate_annotators(tiny, "tiny", {**ramp(tiny), "a/a0.jpg": float("nan")})
    assert labels(tiny) == {}


def test_options_out_of_range_are_refused_by_name(tiny: Store) -> None:
    for annotators in (0, 101):
        with pytest.raises(ConfigError, match="--annotators is out of range"):
            simulate_annotators(tiny, "tiny", ramp(tiny), annotators=annotators)
    for noise in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="--noise is out of range"):
            simulate_annotators(tiny, "tiny", ramp(tiny), noise=noise)
    with pytest.raises(ConfigError, match="--seed is out of range"):
        simulate_annotators(tiny, "tiny", ramp(tiny), seed=-5)
    with pytest.raises(UnknownError, match="no such data set"):
        simulate_annotators(tiny, "nowhere", {})


def test_peoples_labels_stay_as_they_are(tiny: Store) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "hard")
    before = tiny.rows("SELECT * EXCLUDE (answered_at, shown_at, recorded_at) FROM annotation")
    simulate_annotators(tiny, "tiny", ramp(tiny))
    assert tiny.rows("SELECT * EXCLUDE (answered_at, shown_at, recorded_at) FROM annotation WHERE annotator = 'Ann'") == before
    assert tiny.rows("SELECT level FROM current_label WHERE NOT simulated") == [("hard",)]
