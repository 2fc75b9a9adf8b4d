"""Comparisons of four images: the append-only log of who found which the hardest and which the easiest, undo, what is compared next.

A comparison is never changed: an undo is an entry of its own that names what it takes back. `fours` chooses, `scaling`
makes a scale of the answers. What leaves here for an annotator names images alone, and nothing that anybody said of them.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import pandas as pd

from curriculum import fours, scaling
from curriculum.errors import ConfigError
from curriculum.fours import Four
from curriculum.store import Cursor, Store

Action = Literal["compare", "undo_compare"]
ACTIONS: tuple[Action, ...] = get_args(Action)
MAX_POOL = 300
"""Images compared at a time: with more, each would be compared too seldom to find its place."""
MIN_POOL = 40
"""Below so many uncertain images, those that a single person has labelled join them."""

STANDING = """
SELECT * FROM comparison AS done
WHERE hardest IS NOT NULL AND NOT EXISTS (SELECT 1 FROM comparison AS later WHERE later.undoes = done.id)
"""
"""What was answered and not taken back."""


@dataclass(frozen=True)
class Comparison:
    """One answer, or the undo of one. Times have a zone; an undo has no images, and names what it `undoes`."""

    id: uuid.UUID
    action: Action
    answered_at: datetime
    examples: tuple[str, ...] = ()  # the four, as they stood on the page
    hardest: str | None = None
    easiest: str | None = None
    adaptive: bool = False
    undoes: uuid.UUID | None = None  # None: the latest that stands
    shown_at: datetime | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Handout:
    """The next fours; where there are none, `end` says why. `mine`: comparisons of this annotator; `pool`: images."""

    fours: list[Four]
    end: str | None
    mine: int
    pool: int


# -- the log -------------------------------------------------------------------------------------


def record(cursor: Cursor, dataset: str, annotator: str, given: Comparison) -> uuid.UUID:
    """Append a comparison or an undo inside a transaction; the same again changes nothing.

    Returns:
        The id of the comparison that was made or taken back.

    Raises:
        ConfigError: it can't be taken, and why; nothing of it was stored.
    """
    known = cursor.execute(
        "SELECT dataset, annotator, examples, hardest, easiest, undoes FROM comparison WHERE id = ?", [given.id]
    ).fetchone()
    if known:
        undoes: uuid.UUID | None = known[5]
        same = (
            given.undoes in (None, undoes) if undoes else (tuple(known[2]), *known[3:5]) == (given.examples, given.hardest, given.easiest)
        )
        if known[:2] != (dataset, annotator) or (undoes is None) != (given.action == "compare") or not same:
            raise ConfigError("this id stands for another comparison", got=str(given.id))
        return undoes or given.id
    examples, adaptive, undoes = given.examples, given.adaptive, None
    if given.action == "compare":
        _check(cursor, dataset, given)
    else:
        undoes, examples, adaptive = _taken_back(cursor, dataset, annotator, given)
    cursor.execute(
        """INSERT INTO comparison (id, dataset, annotator, examples, hardest, easiest, adaptive, undoes, shown_at, answered_at, seconds)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [given.id, dataset, annotator, list(examples), given.hardest, given.easiest, adaptive, undoes, given.shown_at, given.answered_at,
         given.seconds],
    )  # fmt: skip
    return undoes or given.id


def check_four(examples: Sequence[str], hardest: str | None, easiest: str | None) -> None:
    """ConfigError unless these are four different images, and two different ones of them the hardest and the easiest."""
    if len(examples) != 4 or len(set(examples)) != 4:
        raise ConfigError("a comparison has four different images", got=", ".join(map(str, examples[:5])) or "none")
    for word, name in (("hardest", hardest), ("easiest", easiest)):
        if name not in examples:
            raise ConfigError(f"the {word} is one of the four", got=name, allowed=examples)
    if hardest == easiest:
        raise ConfigError("the hardest and the easiest are two different images", got=hardest)


def _check(cursor: Cursor, dataset: str, given: Comparison) -> None:
    if given.undoes is not None:
        raise ConfigError("only an undo takes back", got=given.action)
    check_four(given.examples, given.hardest, given.easiest)
    there = cursor.execute(
        "SELECT example FROM example WHERE dataset = ? AND present AND list_contains(?::TEXT[], example)", [dataset, list(given.examples)]
    ).fetchall()
    if missing := set(given.examples) - {row[0] for row in there}:
        raise ConfigError(f"the data set {dataset} has no such example, or its file has gone", got=min(missing))


def _taken_back(cursor: Cursor, dataset: str, annotator: str, given: Comparison) -> tuple[uuid.UUID, tuple[str, ...], bool]:
    """What an undo takes back: its id, its images, whether they were chosen."""
    if given.examples or given.hardest is not None or given.easiest is not None:
        raise ConfigError("an undo has no images of its own, it names the comparison that it undoes")
    row: tuple[uuid.UUID, tuple[str, ...], bool] | None = cursor.execute(
        f"""SELECT id, examples, adaptive FROM ({STANDING})
            WHERE dataset = $dataset AND annotator = $annotator AND ($undoes::UUID IS NULL OR id = $undoes::UUID)
            ORDER BY seq DESC LIMIT 1""",
        {"dataset": dataset, "annotator": annotator, "undoes": given.undoes},
    ).fetchone()
    if row is None and given.undoes is None:
        raise ConfigError("no comparison is left to undo")
    if row is None:
        raise ConfigError("this can't be undone: it is no comparison of yours, or it was taken back already", got=str(given.undoes))
    return row[0], tuple(row[1]), row[2]


# -- looking at it -------------------------------------------------------------------------------


def standing(store: Store, dataset: str) -> pd.DataFrame:
    """People's comparisons that stand, in their order: annotator, examples, hardest, easiest, adaptive, seconds (NaN where unknown)."""
    found = store.query(
        f"""SELECT annotator, examples, hardest, easiest, adaptive, seconds FROM ({STANDING})
            WHERE dataset = ? AND NOT starts_with(annotator, 'simulated-') ORDER BY seq""",
        [dataset],
    )
    found["examples"] = found["examples"].map(tuple)
    return found


def by_annotator(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Who did how many, by name: annotator, comparisons, random (drawn by chance), seconds (median; NaN where unknown)."""
    return (
        comparisons.groupby("annotator")
        .agg(comparisons=("hardest", "size"), random=("adaptive", lambda adaptive: int((~adaptive).sum())), seconds=("seconds", "median"))
        .reset_index()
    )


def history(store: Store, dataset: str, annotator: str, *, before: uuid.UUID | None = None, limit: int = 20) -> dict[str, Any]:
    """One's own comparisons that stand and whose images are there, latest first, a page at a time.

    Args:
        before: the last comparison of the page before; None for the first page.

    Returns:
        `comparisons` (id, examples, adaptive), `more` (whether there is another page).
    """
    rows = store.rows(
        f"""SELECT id::TEXT, examples, adaptive FROM ({STANDING}) AS own
            WHERE dataset = $dataset AND annotator = $annotator AND ($before::UUID IS NULL OR seq < (
                SELECT seq FROM comparison WHERE id = $before::UUID AND dataset = $dataset AND annotator = $annotator))
              AND NOT EXISTS (SELECT 1 FROM example WHERE dataset = $dataset AND NOT present AND list_contains(own.examples, example.example))
            ORDER BY seq DESC LIMIT $limit""",
        {"dataset": dataset, "annotator": annotator, "before": before, "limit": limit + 1},
    )
    names = ("id", "examples", "adaptive")
    return {"comparisons": [dict(zip(names, row, strict=True)) for row in rows[:limit]], "more": len(rows) > limit}


# -- what is compared next -----------------------------------------------------------------------


def pool(store: Store, dataset: str) -> list[str]:
    """The images that are compared, the most uncertain first, up to `MAX_POOL`.

    Those that a lead sent here; then those on whose level people differ, by the variance of their levels and, where that
    ties, by how far they are from a majority; then, while there are fewer than `MIN_POOL`, those that one person alone has
    labelled, whose level nobody has confirmed. Left out: images that show what the levels mean (calibration), that somebody
    flagged, that have gone; and, unless sent here, those on which a lead has decided.
    """
    rows = store.rows(
        """WITH vote AS (
               SELECT example, count(*) AS people, var_pop(list_position(['easy', 'medium', 'hard'], level)) AS variance, entropy(level) AS split
               FROM current_label WHERE dataset = $dataset AND NOT simulated GROUP BY example
           ), wanted AS (
               SELECT example FROM request WHERE dataset = $dataset AND what = 'compare'
           ), image AS (
               SELECT example, hash(example) AS place, coalesce(variance, 0) AS variance, coalesce(split, 0) AS split,
                      CASE WHEN example IN (FROM wanted) THEN 0 WHEN variance > 0 THEN 1 WHEN people = 1 THEN 2 END AS tier
               FROM example LEFT JOIN vote USING (example) WHERE dataset = $dataset AND present
                 AND example NOT IN (SELECT example FROM calibration_image WHERE dataset = $dataset)
                 AND example NOT IN (SELECT example FROM standing_annotation
                                     WHERE dataset = $dataset AND action = 'flag' AND NOT starts_with(annotator, 'simulated-'))
                 AND (example IN (FROM wanted) OR example NOT IN (SELECT example FROM decision WHERE dataset = $dataset))
           )
           SELECT example, tier FROM image WHERE tier IS NOT NULL ORDER BY tier, variance DESC, split DESC, place LIMIT $limit""",
        {"dataset": dataset, "limit": MAX_POOL},
    )
    uncertain = [example for example, tier in rows if tier < 2]
    return uncertain + [example for example, tier in rows if tier == 2][: max(MIN_POOL - len(uncertain), 0)]


def next_fours(store: Store, dataset: str, annotator: str, limit: int, exclude: Sequence[Sequence[str]] = ()) -> Handout:
    """The next fours for an annotator, who gets none of them twice: one of five by chance, the others where an answer tells most.

    What is chosen follows from everybody's answers so far; what leaves is names in random order.

    Args:
        exclude: fours in hand, on their way or skipped; their images come again only when others are used up.
    """
    images = pool(store, dataset)
    own = store.rows(
        "SELECT examples, NOT EXISTS (SELECT 1 FROM comparison AS later WHERE later.undoes = done.id) FROM comparison AS done "
        "WHERE dataset = ? AND annotator = ? AND hardest IS NOT NULL",
        [dataset, annotator],
    )
    mine = sum(stands for _, stands in own)
    found: list[Four] = []
    if limit and len(images) >= 4:
        everybody = standing(store, dataset)
        drawn = Counter(name for four in everybody.loc[~everybody["adaptive"].astype(bool), "examples"] for name in four)
        had = {frozenset(four) for four, stands in own if stands} | {frozenset(four) for four in exclude}
        known = fours.Known(images, scaling.fit(everybody), drawn, had, {name for four in exclude for name in four})
        for turn in range(len(own) + len(exclude), len(own) + len(exclude) + limit):
            four = fours.next_four(known, fours.by_chance(turn, dataset, annotator), fours.seeded(dataset, annotator, turn))
            if four is None:
                break
            found.append(four)
    return Handout(found, None if found or not limit else _why_none(len(images)), mine, len(images))


def _why_none(images: int) -> str:
    if images < 4:
        return "Nothing is uncertain yet. Sort images first: fours are made of images that people disagree on."
    return f"You have compared every four of these {images} images. Thank you!"
