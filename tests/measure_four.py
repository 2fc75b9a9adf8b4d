"""How fast Compare four feels: `python -m tests.measure_four FOLDER [--fours 60]` compares fours of a data set in a temporary home
with a real Chromium and says how long it takes from the second key to the next four images on the screen (median, p95)."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Error, Page

from curriculum import datasets, labels
from curriculum.home import Home
from curriculum.store import Store
from curriculum.vocabulary import Level
from tests.browser import chromium, serving

PEOPLE: tuple[tuple[str, Level], ...] = (("Ann", "hard"), ("Bo", "easy"))
WATCH = """() => {
  const find = (root) => root.querySelector('.sorting .tiles')
    ?? [...root.querySelectorAll('*')].map((node) => node.shadowRoot && find(node.shadowRoot)).find(Boolean);
  const tiles = find(document);
  const shown = () => [...tiles.querySelectorAll('img')].map((image) => image.complete && image.src);
  window.took = [];
  let pressed = null, before = '';
  addEventListener('keydown', (event) => { if (event.key === '2') { pressed = performance.now(); before = shown().join(); } }, true);
  const channel = new MessageChannel();  // a message posted in a frame arrives behind its paint
  channel.port1.onmessage = (message) => window.took.push(performance.now() - message.data);
  const frame = () => {
    const now = pressed && shown();
    if (now && now.length === 4 && now.every(Boolean) && now.join() !== before) { channel.port2.postMessage(pressed); pressed = null; }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""


def measure(page: Page, url: str, count: int) -> list[float]:
    """Milliseconds from each second choice to the paint of the next four."""
    page.goto(f"{url}/sort?dataset=measured&view=four")
    ready = page.locator(".sorting .tile[data-example]").nth(3)
    ready.wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    page.evaluate(WATCH)
    for n in range(count):
        page.keyboard.press("1")
        page.wait_for_timeout(150)
        page.keyboard.press("2")
        with suppress(Error):
            page.wait_for_function(f"window.took.length === {n + 1}", polling=20, timeout=3000)
        ready.wait_for()
        page.wait_for_timeout(150)  # nobody chooses faster for long
    took: list[float] = page.evaluate("window.took")
    return took


def run() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--fours", type=int, default=60)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        with Store.open(home) as store:
            datasets.add_dataset(store, "measured", given.folder)
            for example in datasets.examples(store, "measured")["example"].tolist()[::7]:
                for name, level in PEOPLE:
                    labels.annotate(store, "measured", str(example), name, level)
        with serving(home, signed_up=["Me"]) as server, chromium() as browser:
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.context.add_cookies([server.cookie("Me")])
            took = sorted(measure(page, server.url, given.fours))
    p95 = took[int(len(took) * 0.95)]
    print(f"{len(took)} fours: median {statistics.median(took):.0f} ms, p95 {p95:.0f} ms, slowest {took[-1]:.0f} ms")
    print(f"load of this machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    run()
