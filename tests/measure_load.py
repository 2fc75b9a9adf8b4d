"""Fifty sort at once, a lead looks at the heavy pages, a network trains: `python -m tests.measure_load FOLDER [--annotators 50 --browsers 4
--minutes 20 --leads 1 --train] [--every 30] --json`. Whether memory grows: the same with `--minutes 60 --annotators 8 --browsers 1`.

So many `--browsers` of the annotators, and each lead, are a real Chromium; the others are light clients of one process that ask for what the
page's JavaScript asks for (tests/sorter.py), every fourth of them in the grid. The leads go round the pages that compute most. Measured: each
route from the client's side, key press to next image painted in Chromium, every answer that isn't 200, every exception, every traceback of the
server; every so many seconds its memory, threads, open files, its children, the database's and the logs' size, with their growth by the hour,
over the second half. At the end every acknowledged answer is looked for in the database: lost, doubled, wrong and out of order must be 0,
or the exit code is 1. Prints how it goes to stderr, and what came out to stdout, as JSON with `--json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright, expect
from playwright.async_api import Error as BrowserError

from curriculum import intake, people, runs
from curriculum.config import ScoreConfig, TrainConfig
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.store import Store
from tests.browser import QUIET, Server, cookies, find_chromium
from tests.measure_sorting import WATCH, training
from tests.measure_team import SHOWN, Answer, compare
from tests.sorter import Notes, Sorter
from tests.test_sorting import LEVEL, RECORD

DATASET = "measured"
ROUND = ("team", "human-model", "runs", "errors", "labels", "decide")
SETTLE = 180_000
SCREEN: ViewportSize = {"width": 1366, "height": 768}


# -- before ----------------------------------------------------------------------------------------


def prepare(home: Home, folder: Path, leads: list[str], annotators: list[str]) -> dict[str, Any]:
    """A data set with a run and a ranking, for the pages that show them; everybody's cookie."""
    made = cookies(home, [*leads, *annotators])
    with Store.open(home) as store:
        for name in leads:
            people.set_role(store, name, "lead")
        add_dataset(store, DATASET, folder)
        small: dict[str, Any] = {"weights": "none", "image_size": 32}
        for config in (TrainConfig(DATASET, mode="transfer", epochs=2, **small), ScoreConfig(DATASET, repeats=1, **small)):
            run = runs.start(store, config)
            while run.status().active:
                time.sleep(0.5)
            intake.ingest(store, run)
            assert run.result() is not None, run.status().message
    return dict(made)


# -- who is there ------------------------------------------------------------------------------------


async def tab(browser: Browser, server: Server, name: str, notes: Notes, *scripts: str) -> tuple[BrowserContext, Page]:
    """A browser of its own for this person; errors of its pages are counted."""
    context = await browser.new_context(viewport=SCREEN)
    for script in scripts:
        await context.add_init_script(script)
    await context.add_cookies([server.cookie(name)])
    page = await context.new_page()
    page.on("pageerror", lambda error: notes.errors.update([f"Chromium: {str(error)[:80]}"]))
    page.on(
        "response",
        lambda answer: notes.errors.update(
            [f"Chromium: {answer.status} {route(answer.url)}"] if answer.status >= 400 and not guess(answer.url) else []
        ),
    )
    return context, page


def guess(address: str) -> bool:
    """Where Streamlit's page looks for its server first, from an address that isn't the root: it finds none there, and goes on."""
    return re.search(r"/sort/_stcore/(health|host-config)$", address) is not None


def route(address: str) -> str:
    """An address without what is different each time."""
    return re.sub(r"\?.*|[0-9a-f]{64}", "", re.sub(r"https?://[^/]+", "", address))


async def sort_in_chromium(browser: Browser, server: Server, name: str, until: float, notes: Notes) -> list[Answer]:
    """A key every second or two until the time is over; what the page accepted."""
    context, page = await tab(browser, server, name, notes, RECORD)
    chance = random.Random(name)
    await page.goto(f"{server.url}/sort?dataset={DATASET}", timeout=SETTLE)
    await page.locator(SHOWN).wait_for(timeout=SETTLE)
    await asyncio.sleep(2)
    await page.evaluate(WATCH)
    while time.monotonic() < until:
        await page.keyboard.press(chance.choice("123"))
        await asyncio.sleep(chance.uniform(0.9, 1.9))
    await expect(page.locator(".sorting .badge")).to_have_text("saved", timeout=SETTLE)
    notes.seconds["Chromium: key to next image painted"] += [took / 1000 for took in await page.evaluate("window.took")]
    pressed: list[dict[str, Any]] = await page.evaluate("window.pressed")
    await context.close()
    return [(name, one["example"], LEVEL[one["key"]]) for one in pressed if one["example"]]


async def lead(browser: Browser, server: Server, name: str, until: float, notes: Notes) -> None:
    """Round the heavy pages by the sidebar's links, pressing what computes; every now and then a page is loaded anew."""
    context, page = await tab(browser, server, name, notes)
    await page.goto(f"{server.url}/?dataset={DATASET}", timeout=SETTLE)
    chance = random.Random(name)
    while time.monotonic() < until:
        for path in ROUND:
            if time.monotonic() > until:
                break
            try:
                await look_at(page, path, notes)
            except (BrowserError, AssertionError) as error:
                notes.errors[f"lead, {path}: {str(error).splitlines()[0][:100]}"] += 1
            await asyncio.sleep(chance.uniform(2, 5))
        if chance.random() < 0.3:
            await page.reload(timeout=SETTLE)
    await context.close()


async def look_at(page: Page, path: str, notes: Notes) -> None:
    since = time.monotonic()
    await page.locator(f'[data-testid=stSidebarNav] a[href*="/{path}"]').first.click(timeout=SETTLE)
    await settled(page)
    notes.took(f"lead: page {path}", since)
    if path == "team" and await (again := page.get_by_role("button", name="Measure again")).is_visible():
        since = time.monotonic()
        await again.click(timeout=SETTLE)
        await settled(page)
        notes.took("lead: Measure again", since)
    third = page.get_by_role("button", name="Third opinion")
    if path == "decide" and await third.is_visible():
        since = time.monotonic()
        await third.click(timeout=SETTLE)
        await settled(page)
        notes.took("lead: Third opinion", since)
    if wrong := await page.locator("[data-testid=stException], [data-testid=stAlertContentError]").all_inner_texts():
        notes.errors.update(f"lead, {path}: {text[:100]}" for text in wrong)


async def settled(page: Page) -> None:
    """Until the page's script has run to its end."""
    await asyncio.sleep(0.3)
    await page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=SETTLE)


async def monitor(server: Server, until: float, notes: Notes) -> None:
    """What a monitor asks, and what tells how long the server's loop is held up."""
    import httpx2

    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
        while time.monotonic() < until:
            for path in ("/_stcore/health", "/api/health"):
                since = time.monotonic()
                try:
                    status: object = (await http.get(path)).status_code
                except httpx2.HTTPError as error:
                    status = type(error).__name__
                notes.took(path, since)
                if status != 200:
                    notes.errors[f"GET {path}: {status}"] += 1
            since = time.monotonic()
            await asyncio.sleep(2)
            notes.took("this measuring process: late by", since + 2)


# -- the server from outside -----------------------------------------------------------------------


def size(*paths: Path) -> float:
    """MB of files, and of all files of folders."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.stat().st_size
    return round(total / 1e6, 3)


def look(server: Server, begun: float) -> dict[str, Any]:
    """The server's process and files at this moment."""
    assert server.process is not None
    process, home = psutil.Process(server.process.pid), server.home
    children = []
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            children.append({"what": " ".join(child.cmdline()[-3:])[-60:], "rss": round(child.memory_info().rss / 1e6, 1)})
    return {
        "minute": round((time.monotonic() - begun) / 60, 2), "rss": round(process.memory_info().rss / 1e6, 1), "threads": process.num_threads(),
        "files": process.num_fds(), "cpu_seconds": round(sum(process.cpu_times()[:2]), 1), "children": children,
        "database": size(home.database), "wal": size(home.database.with_name(home.database.name + ".wal")),
        "logs": size(home.data / "logs", server.log), "cache": size(home.cache), "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip


async def watch(server: Server, begun: float, until: float, every: float, notes: Notes, samples: list[dict[str, Any]]) -> None:
    while time.monotonic() < until:
        await asyncio.sleep(min(every, max(0.1, until - time.monotonic())))
        samples.append(now := await asyncio.to_thread(look, server, begun))
        times = notes.seconds["/api/annotations"]
        print(
            f"{now['minute']:6.1f} min  {now['rss']:7.1f} MB  {now['threads']} threads  {now['files']} files  {len(times):,} batches, the last "
            f"100: p95 {1000 * quantile(times[-100:], 0.95):.0f} ms  {notes.errors.total()} errors  load {now['load']}", file=sys.stderr, flush=True,
        )  # fmt: skip


def quantile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else float("nan")


def growth(samples: list[dict[str, Any]]) -> dict[str, float]:
    """By the hour, over the second half: least squares."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return {}
    hours = np.array([one["minute"] / 60 for one in half])
    return {key: round(float(np.polyfit(hours, [one[key] for one in half], 1)[0]), 2)
            for key in ("rss", "threads", "files", "database", "wal", "logs")}  # fmt: skip


# -- after -------------------------------------------------------------------------------------------


def looked_for(home: Home, sorters: list[Sorter], accepted: list[Answer]) -> dict[str, int]:
    """What was acknowledged against what the database has."""
    light = {sorter.name for sorter in sorters}
    with Store.open(home) as store:
        rows = store.rows("SELECT CAST(id AS TEXT), annotator, example, action, level, CAST(undoes AS TEXT) FROM annotation ORDER BY seq")
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in light}
    for event, annotator, *what in rows:
        if annotator in light:
            found[annotator].append((event, *what))
    sums = Counter({"acknowledged": 0, "lost": 0, "doubled": 0, "wrong": 0, "out of order": 0, "still waiting": 0})
    for sorter in sorters:
        sent, there = sorter.outbox.acknowledged, {row[0]: row[1:] for row in found[sorter.name]}
        sums["acknowledged"] += len(sent)
        sums["still waiting"] += len(sorter.outbox.entries)
        sums["lost"] += len(sent.keys() - there.keys())
        sums["doubled"] += (
            len(found[sorter.name]) - len(there) + len(there.keys() - sent.keys() - {event["id"] for event in sorter.outbox.entries})
        )
        for event, (example, action, level, undoes) in there.items():
            want = sent.get(event)
            if want is not None and (example, action, level, undoes) != (
                want["example"],
                want["action"],
                want.get("level"),
                want.get("undoes"),
            ):
                sums["wrong"] += 1
        sums["out of order"] += [one for one in sent if one in there] != [one for one in there if one in sent]
    chromium = compare(accepted, [(row[1], row[2], row[4]) for row in rows if row[3] == "label" and row[1] not in light])
    sums += Counter({"acknowledged": chromium["accepted"], "lost": chromium["lost"], "doubled": chromium["doubled"],
                     "wrong": chromium["on a wrong image"]})  # fmt: skip
    return {key: sums[key] for key in ("acknowledged", "lost", "doubled", "wrong", "out of order", "still waiting")}


def complaints(server: Server) -> dict[str, int]:
    """Tracebacks in what the server printed; what its journal has from WARNING on, by kind."""
    counts = Counter({"tracebacks": server.log.read_text(encoding="utf-8", errors="replace").count("Traceback (most recent call last)")})
    for file in (server.home.data / "logs").glob("*.jsonl*"):
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["level"] not in ("INFO", "DEBUG"):
                counts[f"{entry['level']} {str(entry['what'])[:80]}"] += 1
    return dict(counts)


def summary(notes: Notes) -> dict[str, dict[str, float]]:
    """Milliseconds."""
    return {
        name: {"n": len(took), **{key: round(1000 * quantile(took, share), 1)
                                  for key, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))}}
        for name, took in sorted(notes.seconds.items())
    }  # fmt: skip


async def together(server: Server, given: argparse.Namespace, leads: list[str], annotators: list[str]) -> dict[str, Any]:
    """Everybody at once; samples, notes, the light annotators, and what Chromium's pages accepted."""
    notes, samples, begun = Notes(), list[dict[str, Any]](), time.monotonic()
    until = begun + 60 * given.minutes
    in_chromium, light = annotators[: given.browsers], annotators[given.browsers :]
    sorters = [Sorter(server, name, DATASET, "grid" if n % 4 == 3 else "one", notes) for n, name in enumerate(light)]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        beside = [asyncio.create_task(one) for one in (watch(server, begun, until, given.every, notes, samples), monitor(server, until, notes),
                                                      *(lead(browser, server, name, until, notes) for name in leads))]  # fmt: skip
        sorting = [asyncio.create_task(sorter.stay(until)) for sorter in sorters]
        pressing = [asyncio.create_task(sort_in_chromium(browser, server, name, until, notes)) for name in in_chromium]
        accepted = list[Answer]()
        for outcome in await asyncio.gather(*pressing, *sorting, *beside, return_exceptions=True):
            if isinstance(outcome, BaseException):
                notes.errors[f"somebody gave up: {type(outcome).__name__}: {str(outcome)[:200]}"] += 1
            accepted += outcome if isinstance(outcome, list) else []
        await browser.close()
    return {"notes": notes, "samples": samples, "sorters": sorters, "accepted": accepted}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    leads = [f"Lead {n:02}" for n in range(1, given.leads + 1)]
    annotators = [f"Annotator {n:03}" for n in range(1, given.annotators + 1)]
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(Path(scratch) / "home")
        made = prepare(home, given.folder, leads, annotators)
        with training(home, given.train):
            server = Server(home)
            server.cookies = made
            print(f"the server's PID: {server.process.pid if server.process else '?'}", file=sys.stderr, flush=True)
            found = asyncio.run(together(server, given, leads, annotators))
            said = complaints(server)
            if said["tracebacks"]:
                print(server.log.read_text(encoding="utf-8", errors="replace")[-4000:], file=sys.stderr)
            try:
                server.stop()
            except psutil.TimeoutExpired:  # what was measured isn't lost for it
                found["notes"].errors["the server hadn't ended 30 s after it was asked to"] += 1
                server.kill()
        kept = looked_for(home, found["sorters"], found["accepted"])
    notes, samples = found["notes"], found["samples"]
    return {
        "with": {key: str(value) for key, value in vars(given).items()}, "cores": os.cpu_count(), "answers": kept, "milliseconds": summary(notes),
        "errors": dict(notes.errors), "the server's complaints": said, "growth by the hour": growth(samples), "samples": samples,
    }  # fmt: skip


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="a folder of class folders with more images than anyone gets through")
    options.add_argument("--annotators", type=int, default=50)
    options.add_argument("--browsers", type=int, default=4, help="how many of them are a real Chromium")
    options.add_argument("--minutes", type=float, default=20)
    options.add_argument("--leads", type=int, default=1, help="each a Chromium more")
    options.add_argument("--train", action="store_true", help="train meanwhile")
    options.add_argument("--every", type=float, default=30, metavar="SECONDS", help="how often the server is looked at")
    options.add_argument("--json", action="store_true", help="what came out as one JSON document")
    given = options.parse_args()
    found = measure(given)
    if given.json:
        print(json.dumps(found))
    else:
        for key in ("answers", "milliseconds", "errors", "the server's complaints", "growth by the hour"):
            print(f"{key}:\n" + "\n".join(f"  {name}: {value}" for name, value in found[key].items()))
    return int(any(found["answers"][key] for key in ("lost", "doubled", "wrong", "out of order", "still waiting")))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
