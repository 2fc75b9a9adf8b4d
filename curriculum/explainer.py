"""The process that explains: `python -m curriculum.explainer HOME`, started by `asking` when something is asked for the first time.

It keeps models loaded, takes one question a line from standard input, says on standard output how far it is, and stores the answer on
disk. It never opens the database. When its standard input closes, whoever asked is gone, and it ends at once: answers are whole files.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from curriculum import explain, first_layer, metrics, questions, regions
from curriculum.config import TrainConfig
from curriculum.errors import CancelledError, CurriculumError, UnknownError, no_memory
from curriculum.explain import Looker, Progress, Stop
from curriculum.home import Home
from curriculum.images import load_images
from curriculum.model import Channels, Weights, load_weights, pick_device, restore
from curriculum.priority import step_back
from curriculum.questions import Answer, Checks, FeatureMap, Layers, Neighbours, OfImage, Question, Regions
from curriculum.rundir import RunDir
from curriculum.score import extract_features

SAY_EVERY_SECONDS = 0.2
MODELS = 4
"""Kept in memory, 45 MB each."""


class Desk:
    """Answers one question at a time; `progress` takes (phase, done, to do), `should_stop` says whether nobody waits any more."""

    def __init__(self, home: Home, progress: Progress, should_stop: Stop, device: torch.device | None = None) -> None:
        self.home, self.progress, self.should_stop = home, progress, should_stop
        self.device = device or pick_device("auto")

    def answer(self, question: Question) -> Answer:
        """The stored answer where there is a whole one, else a new one, stored."""
        path = questions.place(self.home, questions.key(self.home, question))
        found = questions.read(path)
        if found is None:
            started = time.monotonic()
            found = self._find(question)
            found.record["seconds"] = time.monotonic() - started
            questions.write(path, found)
        return found

    def _find(self, question: Question) -> Answer:
        match question:
            case Checks():
                return self._checks(question)
            case Regions():
                return self._regions(question)
            case Layers():
                return self._layers(question)
            case Neighbours():
                return self._neighbours(question)
            case FeatureMap():
                return self._map(question)
        raise UnknownError("nobody answers this kind of question", got=question.kind)

    # -- one image -------------------------------------------------------------------------------

    def _regions(self, question: Regions) -> Answer:
        classes, net = self._model(question)
        image = self._image(question)
        self.progress("dividing the image", 0, 0)
        segments = explain.segment(image, question.superpixels)
        looker = self._looker(question, net, image, segments)
        said = looker.whole()
        predicted = classes[int(said.argmax())]
        explained = list(dict.fromkeys([predicted, *([question.true] if question.true in classes else [])]))
        found = explain.weigh(looker, [classes.index(name) for name in explained], question.samples, question.seed, self.progress,
                              self.should_stop)  # fmt: skip
        record = {
            "predicted": predicted, "true": question.true, "explained": explained, "classes": classes, "probabilities": said.tolist(),
            "intercept": found.intercept.tolist(), "r2": found.r2.tolist(), "samples": question.samples, "superpixels": question.superpixels,
        }  # fmt: skip
        return Answer(record, {"image": image, "segments": segments.astype(np.int32), "weights": found.weights})

    def _checks(self, question: Checks) -> Answer:
        first = self.answer(Regions(**{name: value for name, value in question.to_json().items() if name != "kind"}))
        classes, net = self._model(question)
        segments, explained = first.arrays["segments"].astype(np.int64), first.record["explained"]
        looker, labels = self._looker(question, net, first.arrays["image"], segments), [classes.index(name) for name in explained]
        weights = [first.arrays["weights"]]
        for number in range(1, questions.SAMPLINGS):
            say = self._say(f"sampling {number + 1} of {questions.SAMPLINGS}")
            weights.append(explain.weigh(looker, labels, question.samples, question.seed + number, say, self.should_stop).weights)
        each, shares = [], regions.areas(segments)
        for place, (name, label) in enumerate(zip(explained, labels, strict=True)):
            leading = regions.leading(first.arrays["weights"][place], shares)
            lost = explain.delete(looker, leading, label, question.seed, self.progress, self.should_stop)
            agreed = regions.stability(np.stack([one[place] for one in weights]))
            each.append({"class": name, "regions": leading, "stability": asdict(agreed), "deletion": asdict(lost) if lost else None})
        return Answer({"classes": each}, {"weights": np.stack(weights)})

    def _layers(self, question: Layers) -> Answer:
        _, net = self._model(question)
        before, after = first_layer.activations(net, self._image(question), self.device, self._channels(question))
        halves = {"before": before.astype(np.float16), "after": after.astype(np.float16)}
        return Answer({"activation": first_layer.activation_of(net)}, {"filters": first_layer.filters(net), **halves})

    # -- many images -----------------------------------------------------------------------------

    def _neighbours(self, question: Neighbours) -> Answer:
        order = self._among(question, question.among)
        features = self._features(question, order["example"].tolist(), order["sha256"].tolist())
        query = self._features(question, [question.example], [question.sha256])[0]
        own = np.flatnonzero(order["example"] == question.example)
        found = explain.nearest(features, query, question.k, skip=int(own[0]) if len(own) else None)
        rows = order.iloc[[row for row, _ in found]][["example", "class", "sha256"]].to_dict("records")
        near = [{**row, "distance": distance} for row, (_, distance) in zip(rows, found, strict=True)]
        labels = np.asarray(pd.factorize(order["class"])[0], dtype=np.int64)
        return Answer({"neighbours": near, "mean_share": metrics.knn_purity(features, labels, question.k)}, {})

    def _map(self, question: FeatureMap) -> Answer:
        order = self._among(question, question.among)
        features = self._features(question, order["example"].tolist(), order["sha256"].tolist())
        self.progress("drawing the map", 0, 0)
        places, shown = explain.project(features, question.projection)  # type: ignore[arg-type]
        return Answer({"examples": order["example"].tolist(), "shown": shown}, {"places": places.astype(np.float32)})

    # -- what they share -------------------------------------------------------------------------

    def _looker(self, question: Question, net: nn.Module, image: NDArray[np.uint8], segments: NDArray[np.int64]) -> Looker:
        config = questions.trained(self.home, question.run).config()
        several = isinstance(config, TrainConfig) and config.multi_label
        return Looker(net, image, segments, self.device, self._channels(question), several)

    def _model(self, question: Question) -> tuple[list[str], nn.Module]:
        run = questions.trained(self.home, question.run)
        self.progress("loading the model", 0, 0)
        classes: list[str] = run.request()["classes"]
        return classes, _network(run.path, questions.content(run / "model.pt"), len(classes))

    def _channels(self, question: Question) -> Channels:
        return Channels.of(questions.trained(self.home, question.run).result())

    def _size(self, question: Question) -> int:
        return questions.trained(self.home, question.run).config().image_size

    def _image(self, question: OfImage) -> NDArray[np.uint8]:
        """What the model sees: the image at the run's size, its centre square."""
        return np.asarray(self._rows(question, [question.example], [question.sha256])[[0]][0], dtype=np.uint8)

    def _rows(self, question: Question, names: list[str], sha256: list[str]) -> Any:
        say = self._say("decoding images")
        return load_images(
            Path(question.root), names, sha256, self._size(question), self.home.cache, lambda done, total: say("", done, total)
        )

    def _features(self, question: Question, names: list[str], sha256: list[str]) -> NDArray[np.float32]:
        weights = _weights(questions.trained(self.home, question.run))
        return extract_features(
            weights, self._rows(question, names, sha256), sha256, self.device, self.home.cache, seed=0,
            progress=self._say("features"), should_stop=self.should_stop, channels=self._channels(question),
        )  # fmt: skip

    def _say(self, phase: str) -> Progress:
        """Progress under one name, which also looks whether to stop."""

        def say(_: str, done: int, total: int) -> None:
            if self.should_stop():
                raise CancelledError("the explanation was cancelled")
            self.progress(phase, done, total)

        return say

    def _among(self, question: Question, which: str) -> pd.DataFrame:
        """The run's own list of images: example, class, sha256."""
        run: RunDir = questions.trained(self.home, question.run)
        order = run.order()
        return order if which == "all" else order[order["split"] == which].reset_index(drop=True)


def _weights(run: RunDir) -> Weights:
    config = run.config()
    return load_weights(f"run:{run.run_id}", run.path.parent, config.architecture, config.image_size)


@lru_cache(maxsize=MODELS)
def _network(path: Path, _content: str, classes: int) -> nn.Module:
    run = RunDir(path)
    return restore(classes, _weights(run), run.config().image_size)


# -- the process ---------------------------------------------------------------------------------


class Clerk:
    """Reads questions, says how they stand. One JSON document a line, both ways."""

    def __init__(self, lines: TextIO, out: TextIO) -> None:
        self.lines, self.out = lines, out
        self.asked: queue.Queue[dict[str, Any]] = queue.Queue()
        self.cancelled: set[str] = set()
        self.now, self.said_at, self.phase = "", 0.0, ""

    def listen(self) -> None:
        """Until nobody can ask any more; then this process ends, whatever it is at."""
        with contextlib.suppress(OSError, ValueError):
            for line in self.lines:
                message = json.loads(line)
                if "cancel" in message:
                    self.cancelled.add(message["cancel"])
                else:
                    self.cancelled.discard(message["key"])
                    self.asked.put(message)
        os._exit(0)

    def say(self, **words: Any) -> None:
        self.out.write(json.dumps({"key": self.now, **words}) + "\n")
        self.out.flush()

    def progress(self, phase: str, done: int, total: int) -> None:
        if phase != self.phase or time.monotonic() - self.said_at >= SAY_EVERY_SECONDS:
            self.phase, self.said_at = phase, time.monotonic()
            self.say(state="running", phase=phase, done=done, total=total)

    def should_stop(self) -> bool:
        return self.now in self.cancelled

    def serve(self, answer: Callable[[Question], object]) -> None:
        """Question after question."""
        while True:
            message = self.asked.get()
            self.now, self.phase = message["key"], ""
            try:
                answer(questions.from_json(message["question"]))
            except CancelledError as error:
                self.say(state="cancelled", message=str(error))
            except Exception as error:
                traceback.print_exc()
                self.say(state="failed", message=reason(error))
            else:
                self.say(state="done")


def reason(error: Exception) -> str:
    """What a person can do about it; the traceback is in the log."""
    if isinstance(error, CurriculumError):
        return str(error)
    if no_memory(error):
        return "Memory ran out. Close other programs, or wait until a run that trains here has ended, and ask again."
    return f"{type(error).__name__}: {error}. The log of the process that explains has the details: data/cache/explanations/log.txt."


def main() -> None:
    step_back(1)  # before runs: somebody waits
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no message
    clerk = Clerk(sys.stdin, out)
    threading.Thread(target=clerk.listen, daemon=True).start()
    clerk.serve(Desk(Home(Path(sys.argv[1])), clerk.progress, clerk.should_stop).answer)


if __name__ == "__main__":
    main()
