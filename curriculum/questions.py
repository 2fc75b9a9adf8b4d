"""What can be asked of a trained model, and the answers on disk.

A question knows everything that its answer depends on; its key comes from that, from the model's content and the image's, so an answer
never goes out of date. Answers are whole files in the home's cache; one that is damaged counts as none. Nothing here computes.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from curriculum.errors import ConfigError, RunError, UnknownError
from curriculum.files import digest, without_nan, write_whole
from curriculum.home import Home
from curriculum.rundir import RunDir, open_run
from curriculum.vocabulary import AMONG, PROJECTIONS, SUPERPIXELS, Superpixels

METHOD = 2
"""Goes up when the same question would get another answer than before: older answers are then passed over."""
SAMPLES = (50, 20_000)
NEIGHBOURS = (1, 50)
SAMPLINGS = 3
"""Whose agreement `Checks` measures: the question's seed and the next two."""


@dataclass(frozen=True)
class Question:
    """About one run's model. `root`: the data set's folder, on which no answer depends."""

    run: str
    root: str

    kind: ClassVar[str]
    of_images: ClassVar[bool] = False  # the answer depends on the run's list of images

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class OfImage(Question):
    """About what the model makes of one image."""

    example: str
    sha256: str


@dataclass(frozen=True)
class Regions(OfImage):
    """Which regions speak for and against the predicted class, and the true one. `true`: None where the model doesn't know it.

    Answer: image uint8 (size, size, 3), segments (size, size), weights (classes explained, regions); record: predicted, true, explained,
    probabilities (all classes), intercept, r2 (classes explained).
    """

    true: str | None
    superpixels: Superpixels = "quickshift"
    samples: int = 1000
    seed: int = 0
    kind = "regions"

    def __post_init__(self) -> None:
        if self.superpixels not in SUPERPIXELS:
            raise ConfigError("--segments has an unknown value", got=self.superpixels, allowed=SUPERPIXELS)
        if not SAMPLES[0] <= self.samples <= SAMPLES[1]:
            raise ConfigError("--samples is out of range", got=self.samples, allowed=f"{SAMPLES[0]} to {SAMPLES[1]:,}")


@dataclass(frozen=True)
class Checks(Regions):
    """How far these regions can be relied on. Record: classes, a list of class, regions, stability, deletion (see `regions`)."""

    kind = "checks"


@dataclass(frozen=True)
class Layers(OfImage):
    """Answer: filters, of ResNets (64, 7, 7, 3); before, after (64, size / 2, size / 2): what they answer to the image, before and after the
    activation. Record: activation, ReLU | Tanh, or None where the network has none there."""

    kind = "layers"


@dataclass(frozen=True)
class Neighbours(OfImage):
    """The images nearest in the model's feature space, among test images or all. Record: neighbours, a list of example, class, sha256,
    distance; mean_share: of the k nearest of every image among these, how many have its class, 0 to 1: the KNN metric."""

    among: str = "test"
    k: int = 5
    kind = "neighbours"
    of_images = True

    def __post_init__(self) -> None:
        if self.among not in AMONG:
            raise ConfigError("unknown set of images", got=self.among, allowed=AMONG)
        if not NEIGHBOURS[0] <= self.k <= NEIGHBOURS[1]:
            raise ConfigError("the number of neighbours is out of range", got=self.k, allowed=f"{NEIGHBOURS[0]} to {NEIGHBOURS[1]}")


@dataclass(frozen=True)
class FeatureMap(Question):
    """The images' features in two dimensions. Answer: places (n, 2); record: examples (n), shown: share of variance or None."""

    among: str = "test"
    projection: str = "pca"
    kind = "map"
    of_images = True

    def __post_init__(self) -> None:
        if self.among not in AMONG:
            raise ConfigError("unknown set of images", got=self.among, allowed=AMONG)
        if self.projection not in PROJECTIONS:
            raise ConfigError("unknown projection", got=self.projection, allowed=PROJECTIONS)


KINDS: dict[str, type[Question]] = {kind.kind: kind for kind in (Regions, Checks, Layers, Neighbours, FeatureMap)}


def from_json(record: dict[str, Any]) -> Question:
    """The question that `to_json` wrote."""
    values = dict(record)
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError("unknown kind of question", got=kind, allowed=KINDS)
    try:
        return KINDS[kind](**values)
    except TypeError as error:
        raise ConfigError(f"a question of kind {kind} has other fields ({error})", got=sorted(values)) from error


# -- answers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """Arrays, and a record that JSON takes."""

    record: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def trained(home: Home, run_id: str) -> RunDir:
    """The run whose model is asked.

    Raises:
        UnknownError: it has been deleted. RunError: it left no model.
    """
    run = open_run(home, run_id)
    if not (run / "model.pt").is_file():
        raise RunError("that run left no model, so there is nothing to ask", got=run_id, todo="Choose a training run that has finished")
    return run


def key(home: Home, question: Question) -> str:
    """What an answer is kept under: a digest of the method, the model, the images and all that was asked."""
    run = trained(home, question.run)
    asked = {name: value for name, value in question.to_json().items() if name not in ("run", "root", "example")}
    images = content(run / "order.parquet") if question.of_images else None
    parts = [METHOD, content(run / "model.pt"), images, asked]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def content(path: Path) -> str:
    """SHA-256 of a file, computed once as long as it stays as it is."""
    try:
        stat = path.stat()
        return _content(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise UnknownError(
            f"{path} can't be read ({error.strerror})", todo="Its run may have just been deleted: load the page anew"
        ) from error


@lru_cache(maxsize=512)
def _content(path: Path, _size: int, _time: int) -> str:
    return digest(path)


def place(home: Home, name: str) -> Path:
    """Where the answer of that key lies, or will."""
    return home.cache / "explanations" / name[:2] / f"{name}.npz"


def read(path: Path) -> Answer | None:
    """A stored answer; None where there is none, or none that is whole: a zip file's checksums tell."""
    try:
        with zipfile.ZipFile(path) as packed:
            if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in packed.infolist()):
                return None
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        record = json.loads(str(arrays.pop("record")))
    except Exception:  # on a damaged file the readers of zip files, arrays and JSON raise whatever they stumble over
        return None
    return Answer(record, arrays) if isinstance(record, dict) else None


def write(path: Path, answer: Answer) -> None:
    """Store an answer, whole or not at all."""

    def fill(temporary: Path) -> None:
        record = np.array(json.dumps(without_nan(answer.record), allow_nan=False))
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, record=record, **answer.arrays)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, fill, sync=False)
