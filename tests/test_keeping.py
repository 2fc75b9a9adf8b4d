"""What a browser test that fails leaves behind, and one that passes doesn't."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from PIL import Image

from tests import keeping
from tests.conftest import CHECKOUT

INNER = """
import pytest
from tests import keeping
from tests.browser import Server

class Played(Server):
    def start(self):
        self.log.write_text("Traceback of a server")
        keeping.LOGS[self.log] = True

@pytest.fixture
def server(tmp_path):
    from curriculum.home import Home
    played = Played(Home(tmp_path / "home"))
    yield played
    keeping.LOGS[played.log] = False

@pytest.fixture(scope="module")
def window(browser):
    with browser.new_context() as opened:
        yield opened

@pytest.mark.flaky(reruns=1)
def test_closes_its_window(browser, server):
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content("<h1 style='margin-top: 3000px'>red</h1>")
        context.new_page()
        assert page.inner_text("h1") == "green"

def test_passes(browser, window, server):
    window.new_page().set_content("<h1>well</h1>")

@pytest.mark.flaky(reruns=1)
@pytest.mark.parametrize("n", ["a/b"])
def test_shares_a_window(browser, window, n):
    window.pages[0].set_content("<h1>red</h1>")
    assert window.pages[0].inner_text("h1") == "green"

def test_of_no_page():
    import asyncio
    asyncio.run(asyncio.sleep(0))  # though a browser is open
"""


def test_a_failing_test_leaves_pictures_its_servers_log_and_a_trace(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(INNER)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.keeping", "-p", "tests.browser", "-p", "no:cacheprovider",
               "--rootdir", str(tmp_path), "-c", os.devnull, str(tmp_path / "test_inner.py")]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, timeout=200
    )
    assert "2 failed, 2 passed, 2 rerun" in done.stdout, done.stdout + done.stderr
    kept = {path.name: {file.name for file in path.iterdir()} for path in (tmp_path / "test-artifacts").iterdir()}
    own, shared = "test_inner-test_closes_its_window", "test_inner-test_shares_a_window-a-b"
    pictures = {f"try-{n}-browser-1-page-{page}.png" for n in (1, 2) for page in (1, 2)}
    assert kept[own] == pictures | {"try-2-browser-1-trace.zip", "try-1-home-server.log", "try-2-home-server.log"}
    assert kept[shared] == {"try-1-browser-1-page-1.png", "try-2-browser-1-page-1.png", "try-2-browser-1-trace.zip"}
    assert kept.keys() == {own, shared}
    folder = tmp_path / "test-artifacts" / own
    with Image.open(folder / "try-2-browser-1-page-1.png") as picture:
        assert picture.height > 3000, "the whole page"
    assert (folder / "try-2-home-server.log").read_text() == "Traceback of a server"
    with zipfile.ZipFile(folder / "try-2-browser-1-trace.zip") as trace:
        assert b"setContent" in trace.read("trace.trace")


def test_a_test_has_a_folder_of_its_own() -> None:
    assert keeping.folder_name("tests/test_grid.py::test_undo[dark]") == "test_grid-test_undo-dark"
    assert keeping.folder_name("tests/test_gate.py::test_text[../../x]") == "test_gate-test_text-x"
