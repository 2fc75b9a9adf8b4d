"""What is kept of a browser test that fails: every open page as a picture, the servers' logs and, of another try, Playwright's trace.

All lies in `test-artifacts/TEST NAME/`, which a test that passes doesn't have. The first try records no trace, as recording more than
doubles what a page costs; a test that fails is tried again, and then everything is recorded. `CURRICULUM_TRACE=1` records at once.
Open one with `playwright show-trace FILE`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright._impl._sync_base import SyncContextManager
from playwright.sync_api import Browser, BrowserContext, Error

MOST_OF_A_NAME = 120
BROWSERS: list[Browser] = []
"""Those that are open."""
LOGS: dict[Path, bool] = {}
"""Of the servers that the test may have asked, and whether they run."""


class Keeper:
    """Of one try of a test."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder, self.attempt = folder, attempt
        self.records = attempt > 1 or os.environ.get("CURRICULUM_TRACE") == "1"
        self.recorded: list[BrowserContext] = []
        self.kept: list[BrowserContext] = []

    def record(self, context: BrowserContext) -> None:
        if self.records and context not in self.recorded:
            context.tracing.start(screenshots=True, snapshots=True, sources=True)
            self.recorded.append(context)

    def keep(self, context: BrowserContext) -> None:
        """Its pages and its trace; a page that is closed or can't be drawn is left out."""
        if context in self.kept:
            return
        self.kept.append(context)
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"try-{self.attempt}-browser-{len(self.kept)}"
        for number, page in enumerate(context.pages, 1):
            with suppress(Error):
                page.screenshot(path=self.folder / f"{name}-page-{number}.png", full_page=True, timeout=10_000)
        if context in self.recorded:
            self.recorded.remove(context)
            with suppress(Error):
                context.tracing.stop(path=self.folder / f"{name}-trace.zip")

    def keep_all(self) -> None:
        for context in contexts():
            self.keep(context)
        for log in LOGS:
            if log.is_file():
                self.folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(log, self.folder / f"try-{self.attempt}-{log.name}")

    def forget(self) -> None:
        """A browser that outlives the test records no more of it."""
        for context in self.recorded:
            with suppress(Error):
                context.tracing.stop()


present: Keeper | None = None
"""Of the test that runs, if it has a browser."""


def contexts() -> list[BrowserContext]:
    return [context for browser in BROWSERS if browser.is_connected() for context in browser.contexts]


def folder_name(node: str) -> str:
    """A test's own: tests/test_grid.py::test_undo[dark] is test_grid-test_undo-dark."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", node.removeprefix("tests/").replace(".py", "")).strip("-")[:MOST_OF_A_NAME]


def watched(browser: Browser) -> Browser:
    """From now on what fails in this browser is kept."""
    new_context, new_page = browser.new_context, browser.new_page

    def context(*args: Any, **more: Any) -> BrowserContext:
        made = new_context(*args, **more)
        if present:
            present.record(made)
        return made

    def page(*args: Any, **more: Any) -> Any:
        made = new_page(*args, **more)
        if present:
            present.record(made.context)
        return made

    browser.new_context, browser.new_page = context, page  # type: ignore[method-assign]
    BROWSERS.append(browser)
    return browser


close_at_the_end = SyncContextManager.__exit__


def _exit(self: Any, kind: Any, value: Any, traceback: Any) -> None:
    """Before a `with` closes a browser's window on what went wrong in it: look."""
    if kind and present and isinstance(self, BrowserContext):
        present.keep(self)
    close_at_the_end(self, kind, value, traceback)


SyncContextManager.__exit__ = _exit  # type: ignore[method-assign]


# -- a test's life -------------------------------------------------------------------------------


def has_browser(item: pytest.Item) -> bool:
    return "browser" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    global present
    asyncio._set_running_loop(playwrights_loop() if has_browser(item) else None)
    if has_browser(item):
        present = Keeper(item.config.rootpath / "test-artifacts" / folder_name(item.nodeid), getattr(item, "execution_count", 1))
        for log in [log for log, runs in LOGS.items() if not runs]:
            del LOGS[log]
        for context in contexts():
            present.record(context)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if present and has_browser(item) and call.when in ("setup", "call") and report.failed:
        try:
            present.keep_all()
        except Exception as error:  # what is kept mustn't hide what failed
            print(f"not everything was kept: {error}", file=sys.stderr)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    global present
    asyncio._set_running_loop(playwrights_loop())
    if present:
        present.forget()
    present = None
    return (yield)


def playwrights_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of the browser's driver, which holds one place a thread: another may run only while it is out of sight."""
    return next((browser._loop for browser in BROWSERS), None)
