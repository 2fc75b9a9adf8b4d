"""What is asked next, said in SQL alone from the whole log, image by image: what `assignment` must agree with, and far too slow for many images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curriculum import datasets
from curriculum.assignment import Progress
from curriculum.labels import REPEAT_AFTER
from curriculum.store import Store
from curriculum.vocabulary import LEVELS

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


def _parameters(store: Store, annotator: str, held: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    settings = datasets.settings(store, "many")
    return {
        "dataset": "many", "annotator": annotator, "wanted": settings.labels_per_image, "share": settings.repeat_share,
        "held": [name for name, _ in held], "holders": [who for _, who in held],
    }  # fmt: skip


def in_turn(store: Store, annotator: str, held: Sequence[tuple[str, str]], of_class: str | None) -> tuple[list[str], list[str], list[str]]:
    """The images in an annotator's order: the new ones, those that come a second time, those that were passed over."""
    rows = store.rows(
        ASKED
        + """SELECT example, open, coalesce(skip_again, skip) IS NOT NULL AND (open OR skip_again IS NOT NULL)
           FROM image LEFT JOIN past USING (example)
           WHERE CASE WHEN $class IS NULL THEN open OR (label IS NOT NULL AND chosen AND since >= $after) ELSE open AND class = $class END
           ORDER BY CASE WHEN open THEN skip ELSE skip_again END NULLS FIRST, before NULLS LAST, has, block, place""",
        {**_parameters(store, annotator, held), "after": REPEAT_AFTER, "class": of_class},
    )
    fresh = [name for name, is_open, skipped in rows if is_open and not skipped]
    again = [name for name, is_open, skipped in rows if not is_open and not skipped]
    return fresh, again, [name for name, _, skipped in rows if skipped]


def left_by_class(store: Store, annotator: str) -> dict[str, int]:
    sql = ASKED + "SELECT class, count(*) FILTER (open) FROM image GROUP BY class ORDER BY class"
    return dict(store.rows(sql, _parameters(store, annotator)))


def progress(store: Store, annotator: str) -> Progress:
    *mine, flagged, skipped = store.rows(
        """WITH mine AS (
               SELECT example, max_by(level, seq) FILTER (action = 'label') AS level,
                      bool_or(action = 'flag') AS flagged, bool_or(action = 'skip') AS skipped
               FROM standing_annotation JOIN example USING (dataset, example)
               WHERE dataset = $d AND annotator = $a AND present GROUP BY example, repeat
           )
           SELECT count(*) FILTER (level = 'easy'), count(*) FILTER (level = 'medium'), count(*) FILTER (level = 'hard'),
                  count(*) FILTER (level IS NULL AND flagged), count(*) FILTER (level IS NULL AND skipped AND NOT flagged) FROM mine""",
        {"d": "many", "a": annotator},
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
        {**_parameters(store, annotator), "after": REPEAT_AFTER},
    )[0][0]
    team, median = store.rows(
        """SELECT (SELECT count(DISTINCT example) FROM current_label JOIN example USING (dataset, example)
                   WHERE dataset = $d AND present AND NOT simulated),
                  (SELECT median(seconds) FROM annotation WHERE dataset = $d AND annotator = $a AND action = 'label')""",
        {"d": "many", "a": annotator},
    )[0]
    return Progress(dict(zip(LEVELS, mine, strict=True)), skipped, flagged, total, team, median)
