"""What a person does, in a real Chromium on the drawn demo scenes: all five steps, through crashes of the server."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from curriculum.home import Home
from curriculum.rundir import all_runs
from curriculum.store import Store
from tests.browser import Server, serving, settled
from tests.conftest import PIN

SLOW = 300_000  # a machine that is a third as fast as another


def test_five_steps_through_two_crashes(home: Home, browser: Browser) -> None:
    """Sort, compare, train, runs, errors; the server is killed while labelling and while training: nothing is lost."""
    with serving(home, cold=True) as server, browser.new_context(viewport={"width": 1366, "height": 860}) as context:
        page = context.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        pressed = _sort(page, server)
        _compare(page, server)
        _train_and_crash(page, server, home)
        _runs(page, server)
        _errors(page, server)
        assert failures == []
    with Store.open(home) as store:
        stored = dict(store.rows("SELECT example, level FROM current_label WHERE annotator = 'Ana'"))
    assert stored == pressed


def _sort(page: Page, server: Server) -> dict[str, str]:
    """Levels by the keys, an undo, a skip, a killed server; returns what was pressed on which image."""
    page.goto(server.url)
    page.get_by_label("Name", exact=True).fill("Ana")
    page.get_by_label("Choose a PIN").fill(PIN)
    page.get_by_label("The PIN again").fill(PIN)
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_text("What next")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Signed in as Ana, and you lead.")).to_be_visible()
    page.get_by_role("link", name="Sort", exact=True).click()
    pressed: dict[str, str] = {}
    for key, level in zip("123123", ["easy", "medium", "hard"] * 2, strict=True):
        pressed[_press(page, key)] = level
    _press(page, "Space")
    last = list(pressed)[-1]
    _press(page, "Backspace")  # the skip
    _press(page, "Backspace")  # the last level
    assert _shown(page) == last
    pressed[_press(page, "1")] = "easy"
    expect(page.get_by_text(re.compile("^6 of 4[0-9]{2} sorted by you"))).to_be_visible()
    server.kill()
    server.start()
    page.reload()  # the browser knows who it is, so sorting goes on at once
    expect(page.get_by_text(re.compile("^6 of 4[0-9]{2} sorted by you"))).to_be_visible(timeout=30_000)
    pressed[_press(page, "3")] = "hard"
    expect(page.get_by_text(re.compile("^7 of 4[0-9]{2} sorted by you"))).to_be_visible()
    assert len(pressed) == 7
    return pressed


def _shown(page: Page) -> str:
    image = page.locator(".sorting img[data-example]")
    expect(image).to_be_visible(timeout=30_000)
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 256
    return image.get_attribute("data-example") or ""


def _press(page: Page, key: str) -> str:
    """Press a key on the image that is shown and wait for the next; returns the image that it was pressed on."""
    before = _shown(page)
    page.keyboard.press(key)
    expect(page.locator(f'.sorting img[data-example="{before}"]')).to_have_count(0)
    return before


def _compare(page: Page, server: Server) -> None:
    page.get_by_role("link", name="Start", exact=True).click()
    settled(page)
    page.get_by_text("Try everything without labelling first").click()
    settled(page)
    page.get_by_role("button", name="Simulate three annotators").click()
    expect(page.get_by_text("(420 images have simulated levels)")).to_be_visible(timeout=30_000)
    page.get_by_role("link", name="Human and model", exact=True).click()
    _choose(page, "Pretrained weights", "none: a random start, works offline")
    _slide(page, "96", "64")
    settled(page)
    page.get_by_role("button", name="Rank the images").click()
    expect(page.get_by_text("Spearman's rho").first).to_be_visible(timeout=SLOW)
    settled(page)  # an open list closes when the page is drawn anew
    _choose(page, "Whose levels", "simulated annotators (420 images)")
    expect(page.get_by_text("420 images with a level from simulated annotators")).to_be_visible()
    expect(page.get_by_text("Where people and model differ, and where they agree")).to_be_visible()
    for title in ("People say", "The model says"):
        expect(page.get_by_text(title)).to_be_visible()
    for level in ("○ easy", "◐ medium", "● hard"):
        expect(page.get_by_text(re.compile(rf"^{level}\s*[\d,]+$"))).to_have_count(2)
    for number in range(6):
        expect(page.locator(".tile img").nth(number)).to_have_js_property("complete", True)
        assert page.locator(".tile img").nth(number).evaluate("image => image.naturalWidth") > 0


def _slide(page: Page, *values: str) -> None:
    """Move the image size step by step, each step seen before the next."""
    for value in values:
        page.get_by_role("slider").press("ArrowLeft")
        expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", value)


def _choose(page: Page, label: str, option: str) -> None:
    """Open a list and take an option; a list that closed because the page was drawn anew is opened again."""
    wanted = page.get_by_role("option", name=option, exact=True)
    for _ in range(5):
        settled(page)
        page.get_by_label(label, exact=True).first.click()
        with contextlib.suppress(Error):
            wanted.click(timeout=5000)
            return
    pytest.fail(f"{option!r} isn't among the options of {label!r}: {page.get_by_role('option').all_inner_texts()}")


def _train_and_crash(page: Page, server: Server, home: Home) -> None:
    page.get_by_role("link", name="Train", exact=True).click()
    expect(page.get_by_text("Levels from")).to_be_visible()
    _choose(page, "Pretrained weights", "none: a random start, works offline")
    _slide(page, "96", "64")
    page.get_by_label("simulated annotators", exact=True).first.check(force=True)
    expect(page.get_by_text("Every image has a level.")).to_be_visible()
    page.get_by_role("spinbutton", name="Epochs in all").fill("4")
    page.get_by_role("spinbutton", name="Epochs in all").press("Enter")
    settled(page)
    page.get_by_role("button", name="Train 420 images, staged").click()
    expect(page.get_by_text("You may close this page: it goes on.")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("epoch 2 of 4")).to_be_visible(timeout=SLOW)
    run = all_runs(home)[0]
    worker = run.status().pid
    server.kill()
    assert worker is not None
    assert psutil.pid_exists(worker) or run.status().state == "done", "training must not die with the server"
    server.start()
    page.reload()
    expect(page.get_by_text("test accuracy").first).to_be_visible(timeout=SLOW)
    assert run.status().state == "done"
    assert [epoch["epoch"] for epoch in run.epochs()] == [1, 2, 3, 4]


def _runs(page: Page, server: Server) -> None:
    page.get_by_role("link", name="Runs", exact=True).click()
    for text in ("Test accuracy", "Test loss", "Test KNN", "After each stage, on test", "Which images entered when", "The first to enter"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible(timeout=30_000)
    expect(page.get_by_text("A control is missing")).to_be_visible()
    expect(page.locator("[data-testid=stVegaLiteChart]")).to_have_count(6)


def _errors(page: Page, server: Server) -> None:
    page.get_by_role("link", name="Errors", exact=True).click()
    expect(page.get_by_text("test images are misclassified")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("Confusion matrix")).to_be_visible()
    expect(page.get_by_text("Misclassified by class")).to_be_visible()
    expect(page.locator(".tile").first).to_contain_text("said")
    expect(page.locator(".tile").first).to_contain_text("model difficulty")


def test_the_server_asks_nothing_and_stays_on_this_machine(home: Home, tmp_path: Path) -> None:
    """A first start with no home directory to remember answers in: no e-mail question, bound to the loopback interface."""
    new_user = {"HOME": str(tmp_path / "new user"), "BROWSER": "true"}
    with serving(home, headless=False, environment=new_user, cold=True) as server:
        assert server.process is not None
        listening = [c.laddr.ip for c in psutil.Process(server.process.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert listening == ["127.0.0.1"]
    assert "email" not in server.log.read_text().lower()


def test_only_listed_images_are_served(home: Home, context: BrowserContext) -> None:
    with serving(home) as server:
        page = context.new_page()
        for address in ("/img/unknown", "/img/..%2f..%2fREADME.md", "/thumb/unknown", "/thumb/..%2f..%2fREADME.md", "/img/%00"):
            assert page.request.get(server.url + address).status in (400, 404), address
