"""What a run is asked to do: checked against what the database knows now, and written into a directory of its own.

Nothing is computed or started here; `runs` does that.
"""

from __future__ import annotations

import dataclasses
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from curriculum import analysis, datasets, episodes, given, labels
from curriculum.config import ARMS, CompareConfig, Config, EpisodesConfig, LookConfig, ScoreConfig, TrainConfig, base_of, mode_of
from curriculum.errors import DatasetError, LabelsMissingError, RunError, UnknownError, WeightsError
from curriculum.home import Home
from curriculum.rundir import RunDir, open_run
from curriculum.splits import check_parts, split_examples, thin_out
from curriculum.store import Store

NOBODY_LOOKED = "Nobody has looked for images of the same ground (`data overlaps`): some of test may show what is in train."
HONEST = "--protocol honest (of a recipe: --change protocol=honest)"
ONE_CLASS = "one class an image (of a recipe: --change multi_label=false)"


def prepare(store: Store, config: Config) -> RunDir:
    """Write a new run directory from what the database knows now; nothing is computed yet.

    Raises:
        UnknownError: no such data set or run. LabelsMissingError: staged, and nobody's labels fit.
        WeightsError: weights that aren't there. DatasetError: no images.
    """
    dataset, order = datasets.get_dataset(store, config.dataset), table(store, config)
    notes: tuple[str, ...] = ()
    config = dataclasses.replace(config, weights=checked_weights(store.home, config.weights, config.architecture))
    if isinstance(config, TrainConfig):
        if config.replay:
            _check_replay(store.home, config)
        notes = _overlap_notes(store, config, order) + _weights_notes(store.home, config)
    elif isinstance(config, CompareConfig):
        notes = _overlap_notes(store, config, order.assign(split="")) + _weights_notes(store.home, config)
    elif isinstance(config, ScoreConfig) and config.run:
        config = _of_its_model(store.home, config)
    elif isinstance(config, ScoreConfig | EpisodesConfig):
        notes = _weights_notes(store.home, config)
    run = RunDir(store.home.runs / f"{datetime.now():%Y%m%d-%H%M%S}-{mode_of(config).replace('_', '-')}-{secrets.token_hex(2)}")
    run.write_request(config, root=dataset.root, home=store.home, classes=dataset.classes, order=order, notes=notes)
    return run


def table(store: Store, config: Config) -> pd.DataFrame:
    """The images that a run is about, with what it must know of each: level, difficulty, split. Looks at no earlier run.

    Raises:
        LabelsMissingError, UnknownError, DatasetError: what the data set lacks for such a run.
    """
    if isinstance(config, TrainConfig):
        order = thin_out(_divided(store, config), config.train_share, config.per_class, config.seed)
        check_parts(order["split"].tolist(), config.protocol)
        return order
    order = _images(store, config)
    if isinstance(config, CompareConfig):
        by_people = any(ARMS[arm] == ARMS["staged"] for arm in map(base_of, config.arms))
        return _with_difficulty(store, config.dataset, _with_levels(store, config, order, needed=by_people))
    if isinstance(config, EpisodesConfig):
        episodes.draw(order["class"].factorize()[0], config.ways, config.shots, config.queries, np.random.default_rng(config.seed))
    return _one(order, config) if isinstance(config, LookConfig) else order


def at_most(store: Store, config: Config) -> Config:
    """The same with a `per_class` that every class has: of a smaller data set fewer are used."""
    if not isinstance(config, TrainConfig) or config.per_class is None:
        return config
    order = _divided(store, config)
    least = min(order[order["split"] != "test"]["class"].value_counts(), default=0)
    return dataclasses.replace(config, per_class=max(2, min(config.per_class, int(least))))


def _images(store: Store, config: Config) -> pd.DataFrame:
    order = datasets.examples(store, config.dataset)
    if order.empty:
        root = datasets.get_dataset(store, config.dataset).root
        raise DatasetError("the data set has no images left", got=config.dataset, todo=f"Look into {root}, then `data check`")
    return order


def _divided(store: Store, config: TrainConfig) -> pd.DataFrame:
    """All images of the data set, as a training run splits them."""
    order = _with_difficulty(store, config.dataset, _with_levels(store, config, _images(store, config), needed=config.mode == "staged"))
    order = _with_own(datasets.get_dataset(store, config.dataset).root, config, order)
    order["split"] = split_examples(order, config.protocol, config.seed, config.test_share, config.val_share)
    return order


def _one(order: pd.DataFrame, config: LookConfig) -> pd.DataFrame:
    """The row of the picture that is looked at."""
    found = order.head(1) if config.example is None else order[order["example"] == config.example]
    if found.empty:
        raise UnknownError("no such image in the data set", got=config.example, allowed=order["example"].head(3).tolist())
    return found.reset_index(drop=True)


def _overlap_notes(store: Store, config: TrainConfig | CompareConfig, order: pd.DataFrame) -> tuple[str, ...]:
    """What a reader of the test figure must know about images that show the same ground."""
    pairs = datasets.known_overlaps(store, config.dataset)
    if pairs is None:
        return (NOBODY_LOOKED,)
    split = order.set_index("example")["split"]
    ends = pd.concat([pairs[["example", "other"]], pairs[["other", "example"]].set_axis(["example", "other"], axis=1)])
    leaked = ends[(ends["example"].map(split) == "test") & (ends["other"].map(split) == "train")]["example"].nunique()
    test = int((order["split"] == "test").sum())
    whose = "the data set's own" if config.protocol == "given" else "random"
    return (f"{leaked} of {test} test images show the same ground as a training image: the split is {whose}.",) if leaked else ()


def _check_replay(home: Home, config: TrainConfig) -> None:
    """What is replayed is a finished self-paced run of the same images."""
    run = open_run(home, config.replay or "")
    given = run.config()
    if not (isinstance(given, TrainConfig) and given.mode == "self-paced" and given.dataset == config.dataset and run.result()):
        raise RunError("only a finished self-paced run of the same data set can be replayed", got=run.run_id, todo="`runs list` shows them")


SEEN: dict[type[Config], str] = {
    ScoreConfig: "nothing here is out of fold",
    EpisodesConfig: "these classes aren't new to it, so this shows no learning from few shots",
    TrainConfig: "some of test may be among them, and no ranking by them is out of fold",
    CompareConfig: "some of test may be among them, and no ranking by them is out of fold",
}
"""What it means where a network begins with weights that learnt from the same data set."""


def _weights_notes(home: Home, config: TrainConfig | CompareConfig | ScoreConfig | EpisodesConfig) -> tuple[str, ...]:
    """A model of the same data set, at whatever remove, has seen images that are test images here, or out of a fold."""
    weights = config.weights
    while weights.startswith("run:"):
        try:
            source = open_run(home, weights.removeprefix("run:")).config()
        except UnknownError:
            return (f"The weights come from {weights}, which is gone: whether it learnt from images of this data set can't be told.",)
        if source.dataset == config.dataset:
            return (f"The weights come from {weights}, which learnt from images of the same data set: {SEEN[type(config)]}.",)
        weights = getattr(source, "weights", "none")
    return ()


def _with_levels(store: Store, config: TrainConfig | CompareConfig, order: pd.DataFrame, *, needed: bool) -> pd.DataFrame:
    if config.levels == "model":
        return order.assign(level=None)  # the worker ranks, from the training images alone
    agreed = labels.consensus(store, config.dataset, config.levels)
    if needed and agreed.empty:
        other = labels.summary(store, config.dataset)["simulated"]
        some = isinstance(other, dict) and other["labelled"]
        hint = "take the simulated ones (--levels simulated)" if some else "simulate some (`labels simulate`)"
        raise LabelsMissingError(f"staged training needs levels, and {config.levels} has given none for {config.dataset}",
                                 todo=f"Sort images on the app's page, import labels, or {hint}")  # fmt: skip
    return order.merge(agreed[["example", "level"]], how="left", on="example")


def _with_difficulty(store: Store, dataset: str, order: pd.DataFrame) -> pd.DataFrame:
    """The newest ranking's difficulty stands in the record too; empty where there is none."""
    newest = analysis.latest_score(store, dataset)
    return order.merge(analysis.difficulties(store, newest), how="left", on="example")


def checked_weights(home: Home, weights: str, architecture: str) -> str:
    """Refuse weights that can't be found before anything starts; a path is made absolute."""
    if weights in ("imagenet", "none"):
        return weights
    if weights.startswith("run:"):
        run = open_run(home, weights.removeprefix("run:"))
        if not (run / "model.pt").is_file():
            raise WeightsError("that run left no model", got=weights, todo="Choose a finished training run: `runs list`")
        theirs = run.config().architecture
        if theirs != architecture and not architecture.startswith(f"{theirs}_"):  # resnet50_layer2 is the beginning of resnet50
            raise WeightsError(
                "that run's model is another network", got=f"{theirs}, not {architecture}", todo=f"Add --architecture {theirs}"
            )
        return weights
    try:
        path = Path(weights).expanduser().absolute()
    except RuntimeError:  # ~somebody who isn't there
        path = Path(weights).absolute()
    if not path.is_file():
        raise WeightsError("no such weights", got=weights, allowed="imagenet, none, the path of a state dict, run:ID")
    return str(path)


def _of_its_model(home: Home, config: ScoreConfig) -> ScoreConfig:
    """A model judges images of the size that it learnt from, and of the same classes, with its own network."""
    run = open_run(home, config.run or "")
    trained = run.config()
    checked_weights(home, f"run:{config.run}", trained.architecture)
    if isinstance(trained, TrainConfig) and trained.multi_label:
        raise RunError(
            "a ranking is by the loss of one class an image",
            got=f"{config.run}, which learnt several",
            todo="Rank out of fold, or by a run without --multi-label",
        )
    if trained.image_size != config.image_size or trained.dataset != config.dataset:
        raise RunError(
            "a model judges the data set and the image size that it was trained on",
            got=f"{config.dataset} at {config.image_size} px",
            allowed=f"{trained.dataset} at {trained.image_size} px",
        )
    return dataclasses.replace(config, architecture=trained.architecture)


def _with_own(root: Path, config: TrainConfig, order: pd.DataFrame) -> pd.DataFrame:
    """What the data set itself says of its images: own_split for protocol given, classes for several classes an image."""
    if config.protocol == "given":
        own = _said(given.split(root), order, root, "split.csv", "example,split", HONEST)
        if "test" not in set(own):
            raise DatasetError("the data set's own split has no test image", got=str(root / "split.csv"), todo=f"Take {HONEST}")
        order = order.assign(own_split=own)
    if config.multi_label:
        order = order.assign(classes=_said(given.classes(root), order, root, "classes.csv", "example,classes", ONE_CLASS))
    return order


def _said(own: dict[str, Any] | None, order: pd.DataFrame, root: Path, name: str, header: str, instead: str) -> pd.Series:
    if own is None:
        raise DatasetError(f"the data set has no {name}", got=str(root), allowed=f"a table {header}", todo=f"Write one, or take {instead}")
    lacking = order[~order["example"].isin(own)]["example"]
    if len(lacking):
        raise DatasetError(f"{name} says nothing of some images", got=f"{len(lacking):,}, such as {lacking.iloc[0]}", todo="Complete it")
    return order["example"].map(own)
