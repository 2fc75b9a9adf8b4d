"""Aerial-looking demo scenes of RSSCN7's seven classes, drawn by arithmetic, each with a difficulty that is built in.

The module owns how a scene looks and what makes it hard: haze and blur, ground of another class, an unusual scale, an
unusual colour. It ships and reads no image file, and never writes one: `sources` does that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from curriculum.errors import CallError

SIZE = 256
CLASSES = ("aGrass", "bField", "cIndustry", "dRiverLake", "eForest", "fResident", "gParking")
CAUSES = ("haze", "mixture", "scale", "colour")

Plane = NDArray[np.float32]  # SIZE x SIZE
Picture = NDArray[np.float32]  # SIZE x SIZE x 3, 0 to 255
Colour = Sequence[float]

_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
_OVER = 2  # shapes are drawn larger and reduced, for smooth edges
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
    """One drawn image: `difficulty` in [0, 1], higher = harder; `causes` of CAUSES say why, empty when nothing does."""

    class_name: str
    name: str
    image: Image.Image
    difficulty: float
    causes: tuple[str, ...]


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
    rng = default_rng([seed, label])
    # One difficulty from each of `count` equal slices of [0, 1], in an order that names and numbers don't betray.
    difficulties = rng.permutation((np.arange(count) + rng.random(count)) / count)
    for number, difficulty in enumerate(difficulties, start=1):
        yield draw_scene(CLASSES[label], number, round(float(difficulty), 4), default_rng([seed, label, number]))


def draw_scene(class_name: str, number: int, difficulty: float, rng: Generator) -> Scene:
    """Draw one scene as hard as `difficulty` in [0, 1] says, from `rng` alone."""
    causes = choose_causes(difficulty, rng)
    away = 2.0 ** (rng.choice((-1.3, 1.3)) * difficulty)
    picture = PAINTERS[class_name](rng, away if "scale" in causes else rng.uniform(0.9, 1.1))
    if "mixture" in causes:
        other = PAINTERS[rng.choice(_LOOKALIKES[class_name])](rng, 1.0)
        picture = mix(picture, other, 0.10 + 0.36 * difficulty, rng)
    if "colour" in causes:
        picture = recolour(picture, difficulty, rng)
    picture = add_haze(picture, difficulty if "haze" in causes else 0.12 * difficulty, rng)
    image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    return Scene(class_name, f"{class_name[0]}{number:03d}", image, difficulty, causes)


def choose_causes(difficulty: float, rng: Generator) -> tuple[str, ...]:
    """Pick no cause below 0.12, then one, two from 0.4, three from 0.7; the hard ones always have haze or a mixture."""
    count = int(np.searchsorted((0.12, 0.4, 0.7), difficulty, side="right"))
    picked = set(rng.choice(CAUSES, size=count, replace=False).tolist())
    if picked == {"scale", "colour"}:
        picked = {str(rng.choice(("haze", "mixture"))), str(rng.choice(("scale", "colour")))}
    return tuple(cause for cause in CAUSES if cause in picked)


def add_haze(picture: Picture, strength: float, rng: Generator) -> Picture:
    """Veil, flatten and blur a picture; `strength` in [0, 1], higher = hazier, 0 leaves it as it is."""
    if strength <= 0:
        return picture
    veil = (0.78 * strength * (1 + 0.25 * noise(rng, 2, octaves=2)).clip(0.5, 1.25)).clip(0, 0.9)[..., None]
    soft = Image.fromarray(picture.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2.6 * strength))
    return lerp(np.asarray(soft, np.float32), (188, 194, 200), veil)


def mix(picture: Picture, other: Picture, share: float, rng: Generator) -> Picture:
    """Lay ground of another picture over about `share` of this one, from one side or as a patch."""
    angle, patch = rng.uniform(0, 2 * math.pi), rng.random() < 0.4
    u, v = turned(angle, (rng.uniform(70, 186), rng.uniform(70, 186)) if patch else (SIZE / 2, SIZE / 2))
    field = (np.hypot(u, v) if patch else u) + 22 * noise(rng, 3, octaves=4)
    edge = np.quantile(field, share)
    return lerp(picture, other, ((edge - field) / 3).clip(0, 1)[..., None])


def recolour(picture: Picture, strength: float, rng: Generator) -> Picture:
    """Give a picture colours that its class seldom has: dry, cold, grey, dusk or infrared; higher `strength` = odder."""
    grey = picture.mean(axis=2, keepdims=True)
    looks = (
        grey * (1.10, 0.94, 0.66) + (picture - grey) * 0.25 + (14, 8, 0),
        grey * (0.80, 0.95, 1.20) + (picture - grey) * 0.25 + (0, 6, 16),
        grey + (picture - grey) * 0.05,
        picture * (0.50, 0.40, 0.52) + (12, 8, 22),
        picture[..., (1, 0, 2)] * (1.15, 0.85, 0.95),
    )
    return lerp(picture, looks[rng.integers(len(looks))], min(1.0, 0.3 + 0.75 * strength))


def noise(rng: Generator, cells: float, octaves: int = 4) -> Plane:
    """Summed octaves of random grids, mean about 0, spread about 1; `cells` = blotches across at the coarsest octave."""
    total, weight = np.zeros((SIZE, SIZE), np.float32), 1.0
    for octave in range(octaves):
        n = min(SIZE, max(2, round(cells * 2**octave)) + 2)
        grid = Image.fromarray(rng.standard_normal((n, n), np.float32))
        total += weight * np.asarray(grid.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        weight *= 0.6
    return np.asarray(total / max(float(total.std()), 1e-6), np.float32)


def lerp(a: Picture, b: Picture | Colour, t: Plane | float) -> Picture:
    return np.asarray(a + (np.asarray(b, np.float32) - a) * t, np.float32)


def ground(rng: Generator, palette: Sequence[Colour], cells: float, octaves: int = 5) -> Picture:
    """Mottle between the palette's colours, first to last."""
    t = (0.5 + 0.22 * noise(rng, cells, octaves)).clip(0, 1) * (len(palette) - 1)
    at = np.arange(len(palette))
    return np.stack([np.interp(t, at, [c[k] for c in palette]) for k in range(3)], axis=-1).astype(np.float32)


def vary(rng: Generator, colour: Colour, amount: float) -> tuple[float, float, float]:
    """A colour near `colour`: lighter or darker by about `amount`, its hue shifted by less."""
    light = rng.normal(0, amount)
    r, g, b = (float(np.clip(c + light + rng.normal(0, amount * 0.3), 0, 255)) for c in colour)
    return r, g, b


def turned(angle: float, centre: tuple[float, float] = (SIZE / 2, SIZE / 2)) -> tuple[Plane, Plane]:
    """Coordinates of every pixel, in pixels, along and across a direction."""
    x, y, c, s = _COLUMNS - centre[0], _ROWS - centre[1], np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * c + y * s, y * c - x * s


def winding(rng: Generator, bend: float, unit: float) -> Plane:
    """Signed distance in pixels from a line that winds across the picture; `bend` in pixels, 0 = straight."""
    u, v = turned(rng.uniform(0, math.pi), (SIZE / 2 + rng.uniform(-45, 45), SIZE / 2 + rng.uniform(-45, 45)))
    line, slope = np.zeros_like(u), np.zeros_like(u)
    for wave, share in ((rng.uniform(190, 300), 1.0), (rng.uniform(80, 130), 0.3)):
        turns, phase = 2 * math.pi / (wave * unit), rng.uniform(0, 6.28)
        line += bend * unit * share * np.sin(u * turns + phase)
        slope += bend * unit * share * turns * np.cos(u * turns + phase)
    return np.asarray((v - line) / np.sqrt(1 + slope**2), np.float32)


class Canvas:
    """Ground with shapes and crowns on it, each with a height, that one sun lights and shades."""

    def __init__(self, rng: Generator, land: Picture, unit: float) -> None:
        self.rng, self.unit = rng, unit
        self.angle, light = rng.uniform(0, math.pi), rng.uniform(0, 2 * math.pi)
        self.sun = (math.cos(light), math.sin(light))
        big = (SIZE * _OVER, SIZE * _OVER)
        self._image = Image.fromarray(land.clip(0, 255).astype(np.uint8)).resize(big, Image.Resampling.BILINEAR)
        self._tall = Image.new("F", big)
        self._pen, self._mason = ImageDraw.Draw(self._image), ImageDraw.Draw(self._tall)
        self._green: list[tuple[Plane, Picture]] = []

    def polygon(self, corners: Sequence[tuple[float, float]], colour: Colour, height: float = -1) -> None:
        """Fill a shape given in pixels along and across the scene's own direction; a height >= 0 raises it."""
        c, s, mid = math.cos(self.angle) * _OVER, math.sin(self.angle) * _OVER, SIZE / 2 * _OVER
        points = [(mid + x * c - y * s, mid + x * s + y * c) for x, y in corners]
        self._pen.polygon(points, fill=(int(colour[0]), int(colour[1]), int(colour[2])))
        if height >= 0:
            self._mason.polygon(points, fill=height * self.unit)

    def box(self, x: float, y: float, w: float, h: float, colour: Colour, height: float = -1) -> None:
        """Fill a rectangle by its corner and its size."""
        self.polygon(((x, y), (x + w, y), (x + w, y + h), (x, y + h)), colour, height)

    def disc(self, x: float, y: float, r: float, colour: Colour, height: float = -1) -> None:
        turns = np.linspace(0, 2 * math.pi, 22, endpoint=False)
        self.polygon([(x + r * math.cos(t), y + r * math.sin(t)) for t in turns], colour, height)

    def crowns(self, spacing: float, density: Plane | float, colours: Sequence[Colour]) -> None:
        """Plant trees about `spacing` units apart where `density` (0 to 1) lets them."""
        rng, step = self.rng, max(spacing * self.unit, 2.5)
        n = int(SIZE / step) + 4
        y, x = ((g + rng.uniform(0.1, 0.9, (n, n)) - 1) * step for g in np.mgrid[0:n, 0:n])
        rows, columns = (p.clip(0, SIZE - 1).astype(int) for p in (y, x))
        chance = np.broadcast_to(np.asarray(density, np.float32), (SIZE, SIZE))[rows, columns]
        radius = np.where(rng.random((n, n)) < chance, step * rng.uniform(0.5, 0.85, (n, n)), 0)
        tint = rng.integers(0, len(colours), (n, n))
        table = [a.astype(np.float32) for a in (y, x, radius**2)]
        cell = (np.arange(SIZE) / step).astype(int) + 1
        best, kind = np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), int)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                at = np.ix_(cell + down, cell + right)
                ty, tx, rr = (a[at] for a in table)
                dome = rr - (_ROWS - ty) ** 2 - (_COLUMNS - tx) ** 2
                higher = dome > best
                best[higher], kind[higher] = dome[higher], tint[at][higher]
        leaf = np.asarray(colours, np.float32)[kind] * (1 + 0.09 * noise(rng, 60 / self.unit, 2))[..., None]
        self._green.append((np.sqrt(best), leaf))

    def finish(self) -> Picture:
        """Reduce the shapes, set the crowns on them, light the crowns, cast the shadows, add the sensor's grain."""
        picture = np.asarray(self._image.reduce(_OVER), np.float32)
        tall = np.asarray(self._tall.reduce(_OVER), np.float32)
        for dome, leaf in self._green:
            down, right = np.gradient(dome)
            light = (1 - 0.30 * (right * self.sun[0] + down * self.sun[1])).clip(0.5, 1.4)
            edge = ((dome - 0.4) * 1.5).clip(0, 1) * (tall < 1.5 * self.unit)
            picture = lerp(picture, leaf * light[..., None], edge[..., None])
            tall = np.maximum(tall, (dome + 1.5 * self.unit) * (edge > 0.5))
        shade = cast_shadow(tall, self.sun)[..., None]
        grain = self.rng.normal(0, 3.0, (SIZE, SIZE, 1)).astype(np.float32)
        return np.asarray(picture * (1 - shade * (0.62, 0.58, 0.48)) + grain, np.float32)


def cast_shadow(tall: Plane, sun: tuple[float, float]) -> Plane:
    """How much of every pixel, 0 to 1, something towards the sun keeps in the shade."""
    reach = min(18, int(tall.max()) + 1)
    wide = np.pad(tall, reach, mode="edge")
    shade = np.zeros_like(tall)
    for step in range(1, reach + 1):
        down, right = round(step * sun[1]) + reach, round(step * sun[0]) + reach
        np.maximum(shade, wide[down : down + SIZE, right : right + SIZE] - step - tall, out=shade)
    return np.asarray(shade.clip(0, 1), np.float32)


