"""What the commands `runs rename`, `runs note`, `runs diff` and `report` do. `cli` knows the flags and the exit codes.

A title and a note are kept in the run's directory, so these commands work while the app owns the database: it takes them in by itself.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from curriculum import explained, intake, run_tables, runs
from curriculum import report as reports
from curriculum.asking import Explainer
from curriculum.config import TrainConfig
from curriculum.document import Picture
from curriculum.errors import ConfigError, StoreLockedError
from curriculum.files import write_whole
from curriculum.home import Home
from curriculum.rundir import RunDir, open_run
from curriculum.store import Store

Result = dict[str, Any]


def runs_rename(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    document = _describe(home, options.run_id, title=options.title)
    return document, f"{options.run_id} is called {document['title']!r}" if document["title"] else f"{options.run_id} has no title any more"


def runs_note(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    document = _describe(home, options.run_id, note=options.text)
    return document, f"the note of {options.run_id}: {document['note']}" if document["note"] else f"{options.run_id} has no note any more"


def _describe(home: Home, run_id: str, **said: str) -> Result:
    run = open_run(home, run_id)
    with Store.open_or_snapshot(home, owner="a command that names a run") as store:
        about = runs.describe(store, run, **said)
    return {"run_id": run_id, "title": about.title or None, "note": about.note or None}


def runs_diff(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    a, b = (open_run(home, run_id) for run_id in (options.run_a, options.run_b))
    found = run_tables.difference(a.request()["config"], b.request()["config"])
    document = {"a": a.run_id, "b": b.run_id, "differences": found.to_dict("records")}
    if found.empty:
        return document, f"{a.run_id} and {b.run_id} have the same configuration"
    width, first = max(map(len, found["option"])), max(map(len, found["a"]))
    lines = [f"{'':<{width}}  a: {a.run_id}", f"{'':<{width}}  b: {b.run_id}"]
    return document, "\n".join(lines + [f"{row.option:<{width}}  {row.a:<{first}}  {row.b}" for row in found.itertuples()])


def report(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    out = Path(options.out).expanduser()
    home.claim(out, overwrite=options.overwrite)
    run = open_run(home, options.run_id)
    with Store.open_or_snapshot(home, owner="a report") as store:
        with contextlib.suppress(StoreLockedError):  # the app takes runs in by itself, and its snapshot has them
            for each in (run, *runs.members(home, run)):
                intake.ingest(store, each)
        html = reports.build(store, run, _looked_at(store, home, run, options.explain))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, lambda fresh: fresh.write_text(html, encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{out} can't be written ({error})", todo="Give another file with --out.") from error
    return {"run_id": run.run_id, "file": str(out), "bytes": len(html.encode())}, f"the report of {run.run_id} is {out}"


def _looked_at(store: Store, home: Home, run: RunDir, count: int) -> list[Picture]:
    """What the model saw in its worst mistakes; nothing of a comparison, which has many models."""
    if count < 0:
        raise ConfigError("--explain is out of range", got=count, allowed="0 or more")
    if not count or not isinstance(run.config(), TrainConfig) or run.result() is None:
        return []
    explainer = Explainer(home)
    try:
        return explained.pictures(store, run, explainer, count, ask=True)
    finally:
        explainer.close()
