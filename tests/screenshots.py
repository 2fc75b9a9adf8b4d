"""The README's pictures: `python -m tests.screenshots [--weights W]` fills a temporary home with demo scenes, simulated levels
(also under the names of three people, so that a team's pages have something to show), a ranking and two runs, then photographs
each page in Chromium, light and dark."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page

from curriculum import calibration
from curriculum.cli import main
from curriculum.config import Home
from curriculum.labels import append_many
from curriculum.store import Store
from tests.browser import Server, chromium, serving
from tests.conftest import CHECKOUT

PAGES = {
    "start": "",
    "sort": "sort",
    "grid": "sort?view=grid",
    "four": "sort?view=four",
    "team": "team",
    "examples": "examples",
    "decide": "decide",
    "people": "people",
    "labels": "labels",
    "human-model": "human-model",
    "train": "train",
    "comparison": "comparison",
    "runs": "runs",
    "errors": "errors",
    "why": "why",
}
TEAM = ("Lead", "First annotator", "Second annotator")
OUT = CHECKOUT / "docs" / "screenshots"


def fill(home: Home, weights: str, size: str, epochs: str) -> None:
    """What a team would have after a first day."""
    common = ["--dataset", "demo", "--weights", weights, "--image-size", size]
    for words in (
        ["data", "demo"],
        ["labels", "simulate", "--dataset", "demo"],
        ["score", *common],
        ["train", *common, "--mode", "fine-tune", "--epochs", epochs],
        ["train", *common, "--mode", "staged", "--levels", "simulated", "--epochs", epochs],
    ):
        if main(["--home", str(home.root), *words]):
            raise SystemExit(f"{' '.join(words)} failed")
    with Store.open(home) as store:
        labels = store.query("SELECT dataset, example, annotator, level FROM current_label WHERE hash(example || annotator) % 3 > 0")
        names = dict(zip(sorted(labels["annotator"].unique()), TEAM, strict=True))
        append_many(store, labels.assign(annotator=labels["annotator"].map(names)), "import")
        calibration.suggest(store, "demo", TEAM[0])


def photograph(browser: Browser, server: Server, scheme: str, out: Path) -> None:
    """Each page at 1280 x 800 as it first appears, small enough for a README."""
    page: Page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark" if scheme == "dark" else "light")
    page.context.add_cookies([server.cookie(TEAM[0])])
    for name, path in PAGES.items():
        page.goto(f"{server.url}/{path}{'&' if '?' in path else '?'}dataset=demo")
        page.wait_for_selector("h1, .sorting img")
        page.wait_for_timeout(3500)  # charts and thumbnails fade in
        page.screenshot(path=out / f"{name}-{scheme}.jpg", type="jpeg", quality=72)
    page.close()


def run() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--weights", default="none", help="as for `score` and `train`")
    options.add_argument("--image-size", default="128")
    options.add_argument("--epochs", default="9")
    options.add_argument("--out", type=Path, default=OUT)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        fill(home, given.weights, given.image_size, given.epochs)
        with serving(home, signed_up=TEAM) as server, chromium() as browser:
            for scheme in ("light", "dark"):
                photograph(browser, server, scheme, given.out)


if __name__ == "__main__":
    run()
