"""Many sort at once, through faults: `python -m tests.measure_team FOLDER [--annotators 20 --seconds 60]`.

Each annotator is a browser context of its own that presses three keys a second, with bursts 30 ms apart. A third of the way
in, the server is killed and started again; then one half of the annotators loses its connection. At the end every key that
a page accepted is looked for in the database: lost, doubled, and on a wrong image must all be 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Page, async_playwright, expect

from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.store import Store
from tests.browser import QUIET, Server, find_chromium, serving
from tests.test_sorting import LEVEL, RECORD

SHOWN = ".sorting img[data-example]"
SETTLE = 300_000


async def press_keys(page: Page, name: str, until: float) -> None:
    """Three keys a second; now and then ten of them 30 ms apart."""
    chance = random.Random(name)
    while time.monotonic() < until:
        burst = chance.random() < 0.03
        for _ in range(10 if burst else 1):
            await page.keyboard.press(chance.choice("123"))
            await asyncio.sleep(0.03 if burst else 0)
        await asyncio.sleep(chance.uniform(0.2, 0.46))


async def break_things(server: Server, contexts: list[BrowserContext], seconds: float, offline: float) -> None:
    """Kill the server, start it again, then take the connection from every second annotator for a while."""
    await asyncio.sleep(seconds / 3)
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(2)
    await asyncio.to_thread(server.start)
    for context in contexts[::2]:
        await context.set_offline(True)
    await asyncio.sleep(offline)
    for context in contexts[::2]:
        await context.set_offline(False)


Answer = tuple[str, str, str]
"""Annotator, example, level."""


async def sort_together(server: Server, annotators: list[str], seconds: float, offline: float) -> tuple[int, list[Answer]]:
    """How many keys were pressed, and what the pages accepted of them, once every page says that all of it is saved."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        contexts = [await browser.new_context(viewport={"width": 1366, "height": 768}) for _ in annotators]
        pages = []
        for name, context in zip(annotators, contexts, strict=True):
            await context.add_init_script(RECORD)
            await context.add_cookies([server.cookie(name)])
            page = await context.new_page()
            await page.goto(f"{server.url}/sort?dataset=measured", timeout=SETTLE)
            await page.locator(SHOWN).wait_for(timeout=SETTLE)
            pages.append(page)
        until = time.monotonic() + max(seconds, seconds / 3 + offline + 10)
        pressing = [press_keys(page, name, until) for page, name in zip(pages, annotators, strict=True)]
        await asyncio.gather(break_things(server, contexts, seconds, offline), *pressing)
        presses, accepted = 0, list[Answer]()
        for page, name in zip(pages, annotators, strict=True):
            await expect(page.locator(".sorting .badge")).to_have_text("saved", timeout=SETTLE)
            pressed: list[dict[str, Any]] = await page.evaluate("window.pressed")
            presses += len(pressed)
            accepted += [(name, one["example"], LEVEL[one["key"]]) for one in pressed if one["example"]]
        await browser.close()
        return presses, accepted


def compare(accepted: list[Answer], stored: list[Answer]) -> dict[str, int]:
    """Keys accepted (a key before the image has painted is not), and how many of them were lost, doubled, or stored on an image that wasn't there."""
    want, have = Counter(accepted), Counter(stored)
    shown = {(name, example) for name, example, _ in accepted}
    surplus = have - want  # an image that was asked twice is accepted twice
    wrong = sum(count for (name, example, _), count in surplus.items() if (name, example) not in shown)
    return {"accepted": len(accepted), "lost": (want - have).total(), "doubled": surplus.total() - wrong, "on a wrong image": wrong}


def measure(folder: Path, annotators: int, seconds: float, offline: float) -> dict[str, int]:
    names = [f"Annotator {n:02}" for n in range(1, annotators + 1)]
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(Path(scratch) / "home")
        with Store.open(home) as store:
            add_dataset(store, "measured", folder)
        with serving(home, signed_up=names) as server:
            presses, accepted = asyncio.run(sort_together(server, names, seconds, offline))
        with Store.open(home) as store:
            stored = store.rows("SELECT annotator, example, level FROM annotation WHERE action = 'label' ORDER BY seq")
    return {"pressed": presses, **compare(accepted, stored)}


def run() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="a folder of class folders with more images than anyone gets through")
    options.add_argument("--annotators", type=int, default=20)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--offline", type=float, default=60, help="seconds without a connection")
    given = options.parse_args()
    counts = measure(given.folder, given.annotators, given.seconds, given.offline)
    print(json.dumps(counts))
    print(f"load of this machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    raise SystemExit(0 if counts["lost"] == counts["doubled"] == counts["on a wrong image"] == 0 else 1)


if __name__ == "__main__":
    run()
