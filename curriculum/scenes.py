"""Aerial-looking demo scenes of RSSCN7's seven classes, drawn by arithmetic, each with a difficulty that is built in.

The module owns what makes a scene hard (haze and blur, ground of another class, an unusual scale or colour) and
how the difficulties are spread; `scenery` knows what a class looks like. It reads no image file, and never writes one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng
from PIL import Image, ImageFilter

from curriculum.errors import CallError
from curriculum.painting import SIZE, Picture, from_image, lerp, noise, to_image, tone, turned
from curriculum.scenery import PAINTERS

CLASSES = tuple(PAINTERS)
CAUSES = ("haze", "mixture", "scale", "colour")

# What a class is most easily taken for: a mixture borrows from here.
_LOOKALIKES = {
    "aGrass": ("bField", "eForest"),
    "bField": ("aGrass", "dRiverLake"),
    "cIndustry": ("gParking", "fResident"),
    "dRiverLake": ("bField", "eForest", "aGrass"),
    "eForest": ("aGrass", "fResident", "dRiverLake"),
    "fResident": ("cIndustry", "eForest"),
    "gParking": ("cIndustry", "fResident"),
}


@dataclass(frozen=True)
class Scene:
    """One drawn image: `difficulty` in [0, 1], higher = harder; `causes` of CAUSES say why, empty when nothing does.

    `classes` are all whose ground it shows: its own, and the one that a mixture borrows from.
    """

    class_name: str
    name: str
    image: Image.Image
    difficulty: float
    causes: tuple[str, ...]
    classes: tuple[str, ...]


def draw_scenes(per_class: int, seed: int) -> Iterator[Scene]:
    """Draw `per_class` scenes of each class, class by class, their difficulties evenly spread and shuffled.

    Args:
        per_class: scenes a class, at least 1.
        seed: not negative; the same seed gives the same pixels, names and difficulties.

    Raises:
        CallError: a number is out of range; nothing was drawn.
    """
    if per_class < 1 or seed < 0:
        raise CallError("demo scenes need per_class >= 1 and seed >= 0", got=f"per_class={per_class}, seed={seed}")
    return (scene for label in range(len(CLASSES)) for scene in _draw_class(label, per_class, seed))


def _draw_class(label: int, count: int, seed: int) -> Iterator[Scene]:
    for number, difficulty in enumerate(spread_difficulties(count, default_rng([seed, label])), start=1):
        yield draw_scene(CLASSES[label], number, difficulty, default_rng([seed, label, number]))


def spread_difficulties(count: int, rng: Generator) -> list[float]:
    """One difficulty from each of `count` equal slices of [0, 1], in an order that tells nothing."""
    return [round(float(d), 6) for d in rng.permutation((np.arange(count) + rng.uniform(0.01, 0.99, count)) / count)]


def draw_scene(class_name: str, number: int, difficulty: float, rng: Generator) -> Scene:
    """Draw one scene as hard as `difficulty` in [0, 1] says, from `rng` alone."""
    causes = choose_causes(difficulty, rng)
    away = 2.0 ** (1.3 * difficulty * (1 if rng.random() < 0.5 else -1))
    picture = PAINTERS[class_name](rng, away if "scale" in causes else rng.uniform(0.9, 1.1))
    classes = [class_name]
    if "mixture" in causes:
        classes.append(str(rng.choice(_LOOKALIKES[class_name])))
        other = PAINTERS[classes[-1]](rng, 1.0)
        picture = mix(picture, other, 0.10 + 0.36 * difficulty, rng)
    if "colour" in causes:
        picture = recolour(picture, difficulty, rng)
    picture = add_haze(picture, difficulty if "haze" in causes else 0.12 * difficulty, rng)
    return Scene(class_name, f"{class_name[0]}{number:03d}", to_image(picture), difficulty, causes, tuple(classes))


def choose_causes(difficulty: float, rng: Generator) -> tuple[str, ...]:
    """Pick no cause below 0.12, then one, two from 0.4, three from 0.7; the hard ones always have haze or a mixture."""
    count = int(np.searchsorted((0.12, 0.4, 0.7), difficulty, side="right"))
    picked = set(rng.choice(CAUSES, size=count, replace=False).tolist())
    if picked == {"scale", "colour"}:
        picked = {str(rng.choice(("haze", "mixture"))), str(rng.choice(("scale", "colour")))}
    return tuple(cause for cause in CAUSES if cause in picked)


def add_haze(picture: Picture, strength: float, rng: Generator) -> Picture:
    """Veil, flatten and blur a picture; `strength` in [0, 1], higher = hazier, next to 0 leaves it as it is."""
    if strength < 0.03:
        return picture
    veil = 0.66 * strength * (1 + 0.16 * noise(rng, 2, octaves=2)).clip(0.65, 1.2)
    soft = to_image(picture).filter(ImageFilter.GaussianBlur(2.2 * strength))
    return lerp(from_image(soft), tone((188, 194, 200)), veil)


def mix(picture: Picture, other: Picture, share: float, rng: Generator) -> Picture:
    """Lay ground of another picture over about `share` of this one, from one side or as a patch."""
    angle, patch = rng.uniform(0, 2 * math.pi), rng.random() < 0.4
    u, v = turned(angle, (rng.uniform(70, 186), rng.uniform(70, 186)) if patch else (SIZE / 2, SIZE / 2))
    field = (np.hypot(u, v) if patch else u) + 22 * noise(rng, 3, octaves=5)
    edge = np.quantile(field, share)
    return lerp(picture, other, ((edge - field) / 3).clip(0, 1))


def recolour(picture: Picture, strength: float, rng: Generator) -> Picture:
    """Give a picture colours that its class seldom has: dry, cold, grey, dusk, infrared; higher `strength` = odder."""
    grey = picture.mean(axis=0, keepdims=True)
    faint = grey + (picture - grey) * 0.25
    looks: tuple[Callable[[], Picture], ...] = (
        lambda: faint * tone((1.10, 0.96, 0.70)) + tone((12, 6, 0)),
        lambda: faint * tone((0.82, 0.95, 1.16)) + tone((0, 6, 16)),
        lambda: grey + (picture - grey) * 0.05,
        lambda: picture * tone((0.50, 0.40, 0.52)) + tone((12, 8, 22)),
        lambda: picture[[1, 0, 2]] * tone((1.15, 0.85, 0.95)),
    )
    return lerp(picture, looks[rng.integers(len(looks))](), min(1.0, 0.3 + 0.75 * strength))
