"""`python -m curriculum bench`: choose the images, let `bench` measure in a process of its own, hold the figures against bars.

The bars hold for two CPU cores at 256 px and batches of 32; elsewhere they are a comparison. Nothing here imports torch, and
no run, label or cache of the home is touched.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from curriculum import datasets, sources
from curriculum.config import TrainConfig
from curriculum.errors import ConfigError, DatasetError, RunError
from curriculum.files import write_json
from curriculum.home import Home
from curriculum.images import index_folder
from curriculum.scenes import CLASSES
from curriculum.store import Store

Result = dict[str, Any]

BARS = {
    "train_speedup": 3.0,
    "train_fraction_of_limit": 0.9,
    "score_fraction_of_limit": 0.9,
    "transfer_speedup": 50.0,
    "knn_speedup": 50.0,
}
"""What a run must reach on two CPU cores at 256 px, batches of 32; score_speedup has none."""

MEANING = {
    "train_speedup": "training, ours / plain loop",
    "train_fraction_of_limit": "training, ours / bare model",
    "score_speedup": "scoring, ours / plain loop",
    "score_fraction_of_limit": "scoring, ours / bare model",
    "transfer_speedup": "100 epochs of transfer, ours / plain loop",
    "knn_speedup": "KNN, ours / example by example",
}
RANGES = {"images": (8, 100_000), "repeats": (1, 100)}


def bench(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    for name, (low, high) in RANGES.items():
        if not low <= getattr(options, name) <= high:
            raise ConfigError(f"--{name} is out of range", got=getattr(options, name), allowed=f"{low} to {high}")
    config = TrainConfig(
        options.dataset or "demo", weights="none", mode="fine-tune", protocol="report", epochs=options.repeats + 1,
        image_size=options.image_size, batch_size=options.batch_size, device=options.device,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="curriculum-bench-") as name:
        folder = Path(name)
        root, files = _registered(home, options.dataset) if options.dataset else _drawn(folder, options.images + 1)
        files = spread(files, options.images + 1)
        columns = {"examples": files["example"].tolist(), "classes": files["class"].tolist(), "sha256": files["sha256"].tolist()}
        write_json(folder / "request.json", {"root": str(root), **columns, "config": config.to_json(), "repeats": options.repeats})
        measured = _measure(folder)
    result = {"dataset": config.dataset, **measured, "bars": judge(measured)}
    return result, table(result)


def spread(files: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` of the files, evenly over their order, and so over the classes."""
    rows = np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)
    return files.iloc[rows]


def _registered(home: Home, name: str) -> tuple[Path, pd.DataFrame]:
    with Store.open_or_snapshot(home, owner="bench") as store:
        root, files = datasets.get_dataset(store, name).root, datasets.examples(store, name)
    least = RANGES["images"][0] + 1
    if len(files) < least:
        raise DatasetError("a measurement needs more images", got=f"{len(files)} in {name}", allowed=f"at least {least}",
                           todo="Choose another data set, or leave out --dataset: scenes are drawn then")  # fmt: skip
    return root, files


def _drawn(folder: Path, count: int) -> tuple[Path, pd.DataFrame]:
    """Demo scenes as JPEG files, in a folder that goes when the measurement is done."""
    print("drawing scenes ...", file=sys.stderr, flush=True)
    index = index_folder(sources.make_demo(folder, per_class=-(-count // len(CLASSES))))
    rows = [{"example": each.example, "class": each.class_name, "sha256": each.sha256} for each in index.examples]
    return index.root, pd.DataFrame(rows)


def _measure(folder: Path) -> Result:
    """Let `curriculum.bench` work in a process of its own; its progress goes to our standard error."""
    code = subprocess.call([sys.executable, "-m", "curriculum.bench", str(folder)], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, cwd=Path(__file__).resolve().parent.parent)  # fmt: skip
    path = folder / "result.json"
    if not path.exists():
        raise RunError("the measurement broke off", got=f"exit code {code}", todo="What it said last stands above")
    result: Result = json.loads(path.read_text(encoding="utf-8"))
    if code:
        raise (ConfigError if code == ConfigError.exit_code else RunError)(result["error"])
    return result


def judge(measured: Result) -> Result:
    """Each bar and whether the figure reaches it."""
    return {name: {"at_least": least, "met": measured[name] is not None and measured[name] >= least} for name, least in BARS.items()}


def table(result: Result) -> str:
    """The result for people: images a second, then each figure and its bar."""
    on, rates = result["machine"], result["images_per_second"]
    where = f"{on['cores']} cores of {on['cpu']}" + (f", {on['gpu']}" if on["gpu"] else "")
    lines = [
        f"{where}; torch {on['torch']} on {on['device']}, {on['precision']}",
        f"{result['images']} images of {result['dataset']} at {result['image_size']} px, batches of {result['batch_size']}, "
        f"median of {result['repeats']}",
        f"{'images a second':<16}{'ours':>12}{'plain loop':>12}{'bare model':>12}",
    ]
    for work in ("train", "score", "transfer", "knn"):
        row = [rates.get(f"{work}_{who}") for who in ("ours", "plain_loop", "bare_model")]
        lines.append(f"{work:<16}" + "".join(f"{'' if value is None else format(value, '.1f'):>12}" for value in row))
    for name, meaning in MEANING.items():
        bar = result["bars"].get(name)
        verdict = f"bar {bar['at_least']:g}: {'met' if bar['met'] else 'missed'}" if bar else "no bar"
        lines.append(f"{name:<24}{result[name]:>8.2f}  {verdict:<16}{meaning}")
    return "\n".join([*lines, "Bars are for two CPU cores at 256 px, batches of 32.", *(f"  {note}" for note in result["notes"])])
