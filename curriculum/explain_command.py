"""`python -m curriculum explain`: pictures and a JSON document of what a run's model goes by in some images.

It asks the same process as the page Why and shares its stored answers. Nothing here imports torch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from curriculum import datasets, evidence, mistakes, regions
from curriculum.asking import Explainer
from curriculum.charts.overlays import regions_over
from curriculum.config import TrainConfig
from curriculum.errors import ConfigError, RunError, UnknownError
from curriculum.explained import checks_of, wait_for
from curriculum.files import write_json, write_whole
from curriculum.home import Home
from curriculum.questions import Answer, Regions, trained
from curriculum.regions import Deletion, Stability
from curriculum.store import Store

Result = dict[str, Any]
WORST = 5
ROLES = ("predicted", "true")


def explain(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    asked = _questions(options, home)
    out = Path(options.out).expanduser()
    for name in ("explain.json", *(_picture(question, role) for question in asked for role in ROLES)):
        home.claim(out / name, overwrite=options.overwrite)
    out.mkdir(parents=True, exist_ok=True)
    explainer, images = Explainer(home), []
    try:
        for question in tqdm(asked, desc="images", file=sys.stderr, leave=False, disable=None):
            images.append(_one(question, wait_for(explainer, question), wait_for(explainer, checks_of(question)), out))
    finally:
        explainer.close()
    document = {"run_id": options.run_id, "samples": options.samples, "segments": options.segments, "images": images}
    write_json(out / "explain.json", document)
    return {**document, "out": str(out)}, _text(document, out)


def _questions(options: argparse.Namespace, home: Home) -> list[Regions]:
    """One for each image, named ones first; all is checked before anything starts."""
    if options.worst is not None and options.worst < 0:
        raise ConfigError("--worst is out of range", got=options.worst, allowed="0 or more")
    run = trained(home, options.run_id)
    if not isinstance(run.config(), TrainConfig):
        raise RunError("only a training run has a model to explain", got=options.run_id, todo="`runs list` shows them")
    worst = (0 if options.examples else WORST) if options.worst is None else options.worst
    with Store.open_or_snapshot(home, owner="explain") as store:
        root = datasets.get_dataset(store, run.config().dataset).root
        judged = mistakes.predictions(store, run.run_id) if worst else None
        names = list(options.examples)
        if judged is not None:
            names += judged[~judged["correct"]].head(worst)["example"].tolist()
        rows = [(name, evidence.judgement(store, run.run_id, name)) for name in dict.fromkeys(names)]
    if unknown := [name for name, row in rows if row is None]:
        raise UnknownError("no such image in the run's data set", got=", ".join(unknown), todo="Its name is class/file")
    return [
        Regions(run.run_id, str(root), name, row["sha256"], row["class"], superpixels=options.segments, samples=options.samples)
        for name, row in rows if row is not None
    ]  # fmt: skip


def _one(question: Regions, answer: Answer, checks: Answer, out: Path) -> Result:
    """One image's pictures on the disk, and what is said of it."""
    record, segments = answer.record, answer.arrays["segments"]
    shares, classes = regions.areas(segments), []
    for place, name in enumerate(record["explained"]):
        weights, found = answer.arrays["weights"][place], checks.record["classes"][place]
        role = ROLES[0] if name == record["predicted"] else ROLES[1]
        picture = out / _picture(question, role)
        against = regions.leading(weights, shares, negative=True)
        drawn = Image.fromarray(regions_over(answer.arrays["image"], segments, found["regions"], against))
        write_whole(picture, lambda path, drawn=drawn: drawn.save(path, "PNG"))  # type: ignore[misc]
        agreed = Stability(**found["stability"])
        lost = Deletion(**found["deletion"] | {"random": tuple(found["deletion"]["random"])}) if found["deletion"] else None
        classes.append({
            "class": name, "role": role, "probability": record["probabilities"][record["classes"].index(name)], "picture": picture.name,
            "weights": weights.tolist(), "areas": shares.tolist(), "regions": found["regions"], "against": against,
            "intercept": record["intercept"][place], "r2": record["r2"][place],
            "stability": {**found["stability"], "stable": agreed.stable},
            "deletion": {**found["deletion"], "drop": lost.drop, "p": lost.p, "matters": lost.matters} if lost else None,
            "verdict": [regions.say_fit(record["r2"][place]), regions.say_stability(agreed), regions.say_deletion(lost, len(found["regions"]))],
        })  # fmt: skip
    return {
        "example": question.example, "class": question.true, "predicted": record["predicted"], "classes": classes, "seconds": record["seconds"],
    }  # fmt: skip


def _picture(question: Regions, role: str) -> str:
    return f"{question.example.replace('/', '_').rsplit('.', 1)[0]}-{role}.png"


def _text(document: Result, out: Path) -> str:
    lines = []
    for image in document["images"]:
        lines.append(f"{image['example']}: is {image['class']}, the model says {image['predicted']}")
        for one in image["classes"]:
            lines += [
                f"  {one['role']} {one['class']}, {one['probability']:.0%}: {one['picture']}",
                *(f"    {line}" for line in one["verdict"]),
            ]
    return "\n".join([*lines, f"{len(document['images'])} images explained; pictures and explain.json are in {out}"])
