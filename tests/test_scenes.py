"""The demo scenes: the same for a seed, all different, evenly hard, and hard for the reason that they name."""

from __future__ import annotations

from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pytest
from numpy.random import default_rng
from scipy.stats import spearmanr

from curriculum.errors import CallError
from curriculum.painting import from_image
from curriculum.scenes import CAUSES, CLASSES, Scene, add_haze, choose_causes, draw_scene, draw_scenes, mix, recolour, spread_difficulties


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(draw_scenes(3, seed=4))


def contrast(scene: Scene) -> float:
    """Mean step between neighbouring pixels: what haze and blur take away."""
    grey = np.asarray(scene.image.convert("L"), np.float32)
    return float(abs(np.diff(grey, axis=0)).mean() + abs(np.diff(grey, axis=1)).mean())


def test_every_class_gets_its_number_of_rgb_scenes_with_names_of_their_own(scenes: list[Scene]) -> None:
    assert Counter(scene.class_name for scene in scenes) == dict.fromkeys(CLASSES, 3)
    assert len({(scene.class_name, scene.name) for scene in scenes}) == 21
    assert {(scene.image.size, scene.image.mode) for scene in scenes} == {((256, 256), "RGB")}


def test_a_seed_gives_the_same_scenes_and_another_seed_others() -> None:
    first, again, other = (list(draw_scenes(1, seed)) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        assert (a.name, a.difficulty, a.causes) == (b.name, b.difficulty, b.causes)
        assert a.image.tobytes() == b.image.tobytes() != c.image.tobytes()


def test_no_two_scenes_are_alike(scenes: list[Scene]) -> None:
    pixels = np.stack([np.asarray(scene.image.resize((32, 32)), np.float32).ravel() for scene in scenes])
    apart = abs(pixels[:, None] - pixels[None]).mean(axis=2) + 1000 * np.eye(len(scenes))
    assert apart.min() > 2


def test_a_clear_scene_has_detail_and_colour() -> None:
    for name in CLASSES:
        picture = from_image(draw_scene(name, 1, 0.0, default_rng(5)).image)
        assert picture.std() > 8
        assert 30 < picture.mean() < 200


def test_difficulty_is_spread_evenly_within_every_class(scenes: list[Scene]) -> None:
    for _, group in groupby(scenes, key=lambda scene: scene.class_name):
        assert sorted(int(scene.difficulty * 3) for scene in group) == [0, 1, 2]
    for count in (1, 7, 60, 999):
        assert sorted(int(d * count) for d in spread_difficulties(count, default_rng(count))) == list(range(count))


def test_names_and_order_do_not_betray_difficulty() -> None:
    ranks = [spearmanr(range(60), spread_difficulties(60, default_rng(seed))).statistic for seed in range(60)]
    assert abs(np.mean(ranks)) < 0.06  # 60 random orders of 60: standard error 0.017
    assert max(np.abs(ranks)) < 0.5


@pytest.mark.parametrize(("difficulty", "count"), [(0.0, 0), (0.11, 0), (0.12, 1), (0.39, 1), (0.4, 2), (0.69, 2), (0.7, 3), (1.0, 3)])
def test_harder_scenes_have_more_causes(difficulty: float, count: int) -> None:
    for seed in range(40):
        causes = choose_causes(difficulty, default_rng(seed))
        assert len(causes) == len(set(causes)) == count
        assert set(causes) <= set(CAUSES)
        if count >= 2:
            assert {"haze", "mixture"} & set(causes)


def test_haze_takes_more_contrast_the_stronger_it_is() -> None:
    clear = from_image(draw_scene("fResident", 1, 0.0, default_rng(3)).image)
    spreads = [float(add_haze(clear, strength, default_rng(9)).std()) for strength in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert all(later < 0.9 * earlier for earlier, later in pairwise(spreads))


def test_hazy_scenes_are_hazier_when_they_are_harder() -> None:
    levels = np.linspace(0.15, 1.0, 12)
    found = []
    for place, difficulty in enumerate(levels.tolist()):
        # A scene chooses its causes first, so that a generator of the same seed tells them before anything is drawn.
        seeds = ([place, k] for k in range(99) if is_rough_by_haze(choose_causes(difficulty, default_rng([place, k]))))
        found.append(draw_scene("fResident", 1, difficulty, default_rng(next(seeds))))
    assert spearmanr(levels, [contrast(scene) for scene in found]).statistic < -0.8


def is_rough_by_haze(causes: tuple[str, ...]) -> bool:
    """Whether haze decides how rough a picture is, and not the scale."""
    return "haze" in causes and "scale" not in causes


def test_a_mixture_covers_about_its_share_with_the_other_ground() -> None:
    black, white = np.zeros((3, 256, 256), np.float32), np.full((3, 256, 256), 255, np.float32)
    for share in (0.1, 0.3, 0.46):
        for seed in range(4):
            assert mix(black, white, share, default_rng(seed)).mean() / 255 == pytest.approx(share, abs=0.03)


def test_unusual_colour_moves_further_the_harder_it_is() -> None:
    clear = from_image(draw_scene("aGrass", 1, 0.0, default_rng(3)).image)
    for seed in range(5):
        moved = [float(abs(recolour(clear, strength, default_rng(seed)) - clear).mean()) for strength in (0.1, 0.5, 0.9)]
        assert 0 < moved[0] < moved[1] < moved[2]


@pytest.mark.parametrize(("per_class", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_numbers_out_of_range_are_refused_before_anything_is_drawn(per_class: int, seed: int) -> None:
    with pytest.raises(CallError, match="per_class"):
        draw_scenes(per_class, seed)
