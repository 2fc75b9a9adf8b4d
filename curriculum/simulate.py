"""Simulated annotators, so that everything can be tried before anybody has sorted a single image.

They follow a model's difficulty with noise, in the proportions that the reports' people arrived at.
Their names begin with `simulated-`, and nothing here ever touches a person's labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from curriculum.datasets import examples
from curriculum.difficulty import level_counts
from curriculum.errors import ConfigError, UnknownError
from curriculum.labels import append_many
from curriculum.store import Store
from curriculum.vocabulary import LEVELS, SIMULATED_PREFIX

MAX_ANNOTATORS = 100
OWN_CARE = 0.25
"""How far an annotator's own noise lies from `noise`, at most, as a share of it."""


def simulate_annotators(
    store: Store, dataset: str, difficulty: Mapping[str, float], annotators: int = 3, noise: float = 0.15, seed: int = 0
) -> int:
    """Add `simulated-1`, `simulated-2`, ...: each sorts every present image by what it makes of its difficulty.

    An annotator adds Gaussian noise of their own width to the difficulty, and cuts each class's order in
    the reports' proportions. (A bias towards easy or hard would cancel in that cut; so what they have of
    their own is their care, the width.) No times are invented: seconds stay empty.

    Args:
        difficulty: of each example, in [0, 1], higher = harder; examples that aren't present are ignored.
        annotators: how many, 1 to 100. Annotator k's labels don't depend on how many others there are.
        noise: standard deviation, in units of difficulty, 0 or more.
        seed: 0 or more; the same seed gives the same labels.

    Returns:
        How many labels were appended; ones equal to those in force are passed over.

    Raises:
        UnknownError: no such data set, or images without a difficulty.
        ConfigError: annotators, noise, seed or a difficulty out of range.
    """
    if not 1 <= annotators <= MAX_ANNOTATORS:
        raise ConfigError("--annotators is out of range", got=annotators, allowed=f"1 to {MAX_ANNOTATORS}")
    if not (math.isfinite(noise) and noise >= 0):
        raise ConfigError("--noise is out of range", got=noise, allowed="0 or more")
    if seed < 0:
        raise ConfigError("--seed is out of range", got=seed, allowed="0 or more")
    table = examples(store, dataset)
    table["difficulty"] = _difficulties(table["example"].tolist(), difficulty)
    sorted_by_each = [_sort_once(table, k, noise, seed) for k in range(1, annotators + 1)]
    return append_many(store, pd.concat(sorted_by_each, ignore_index=True).assign(dataset=dataset), "simulate")


def _difficulties(names: list[str], difficulty: Mapping[str, float]) -> list[float]:
    missing = sum(name not in difficulty for name in names)
    if missing:
        raise UnknownError(f"{missing} of {len(names)} images have no difficulty yet", todo="Measure it first: `score --dataset NAME`.")
    values = [float(difficulty[name]) for name in names]
    if not all(0 <= value <= 1 for value in values):
        raise ConfigError("a difficulty is out of range", got=next(v for v in values if not 0 <= v <= 1), allowed="0 to 1")
    return values


def _sort_once(table: pd.DataFrame, number: int, noise: float, seed: int) -> pd.DataFrame:
    """One annotator's level for every example."""
    random = np.random.default_rng([seed, number])
    width = noise * random.uniform(1 - OWN_CARE, 1 + OWN_CARE)
    felt = table["difficulty"] + random.normal(0.0, width, len(table))
    level = pd.Series("", index=table.index, dtype=object)
    for class_name, members in felt.groupby(table["class"]):
        by_difficulty = members.sort_values(kind="stable").index
        level[by_difficulty] = np.repeat(LEVELS, level_counts(str(class_name), len(members)))
    return pd.DataFrame({"example": table["example"], "annotator": f"{SIMULATED_PREFIX}{number}", "level": level, "seconds": np.nan})
