"""Pictures drawn over pictures: regions for and against a class, filters and what they answer as grids. Arrays in, arrays out.

Blue under a whole line speaks for a class, orange under stripes and a dotted line against it: the pattern tells as much as the colour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from curriculum.charts.palette import AGAINST_COLOUR, FOR_COLOUR

SIDE = 448
"""Pixels that a picture has at least, so that lines are fine."""
TINT, LINE = 0.35, 3
Pixels = NDArray[np.uint8]


def regions_over(image: Pixels, segments: NDArray[np.integer], for_it: list[int], against: list[int]) -> Pixels:
    """The image with its leading regions: numbered from the strongest on, +1, +2 ... for a class, -1, -2 ... against it.

    Args:
        image: uint8 (size, size, 3). segments: (size, size), the region of each pixel.
        for_it, against: regions, the strongest first.
    """
    from skimage.segmentation import find_boundaries  # half a second that a training run doesn't need

    times = max(1, -(-SIDE // len(image)))
    large = np.asarray(Image.fromarray(image).resize((image.shape[1] * times, image.shape[0] * times), Image.Resampling.BICUBIC)).astype(
        float
    )
    places = np.kron(segments, np.ones((times, times), dtype=segments.dtype))
    across = np.add.outer(np.arange(places.shape[0]), np.arange(places.shape[1]))
    marks = []
    for regions, colour, sign in ((against, AGAINST_COLOUR, "-"), (for_it, FOR_COLOUR, "+")):
        paint = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)
        inside = np.isin(places, regions)
        tinted = inside if sign == "+" else inside & (across // 6 % 2 == 0)
        large[tinted] = (1 - TINT) * large[tinted] + TINT * paint
        for number, region in enumerate(regions, start=1):
            there = places == region
            edge = find_boundaries(there, mode="inner")
            for _ in range(LINE - 1):
                edge |= find_boundaries(there & ~edge, mode="inner") & there
            rim = find_boundaries(there, mode="outer")
            dotted = edge if sign == "+" else edge & (across // 8 % 2 == 0)
            large[rim], large[dotted] = 255, paint
            marks.append((_middle(there), f"{sign}{number}", colour))
    return _marked(large.clip(0, 255).astype(np.uint8), marks)


def _middle(there: NDArray[np.bool_]) -> tuple[int, int]:
    """A point of the region near its centre, (row, column)."""
    rows, columns = np.nonzero(there)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return int(rows[nearest]), int(columns[nearest])


def _marked(pixels: Pixels, marks: list[tuple[tuple[int, int], str, str]]) -> Pixels:
    picture = Image.fromarray(pixels)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=20)
    height, width = pixels.shape[:2]
    for (row, column), text, colour in marks:
        at = (min(max(column, 18), width - 18), min(max(row, 14), height - 14))
        draw.rounded_rectangle(draw.textbbox(at, text, font, anchor="mm", stroke_width=4), 4, fill="white", outline=colour, width=2)
        draw.text(at, text, "black", font, anchor="mm")
    return np.asarray(picture)


# -- grids ---------------------------------------------------------------------------------------


def filter_grid(filters: NDArray[np.floating], times: int = 6, columns: int = 8) -> Pixels:
    """First-layer filters side by side, each on its own scale: grey is 0. (n, side, side, 3), any range."""
    peak = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    tiles = ((filters / np.where(peak > 0, peak, 1) + 1) * 127.5).round().astype(np.uint8)
    return grid(np.kron(tiles, np.ones((1, times, times, 1), dtype=np.uint8)), columns)


def map_grid(maps: NDArray[np.floating], peak: float, columns: int = 8) -> Pixels:
    """What filters answer, side by side on one scale: blue above 0, orange below, black at 0. (n, h, w); `peak`: full colour, above 0."""
    share = np.clip(np.asarray(maps, dtype=np.float32) / (peak or 1), -1, 1)[..., None]
    warm, cold = (np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) for colour in ("#FFB000", "#7FD0FF"))
    return grid((np.clip(share, 0, 1) * cold + np.clip(-share, 0, 1) * warm).astype(np.uint8), columns)


def grid(tiles: Pixels, columns: int) -> Pixels:
    """Tiles (n, h, w, 3) in rows of `columns`, a grey line between."""
    count, height, width, _ = tiles.shape
    rows = -(-count // columns)
    out = np.full((rows * (height + 2) - 2, columns * (width + 2) - 2, 3), 128, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + 2), number % columns * (width + 2)
        out[top : top + height, left : left + width] = tile
    return out
