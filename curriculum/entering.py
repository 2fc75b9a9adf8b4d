"""Which training images entered a run when, from the lessons in its directory: pure functions on which epoch used which examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from curriculum.vocabulary import LEVELS

NO_LEVEL = "no level"
MOST_CELLS = 4000
"""Of a heat map; of more epochs neighbours are put together."""

Lessons = Mapping[int, NDArray[np.bool_]]


def entries(order: pd.DataFrame, lessons: Lessons) -> pd.DataFrame:
    """Each training example with when it was used.

    Args:
        order: order.parquet: example, class, sha256, level, split.
        lessons: of `RunDir.lessons`: by epoch, (n,) which training examples were in use.

    Returns:
        example, class, sha256, level (or "no level"), first: the first epoch that used it (NaN: none did), used: in how many epochs.
        In the order of order.parquet. Empty where the lessons are of other examples.
    """
    train = order[order["split"] == "train"][["example", "class", "sha256", "level"]].reset_index(drop=True)
    epochs, used = _stacked(lessons, len(train))
    if not len(epochs):
        return train.iloc[:0].assign(first=np.nan, used=0)
    first = np.where(used.any(0), epochs[used.argmax(0)], np.nan)
    return train.assign(level=train["level"].fillna(NO_LEVEL), first=first, used=used.sum(0))


def first_to_enter(entered: pd.DataFrame, count: int) -> pd.DataFrame:
    """The first to enter; of those that entered together the ones that were used most often, class by class in turn."""
    there = entered.dropna(subset=["first"])
    return _in_turn(there.sort_values(["first", "used"], ascending=[True, False], kind="stable")).head(count)


def last_to_enter(entered: pd.DataFrame, count: int) -> pd.DataFrame:
    """The last to enter, those that never did before all; of those that entered together the ones that were used least often, class by class
    in turn."""
    return _in_turn(entered.sort_values(["first", "used"], ascending=[False, True], kind="stable", na_position="first")).head(count)


def _in_turn(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose first and used are the same, one of each class, then the next of each."""
    together = rows.groupby(["first", "used"], sort=False, dropna=False).ngroup()
    turn = rows.groupby(["first", "used", "class"], sort=False, dropna=False).cumcount()
    return rows.iloc[np.lexsort((turn, together))]


def shares_in_use(order: pd.DataFrame, lessons: Lessons, epochs: pd.DataFrame, by: str) -> pd.DataFrame:
    """How much of each class or level was in use, epoch by epoch.

    Args:
        order, lessons: as for `entries`.
        epochs: epoch, samples_seen (at its end) of the same run; epochs without a lesson, and lessons without an epoch, are left out.
        by: class | level.

    Returns:
        row (a class, or a level), epoch, last (the same, or the last of several that are put together), used (images of the row in
        use, the mean where epochs are put together), images (of the row in train), share (used of images, 0 to 1), from_epoch,
        to_epoch (where the cell begins and ends on an axis of epochs), from_share, to_share (the same on one of the training done so far).
    """
    rows = order[order["split"] == "train"][by].fillna(NO_LEVEL).to_numpy()
    numbers, used = _stacked(lessons, len(rows))
    seen = dict(zip(epochs["epoch"].tolist(), epochs["samples_seen"].tolist(), strict=True))
    known = np.isin(numbers, list(seen))
    numbers, used = numbers[known], used[known]
    columns = ["row", "epoch", "last", "used", "images", "share", "from_epoch", "to_epoch", "from_share", "to_share"]
    if not len(numbers):
        return pd.DataFrame(columns=columns)
    names = [name for name in (*LEVELS, NO_LEVEL) if name in set(rows)] if by == "level" else sorted(set(rows))
    ends = np.array([seen[number] for number in numbers.tolist()]) / max(seen.values())
    begins = np.concatenate([[0.0], ends[:-1]])
    found = []
    for together in np.array_split(np.arange(len(numbers)), min(len(numbers), max(1, MOST_CELLS // len(names)))):
        first, last = int(numbers[together[0]]), int(numbers[together[-1]])
        for name in names:
            mine = used[together][:, rows == name]
            count = mine.shape[1]
            found.append((name, first, last, mine.sum() / len(together), count, mine.mean(), first - 0.5, last + 0.5,
                          begins[together[0]], ends[together[-1]]))  # fmt: skip
    return pd.DataFrame(found, columns=columns)


def _stacked(lessons: Lessons, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The epochs, ascending, and (epochs, n) what they used; none where the lessons are of another number of examples."""
    fitting = {epoch: used for epoch, used in sorted(lessons.items()) if len(used) == count}
    return np.array(list(fitting), np.int64), np.array(list(fitting.values()), dtype=bool).reshape(len(fitting), count)
