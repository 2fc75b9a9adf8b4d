"""Every page in a real Chromium, for everybody: what is on it and its main button for who may open it, nothing of it for who mayn't.

A lead's pages are looked at by axe-core's rules too, light and dark, and for figures that are cut off. Loading the app takes a browser
six times as long as a link within it, so a lead goes from page to page; what annotators find under typed addresses is in `test_sign_in`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from curriculum import preparation, runs
from curriculum.app import pages
from curriculum.config import CompareConfig
from curriculum.home import Home
from curriculum.store import Store
from tests.browser import Server, saved, serving, settled, shown
from tests.journeys import JOURNEYS
from tests.ml import SIZE, fill
from tests.test_recipes_page import begun

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TITLES = {path: title for _, title, _, path in pages.allowed("lead")}
WITH_FIGURES = ("team", "human-model", "runs")
SIGHT = {"width": 1366, "height": 800}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An app whose every page has something to show. Ana leads; Bo and Cem are annotators, and Bo thinks otherwise than she does."""
    home = Home(tmp_path_factory.mktemp("filled"))
    with Store.open(home) as store:
        fill(store, home, {"Ana": ["easy"] * 12, "Bo": ["hard"] * 12})
        ((staged,),) = store.rows("SELECT run_id FROM run WHERE mode = 'staged' AND state = 'done'")
        compared = preparation.prepare(
            store, CompareConfig("textures", arms=("transfer",), weights="none", image_size=SIZE, seeds=2, epochs=1)
        )
        begun(home, {"staged": [staged]}, scale="small")
    process, deadline = runs.launch(compared), time.monotonic() + 600
    while compared.status().active:
        assert time.monotonic() < deadline, compared.status()
        time.sleep(0.1)
    process.wait(timeout=30)
    assert compared.status().state == "done", compared.status()
    with serving(home, signed_up=["Ana", "Bo", "Cem"]) as running:
        yield running


@contextmanager
def nothing_wrong(page: Page, server: Server) -> Iterator[None]:
    """No error in the page, none on its console, no traceback of the server."""
    wrong: list[str] = []
    before = len(server.log.read_text())
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(f"{message.text} {message.location}") if _is_error(message) else None)
    yield
    assert wrong == []
    assert "Traceback" not in server.log.read_text()[before:]


def _is_error(message: ConsoleMessage) -> bool:
    """Streamlit looks for itself beneath the typed address first, and so finds nothing twice."""
    elsewhere = re.search("/_stcore/(health|host-config)$", message.location["url"])
    return message.type == "error" and not elsewhere


def links(page: Page) -> list[str]:
    return [text.splitlines()[-1] for text in page.locator("[data-testid=stSidebarNav] a").all_inner_texts()]  # behind the icon


def test_every_page_has_a_journey() -> None:
    assert list(JOURNEYS) == list(TITLES)
    assert {path for role in (None, "annotator") for *_, path in pages.allowed(role)} <= {"", "sort"}


# -- nobody, and an annotator ----------------------------------------------------------------------


def test_nobody_finds_a_way_to_sign_in_and_nothing_else(browser: Browser, server: Server) -> None:
    """Whichever address is typed; what the page got from the server is looked at too."""
    with browser.new_context(viewport=SIGHT) as context:  # type: ignore[arg-type]
        page = context.new_page()
        received: list[bytes] = []

        def keep(payload: str | bytes) -> None:
            received.append(payload.encode() if isinstance(payload, str) else payload)

        page.on("websocket", lambda socket: socket.on("framereceived", keep))
        with nothing_wrong(page, server):
            for path, journey in JOURNEYS.items():
                page.goto(f"{server.url}/{path}?dataset=textures")
                expect(page.get_by_label("Name", exact=True)).to_be_visible(timeout=60_000)
                title = journey.title if path == "" else "Sign in"
                assert page.locator("h1").all_inner_texts() == [title]
                assert links(page) == []
                assert page.get_by_text(journey.content).count() == 0
        everything = b"\n".join([*received, page.content().encode()])
        assert b"Sign in" in everything
        assert [word for word in (b"Ana", b"Cem", b".png", b"simulated") if word in everything] == []
        _judge(page)


def test_an_annotator_goes_from_the_start_to_sorting(browser: Browser, server: Server) -> None:
    with browser.new_context(viewport=SIGHT) as context:  # type: ignore[arg-type]
        context.add_cookies([server.cookie("Bo")])
        page = context.new_page()
        with nothing_wrong(page, server):
            page.goto(f"{server.url}/?dataset=textures")
            expect(page.get_by_text("of textures sorted by you")).to_be_visible(timeout=60_000)
            assert links(page) == ["Start", "Sort"]
            settled(page)
            page.get_by_role("button", name="Go on sorting").click()
            before = shown(page)
            page.keyboard.press("3")
            expect(page.locator(f'.sorting img[data-example="{before}"]')).to_have_count(0)
            saved(page)
            assert page.get_by_text("Ana").count() == 0


# -- a lead, from page to page ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def anas(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """The browser of Ana, who leads."""
    with browser.new_context(viewport=SIGHT, color_scheme="light") as opened:  # type: ignore[arg-type]
        opened.add_cookies([server.cookie("Ana")])
        yield opened


@pytest.fixture
def tab(anas: BrowserContext, server: Server, request: pytest.FixtureRequest) -> Page:
    """The one that the test before used, or, after a test that failed, a new one."""
    if anas.pages and getattr(request.node, "execution_count", 1) == 1 and anas.pages[0].url.startswith(server.url):
        return anas.pages[0]
    for left in anas.pages:
        left.close()
    page = anas.new_page()
    page.goto(f"{server.url}/people?dataset=textures")  # not Start: from there a link to it leads nowhere
    page.get_by_role("heading", name=JOURNEYS["people"].title).wait_for(timeout=60_000)
    assert links(page) == list(TITLES.values())
    return page


@pytest.mark.parametrize("path", TITLES, ids=lambda path: path or "start")
def test_a_leads_page_shows_what_there_is_breaks_no_rule_and_does_what_its_button_says(tab: Page, server: Server, path: str) -> None:
    journey = JOURNEYS[path]
    with nothing_wrong(tab, server):
        settled(tab)
        tab.locator("[data-testid=stSidebarNav]").get_by_role("link", name=TITLES[path], exact=True).click()
        if journey.title:
            expect(tab.get_by_role("heading", name=journey.title)).to_be_visible(timeout=60_000)
        else:
            shown(tab)
        expect(tab.get_by_text(journey.content).first).to_be_visible(timeout=60_000)
        settled(tab)
        _judge(tab)
        if path in WITH_FIGURES:
            _no_figure_is_cut_off(tab)
        tab.emulate_media(color_scheme="light")
        settled(tab)
        journey.press(tab)


def _judge(tab: Page) -> None:
    """By axe-core's rules nothing serious or critical, light and dark."""
    expect(tab.locator("[data-testid=stToast]")).to_have_count(0, timeout=30_000)  # of the page before: it fades, and is pale meanwhile
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


def _no_figure_is_cut_off(tab: Page) -> None:
    tab.set_viewport_size({"width": 1280, "height": 800})
    tab.wait_for_timeout(300)
    figures: list[tuple[str, bool]] = tab.locator("[data-testid=stMetricValue] > div").evaluate_all(
        "figures => figures.map((one) => [one.innerText, one.scrollWidth > one.clientWidth])"
    )
    tab.set_viewport_size(SIGHT)  # type: ignore[arg-type]
    assert figures and [words for words, cut_off in figures if cut_off] == []


def test_the_rules_find_what_is_wrong(browser: Browser) -> None:
    """The judge is awake: an image without words for it is a finding."""
    tab = browser.new_page()
    tab.set_content("<html lang='en'><title>t</title><main><h1>t</h1><img src='data:,'></main></html>")
    assert "image-alt" in {rule["id"] for rule in Axe().run(tab).response["violations"]}
    tab.close()
