"""How fast sorting feels: `python -m tests.measure_sorting FOLDER [--keys 200]` sorts a data set in a temporary home with a
real Chromium and says how long it takes from key press to the next image on the screen (median, p95)."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Error, Page

from curriculum.config import Home
from curriculum.datasets import add_dataset
from curriculum.store import Store
from tests.browser import chromium, serving

WATCH = """() => {
  const image = (root) => root.querySelector('.sorting img[data-example]')
    ?? [...root.querySelectorAll('*')].map((node) => node.shadowRoot && image(node.shadowRoot)).find(Boolean);
  window.took = [];
  let pressed = null, before = null, host = null;
  const current = () => {  // the walk over the whole page is done once, not in every frame
    if (!host?.isConnected) host = image(document)?.closest('.sorting');
    return host?.querySelector('img');
  };
  addEventListener('keydown', () => { pressed = performance.now(); before = current().src; }, true);
  const channel = new MessageChannel();  // a message posted in a frame arrives behind its paint
  channel.port1.onmessage = (message) => window.took.push(performance.now() - message.data);
  const frame = () => {
    const now = pressed && current();
    if (now && now.src !== before && now.complete) { channel.port2.postMessage(pressed); pressed = null; }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""


def measure(page: Page, url: str, keys: int) -> list[float]:
    """Milliseconds from each key to the paint of the next image."""
    page.goto(f"{url}/sort?dataset=measured")
    page.locator(".sorting img[data-example]").wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    page.evaluate(WATCH)
    for n in range(keys):
        while page.evaluate("window.took.length") == n:  # a page may miss a key; then it is pressed again
            page.keyboard.press("123"[n % 3])
            with suppress(Error):
                page.wait_for_function(f"window.took.length === {n + 1}", polling=20, timeout=3000)
        page.locator(".sorting img[data-example]").wait_for()
        page.wait_for_timeout(150)  # nobody presses faster for long
    took: list[float] = page.evaluate("window.took")
    return took


def run() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--keys", type=int, default=200)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        with Store.open(home) as store:
            add_dataset(store, "measured", given.folder)
        with serving(home, signed_up=["Me"]) as server, chromium() as browser:
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.context.add_cookies([server.cookie("Me")])
            took = sorted(measure(page, server.url, given.keys))
    p95 = took[int(len(took) * 0.95)]
    print(f"{len(took)} keys: median {statistics.median(took):.0f} ms, p95 {p95:.0f} ms, slowest {took[-1]:.0f} ms")
    print(f"load of this machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    run()
