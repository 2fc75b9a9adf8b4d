"""The README's pictures: `python -m tests.screenshots [--weights W]` fills a temporary home with demo scenes, simulated levels
(also under the names of three people, so that a team's pages have something to show), a ranking, two runs and a comparison, then
photographs each page in Chromium, light and dark. `--home DIR --dataset NAME --width 1920 --whole --out FOLDER`: the pages of a home
that is there already, as a lead of its own sees them, from top to bottom."""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

from playwright._impl._api_structures import SetCookieParam
from playwright.sync_api import Page, ViewportSize

from curriculum import calibration, people
from curriculum.app import identity
from curriculum.cli import main
from curriculum.home import Home
from curriculum.labels import append_many
from curriculum.store import Store
from tests.browser import Server, chromium, cookies, serving, settled
from tests.conftest import CHECKOUT, PIN

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
    "recipes": "recipes",
    "runs": "runs",
    "errors": "errors",
    "why": "why",
    "health": "health",
}
TEAM = ("Lead", "First annotator", "Second annotator")
OUT = CHECKOUT / "docs" / "screenshots"


def fill(home: Home, weights: str, size: str, epochs: str) -> None:
    """What a team would have after a first day."""
    common = ["--dataset", "demo", "--weights", weights, "--image-size", size]
    for words in (
        ["data", "demo"],
        ["recipe", "run", "small-networks-dtd", "--scale", "small"],
        ["labels", "simulate", "--dataset", "demo"],
        ["score", *common],
        ["train", *common, "--mode", "fine-tune", "--epochs", epochs],
        ["train", *common, "--mode", "staged", "--levels", "simulated", "--epochs", epochs],
        ["compare", *common, "--arms", "staged", "--levels", "simulated", "--seeds", "3", "--epochs", epochs, "--workers", "2"],
    ):
        if main(["--home", str(home.root), *words]):
            raise SystemExit(f"{' '.join(words)} failed")
    with Store.open(home) as store:
        labels = store.query("SELECT dataset, example, annotator, level FROM current_label WHERE hash(example || annotator) % 3 > 0")
        names = dict(zip(sorted(labels["annotator"].unique()), TEAM, strict=True))
        append_many(store, labels.assign(annotator=labels["annotator"].map(names)), "import")
        calibration.suggest(store, "demo", TEAM[0])


def photograph(page: Page, server: Server, dataset: str, suffix: str, out: Path, *, whole: bool) -> None:
    """Each page as it first appears; `whole`: down to its end."""
    size = page.viewport_size or {"width": 1280, "height": 800}
    for name, path in PAGES.items():
        page.set_viewport_size(size)
        page.goto(f"{server.url}/{path}{'&' if '?' in path else '?'}dataset={dataset}")
        page.locator("h1:visible, .sorting:visible").first.wait_for()
        settled(page)
        page.wait_for_timeout(3500)  # charts and thumbnails fade in
        explain = page.get_by_role("button", name="Explain with")
        if name == "why" and explain.count():
            explain.click()
            page.get_by_text(re.compile("table: over")).first.wait_for(timeout=300_000)
            page.get_by_text("Regions by").evaluate("label => label.scrollIntoView({block: 'start'})")
            page.wait_for_timeout(2500)
        if whole:
            height = page.locator("[data-testid=stMain]").evaluate("main => main.scrollHeight")
            page.set_viewport_size({"width": size["width"], "height": max(min(height, 6000), size["height"])})
            page.wait_for_timeout(1500)
        page.screenshot(path=out / f"{name}-{suffix}.jpg", type="jpeg", quality=72)


def cookie_of_a_lead(home: Home) -> SetCookieParam:
    """Of whoever leads a home, or of somebody new where nobody does."""
    with Store.open(home) as store:
        leads = [person.name for person in people.list_people(store) if person.role == "lead"]
        if not leads:
            people.register(store, TEAM[0], PIN, "lead")
        return {"name": identity.cookie_name(home), "value": identity.cookie(store, (leads or TEAM)[0])}


def run() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--weights", default="none", help="as for `score` and `train`")
    options.add_argument("--image-size", default="128")
    options.add_argument("--epochs", default="9")
    options.add_argument("--home", type=Path, help="photograph this home instead of a filled one")
    options.add_argument("--dataset", default="demo")
    options.add_argument("--width", type=int, default=1280)
    options.add_argument("--whole", action="store_true", help="each page down to its end")
    options.add_argument("--out", type=Path, default=OUT)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Home((given.home or Path(folder) / "home").resolve())
        if given.home is None:
            fill(home, given.weights, given.image_size, given.epochs)
            cookies(home, TEAM)
        cookie = cookie_of_a_lead(home)
        with serving(home) as server, chromium() as browser:
            for scheme in ("light", "dark"):
                size: ViewportSize = {"width": given.width, "height": 800}
                page = browser.new_page(viewport=size, color_scheme="dark" if scheme == "dark" else "light")
                page.context.add_cookies([{**cookie, "url": server.url}])
                suffix = scheme if given.width == 1280 else f"{given.width}-{scheme}"
                photograph(page, server, given.dataset, suffix, given.out, whole=given.whole)
                page.close()


if __name__ == "__main__":
    run()
