"""Which examples are train, val and test, and which of them a run leaves out. Pure: tables in, tables out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from curriculum.apportion import apportion
from curriculum.errors import DatasetError
from curriculum.vocabulary import SPLITS


def assign_parts(classes: Sequence[str], groups: Sequence[int | None], shares: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Divide examples into parts: seeded, stratified by class, an overlap group always whole.

    Args:
        classes: class of each of n examples.
        groups: overlap group of each, None where an example stands alone.
        shares: share of each part, adding up to 1, e.g. (0.64, 0.16, 0.20).
        seed: another seed, another division.

    Returns:
        int64 (n,): the part of each example. Within each class the parts' sizes are the shares
        (largest remainder), but for what whole groups force.
    """
    random = np.random.default_rng(seed)
    parts = np.full(len(classes), -1, dtype=np.int64)
    members: dict[str, list[int]] = defaultdict(list)
    together: dict[int, list[int]] = defaultdict(list)
    for i, (name, group) in enumerate(zip(classes, groups, strict=True)):
        members[name].append(i)
        if group is not None:
            together[group].append(i)
    room = {name: apportion(len(rows), shares) for name, rows in sorted(members.items())}
    sets = [rows for _, rows in sorted(together.items()) if len(rows) > 1]
    for rows in (sets[i] for i in random.permutation(len(sets))):
        open_room = np.maximum(sum(room[classes[i]] for i in rows), 0).astype(float)
        weights = open_room if open_room.sum() else np.asarray(shares, dtype=float)
        part = int(random.choice(len(shares), p=weights / weights.sum()))
        parts[rows] = part
        for i in rows:
            room[classes[i]][part] -= 1
    for name, all_rows in sorted(members.items()):
        single = [i for i in all_rows if parts[i] < 0]
        # Whole groups may have taken more than a part's room: what is left is shared out anew.
        free = np.maximum(room[name], 0)
        counts = apportion(len(single), free) if free.sum() else np.zeros(len(shares), np.int64)
        parts[random.permutation(single).astype(np.int64)] = np.repeat(np.arange(len(shares)), counts)
    return parts


def split_examples(order: pd.DataFrame, protocol: str, seed: int, test_share: float = 0.2, val_share: float = 0.2) -> list[str]:
    """train, val or test for each example; overlap groups stay together but in the reports' protocol, whose split was random.

    Args:
        order: one row an example: class, overlap_group (empty where it stands alone); for protocol given also own_split.
        protocol: honest (64/16/20 by default) | given (test is what own_split says; val too, where it has one) | report (80/0/20).
        seed: another seed, another split.
        test_share: of all. val_share: of what isn't test.
    """
    together = protocol != "report"
    groups = [int(group) if together and not pd.isna(group) else None for group in order["overlap_group"]]
    classes, val = order["class"].tolist(), val_share if together else 0.0
    if protocol != "given":
        shares = [round(share, 12) for share in ((1 - test_share) * (1 - val), (1 - test_share) * val, test_share)]
        return [SPLITS[part] for part in assign_parts(classes, groups, shares, seed)]
    own = order["own_split"].tolist()
    if "val" in own:
        return own
    rest = [i for i, part in enumerate(own) if part != "test"]
    parts = assign_parts([classes[i] for i in rest], [groups[i] for i in rest], [1 - val, val], seed)
    for i, part in zip(rest, parts, strict=True):
        own[i] = SPLITS[part]
    return own


def check_parts(parts: Collection[str], protocol: str) -> None:
    """Refuse a division with an empty part: train, test and, but for the reports' protocol, val; raises DatasetError."""
    there = set(parts)
    for part in ("train", "test", *(("val",) if protocol != "report" else ())):
        if part not in there:
            raise DatasetError(f"the {part} part has no image: the data set is too small to split",
                               got=f"{len(parts)} images", todo="Add images, about ten a class at least")  # fmt: skip


def thin_out(order: pd.DataFrame, share: float, per_class: int | None, seed: int) -> pd.DataFrame:
    """Fewer examples to learn from and to choose by; test stays whole.

    Args:
        order: one row an example: class, split.
        share: of each class's examples that aren't test. per_class: so many of these instead.
        seed: another seed, other examples.

    Raises:
        DatasetError: a class has fewer than `per_class`.
    """
    if share == 1.0 and per_class is None:
        return order
    random, keep = np.random.default_rng((seed, 1)), (order["split"] == "test").to_numpy().copy()
    for name, mine in order[~keep].groupby("class", sort=True):
        count = max(1, round(share * len(mine))) if per_class is None else per_class
        if count > len(mine):
            raise DatasetError(
                "a class has fewer images than --per-class asks for",
                got=f"{name}: {len(mine)} that aren't test",
                allowed=f"up to {len(mine)}",
            )
        parts = [order.index.get_indexer(rows.index) for _, rows in mine.groupby("split", sort=True)]
        kept = apportion(count, [len(places) for places in parts])
        if count >= len(kept) and not kept.all():  # so few that proportion alone would leave none to choose by
            kept[kept.argmin()], kept[kept.argmax()] = 1, kept.max() - 1
        for places, some in zip(parts, kept, strict=True):
            keep[random.permutation(places)[:some]] = True
    return order[keep].reset_index(drop=True)
