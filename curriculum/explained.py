"""What a model looked at in its worst mistakes, as pictures with words for a report. Asks the process of the page Why, or takes what it has kept."""

from __future__ import annotations

import time

from PIL import Image

from curriculum import datasets, evidence, mistakes, regions
from curriculum.asking import Explainer
from curriculum.charts.overlays import regions_over
from curriculum.document import Picture, data_address
from curriculum.errors import RunError
from curriculum.questions import Answer, Checks, Question, Regions
from curriculum.regions import Deletion, Stability
from curriculum.rundir import RunDir
from curriculum.store import Store
from curriculum.vocabulary import Superpixels

SAMPLES = 1000
METHODS: tuple[Superpixels, ...] = ("quickshift", "slic")
"""How images are divided: the page's own way, else one that divides nearly any image."""


def wait_for(explainer: Explainer, question: Question) -> Answer:
    """The stored answer, or a new one.

    Raises:
        RunError: there is none, and why.
    """
    if (found := explainer.answer(question)) is not None:
        return found
    job = explainer.ask(question, "the command line")
    while job.active:
        time.sleep(0.05)
    answer = explainer.answer(question)
    if job.state != "done" or answer is None:
        raise RunError(job.message or f"the explanation ended {job.state}")
    return answer


def checks_of(question: Regions) -> Checks:
    """What asks how far the regions can be relied on."""
    return Checks(**{name: value for name, value in question.to_json().items() if name != "kind"})


def pictures(store: Store, run: RunDir, explainer: Explainer, count: int, *, ask: bool) -> list[Picture]:
    """The test mistakes with the highest loss: for each the regions that speak for the predicted and for the true class, and how far to rely on them.

    Args:
        count: mistakes.
        ask: whether what nobody has asked yet is worked out now, which takes seconds to minutes each; else it is left out.
    """
    judged = mistakes.predictions(store, run.run_id)
    root = datasets.get_dataset(store, run.config().dataset).root
    found: list[Picture] = []
    for example in judged[~judged["correct"]].head(count)["example"]:
        row = evidence.judgement(store, run.run_id, example)
        if row is None or not (run / "model.pt").is_file():
            continue
        for method in METHODS:
            question = Regions(run.run_id, str(root), example, row["sha256"], row["class"], superpixels=method, samples=SAMPLES)
            both: tuple[Question, Question] = (question, checks_of(question))
            try:
                answers = [wait_for(explainer, one) if ask else explainer.answer(one) for one in both]
            except RunError:  # an image that it can't divide, or that has gone: the other way, then the other images
                continue
            if answers[0] is not None and answers[1] is not None:
                found += _of_one(question, answers[0], answers[1])
                break
    return found


def _of_one(question: Regions, answer: Answer, checks: Answer) -> list[Picture]:
    record, segments, drawn = answer.record, answer.arrays["segments"], []
    shares = regions.areas(segments)
    for place, name in enumerate(record["explained"]):
        kept = checks.record["classes"][place]
        lost = Deletion(**kept["deletion"] | {"random": tuple(kept["deletion"]["random"])}) if kept["deletion"] else None
        against = regions.leading(answer.arrays["weights"][place], shares, negative=True)
        image = Image.fromarray(regions_over(answer.arrays["image"], segments, kept["regions"], against))
        role = "said" if name == record["predicted"] else "is"
        probability = record["probabilities"][record["classes"].index(name)]
        lines = (f"{question.example}: {role} {name}, {probability:.0%}", regions.say_stability(Stability(**kept["stability"])),
                 regions.say_deletion(lost, len(kept["regions"])))  # fmt: skip
        drawn.append(Picture(data_address(image), f"Regions for {name} in {question.example}", lines))
    return drawn
