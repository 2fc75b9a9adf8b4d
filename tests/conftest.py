"""What the tests share: a home of their own, an open store, small data sets, child processes that never outlive a test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Tests that run beside others have a core each: two threads on it would wait for one another. Before torch reads it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["CURRICULUM_STEP_BACK"] = "no"  # who waits for what is computed here are the tests, which compute themselves meanwhile

import numpy as np
import pytest
from argon2 import PasswordHasher
from hypothesis import settings
from PIL import Image

from curriculum import people, runs
from curriculum.datasets import add_dataset, get_dataset
from curriculum.home import Home
from curriculum.rundir import RunDir
from curriculum.store import Store
from tests import forks, warm

pytest_plugins = ["tests.keeping", "tests.browser", "tests.tints"]
CHECKOUT = Path(__file__).resolve().parent.parent
PIN = "73 oaks"
"""Of everybody whom a test registers."""

settings.register_profile("curriculum", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("curriculum")


LONGEST = (
    "recipes",
    "journey",
    "sorting",
    "experiment",
    "every_page",
    "grid",
    "ranks",
    "sign_in",
    "train",
    "lead_pages",
    "runs",
    "cli",
    "four",
    "comparison_page",
)
"""Files begun first: three processes take a file each at a time, and the last one shouldn't be a long one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first. A click may be lost while Streamlit redraws a page on a busy machine, so what drives a browser may try twice more; the
    summary says so."""
    place = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="session", autouse=True)
def forked_runs() -> Iterator[None]:
    """Runs that tests start are forked, as `tests.forks` has it: importing torch anew for each would take half of a test's time."""
    runs.spawn = forks.spawn  # type: ignore[assignment]
    yield
    runs.spawn = forks.cold


@pytest.fixture(scope="session", autouse=True)
def quick_pins() -> Iterator[PasswordHasher]:
    """PINs are hashed in no time, here and in the servers that `tests.warm` starts; gives the one that the program has."""
    real = warm.quick_pins()
    yield real
    people._hasher = real


@pytest.fixture
def real_pins(quick_pins: PasswordHasher, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PINs are hashed as the program does it."""
    monkeypatch.setattr(people, "_hasher", quick_pins)
    people._decoy.cache_clear()
    yield
    people._decoy.cache_clear()


@pytest.fixture
def cold_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs start as the program starts them."""
    monkeypatch.setattr(runs, "spawn", forks.cold)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    """An open store on that home."""
    with Store.open(home, owner="a test") as opened:
        yield opened


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of class folders with random JPEGs: `<class>/<class>0.jpg`, `<class>/<class>1.jpg`, ..."""

    def make(classes: tuple[str, ...] = ("a", "b", "c"), per_class: int = 4, size: tuple[int, int] = (20, 16), name: str = "set") -> Path:
        random = np.random.default_rng(0)
        for class_name in classes:
            (tmp_path / name / class_name).mkdir(parents=True, exist_ok=True)
            for i in range(per_class):
                pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / class_name / f"{class_name}{i}.jpg")
        return tmp_path / name

    return make


@pytest.fixture
def tiny(store: Store, tiny_folder: Callable[..., Path]) -> Store:
    """An open store with the data set `tiny`: classes a, b, c with 4 images each."""
    add_dataset(store, "tiny", tiny_folder())
    return store


@pytest.fixture
def other(tmp_path: Path, tiny: Store) -> Iterator[Store]:
    """A second, empty store that has the same images as `tiny`."""
    with Store.open(Home(tmp_path / "other")) as opened:
        add_dataset(opened, "tiny", get_dataset(tiny, "tiny").root)
        yield opened


@pytest.fixture(scope="session")
def rsscn7() -> Path:
    """Where the real RSSCN7 lies when it is there: shared/ beside the checkout."""
    return CHECKOUT.parent / "shared" / "rsscn7"


@pytest.fixture(scope="session")
def real_or_drawn(rsscn7: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real RSSCN7, or, on a machine without it, drawn scenes with the same shape: no test is ever skipped."""
    if rsscn7.is_dir():
        return rsscn7
    from curriculum.sources import make_demo

    return make_demo(tmp_path_factory.mktemp("drawn"), per_class=12)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Images this small gain nothing from a second thread, and on a busy machine threads wait for one another."""
    import torch  # not above: the process that shares the tests out reads this file too, and needs none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def until(holds: Callable[[], bool], seconds: float = 600.0, *, of: RunDir | None = None) -> None:
    """Wait for it; a test that waited in vain says how the run stood."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain" + (f": {of.status()}" if of else "")
        time.sleep(0.02)


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python code in a process of its own; what still runs after the test is killed, by its id."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
