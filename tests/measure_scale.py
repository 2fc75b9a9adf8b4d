"""What a large home costs: `python -m tests.measure_scale [--images 100000] [--annotators 10 --labels 1000000] [--runs 1000] [--home DIR] --json`.

Draws so many small images (or takes `--pictures FOLDER`), indexes them, imports labels, takes in a model's scores and runs that nobody trained,
then measures each piece of work in a process of its own: the seconds by the clock and of the processor (all threads together), which tell more on
a busy machine and which are what its parts are given in, and the peak of that process's memory (RSS). Then it starts the app, measures
what those who sort wait for while the snapshot is written, and opens each page in a real Chromium, twice: seconds from the press on the page's name
until Streamlit has drawn it, and the server's memory. `--only NAME ...` takes some of it, such as `--only pages` in a home that is there already.
Of the training runs the first judged every image, the others `--judged` each.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page

from curriculum import agreement, analysis, assignment, backup, consensus, content, datasets, events, intake, labels, people
from curriculum.app import identity
from curriculum.app.identity import Identity
from curriculum.errors import CurriculumError
from curriculum.home import Home
from curriculum.label_files import export_labels, import_labels
from curriculum.label_log import export_log
from curriculum.leases import Leases
from curriculum.rundir import all_runs
from curriculum.store import Store
from tests import large_home
from tests.browser import Server, chromium, serving
from tests.conftest import PIN
from tests.large_home import DATASET

LEAD, ANNOTATOR = "Ada", "Annotator 01"
PAGES = {"Start": "", "Human and model": "human-model"} | {
    name: name.lower() for name in ("Sort", "Team", "Labels", "Decide", "Examples", "Errors", "Runs", "Train", "Comparison", "Health")
}
PATIENCE = 900_000
Wish = argparse.Namespace
Figures = dict[str, Any]

DRAWN = """(path) => new Promise((done) => {
  const begun = performance.now();
  let still = 0, first = 0;
  const look = () => {
    const app = document.querySelector('[data-testid=stApp]');
    if (location.pathname === path && app?.dataset.testScriptState === 'notRunning') {
      first = still ? first : performance.now();
      still += 1;
    } else still = 0;
    if (still > 8) done((first - begun) / 1000); else setTimeout(look, 50);
  };
  [...document.querySelectorAll('[data-testid=stSidebarNav] a')].find((link) => new URL(link.href).pathname === path).click();
  look();
})"""
"""Presses on a page's name; the seconds until its script has ended and for 400 ms no other has begun."""


# -- pieces of work, each in a process of its own --------------------------------------------------


def index(store: Store, wish: Wish) -> Figures:
    datasets.add_dataset(store, DATASET, wish.pictures)
    return {}


def check(store: Store, wish: Wish) -> Figures:
    datasets.check_dataset(store, DATASET)
    return {}


def bring_in(store: Store, wish: Wish) -> Figures:
    return {"appended": sum(import_labels(store, DATASET, path).appended for path in sorted(wish.scratch.glob("labels*.csv")))}


def take_in_score(store: Store, wish: Wish) -> Figures:
    (run,) = [run for run in all_runs(store.home) if "-oof-loss-" in run.run_id]
    intake.ingest(store, run)
    return {}


def take_in_runs(store: Store, wish: Wish) -> Figures:
    intake.Ingester(store).once()
    return {}


def look_at_runs(store: Store, wish: Wish) -> Figures:
    """What happens once a second, and at each start."""
    ingester, begun = intake.Ingester(store), time.monotonic()
    ingester.once()
    return {"at the start": time.monotonic() - begun, "each second": _median(ingester.once)}


def compare(store: Store, wish: Wish) -> Figures:
    run = str(analysis.latest_score(store, DATASET))
    frame, took = _timed(lambda: analysis.ranked(store, DATASET, run, "people"))
    both, compared = _timed(lambda: analysis.compared(frame))
    _, agreed = _timed(lambda: analysis.agreement(both))
    _, groups = _timed(lambda: analysis.agreement_by(both, analysis.judged_by_each(store, run, "people")))
    return {"ranked": took, "compared": compared, "agreement": agreed, "by groups": groups}


def agree(store: Store, wish: Wish) -> Figures:
    judged, took = _timed(lambda: labels.judgements(store, DATASET))
    _, report = _timed(lambda: agreement.report(judged, labels.repeats(store, DATASET)))
    _, skene = _timed(lambda: consensus.dawid_skene(judged))
    _, reports = _timed(lambda: consensus.annotator_reports(judged))
    return {"judgements": took, "report": report, "Dawid-Skene": skene, "each annotator": reports}


def agreed_levels(store: Store, wish: Wish) -> Figures:
    _, macro = _timed(lambda: labels.consensus(store, DATASET))
    _, contested = _timed(lambda: consensus.contested(labels.vote_counts(store, DATASET)))
    return {"consensus": macro, "contested": contested, "summary": _median(lambda: labels.summary(store, DATASET))}


def hand_out(store: Store, wish: Wish) -> Figures:
    """What a browser waits for when it asks for images, in both ways of sharing them out."""
    found: Figures = {}
    for words, share in (("everybody all", None), ("three an image", 3)):
        datasets.change_settings(store, DATASET, datasets.Settings(share))
        for who in (ANNOTATOR, LEAD):
            whose = f"{words}, {'many' if who == ANNOTATOR else 'no'} labels"
            ask = partial(assignment.hand_out, store, Leases(), DATASET, who, 24)
            _, found[f"hand_out first, {whose}"] = _timed(ask)
            found[f"hand_out, {whose}"] = _median(ask)
            found[f"progress, {whose}"] = _median(partial(assignment.progress, store, DATASET, who))
    datasets.change_settings(store, DATASET, datasets.Settings(None))
    found["of one class"] = _median(lambda: assignment.hand_out(store, Leases(), DATASET, LEAD, 24, of_class="class3"))
    found["left by class"] = _median(lambda: assignment.left_by_class(store, DATASET, LEAD))
    return found


def store_labels(store: Store, wish: Wish) -> Figures:
    names = datasets.examples(store, DATASET)["example"].tolist()
    one = iter(names[:: max(1, len(names) // 40)])
    history = _median(lambda: events.history(store, DATASET, ANNOTATOR))
    return {"one label": _median(lambda: events.store_events(store, DATASET, LEAD, [_event(next(one))]), 20), "history": history}


def find_image(store: Store, wish: Wish) -> Figures:
    known = [row[0] for row in store.rows("SELECT sha256 FROM example USING SAMPLE 50")]
    each = iter(known)
    _, first = _timed(lambda: content.find(store, next(each)))
    by_content = _median(lambda: content.find(store, next(each)), 20)
    return {"first": first, "by SHA-256": by_content, "list_datasets": _median(lambda: datasets.list_datasets(store))}


def take_out(store: Store, wish: Wish) -> Figures:
    found: Figures = {}
    for name, kind in (("csv", "csv"), ("jsonl", "jsonl"), ("parquet", "parquet"), ("json", "label-studio"), ("links", "links")):
        target = wish.scratch / f"out.{name}"
        _, found[kind] = _timed(partial(export_labels, store, DATASET, target, "people", kind))
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    target = wish.scratch / "log.csv"
    _, found["log as csv"] = _timed(lambda: export_log(store, DATASET, target))
    target.unlink()
    return found


def keep_copy(store: Store, wish: Wish) -> Figures:
    folder = wish.scratch / "backup"
    shutil.rmtree(folder, ignore_errors=True)
    backup.backup(store, folder)
    return {"MB": _megabytes(folder)}


def go_back(store: Store, wish: Wish) -> Figures:
    """Into another home, so that this one stays."""
    other = Home(wish.scratch / "restored")
    _, took = _timed(lambda: backup.restore(other, wish.scratch / "backup"))
    shutil.rmtree(other.root)
    shutil.rmtree(wish.scratch / "backup")
    return {"restore": took}


def snapshot(store: Store, wish: Wish) -> Figures:
    """Beside somebody who sorts without a pause: the longest that a label waits."""
    names, waits, done = datasets.examples(store, DATASET)["example"].tolist()[:5000], list[float](), threading.Event()

    def sort() -> None:
        for name in names:
            if done.is_set():
                return
            waits.append(_timed(partial(events.store_events, store, DATASET, LEAD, [_event(name)]), time.monotonic)[1])
            time.sleep(0.05)

    thread = threading.Thread(target=sort)
    thread.start()
    _, first = _timed(store.write_snapshot, time.monotonic)
    alone = max(waits, default=0.0)
    _, second = _timed(store.write_snapshot, time.monotonic)
    done.set()
    thread.join()
    return {
        "first": first,
        "second": second,
        "longest wait": max(waits),
        "longest in the first": alone,
        "MB": _megabytes(store.home.snapshot),
    }


def refuse_overlaps(store: Store, wish: Wish) -> Figures:
    with suppress(CurriculumError):
        datasets.look_for_overlaps(store, DATASET)
    return {}


WORK: dict[str, Callable[[Store, Wish], Figures]] = {
    "index": index, "check": check, "import": bring_in, "take in score": take_in_score, "take in runs": take_in_runs,
    "look at runs": look_at_runs, "compare": compare, "agree": agree, "consensus": agreed_levels, "hand out": hand_out,
    "store": store_labels, "find image": find_image, "export": take_out, "backup": keep_copy, "restore": go_back, "snapshot": snapshot,
    "overlaps": refuse_overlaps,
}  # fmt: skip


def _child(name: str, wish: Wish, queue: Any) -> None:
    with Store.open(Home(wish.home)) as store:
        begun, worked = time.monotonic(), time.process_time()
        found = WORK[name](store, wish)
        found = {"seconds": time.monotonic() - begun, "processor": time.process_time() - worked, **found}
    queue.put({**found, "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def in_its_own_process(name: str, wish: Wish) -> Figures:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_child, args=(name, wish, queue))
    process.start()
    while process.is_alive() and queue.empty():
        time.sleep(0.2)
    found = {} if queue.empty() and process.exitcode else queue.get(timeout=60)
    process.join()
    return found or {"failed": process.exitcode}


def _timed(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> tuple[Any, float]:
    begun = clock()
    return work(), clock() - begun


def _median(work: Callable[[], Any], times: int = 5, clock: Callable[[], float] = time.process_time) -> float:
    return statistics.median(_timed(work, clock)[1] for _ in range(times))


def _event(example: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "action": "label",
        "example": example,
        "level": "easy",
        "place": 0,
        "answered_at": datetime.now(UTC).isoformat(),
    }


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


# -- the app -------------------------------------------------------------------------------------


def prepare(home: Home, wish: Wish) -> None:
    """Everything that the measures need, where it isn't there yet."""
    for name, there in (("index", "SELECT 1 FROM example LIMIT 1"), ("import", "SELECT 1 FROM annotation LIMIT 1")):
        with Store.open(home) as store:
            have = bool(store.rows(there))
            if name == "import" and not have:
                list(
                    large_home.label_files(
                        wish.scratch, datasets.examples(store, DATASET)["example"].tolist(), wish.annotators, wish.labels
                    )
                )
        if not have:
            say(name, in_its_own_process(name, wish))
    if not home.runs.is_dir():
        with Store.open(home) as store:
            large_home.score_run(store)
        say("take in score", in_its_own_process("take in score", wish))
        with Store.open(home) as store:
            large_home.training_runs(store, wish.runs, wish.judged)
        say("take in runs", in_its_own_process("take in runs", wish))
    with Store.open(home) as store:
        if LEAD not in {person.name for person in people.list_people(store) if person.role == "lead"}:
            people.register(store, LEAD, PIN)


def sorting(server: Server, token: str, examples: list[str]) -> Figures:
    """What a browser waits for: images, an image, a label; the latter while the snapshot is written too."""

    def post(path: str, body: Figures) -> Figures:
        request = urllib.request.Request(
            f"{server.url}{path}", json.dumps({"token": token, **body}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            found: Figures = json.loads(answer.read())
            return found

    found, first = _timed(lambda: post("/api/queue", {}), time.monotonic)
    address = f"{server.url}{found['examples'][0]['image']}"
    again = _median(lambda: post("/api/queue", {}), clock=time.monotonic)
    image = _median(lambda: urllib.request.urlopen(address).read(), clock=time.monotonic)
    waits, until = [], time.monotonic() + 50
    while time.monotonic() < until:  # a snapshot is written twice meanwhile
        waits.append(_timed(lambda: post("/api/annotations", {"events": [_event(examples.pop())]}), time.monotonic)[1])
        time.sleep(0.1)
    return {"queue, first": first, "queue": again, "image": image, "label, median": statistics.median(waits), "label, longest": max(waits)}


def pages(server: Server) -> Figures:
    """Each page's seconds, first and second visit."""
    found: Figures = {}
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1366, "height": 900})
        context.set_default_timeout(PATIENCE)
        context.add_cookies([server.cookie(LEAD)])
        page = context.new_page()
        page.goto(f"{server.url}/health?dataset={DATASET}")
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.locator("[data-testid=stSidebarNav] a").first.wait_for()
        for visit in ("first", "later"):
            for name in PAGES:
                found.setdefault(name, {})[visit] = _visit(page, name)
                found[name][f"server MB, {visit}"] = psutil.Process(server.process.pid).memory_info().rss / 1e6 if server.process else 0
                say(f"{name}, {visit}", found[name])
    return found


def _visit(page: Page, name: str) -> float:
    seconds: float = page.evaluate(DRAWN, f"/{PAGES[name]}")
    wrong = page.locator("[data-testid=stException], [data-testid=stAlertContentError]").all_inner_texts()
    if wrong:
        print(f"{name}: {wrong}", file=sys.stderr)
    return round(seconds, 2)


def with_the_app(home: Home, wish: Wish) -> Figures:
    with Store.open(home) as store:
        names = datasets.examples(store, DATASET)["example"].tolist()[-5000:]
        token = identity.sign(store, Identity(LEAD, DATASET))
        cookie = {"name": identity.cookie_name(home), "value": identity.cookie(store, LEAD)}
    begun = time.monotonic()
    with serving(home, cold=True) as server:
        server.cookies[LEAD] = cookie  # type: ignore[assignment]
        found: Figures = {"start of the app": {"seconds": time.monotonic() - begun}}
        say("start of the app", found["start of the app"])
        if not wish.only or "sorting" in wish.only:
            found["sorting"] = sorting(server, token, names)
            say("sorting", found["sorting"])
        if not wish.only or "pages" in wish.only:
            found["pages"] = pages(server)
    return found


def say(name: str, figures: Figures) -> None:
    words = ", ".join(f"{key} {value:,.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items())
    print(f"{name}: {words} (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=100_000)
    options.add_argument("--pictures", type=Path, help="a folder that is drawn already")
    options.add_argument("--annotators", type=int, default=10)
    options.add_argument("--labels", type=int, default=1_000_000)
    options.add_argument("--runs", type=int, default=1000)
    options.add_argument("--judged", type=int, default=2800)
    options.add_argument("--home", type=Path, help="kept, and gone on with where it is there; by default a temporary one")
    options.add_argument("--only", nargs="*", default=[], metavar="NAME", help=f"of: {', '.join(WORK)}, sorting, pages")
    options.add_argument("--json", action="store_true", help="all figures as one document at the end")
    wish = options.parse_args()
    with tempfile.TemporaryDirectory(dir=wish.home.parent if wish.home else None) as name:
        wish.scratch, wish.home = Path(name), wish.home or Path(name) / "home"
        if wish.pictures is None:
            wish.pictures = wish.home / "pictures"
            if not wish.pictures.is_dir():
                large_home.draw(wish.pictures, wish.images)
        home = Home(wish.home)
        prepare(home, wish)
        found: Figures = {}
        for each in WORK:
            if each in wish.only or (not wish.only and each not in ("index", "import", "take in score", "take in runs")):
                found[each] = in_its_own_process(each, wish)
                say(each, found[each])
        if not wish.only or {"sorting", "pages"} & set(wish.only):
            found |= with_the_app(home, wish)
        found["on disk"] = {part: _megabytes(home.root / part) for part in ("labels", "data")}
        say("on disk", found["on disk"])
    if wish.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
