"""A real browser and a real server for the tests that do what a person does, and what these tests see and press."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn
from playwright._impl._api_structures import SetCookieParam
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from starlette.types import ASGIApp

from curriculum import people
from curriculum.app import identity
from curriculum.home import Home
from curriculum.store import Store
from tests import keeping
from tests.conftest import CHECKOUT, PIN

QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
QUIET += ["--disable-gpu", "--disable-software-rasterizer"]  # no page draws in three dimensions: a GPU played by the processor only costs
CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""The first has no windows to draw, and takes half the processor time."""
TILE = ".sorting .tile[data-example]"


def find_chromium() -> str:
    """An installed Chromium: $CHROMIUM, or a usual name on the path."""
    for name in (os.environ.get("CHROMIUM", ""), *CHROMIUMS):
        if name and (found := shutil.which(name)):
            return found
    pytest.fail(
        "No Chromium found: install one (Debian: apt-get install chromium-headless-shell; elsewhere: playwright install chromium) or set CHROMIUM to its path."
    )


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser of one's own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def one_browser() -> Iterator[Browser]:
    """Of a process that runs tests: its start takes as long as a page."""
    with chromium() as opened:
        yield keeping.watched(opened)
        keeping.BROWSERS.remove(opened)


@pytest.fixture(scope="module")
def browser(one_browser: Browser) -> Iterator[Browser]:
    """For all tests of a file, with nothing in it that an earlier file left."""
    yield one_browser
    for left in one_browser.contexts:
        left.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile, on a laptop's screen."""
    with browser.new_context(viewport={"width": 1366, "height": 768}) as opened:
        yield opened


@contextmanager
def without_errors(context: BrowserContext) -> Iterator[Callable[[str], Page]]:
    """Opens addresses, each in a tab of its own; an uncaught error in any of them fails the test."""
    failures: list[str] = []

    def open_tab(address: str) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(address)
        return page

    yield open_tab
    assert failures == []


def saved(page: Page) -> None:
    """Wait until the sorting page says that everything is stored."""
    expect(page.locator(".sorting .badge")).to_have_text("saved", timeout=30_000)


def settled(page: Page) -> None:
    """Wait until the page's script has run to its end: what moves under the mouse takes no click."""
    page.wait_for_timeout(300)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=120_000)


def shown(page: Page) -> str:
    """The image on the screen, as soon as keys count for it."""
    image = page.locator(".sorting img[data-example]")
    image.wait_for(timeout=30_000)
    return image.get_attribute("data-example") or ""


def tiles(page: Page, count: int = 20) -> list[str]:
    """The images on the screen, in their order, as soon as keys count for them all."""
    expect(page.locator(TILE)).to_have_count(count, timeout=30_000)
    return [str(one) for one in page.locator(TILE).evaluate_all("tiles => tiles.map((tile) => tile.dataset.example)")]


def press(page: Page, *keys: str) -> None:
    """One key after the other, however fast the page is."""
    for key in keys:
        page.keyboard.press(key)


def insist(page: Page, keys: Sequence[str], happened: Callable[[], None]) -> None:
    """Press keys that Streamlit binds to a button; where it was still binding them, a person presses again.

    `happened` fails as long as nothing shows it. It should be patient: a key that was only slow is better not pressed twice.
    """
    for _ in range(3):
        settled(page)
        press(page, *keys)
        with suppress(AssertionError):
            happened()
            return
    happened()


def loaded_ahead(page: Page, route: str, count: int) -> None:
    """Wait until the page has fetched so many pictures: what comes next needs no server."""
    page.wait_for_function(f"performance.getEntriesByType('resource').filter((one) => one.name.includes('/{route}/')).length >= {count}")


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def on_loopback(app: ASGIApp, port: int) -> Iterator[None]:
    """Routes on a real socket, in a thread of this process, until the end of the block."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


class Server:
    """`streamlit run annotate_app.py` on a home; can be killed and started again on its port.

    `signed_up` are registered with `PIN` first, the first of them as lead where nobody leads; `cookie` signs a browser in as one of them.
    `cold`: from nothing, as a user starts it; else by `tests.warm`, which has imported the libraries already. `app`: another file that
    makes the app.
    """

    def __init__(
        self,
        home: Home,
        *,
        signed_up: Sequence[str] = (),
        headless: bool = True,
        environment: dict[str, str] | None = None,
        app: Path | None = None,
        cold: bool = False,
    ) -> None:
        self.home, self.port, self.app, self.cold = home, free_port(), app or Path("annotate_app.py"), cold
        self.cookies = cookies(home, signed_up)
        self.headless, self.environment = headless, environment or {}
        self.log = Path(f"{home.root}-server.log")
        self.process: subprocess.Popen[bytes] | psutil.Process | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cookie(self, name: str) -> SetCookieParam:
        """For a browser context's `add_cookies`: whoever opens a page in it from then on is this person."""
        return {**self.cookies[name], "url": self.url}

    def start(self) -> None:
        keeping.LOGS[self.log] = True
        environment = {**os.environ, "CURRICULUM_HOME": str(self.home.root), **self.environment}
        words = ["run", str(self.app), "--server.port", str(self.port), "--server.headless", str(self.headless).lower()]
        if self.cold:
            command = [sys.executable, "-m", "streamlit", *words]
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        else:
            self.process = _forked(words, environment, self.log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2).close()
                return
            except OSError:
                time.sleep(0.2)
        pytest.fail(f"the server did not start: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """As a crash would: no word, no clean-up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            with suppress(psutil.NoSuchProcess):
                self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None
            keeping.LOGS[self.log] = False


@cache
def _warm() -> subprocess.Popen[str]:
    """The process that forks this one's servers; it ends with this one."""
    command = [sys.executable, "-m", "tests.warm"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    return process


def _forked(words: list[str], environment: dict[str, str], log: Path) -> psutil.Process:
    warm = _warm()
    assert warm.stdin and warm.stdout
    print(json.dumps({"arguments": words, "environment": environment, "log": str(log.absolute())}), file=warm.stdin, flush=True)
    return psutil.Process(int(warm.stdout.readline()))


def cookies(home: Home, names: Sequence[str]) -> dict[str, SetCookieParam]:
    """Registers people in a home that no server has open yet; the cookie of each, as the route makes it."""
    if not names:
        return {}
    with Store.open(home) as store:
        for name in names:
            people.register(store, name, PIN)
        return {name: {"name": identity.cookie_name(home), "value": identity.cookie(store, name)} for name in names}


@contextmanager
def serving(
    home: Home,
    *,
    signed_up: Sequence[str] = (),
    headless: bool = True,
    environment: dict[str, str] | None = None,
    app: Path | None = None,
    cold: bool = False,
) -> Iterator[Server]:
    """A server that is stopped at the end, whatever happened."""
    server = Server(home, signed_up=signed_up, headless=headless, environment=environment, app=app, cold=cold)
    try:
        yield server
    finally:
        server.stop()


def stored(server: Server, what: str = "example, level", which: str = "true") -> list[Any]:
    """The log, after the server has ended."""
    server.stop()
    with Store.open(server.home) as store:
        return store.rows(f"SELECT {what} FROM annotation WHERE {which} ORDER BY seq")
