"""What every drawn scene is painted with: noise, winding lines, and a canvas whose shapes and trees one sun lights.

The module knows brushes, not subjects: it never decides what a scene shows or how hard it is (`scenes` does), and reads
and writes no file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 256

Plane = NDArray[np.float32]  # SIZE x SIZE
Picture = NDArray[np.float32]  # 3 x SIZE x SIZE, 0 to 255: channels first, which numpy broadcasts ten times faster
Colour = Sequence[float]

_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
_OVER = 2  # shapes are drawn larger and reduced, for smooth edges
_BANK_CELLS = 64


def noise(rng: Generator, cells: float, octaves: int = 5) -> Plane:
    """Blotches, about `cells` of them across, roughened by finer ones: mean about 0, spread about 1."""
    bank = _bank(octaves)
    side = min(bank.width, bank.width * cells / _BANK_CELLS)
    left, top = rng.uniform(0, bank.width - side, 2)
    cut = bank.resize((SIZE, SIZE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    plane = np.asarray(cut)[:: rng.choice((1, -1)), :: rng.choice((1, -1))]
    return np.asarray((plane - plane.mean()) / max(float(plane.std()), 1e-6), np.float32)


@cache
def _bank(octaves: int) -> Image.Image:
    """Summed octaves of one fixed random field: cutting pieces out of it is far quicker than summing anew."""
    rng, side = default_rng(octaves), 1024
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        n = _BANK_CELLS * 2**octave
        grid = Image.fromarray(rng.standard_normal((n, n), np.float32))
        total += 0.6**octave * np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC))
    return Image.fromarray(total)


def tone(colour: Colour) -> NDArray[np.float32]:
    """A colour in the shape that broadcasts over a picture."""
    return np.asarray(colour, np.float32).reshape(3, 1, 1)


def lerp(a: NDArray[np.float32], b: NDArray[np.float32], t: NDArray[np.floating] | float) -> Picture:
    """Go from `a` to `b` by `t`, 0 to 1."""
    return a + (b - a) * np.asarray(t, np.float32)


def from_image(image: Image.Image) -> Picture:
    """The picture that an image shows."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(image), 2, 0), np.float32)


def to_image(picture: Picture) -> Image.Image:
    """The image that shows a picture."""
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(picture.clip(0, 255).astype(np.uint8), 0, 2)))


def ground(rng: Generator, palette: Sequence[Colour], cells: float) -> Picture:
    """Mottle between the palette's colours, first to last."""
    at = (0.5 + 0.22 * noise(rng, cells)) * (len(palette) - 1)
    land: Picture = np.broadcast_to(tone(palette[0]), (3, SIZE, SIZE))
    for k, colour in enumerate(palette[1:]):
        land = lerp(land, tone(colour), (at - k).clip(0, 1))
    return land


def vary(rng: Generator, colour: Colour, amount: float) -> tuple[float, float, float]:
    """A colour near `colour`: lighter or darker by about `amount`, its hue shifted by less."""
    light, *hue = rng.standard_normal(4).tolist()
    r, g, b = (min(255.0, max(0.0, c + amount * (light + 0.3 * h))) for c, h in zip(colour, hue, strict=True))
    return r, g, b


def turned(angle: float, centre: tuple[float, float] = (SIZE / 2, SIZE / 2)) -> tuple[Plane, Plane]:
    """Coordinates of every pixel, in pixels, along and across a direction."""
    x, y, c, s = _COLUMNS - centre[0], _ROWS - centre[1], np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * c + y * s, y * c - x * s


def winding(rng: Generator, bend: float, unit: float) -> Plane:
    """Signed distance in pixels from a line that winds across the picture; `bend` in pixels, 0 = straight."""
    u, v = turned(rng.uniform(0, math.pi), (SIZE / 2 + rng.uniform(-45, 45), SIZE / 2 + rng.uniform(-45, 45)))
    line, slope = np.zeros_like(u), np.zeros_like(u)
    for wave, share in ((rng.uniform(230, 330), 1.0), (rng.uniform(110, 150), 0.25)):
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
        self._image = to_image(land).resize(big, Image.Resampling.NEAREST)
        self._tall = Image.new("F", big)
        self._pen, self._mason = ImageDraw.Draw(self._image), ImageDraw.Draw(self._tall)
        self._green: list[tuple[Plane, Picture]] = []

    def hides(self, x: float, y: float, reach: float) -> bool:
        """Whether everything within `reach` pixels of a place lies outside the picture."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return max(abs(x * c - y * s), abs(x * s + y * c)) > SIZE / 2 + reach

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

    def crowns(self, spacing: float, density: NDArray[np.floating] | float, colours: Sequence[Colour]) -> None:
        """Plant trees about `spacing` units apart where `density` (0 to 1) lets them."""
        rng, step = self.rng, max(spacing * self.unit, 3.5)
        n = int(SIZE / step) + 3
        y, x = ((g + rng.uniform(0.1, 0.9, (n, n)) - 1) * step for g in np.mgrid[0:n, 0:n])
        chance = np.broadcast_to(np.asarray(density, np.float32), (SIZE, SIZE))
        rows, columns = (p.clip(0, SIZE - 1).astype(int) for p in (y, x))
        grown = rng.random((n, n)) < chance[rows, columns]
        count = int(grown.sum())
        tree = np.stack([y[grown], x[grown], step * rng.uniform(0.5, 0.85, count), rng.integers(0, len(colours), count)])
        dome, tint = _highest(tree.astype(np.float32))
        leaf = np.asarray(colours, np.float32).T[:, tint] * (1 + 0.08 * noise(rng, 22 / self.unit))
        self._green.append((dome, leaf))

    def finish(self) -> Picture:
        """Reduce the shapes, set the crowns on them, light the crowns, cast the shadows, add the sensor's grain."""
        picture = from_image(self._image.reduce(_OVER))
        tall = np.asarray(self._tall.reduce(_OVER), np.float32)
        for dome, leaf in self._green:
            down, right = np.gradient(dome)
            light = (1 - 0.30 * (right * self.sun[0] + down * self.sun[1])).clip(0.5, 1.4)
            edge = ((dome - 0.4) * 1.5).clip(0, 1) * (tall < 1.5 * self.unit)
            picture = lerp(picture, leaf * light, edge)
            tall = np.maximum(tall, (dome + 1.5 * self.unit) * (edge > 0.5))
        shade = cast_shadow(tall, self.sun) * tone((0.62, 0.58, 0.48))
        return picture * (1 - shade) + 3 * self.rng.standard_normal((SIZE, SIZE), np.float32)


def _highest(tree: NDArray[np.float32]) -> tuple[Plane, NDArray[np.int64]]:
    """The height of the domes of all trees (rows: y, x, radius, tint) over every pixel, and the highest one's tint."""
    y, x, radius, tint = (row[:, None, None] for row in tree)
    reach = math.ceil(float(tree[2].max(initial=0))) + 1
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    rows, columns = np.floor(y).astype(int) + down, np.floor(x).astype(int) + right
    square = radius**2 - (rows - y) ** 2 - (columns - x) ** 2
    seen = (square > 0) & (rows >= 0) & (rows < SIZE) & (columns >= 0) & (columns < SIZE)
    # Height and tint go into one number, so that a single maximum keeps the right tint.
    packed = (square * 64).astype(np.int64) * 16 + tint.astype(np.int64)
    top = np.zeros(SIZE * SIZE, np.int64)
    np.maximum.at(top, (rows * SIZE + columns)[seen], packed[seen])
    highest = top.reshape(SIZE, SIZE)
    return np.sqrt((highest >> 4) / 64).astype(np.float32), highest & 15


def cast_shadow(tall: Plane, sun: tuple[float, float]) -> Plane:
    """How much of every pixel, 0 to 1, something towards the sun keeps in the shade."""
    reach = min(18, int(tall.max()) + 1)
    wide = np.pad(tall, reach, mode="edge")
    shade = np.zeros_like(tall)
    for step in range(1, reach + 1):
        down, right = round(step * sun[1]) + reach, round(step * sun[0]) + reach
        np.maximum(shade, wide[down : down + SIZE, right : right + SIZE] - step - tall, out=shade)
    return np.asarray(shade.clip(0, 1), np.float32)
