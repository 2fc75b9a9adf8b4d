"""Every page in a real Chromium: by axe-core's rules nothing serious or critical, light and dark; and no figure is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext

from curriculum.config import Home
from curriculum.store import Store
from tests.browser import Server, serving, settled
from tests.ml import fill

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = [
    "signing in",
    "",
    "sort",
    "team",
    "people",
    "examples",
    "decide",
    "labels",
    "human-model",
    "train",
    "comparison",
    "recipes",
    "runs",
    "errors",
    "why",
    "health",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An app whose every page has something to show."""
    home = Home(tmp_path_factory.mktemp("filled"))
    with Store.open(home) as store:
        fill(store, home, {"Ana": ["easy"] * 12, "Bo": ["hard"] * 12})
    with serving(home, signed_up=["Ana"]) as running:
        yield running


@pytest.fixture(scope="module")
def anas(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """Ana's browser: it loads Streamlit's scripts once, and reads them anew for no page."""
    with browser.new_context(viewport={"width": 1366, "height": 800}, color_scheme="light") as opened:
        opened.add_cookies([server.cookie("Ana")])
        yield opened


@pytest.mark.parametrize("page", PAGES)
def test_nothing_serious(browser: Browser, anas: BrowserContext, server: Server, page: str) -> None:
    signed_out = page == "signing in"
    tab = browser.new_page(viewport={"width": 1366, "height": 800}, color_scheme="light") if signed_out else anas.new_page()
    tab.goto(f"{server.url}/{page if page != 'signing in' else ''}?dataset=textures")
    tab.wait_for_selector(".sorting img[data-example]" if page == "sort" else "h1", timeout=60_000)
    settled(tab)
    grounds = []
    for scheme in SCHEMES:
        tab.emulate_media(color_scheme=scheme)
        tab.wait_for_timeout(1500 if scheme == "light" else 500)  # what fades in is pale until it is there
        grounds.append(tab.locator("[data-testid=stApp]").evaluate("app => getComputedStyle(app).backgroundColor"))
        found = Axe().run(tab).response
        serious = [
            (scheme, rule["id"], node["html"][:200], node.get("failureSummary", "")[:300])
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]
        assert serious == []
        assert len(found["passes"]) > 10  # the page was there to be judged
    assert len(set(grounds)) == 2, "both were looked at"
    tab.close()


@pytest.mark.parametrize("page", ["team", "human-model", "runs"])
def test_no_figure_is_cut_off(anas: BrowserContext, server: Server, page: str) -> None:
    tab = anas.new_page()
    tab.set_viewport_size({"width": 1280, "height": 800})
    tab.goto(f"{server.url}/{page}?dataset=textures")
    tab.wait_for_selector("[data-testid=stMetricValue]", timeout=60_000)
    settled(tab)
    figures: list[tuple[str, bool]] = tab.locator("[data-testid=stMetricValue] > div").evaluate_all(
        "figures => figures.map((one) => [one.innerText, one.scrollWidth > one.clientWidth])"
    )
    tab.close()
    assert figures and [words for words, cut_off in figures if cut_off] == []


def test_the_rules_find_what_is_wrong(browser: Browser) -> None:
    """The judge is awake: an image without words for it is a finding."""
    tab = browser.new_page()
    tab.set_content("<html lang='en'><title>t</title><main><h1>t</h1><img src='data:,'></main></html>")
    assert "image-alt" in {rule["id"] for rule in Axe().run(tab).response["violations"]}
    tab.close()
