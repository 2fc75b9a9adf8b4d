"""What easy, medium and hard mean here: nine anchor images that show it, fifteen practice images that try it.

A lead chooses both; the level of each is the lead's decision, with its reason. Whoever sorts sees the anchors, practises once
with feedback, and is never asked to sort any of these images: their answers are known. Practice answers are no labels.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from curriculum.adjudication import add_decisions
from curriculum.errors import ConfigError
from curriculum.labels import check_annotator
from curriculum.store import Store
from curriculum.vocabulary import LEVELS, Level

Part = Literal["anchor", "practice"]
PARTS: tuple[Part, ...] = get_args(Part)
PER_LEVEL: dict[Part, int] = {"anchor": 3, "practice": 5}
PRACTICE = PER_LEVEL["practice"] * len(LEVELS)


@dataclass(frozen=True)
class Practice:
    """Where an annotator stands. `remaining`: this attempt's images that are still to be asked, in order; empty: it is finished."""

    attempt: int  # 1, 2, ...
    remaining: list[str]
    finished_before: bool  # an earlier attempt, or this one, was finished


# -- the images ----------------------------------------------------------------------------------


def calibration_images(store: Store, dataset: str) -> pd.DataFrame:
    """The chosen images that are there and have a decided level: example, sha256, class, part, level, reason, by level and class."""
    return store.query(
        """SELECT example, sha256, class, part, level, reason
           FROM calibration_image JOIN decision USING (dataset, example) JOIN example USING (dataset, example)
           WHERE dataset = ? AND present ORDER BY part, list_position(['easy', 'medium', 'hard'], level), class, example""",
        [dataset],
    )


def missing(images: pd.DataFrame) -> dict[tuple[Part, Level], int]:
    """How many images of each part and level are still to be chosen, where any are."""
    have = images.groupby(["part", "level"]).size().to_dict()
    wanted: dict[tuple[Part, Level], int] = {
        (part, level): PER_LEVEL[part] - int(have.get((part, level), 0)) for part in PARTS for level in LEVELS
    }
    return {key: count for key, count in wanted.items() if count > 0}


def choose(store: Store, dataset: str, lead: str, part: Part, levels: dict[str, Level], reason: str) -> None:
    """Put images into a part, all or none, with their levels; one that is in a part already moves.

    Raises:
        ConfigError: no room at one of the levels, no reason, an unknown part or level.
        UnknownError: no such image in the data set.
    """
    if part not in PARTS:
        raise ConfigError("unknown part of a calibration", got=part, allowed=PARTS)
    lead = check_annotator(lead)
    with store.write() as cursor:
        add_decisions(cursor, dataset, lead, dict(levels), reason)
        cursor.execute(  # a log that was brought in may have taken decisions back: such an image shows nothing and is sorted like any other
            "DELETE FROM calibration_image WHERE dataset = $1 AND example NOT IN (SELECT example FROM decision WHERE dataset = $1)",
            [dataset],
        )
        for example in levels:
            cursor.execute(
                "INSERT OR REPLACE INTO calibration_image (dataset, example, part, added_by) VALUES (?, ?, ?, ?)",
                [dataset, example, part, lead],
            )
        counts = calibration_images(store, dataset).groupby(["part", "level"]).size()
        for level in LEVELS:
            if counts.get((part, level), 0) > PER_LEVEL[part]:
                raise ConfigError(f"there is no room for another {level} {part} image", got=f"{counts[part, level]}",
                                  allowed=f"{PER_LEVEL[part]}", todo="Take one out first.")  # fmt: skip


def leave_out(store: Store, dataset: str, examples: Sequence[str]) -> None:
    """Take images out: they are sorted like any other again, and keep the lead's decision until that is taken back."""
    with store.write() as cursor:
        cursor.execute("DELETE FROM calibration_image WHERE dataset = ? AND list_contains(?::TEXT[], example)", [dataset, list(examples)])


def candidates(store: Store, dataset: str, lead: str, level: Level) -> pd.DataFrame:
    """Images that could show a level, the surest first: example, sha256, class.

    Those that the lead sorted there or decided, then those on which the people agree, then those that somebody put there;
    each time the least labelled first, so that few judgements are set aside, and the classes in turn.
    """
    return store.query(
        """WITH vote AS (
               SELECT example, bool_or(annotator = $lead AND level = $level) AS mine, count(*) AS people,
                      count(*) FILTER (level = $level) AS same
               FROM current_label WHERE dataset = $dataset AND NOT simulated GROUP BY example
           ), found AS (
               SELECT example, sha256, class, coalesce(people, 0) AS people,
                      CASE WHEN decision.level IS NOT NULL OR mine THEN 0 WHEN people > 1 AND same = people THEN 1 ELSE 2 END AS rank
               FROM example LEFT JOIN vote USING (example) LEFT JOIN decision USING (dataset, example)
                    LEFT JOIN calibration_image USING (dataset, example)
               WHERE dataset = $dataset AND present AND (part IS NULL OR decision.level IS NULL)
                 AND CASE WHEN decision.level IS NULL THEN same > 0 ELSE decision.level = $level END
           ), taken AS (
               SELECT class, count(*) AS taken FROM calibration_image JOIN example USING (dataset, example)
                    JOIN decision USING (dataset, example) WHERE dataset = $dataset AND level = $level GROUP BY class
           )
           SELECT example, sha256, class FROM found LEFT JOIN taken USING (class)
           ORDER BY rank, coalesce(taken, 0) + row_number() OVER (PARTITION BY rank, class ORDER BY people, hash(example)), hash(class)""",
        {"dataset": dataset, "lead": lead, "level": level},
    )


def suggest(store: Store, dataset: str, lead: str) -> int:
    """Fill what is missing from the candidates, anchors first; returns how many images were chosen."""
    chosen = 0
    for (part, level), count in sorted(missing(calibration_images(store, dataset)).items(), key=lambda item: PARTS.index(item[0][0])):
        names = candidates(store, dataset, lead, level)["example"].head(count).tolist()
        if names:
            choose(store, dataset, lead, part, dict.fromkeys(names, level), f"a typical {level} one")
        chosen += len(names)
    return chosen


# -- practice ------------------------------------------------------------------------------------


def must_practise(store: Store, dataset: str, annotator: str) -> bool:
    """Whether the images are complete and this annotator hasn't been through them; who chose them knows the answers."""
    if missing(calibration_images(store, dataset)):
        return False
    chose = store.rows("SELECT 1 FROM calibration_image WHERE dataset = ? AND added_by = ? LIMIT 1", [dataset, annotator])
    return not chose and not practice(store, dataset, annotator).finished_before


def practice(store: Store, dataset: str, annotator: str, *, anew: bool = False) -> Practice:
    """The attempt that is going on, or the last one, in an order seeded by the annotator's name and the attempt.

    Args:
        anew: where the last attempt is finished, the next one.
    """
    answers = store.query("SELECT attempt, example FROM practice_answer WHERE dataset = ? AND annotator = ?", [dataset, annotator])
    images = calibration_images(store, dataset)
    asked = images.loc[images["part"] == "practice", "example"].tolist()
    attempt = int(answers["attempt"].max()) if len(answers) else 1
    done = {number: set(group["example"]) for number, group in answers.groupby("attempt")}
    finished = [number for number, examples in done.items() if len(examples) >= PRACTICE or examples.issuperset(asked)]
    if anew and attempt in finished:
        attempt += 1
    left = [] if attempt in finished else [name for name in asked if name not in done.get(attempt, set())]
    order = store.rows("SELECT name FROM (SELECT unnest(?::TEXT[]) AS name) ORDER BY hash(name || ? || ?)", [left, annotator, str(attempt)])
    return Practice(attempt, [row[0] for row in order], bool(finished))


def answer(store: Store, dataset: str, annotator: str, attempt: int, example: str, level: Level) -> None:
    """Keep one practice answer; a second one on the same image of an attempt changes nothing.

    Raises:
        ConfigError: it is no practice image, or an unknown level.
    """
    if level not in LEVELS:
        raise ConfigError("unknown level", got=level, allowed=LEVELS)
    images = calibration_images(store, dataset)
    decided = images.loc[(images["part"] == "practice") & (images["example"] == example), "level"]
    if decided.empty:
        raise ConfigError("this is no practice image", got=example, todo="Load the page anew: the lead may have changed them.")
    with store.write() as cursor:
        cursor.execute(
            """INSERT INTO practice_answer (id, dataset, annotator, attempt, example, level, decided)
               SELECT $id, $dataset, $annotator, $attempt, $example, $level, $decided
               WHERE NOT EXISTS (SELECT 1 FROM practice_answer
                                 WHERE dataset = $dataset AND annotator = $annotator AND attempt = $attempt AND example = $example)""",
            {"id": uuid.uuid4(), "dataset": dataset, "annotator": annotator, "attempt": attempt, "example": example,
             "level": level, "decided": decided.iloc[0]},
        )  # fmt: skip


def practice_results(store: Store, dataset: str, annotator: str | None = None) -> pd.DataFrame:
    """Every attempt, by annotator and attempt: annotator, attempt, answers, same (as decided), harder (mean of own level less the
    decided one, in levels, -2 to 2, above 0: found images harder) and last_answer (time)."""
    answers = store.query(
        "SELECT * FROM practice_answer WHERE dataset = $dataset AND ($annotator IS NULL OR annotator = $annotator)",
        {"dataset": dataset, "annotator": annotator},
    )
    place = {level: n for n, level in enumerate(LEVELS)}
    answers["harder"] = answers["level"].map(place).astype(np.float64) - answers["decided"].map(place).astype(np.float64)
    answers["same"] = answers["harder"] == 0
    found = answers.groupby(["annotator", "attempt"], as_index=False).agg(
        answers=("example", "size"), same=("same", "sum"), harder=("harder", "mean"), last_answer=("answered_at", "max")
    )
    return found.sort_values(["annotator", "attempt"], ignore_index=True)
