"""How fast sorting feels: `python -m tests.measure_sorting FOLDER [--keys 200]` sorts a data set in a temporary home with a
real Chromium and says how long it takes from key press to the next image on the screen (median, p95).

`--pixels 400` enlarges the images first; `--slow-page 0.3` makes the page's script take so long, and run anew about once a
second; `--train` trains a network on all cores meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image
from playwright.sync_api import Error, Page

from curriculum import runs
from curriculum.app import server
from curriculum.config import TrainConfig
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.images import SUFFIXES, open_rgb
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


SLOW_PAGE = """
import runpy, time
import streamlit as st
time.sleep({seconds})
runpy.run_path({script!r})

@st.fragment(run_every=1.0)
def again():
    if st.session_state.get("_again"):
        st.session_state["_again"] = False
        st.rerun()
    st.session_state["_again"] = True

again()
"""
SLOW_APP = """
import streamlit as st
from curriculum.app import server

app = st.App({page!r}, lifespan=server.lifespan, routes=server.ROUTES)
"""


def slow_app(folder: Path, seconds: float) -> Path:
    """The same app, whose page takes so many seconds longer and runs anew by itself."""
    page, app = folder / "slow_page.py", folder / "slow_app.py"
    page.write_text(SLOW_PAGE.format(seconds=seconds, script=str(server.SCRIPT)), encoding="utf-8")
    app.write_text(SLOW_APP.format(page=str(page)), encoding="utf-8")
    return app


def enlarge(folder: Path, into: Path, pixels: int, count: int) -> Path:
    """About so many of the images, evenly from all classes, at another size, as JPEG of high quality."""
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    for path in files[:: max(1, len(files) // count)]:
        (into / path.parent.name).mkdir(parents=True, exist_ok=True)
        open_rgb(path).resize((pixels, pixels), Image.Resampling.BICUBIC).save(into / path.parent.name / f"{path.stem}.jpg", quality=92)
    return into


@contextmanager
def training(home: Home, wanted: bool) -> Iterator[None]:
    """A run in the background that is at work on its network by the time that this returns."""
    if not wanted:
        yield
        return
    with Store.open(home) as store:
        run = runs.start(store, TrainConfig("measured", mode="fine-tune", weights="none", image_size=64, epochs=10_000))
    while run.status().active and not run.epochs():
        time.sleep(0.5)
    yield
    assert run.status().active, run.status().message  # else it wasn't measured beside training
    runs.cancel(run, wait_seconds=30)


def run() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--keys", type=int, default=200)
    options.add_argument("--pixels", type=int, help="enlarge the images to this size first")
    options.add_argument("--slow-page", type=float, default=0.0, metavar="SECONDS", help="let the page's script take longer")
    options.add_argument("--train", action="store_true", help="train meanwhile")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = Home(folder / "home")
        images = enlarge(given.folder, folder / "images", given.pixels, 2 * given.keys) if given.pixels else given.folder
        app = slow_app(folder, given.slow_page) if given.slow_page else None
        with Store.open(home) as store:
            add_dataset(store, "measured", images)
        with training(home, given.train), serving(home, signed_up=["Me"], app=app) as running, chromium() as browser:
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.context.add_cookies([running.cookie("Me")])
            took = sorted(measure(page, running.url, given.keys))
    p95 = took[int(len(took) * 0.95)]
    print(f"{len(took)} keys: median {statistics.median(took):.0f} ms, p95 {p95:.0f} ms, slowest {took[-1]:.0f} ms")
    print(f"load of this machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    run()
