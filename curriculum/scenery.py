"""What each of RSSCN7's seven classes looks like from the air: one painter a class, by RSSCN7's own names.

A painter takes a random generator and `unit`, the pixels that a thing one unit long takes up (1 is usual, 2 is seen from
half as high), and gives a clear picture. The module knows nothing of difficulty: `scenes` makes a picture hard.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from curriculum.painting import SIZE, Canvas, Colour, Picture, ground, lerp, noise, tone, turned, vary, winding

TREES = ((38, 62, 34), (48, 74, 40), (58, 82, 44), (44, 66, 46))
LAWNS = ((70, 92, 48), (88, 110, 58), (112, 128, 76))
ROOFS = ((156, 92, 70), (134, 78, 62), (122, 116, 112), (96, 98, 104), (168, 152, 132), (112, 96, 84))
CARS = ((232, 232, 230), (206, 208, 210), (150, 152, 156), (44, 46, 52), (28, 28, 32), (158, 38, 34), (40, 66, 118))


def paint_grass(rng: Generator, unit: float) -> Picture:
    """Mottled greens, sometimes mown, with bare patches, faint paths and a few bushes."""
    tones = (((52, 80, 40), (82, 110, 54), (116, 134, 72)), ((74, 86, 48), (104, 112, 64), (142, 138, 88)))
    land = ground(rng, tones[rng.integers(2)], 3 / unit)
    if rng.random() < 0.3:
        across = turned(rng.uniform(0, math.pi))[1]
        land *= 1 + 0.06 * np.sign(np.sin(across * 2 * math.pi / (22 * unit)))
    bare = ((noise(rng, 4 / unit) - 1.5) * 1.2).clip(0, 0.6)
    land = lerp(land, tone((150, 132, 98)), bare)
    for _ in range(rng.integers(1, 4)):
        path = (1.6 + rng.uniform(0.6, 1.8) * unit - abs(winding(rng, rng.uniform(5, 40), unit))).clip(0, 1)
        worn = 0.38 + 0.16 * noise(rng, 10).clip(-1.5, 1.5)
        land = lerp(land, tone((172, 156, 122)), (path * worn))
    canvas = Canvas(rng, land, unit)
    canvas.crowns(rng.uniform(11, 18), (noise(rng, 3 / unit) - 1.2).clip(0, 0.5) + 0.01, TREES)
    return canvas.finish()


def paint_field(rng: Generator, unit: float) -> Picture:
    """Plots turned to one side, each with its crop, its rows and its tractor lines; hedges and tracks between them."""
    u, v = turned(rng.uniform(0, math.pi), (SIZE / 2 + rng.uniform(-40, 40), SIZE / 2 + rng.uniform(-40, 40)))
    edges = (np.cumsum(rng.uniform(55, 130, 80) * unit) - 2500 * unit).astype(np.float32)
    strip = np.searchsorted(edges, u)
    length = rng.uniform(80 * unit, 210 * unit, 81).astype(np.float32)[strip]
    shift = rng.uniform(0, 400, 81).astype(np.float32)[strip]
    part = np.floor((v + shift) / length).astype(int)
    plot = (strip * 31 + part * 7) % 101
    crops = ((92, 108, 58), (66, 88, 46), (150, 130, 92), (122, 98, 76), (170, 152, 104), (104, 84, 68), (168, 158, 72))
    colour = np.array([vary(rng, crops[rng.integers(len(crops))], 9) for _ in range(101)], np.float32).T[:, plot]
    along = np.where(rng.random(101)[plot] < 0.6, u, v) + 1.5 * unit * noise(rng, 2, 2)
    rows = (2 * math.pi / np.maximum(rng.uniform(3.4, 6.5, 101) * unit, 2.6)).astype(np.float32)[plot]
    light = 1 + rng.uniform(0.03, 0.15, 101).astype(np.float32)[plot] * np.sin(along * rows) + 0.05 * noise(rng, 5 / unit)
    wheel = np.mod(along, 34 * unit)
    light -= 0.16 * ((abs(wheel - 9 * unit) < 0.8) | (abs(wheel - 14 * unit) < 0.8))
    land = colour * light
    inside = np.mod(v + shift, length)
    margin = np.minimum(np.minimum(inside, length - inside), np.minimum(edges[strip] - u, u - edges[strip - 1]))
    land = lerp(land, tone((106, 112, 74)), (2.6 * unit - margin).clip(0, 0.9))
    land = lerp(land, tone((176, 160, 130)), (2.2 * unit + 1 - abs(u - edges[np.searchsorted(edges, 0)])).clip(0, 1))
    canvas = Canvas(rng, land, unit)
    canvas.crowns(9, (margin < 5 * unit) * (noise(rng, 4) - 0.4).clip(0, 0.8), TREES)
    return canvas.finish()


def paint_water(rng: Generator, unit: float) -> Picture:
    """A meandering river or a lake with shallows, sandbanks and a wooded shore; now and then a bridge or a boat."""
    river = rng.random() < 0.6
    rough = noise(rng, 4 / unit)
    if river:
        inland = abs(winding(rng, rng.uniform(22, 50), unit)) - rng.uniform(15, 34) * unit + 4 * unit * rough
    else:
        u, v = turned(rng.uniform(0, math.pi), (SIZE / 2 + rng.uniform(-70, 70), SIZE / 2 + rng.uniform(-70, 70)))
        inland = np.hypot(u, v * rng.uniform(0.9, 1.7)) - rng.uniform(70, 120) * unit + 13 * unit * rough
    deep = ((22, 44, 52), (30, 62, 58), (38, 54, 42), (26, 38, 62), (74, 76, 56))[rng.integers(5)]
    shallow = (deep[0] + 34, deep[1] + 42, deep[2] + 34)
    dry = rng.random() < 0.35
    land = ground(rng, ((112, 104, 76), (138, 124, 94), (150, 140, 108)) if dry else LAWNS, 5 / unit)
    sand = (2.5 + 5 * noise(rng, 3 / unit, 2).clip(-0.4, 2.2)) * unit
    land = lerp(land, tone((188, 172, 136)), ((sand - inland) / (2 * unit)).clip(0, 1))
    depth = (-inland / (9 * unit)).clip(0, 1)
    ripple = 1.6 * noise(rng, 25) + 2.5 * noise(rng, 3, 2)
    water = lerp(tone(shallow), tone(deep), depth) + ripple
    land = lerp(land, water, (0.5 - inland / 1.5).clip(0, 1))
    canvas = Canvas(rng, land, unit)
    if river and rng.random() < 0.3:
        canvas.box(-200, rng.uniform(-40, 40), 400, 9 * unit, (150, 148, 144), 4)
    elif not river:
        canvas.polygon([(unit * x, unit * y) for x, y in ((-5, 0), (-2, -2), (5, -1.5), (5, 1.5), (-2, 2))], (232, 232, 228))
    wooded = (inland > sand + 3 * unit) * (0.55 * np.exp(-inland.clip(0) / (30 * unit)) + 0.35 * noise(rng, 4 / unit)).clip(0, 0.9)
    canvas.crowns(10, wooded, TREES)
    return canvas.finish()


def paint_forest(rng: Generator, unit: float) -> Picture:
    """Hundreds of crowns, denser and thinner in places, seldom a glade or a track."""
    land = ground(rng, ((38, 46, 28), (64, 66, 40), (86, 82, 54)), 8 / unit)
    track = abs(winding(rng, 30, unit)) - 3.0 * unit if rng.random() < 0.3 else np.full((SIZE, SIZE), 99, np.float32)
    land = lerp(land, tone((150, 136, 106)), (1 - track / 1.5).clip(0, 0.8))
    tones = np.asarray(((34, 58, 32), (42, 68, 36), (52, 78, 40), (64, 86, 44), (40, 62, 44)), np.float32)
    tones = tones + ((0, 0, 0), (10, 2, 0), (-6, -4, 4), (34, 8, 2))[rng.integers(4)]
    open_ground = (noise(rng, 2.5 / unit) - rng.uniform(1.1, 2.4)).clip(0, 0.5) * 2
    canvas = Canvas(rng, land, unit)
    density = (0.97 - open_ground) * (track > 4 * unit)
    canvas.crowns(rng.uniform(11, 16), density, tones.tolist())
    canvas.crowns(7, density * 0.35, tones.tolist())
    return canvas.finish()


def paint_industry(rng: Generator, unit: float) -> Picture:
    """Yards between wide roads: halls with ridged roofs and skylights, tanks, stacked containers, parked lorries."""
    canvas = Canvas(rng, ground(rng, ((88, 88, 88), (102, 101, 98), (118, 115, 110)), 8 / unit), unit)
    wide, deep = rng.uniform(100, 125) * unit, rng.uniform(76, 100) * unit
    across, down = (int(200 / size) + 1 for size in (wide, deep))
    ox, oy = rng.uniform(0, 0.7) * wide, rng.uniform(0, 0.7) * deep
    for i in range(-across - 1, across + 1):
        for j in range(-down - 1, down + 1):
            x, y, w, h = i * wide + ox, j * deep + oy, wide - 9 * unit, deep - 9 * unit
            if canvas.hides(x + w / 2, y + h / 2, w / 2 + h / 2 + 20):
                continue
            yard = ((150, 146, 138), (132, 128, 120), (108, 108, 108), (112, 122, 82))[rng.integers(4)]
            canvas.box(x, y, w, h, vary(rng, yard, 6))
            kind = rng.choice(("hall", "tanks", "stacks"), p=(0.68, 0.17, 0.15))
            {"hall": _hall, "tanks": _tanks, "stacks": _stacks}[kind](canvas, x, y, w, h)
        canvas.box(i * wide + ox - 5 * unit, -200, 0.7 * unit, 400, (186, 182, 160))
    canvas.crowns(8, (noise(rng, 6 / unit) - 1.6).clip(0, 0.4), TREES)
    return canvas.finish()


def _hall(canvas: Canvas, x: float, y: float, w: float, h: float) -> None:
    rng, unit = canvas.rng, canvas.unit
    roofs = ((212, 212, 208), (186, 190, 194), (104, 138, 172), (160, 106, 88), (146, 150, 150), (228, 226, 218))
    colour, tall = vary(rng, roofs[rng.integers(len(roofs))], 7), rng.uniform(6, 13)
    x, y, w, h = x + 5 * unit, y + 5 * unit, w * rng.uniform(0.68, 0.9), h * rng.uniform(0.6, 0.82)
    canvas.box(x, y, w, h, colour, tall)
    bays = int(rng.integers(2, 7))
    for bay in range(bays):
        top, half = y + h * bay / bays, h / bays / 2
        canvas.box(x, top, w, half, [c * 0.87 for c in colour])
        canvas.box(x, top + half - 0.4 * unit, w, 0.8 * unit, [min(255, c * 1.12) for c in colour])
        for k in range(int(rng.integers(3, 7)) if bays < 5 else 0):
            canvas.box(x + w * (0.08 + 0.13 * k), top + half * 0.3, w * 0.06, half * 0.5, (206, 220, 224))
    for _ in range(rng.integers(1, 6)):
        vent = rng.uniform(2, 5) * unit
        canvas.box(x + rng.uniform(0.05, 0.88) * w, y + rng.uniform(0.05, 0.85) * h, vent, vent, (170, 172, 172), tall + 3)
    for k in range(int(rng.integers(0, 7))):
        canvas.box(x + (5 + 7 * k) * unit, y + h + 2 * unit, 4 * unit, 10 * unit, vary(rng, (214, 212, 208), 18), 3)


def _tanks(canvas: Canvas, x: float, y: float, w: float, h: float) -> None:
    rng, unit = canvas.rng, canvas.unit
    pitch = rng.uniform(20, 34) * unit
    for i in range(int(w / pitch)):
        for j in range(int(h / pitch)):
            tx, ty, r = x + (i + 0.55) * pitch, y + (j + 0.55) * pitch, pitch * rng.uniform(0.3, 0.42)
            canvas.disc(tx, ty, r, (150, 150, 148), 8)
            canvas.disc(tx, ty, r * 0.9, vary(rng, (218, 217, 212), 8), 8)
            canvas.disc(tx, ty, r * 0.16, (140, 140, 140))


def _stacks(canvas: Canvas, x: float, y: float, w: float, h: float) -> None:
    rng, unit = canvas.rng, canvas.unit
    paints = ((164, 66, 48), (54, 94, 134), (86, 116, 88), (186, 140, 66), (170, 172, 174))
    for i in range(int(w / (15 * unit))):
        for j in range(int(h / (5.5 * unit))):
            if rng.random() < 0.75 and j % 4 != 3:
                colour = vary(rng, paints[rng.integers(len(paints))], 10)
                canvas.box(x + (3 + 15 * i) * unit, y + (3 + 5.5 * j) * unit, 13 * unit, 4.8 * unit, colour, float(rng.integers(2, 6)))


def paint_resident(rng: Generator, unit: float) -> Picture:
    """A grid of streets, rows of small gabled roofs, drives, gardens with trees and some pools."""
    canvas = Canvas(rng, ground(rng, LAWNS, 9 / unit), unit)
    street, lot, deep = 9 * unit, rng.uniform(24, 32) * unit, rng.uniform(34, 44) * unit
    block, tones = 2 * deep + street, rng.choice(len(ROOFS), 3, replace=False)
    oy, ox, run = rng.uniform(0, block), rng.uniform(0, lot), int(rng.integers(5, 9))
    lots, blocks = int(195 / lot) + 1, int(195 / block) + 1
    for j in range(-blocks - 1, blocks + 1):
        top = oy + j * block
        canvas.box(-200, top - street - 1.5 * unit, 400, street + 3 * unit, (150, 148, 140))
        canvas.box(-200, top - street, 400, street, (104, 104, 106))
        for i in range(-lots - 1, lots + 1):
            if i % run:
                for side in (0, 1):
                    _house(canvas, ox + i * lot, top + side * deep, lot, deep, side, ROOFS[rng.choice(tones)])
    for i in range(-lots - 1, lots + 1):
        if i % run == 0:
            canvas.box(ox + i * lot + (lot - street) / 2, -200, street, 400, (106, 106, 108))
    canvas.crowns(rng.uniform(8, 11), rng.uniform(0.12, 0.34) + 0.1 * noise(rng, 4 / unit, 2), TREES)
    return canvas.finish()


def _house(canvas: Canvas, x: float, y: float, lot: float, deep: float, side: int, roof: Colour) -> None:
    """One lot, whose street lies above it (side 0) or below it (side 1)."""
    rng, unit = canvas.rng, canvas.unit
    if canvas.hides(x + lot / 2, y + deep / 2, lot / 2 + deep) or rng.random() < 0.06:
        return
    w, h = lot * rng.uniform(0.5, 0.72), deep * rng.uniform(0.36, 0.48)
    hx, front = x + lot * rng.uniform(0.06, 0.24), deep * rng.uniform(0.16, 0.26)
    hy = y + (front if side == 0 else deep - front - h)
    drive, colour = lot * 0.16, vary(rng, roof, 9)
    canvas.box(x, y, 0.7 * unit, deep, (126, 118, 96))
    canvas.box(hx + w - drive, y if side == 0 else hy, drive, front + h * (side == 1) + 1, (168, 164, 156))
    back = y + deep * (0.78 if side == 0 else 0.12)
    if rng.random() < 0.22:
        canvas.box(hx + 0.1 * w, back - unit, 9 * unit, 5.5 * unit, (198, 192, 180))
        canvas.box(hx + 0.1 * w + unit, back, 7 * unit, 3.5 * unit, (78, 178, 196))
    canvas.box(hx, hy, w, h, [c * 0.80 for c in colour], 5)
    if rng.random() < 0.5:
        canvas.box(hx, hy, w, h / 2, [min(255, c * 1.12) for c in colour])
    else:  # a hip roof: four slopes
        ridge = min(w, h) / 2
        left, right, mid = (hx + ridge, hy + h / 2), (hx + w - ridge, hy + h / 2), [min(255, c * 1.12) for c in colour]
        canvas.polygon(((hx, hy), (hx + w, hy), right, left), mid)
        canvas.polygon(((hx, hy), left, (hx, hy + h)), colour)
    canvas.box(hx + w * 0.7, hy + h * 0.25, 1.8 * unit, 1.8 * unit, (150, 110, 96), 7)


def paint_parking(rng: Generator, unit: float) -> Picture:
    """Asphalt with double rows of marked bays, cars in most of them, planted islands and aisles."""
    tone = rng.uniform(82, 122)
    land = ground(rng, ((tone - 14,) * 3, (tone, tone, tone + 1), (tone + 16, tone + 15, tone + 13)), 5 / unit)
    canvas = Canvas(rng, land, unit)
    bay, deep, aisle = 7.2 * unit, 14 * unit, rng.uniform(15, 20) * unit
    pitch, per_island = 2 * deep + aisle, int(rng.integers(9, 16))
    full, oy = rng.uniform(0.45, 0.95), rng.uniform(0, pitch)
    for j in range(int(-200 / pitch) - 2, int(200 / pitch) + 1):
        middle = oy + j * pitch + deep
        canvas.box(-200, middle - 0.4, 400, 0.8 * unit, (206, 206, 200))
        busy = full * rng.uniform(0.6, 1.05)
        for i in range(int(-190 / bay), int(190 / bay) + 1):
            x = i * bay
            if canvas.hides(x, middle, 2 * deep):
                continue
            if i % per_island == 0:
                canvas.box(x + 0.5, middle - deep, bay - 1, 2 * deep, (156, 152, 142))
                canvas.box(x + 0.5 + unit, middle - deep + unit, bay - 1 - 2 * unit, 2 * deep - 2 * unit, (82, 100, 56))
                continue
            canvas.box(x - 0.3 * unit, middle - deep, 0.7 * unit, 2 * deep, (206, 206, 200))
            for top in (middle - deep, middle):
                if rng.random() < busy:
                    _car(canvas, x + bay / 2, top + deep / 2 + rng.normal(0, 0.5) * unit, 1 if rng.random() < 0.5 else -1)
    canvas.crowns(9, 0.05 + 0.04 * noise(rng, 3), TREES)
    return canvas.finish()


def _car(canvas: Canvas, x: float, y: float, ahead: int) -> None:
    """A car about a middle: body, windscreen, rear window, roof; `ahead` is the sign of where it looks."""
    rng, u = canvas.rng, canvas.unit
    if canvas.hides(x, y, 8 * u):
        return
    colour, long = vary(rng, CARS[rng.integers(len(CARS))], 8), rng.uniform(4.6, 5.6)
    body = [(-2.3, -long + 1), (-1.5, -long), (1.5, -long), (2.3, -long + 1), (2.3, long - 0.6), (-2.3, long - 0.6)]
    canvas.polygon([(x + a * u, y - b * u * ahead) for a, b in body], colour, 2)
    if u < 0.6:
        return
    glass = (34, 40, 48)
    canvas.polygon([(x + a * u, y - b * u * ahead) for a, b in ((-2, 2.4), (2, 2.4), (1.6, 0.8), (-1.6, 0.8))], glass)
    canvas.polygon([(x + a * u, y - b * u * ahead) for a, b in ((-1.6, -2.6), (1.6, -2.6), (1.9, -3.6), (-1.9, -3.6))], glass)


PAINTERS: dict[str, Callable[[Generator, float], Picture]] = {
    "aGrass": paint_grass,
    "bField": paint_field,
    "cIndustry": paint_industry,
    "dRiverLake": paint_water,
    "eForest": paint_forest,
    "fResident": paint_resident,
    "gParking": paint_parking,
}
