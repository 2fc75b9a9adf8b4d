"""What an annotator is asked next, and how far everybody has come.

An annotator's order is seeded by the name and balanced over the classes. With `labels_per_image` set, an image that as
many people have labelled isn't asked any more, and the least labelled come first; before all, those that a lead wants one more
opinion on. Images that show what the levels mean are never asked. Some images are asked a second time,
which nothing shows: their turn comes among the new ones, and the counts go on as for any image, because a count that
stands still would give them away. Nothing here tells one annotator what another said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curriculum import datasets
from curriculum.config import LEVELS
from curriculum.labels import REPEAT_AFTER
from curriculum.leases import Leases
from curriculum.store import Store

HAND = 12
"""With fewer labels an image than people: how many images one may have in hand, so that the last ones are shared out."""

ASKED = """
WITH mine AS (  -- what stands of each image, of the first and of the second time
    SELECT example, max(seq) FILTER (action = 'label' AND NOT repeat) AS label, max(seq) FILTER (action = 'skip' AND NOT repeat) AS skip,
           arg_max(source, seq) FILTER (action = 'label' AND NOT repeat) AS source, coalesce(bool_or(action = 'flag'), false) AS flag,
           coalesce(bool_or(repeat AND action IN ('label', 'flag')), false) AS answered_again, max(seq) FILTER (action = 'skip' AND repeat) AS skip_again
    FROM standing_annotation WHERE dataset = $dataset AND annotator = $annotator GROUP BY example
), last AS (
    SELECT example, max(seq) AS seq FROM annotation
    WHERE dataset = $dataset AND annotator = $annotator AND action = 'label' AND NOT repeat GROUP BY example
), other AS (  -- the people whose label an image has, or who have it in hand
    SELECT example, annotator FROM current_label WHERE $wanted IS NOT NULL AND dataset = $dataset AND NOT simulated
    UNION SELECT unnest($held::TEXT[]), unnest($holders::TEXT[])
), needed AS (
    SELECT example, count(*) AS people FROM other WHERE annotator <> $annotator GROUP BY example
), wish AS (  -- a lead wants one more person's level
    SELECT example, any_value(people) AS before FROM request LEFT JOIN current_label AS label USING (dataset, example)
    WHERE dataset = $dataset AND what = 'opinion' GROUP BY example HAVING count(*) FILTER (NOT simulated) <= before
), image AS (
    SELECT *, coalesce(people, 0) AS has, coalesce(flag, false) AS flagged, coalesce(answered_again, false) AS twice,
           part IS NULL AND label IS NULL AND NOT flagged AND ($wanted IS NULL OR has < greatest($wanted, before + 1)) AS open,
           part IS NULL AND NOT flagged AND NOT twice AND coalesce(source, 'sort') = 'sort'
               AND hash('again' || example || $annotator) % 1000000 < $share * 1000000 AS chosen,
           row_number() OVER (PARTITION BY class ORDER BY hash(example || $annotator)) AS block, hash($annotator || example) AS place
    FROM example LEFT JOIN mine USING (example) LEFT JOIN needed USING (example) LEFT JOIN wish USING (example)
         LEFT JOIN calibration_image USING (dataset, example) WHERE dataset = $dataset AND present
), past AS (  -- how many other images were labelled since one that comes again
    SELECT image.example, count(last.example) AS since FROM image JOIN last ON last.seq > image.label AND last.example <> image.example
    WHERE chosen GROUP BY image.example
)
"""
"""Every image of a data set, with what one annotator has done and whether it is still `open` to be asked."""


@dataclass(frozen=True)
class Progress:
    """How far one annotator, and the team, have come. What was asked a second time counts as an image of its own in all but `team`."""

    mine: dict[str, int]  # images by level
    skipped: int  # seen and passed over: they come again
    flagged: int  # set aside with a reason, without a level
    total: int  # images that were, or still may be, asked of me: where everybody sorts all, those of the data set
    team: int  # images labelled by at least one person
    median_seconds: float | None  # my own, from image shown to key; None before the first


@dataclass(frozen=True)
class Handout:
    """The next images; where there are none, `end` says why, and `later` whether one may come yet."""

    examples: list[str]
    end: str | None = None
    later: bool = False


# -- what is next --------------------------------------------------------------------------------


def queue(
    store: Store,
    dataset: str,
    annotator: str,
    limit: int = 20,
    exclude: Sequence[str] = (),
    held: Sequence[tuple[str, str]] = (),
    of_class: str | None = None,
) -> list[str]:
    """The next examples for an annotator, in an order of their own; skipped ones last, flagged ones not at all.

    The order is seeded by the annotator's name and balanced over the classes: each block of as many images as there are
    classes holds every class once, while they last. Where `labels_per_image` is set, the images with the fewest people
    come first; before them, those with a lead's wish for one more. Repeats: a share of the annotator's images, seeded by
    the name, comes again when `REPEAT_AFTER` others have been labelled; of those in hand no larger share is such, however
    many are due, until nothing else is left.

    Args:
        exclude: those in hand already.
        held: example and annotator of what people have in hand: counts like a label of theirs.
        of_class: of this class alone, and nothing a second time: beside others of its class an image shows what it is.
    """
    settings = datasets.settings(store, dataset)
    rows = store.rows(
        ASKED
        + """SELECT example, open, coalesce(skip_again, skip) IS NOT NULL AND (open OR skip_again IS NOT NULL)
           FROM image LEFT JOIN past USING (example)
           WHERE CASE WHEN $class IS NULL THEN open OR (label IS NOT NULL AND chosen AND since >= $after) ELSE open AND class = $class END
           ORDER BY CASE WHEN open THEN skip ELSE skip_again END NULLS FIRST, before NULLS LAST, has, block, place""",
        {**_asked(dataset, annotator, settings, held), "after": REPEAT_AFTER, "class": of_class},
    )
    away = set(exclude)
    again = [name for name, is_open, skipped in rows if not is_open and not skipped]
    fresh = [name for name, is_open, skipped in rows if is_open and not skipped and name not in away]
    skipped = [name for name, _, skipped in rows if skipped and name not in away]
    room = math.ceil(settings.repeat_share * (limit + len(exclude))) - len(away.intersection(again))
    again = [name for name in again if name not in away]
    room = min(max(room, 0), len(again), limit)
    return (_mixed(fresh[: limit - room], again[:room]) + again[room:] + skipped)[:limit]


def _asked(dataset: str, annotator: str, settings: datasets.Settings, held: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The parameters of `ASKED`."""
    return {
        "dataset": dataset, "annotator": annotator, "wanted": settings.labels_per_image, "share": settings.repeat_share,
        "held": [name for name, _ in held], "holders": [who for _, who in held],
    }  # fmt: skip


def _mixed(fresh: list[str], again: list[str]) -> list[str]:
    """The second list spread evenly through the first."""
    mixed = list(fresh)
    for n, name in enumerate(again, start=1):
        mixed.insert(n * len(fresh) // (len(again) + 1) + n - 1, name)
    return mixed


def left_by_class(store: Store, dataset: str, annotator: str) -> dict[str, int]:
    """How many images of each class may still be asked of this annotator for the first time, by class name; 0 where none is left."""
    asked = _asked(dataset, annotator, datasets.settings(store, dataset), ())
    return dict(store.rows(ASKED + "SELECT class, count(*) FILTER (open) FROM image GROUP BY class ORDER BY class", asked))


def hand_out(
    store: Store, leases: Leases, dataset: str, annotator: str, limit: int, exclude: Sequence[str] = (), of_class: str | None = None
) -> Handout:
    """The next examples, leased to this annotator where not everybody sorts every image; those in `exclude` stay leased."""
    wanted = datasets.settings(store, dataset).labels_per_image
    if wanted is None:
        examples = queue(store, dataset, annotator, limit, exclude, of_class=of_class)
        return Handout(
            examples, None if examples or exclude or not limit or of_class else f"You have sorted every image of {dataset}. Thank you!"
        )
    with leases.lock:
        leases.renew(dataset, annotator, exclude)
        few = max(0, min(limit, HAND - len(exclude)))
        examples = queue(store, dataset, annotator, few, exclude, leases.held(dataset), of_class)
        leases.take(dataset, annotator, examples)
    if examples or exclude or not limit:
        return Handout(examples)
    if queue(store, dataset, annotator, 1, exclude, of_class=of_class):
        return Handout([], "The last images are in other people's hands. If one is left over, it comes here by itself.", later=True)
    return Handout([], None if of_class else f"Every image has its {wanted} label{'s' if wanted > 1 else ''}. Thank you!")


# -- how far ---------------------------------------------------------------------------------------


def progress(store: Store, dataset: str, annotator: str) -> Progress:
    """How many images this annotator has put into each level, of how many, and how far the team is."""
    *mine, flagged, skipped = store.rows(
        """WITH mine AS (
               SELECT example, max_by(level, seq) FILTER (action = 'label') AS level,
                      bool_or(action = 'flag') AS flagged, bool_or(action = 'skip') AS skipped
               FROM standing_annotation JOIN example USING (dataset, example)
               WHERE dataset = $d AND annotator = $a AND present GROUP BY example, repeat
           )
           SELECT count(*) FILTER (level = 'easy'), count(*) FILTER (level = 'medium'), count(*) FILTER (level = 'hard'),
                  count(*) FILTER (level IS NULL AND flagged), count(*) FILTER (level IS NULL AND skipped AND NOT flagged) FROM mine""",
        {"d": dataset, "a": annotator},
    )[0]
    total = store.rows(
        ASKED
        + """, turn AS (
               SELECT *, count(*) FILTER (open) OVER () AS left_over,
                      row_number() OVER (PARTITION BY open ORDER BY skip NULLS FIRST, before NULLS LAST, has, block, place) AS turn
               FROM image LEFT JOIN past USING (example)
           )
           SELECT count(*) FILTER (open OR flagged OR label IS NOT NULL) + count(*) FILTER (twice) + count(*) FILTER (
               chosen AND CASE WHEN open THEN left_over - turn ELSE coalesce(since, 0) + left_over END >= $after AND (open OR label IS NOT NULL))
           FROM turn""",
        {**_asked(dataset, annotator, datasets.settings(store, dataset), ()), "after": REPEAT_AFTER},
    )[0][0]
    team, median = store.rows(
        """SELECT (SELECT count(DISTINCT example) FROM current_label JOIN example USING (dataset, example)
                   WHERE dataset = $d AND present AND NOT simulated),
                  (SELECT median(seconds) FROM annotation WHERE dataset = $d AND annotator = $a AND action = 'label')""",
        {"d": dataset, "a": annotator},
    )[0]
    return Progress(dict(zip(LEVELS, mine, strict=True)), skipped, flagged, total, team, median)
