"""What a lead does about images that divide the team: decide their level with a reason, flag them, or ask for one opinion more; and
takes back.

A decision is an event of the log under the lead's name, and nobody's label: agreement is measured on what annotators said
by themselves. The latest decision on an image is the one in force, and consensus prefers it to any votes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal, get_args

import pandas as pd

from curriculum.datasets import get_dataset
from curriculum.errors import ConfigError, UnknownError
from curriculum.labels import FLAG_REASONS, MAX_NOTE, check_annotator
from curriculum.store import Cursor, Store
from curriculum.vocabulary import LEVELS, Level

Wish = Literal["opinion", "compare"]
WISHES: tuple[Wish, ...] = get_args(Wish)
SHOWN = "SELECT example FROM calibration_image WHERE dataset = $dataset"
"""The images that show what the levels mean: `calibration` chooses them, and nobody is asked to sort them."""


# -- deciding ------------------------------------------------------------------------------------


def decide(store: Store, dataset: str, lead: str, levels: dict[str, Level | None], reason: str) -> int:
    """Decide images' levels, all or none; None takes a decision back, so that the votes count again.

    Args:
        levels: of each example.
        reason: why, in a sentence for the team; one for all of them.

    Returns:
        How many decisions changed.

    Raises:
        ConfigError: no reason, an unknown level, or the decision on an image that shows what the levels mean would be taken back.
        UnknownError: no such data set, or no such image in it.
    """
    get_dataset(store, dataset)
    with store.write() as cursor:
        return add_decisions(cursor, dataset, check_annotator(lead), levels, reason)


def add_decisions(cursor: Cursor, dataset: str, lead: str, levels: dict[str, Level | None], reason: str) -> int:
    """`decide` inside a transaction."""
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_NOTE:
        raise ConfigError("a decision needs a reason", got=f"{len(reason):,} characters", allowed=f"1 to {MAX_NOTE:,} characters",
                          todo="Say in a sentence what decides it: whoever disagreed will read it.")  # fmt: skip
    if unknown := sorted({str(level) for level in levels.values()} - {*LEVELS, "None"}):
        raise ConfigError("unknown level", got=unknown[0], allowed=LEVELS)
    _check_here(cursor, dataset, levels)
    shown = {row[0] for row in cursor.execute(SHOWN, {"dataset": dataset}).fetchall()}
    if kept := sorted(shown.intersection(example for example, level in levels.items() if level is None)):
        raise ConfigError("this decision shows the team what its level means, so it can't be taken back", got=kept[0],
                          todo="Take the image out on the page Examples first.")  # fmt: skip
    rows = cursor.execute("SELECT example, level, reason FROM decision WHERE dataset = ?", [dataset]).fetchall()
    before = {example: (level, before_reason) for example, level, before_reason in rows}
    changed = {e: level for e, level in levels.items() if before.get(e) != (level, reason) and (level or e in before)}
    for example, level in changed.items():
        cursor.execute(
            """INSERT INTO annotation (id, dataset, example, annotator, action, level, note, source, answered_at)
               VALUES (?, ?, ?, ?, 'decide', ?, ?, 'team', ?)""",
            [uuid.uuid4(), dataset, example, lead, level, reason, datetime.now(UTC)],
        )
    return len(changed)


def flag(store: Store, dataset: str, lead: str, examples: Sequence[str], reason: str = "wrong class") -> int:
    """Flag images under the lead's name, all or none; what she has flagged so already stays as it is.

    Args:
        reason: of `FLAG_REASONS`.

    Returns:
        How many are newly flagged.

    Raises:
        ConfigError: another reason. UnknownError: no such data set, or no such image in it.
    """
    get_dataset(store, dataset)
    if reason not in FLAG_REASONS:
        raise ConfigError("a flag's note is its reason", got=reason, allowed=FLAG_REASONS)
    check_annotator(lead)
    with store.write() as cursor:
        _check_here(cursor, dataset, examples)
        rows = cursor.execute(
            "SELECT example FROM standing_annotation WHERE dataset = ? AND annotator = ? AND action = 'flag' AND note = ?",
            [dataset, lead, reason],
        ).fetchall()
        fresh = sorted(set(examples) - {row[0] for row in rows})
        for example in fresh:
            cursor.execute(
                """INSERT INTO annotation (id, dataset, example, annotator, action, note, source, answered_at)
                   VALUES (?, ?, ?, ?, 'flag', ?, 'team', ?)""",
                [uuid.uuid4(), dataset, example, lead, reason, datetime.now(UTC)],
            )
    return len(fresh)


def flags(store: Store, dataset: str, lead: str) -> list[str]:
    """The images that the lead has flagged with `flag`, and whose flag stands, in order."""
    rows = store.rows(f"SELECT DISTINCT example FROM ({OWN_FLAGS}) ORDER BY example", {"dataset": dataset, "lead": lead})
    return [row[0] for row in rows]


def unflag(store: Store, dataset: str, lead: str, examples: Sequence[str]) -> int:
    """Take the lead's own flags on these images back, as an undo of each; where none stands nothing changes.

    Returns:
        Of how many images.
    """
    with store.write() as cursor:
        found = cursor.execute(
            f"SELECT id, example, level FROM ({OWN_FLAGS}) WHERE list_contains($examples::TEXT[], example)",
            {"dataset": dataset, "lead": lead, "examples": list(examples)},
        ).fetchall()
        for flagged, example, level in found:
            cursor.execute(
                """INSERT INTO annotation (id, dataset, example, annotator, action, level, undoes, source, answered_at)
                   VALUES (?, ?, ?, ?, 'undo', ?, ?, 'team', ?)""",
                [uuid.uuid4(), dataset, example, lead, level, flagged, datetime.now(UTC)],
            )
    return len({example for _, example, _ in found})


OWN_FLAGS = """
SELECT flag.id, flag.example, label.level FROM standing_annotation AS flag
LEFT JOIN current_label AS label ON label.dataset = flag.dataset AND label.example = flag.example AND label.annotator = flag.annotator
WHERE flag.dataset = $dataset AND flag.annotator = $lead AND flag.action = 'flag' AND flag.source = 'team'
"""
"""A lead's flags of the team's pages, with her own level on each image, which is in force after the undo as before."""


def _check_here(cursor: Cursor, dataset: str, examples: Iterable[str]) -> None:
    here = {row[0] for row in cursor.execute("SELECT example FROM example WHERE dataset = ?", [dataset]).fetchall()}
    if missing := sorted(set(examples) - here):
        raise UnknownError(f"the data set {dataset} has no such image", got=missing[0], todo="Give it as class/file.")


def decisions(store: Store, dataset: str) -> pd.DataFrame:
    """The decisions in force, the latest first: example, sha256, class, level, reason, decided_by, decided_at."""
    return store.query(
        """SELECT example, sha256, class, level, reason, decided_by, decided_at FROM decision JOIN example USING (dataset, example)
           WHERE dataset = ? ORDER BY seq DESC""",
        [dataset],
    )


# -- asking for more -----------------------------------------------------------------------------


def ask_for(store: Store, dataset: str, lead: str, examples: Sequence[str], what: Wish) -> int:
    """Ask the team for one more person's level, or for comparisons, of some images; asking again while one is open changes nothing.

    An image with a wish for an opinion comes first to whoever hasn't labelled it, also where it has its labels.

    Returns:
        How many wishes are new.

    Raises:
        ConfigError: an opinion on an image that shows what the levels mean: nobody is asked to sort it.
        UnknownError: no such data set, or no such image in it. Either way nothing was asked for.
    """
    get_dataset(store, dataset)
    if what not in WISHES:
        raise ConfigError("nothing of this kind can be asked for", got=what, allowed=WISHES)
    here = {row[0] for row in store.rows("SELECT example FROM example WHERE dataset = ? AND present", [dataset])}
    if missing := sorted(set(examples) - here):
        raise UnknownError(f"the data set {dataset} has no such image", got=missing[0], todo="Give it as class/file.")
    if what == "opinion" and (shown := sorted(shown_as_examples(store, dataset).intersection(examples))):
        raise ConfigError("this image shows the team what its level means, so nobody is asked to sort it", got=shown[0],
                          todo="Take it out on the page Examples first.")  # fmt: skip
    wished = wishes(store, dataset, what)
    fresh = sorted(set(examples) - set(wished.loc[~wished["answered"], "example"]))
    with store.write() as cursor:
        for example in fresh:
            cursor.execute(
                """INSERT OR REPLACE INTO request (dataset, example, what, people, requested_by)
                   SELECT $dataset, $example, $what, count(*), $lead FROM current_label
                   WHERE dataset = $dataset AND example = $example AND NOT simulated""",
                {"dataset": dataset, "example": example, "what": what, "lead": lead},
            )
    return len(fresh)


def wishes(store: Store, dataset: str, what: Wish) -> pd.DataFrame:
    """What was asked for, the latest first: example, requested_by, requested_at, answered (by one person more)."""
    return store.query(
        """SELECT example, requested_by, requested_at,
                  what = 'opinion' AND people < (
                      SELECT count(*) FROM current_label AS label
                      WHERE label.dataset = request.dataset AND label.example = request.example AND NOT simulated) AS answered
           FROM request WHERE dataset = ? AND what = ? ORDER BY requested_at DESC, example""",
        [dataset, what],
    )


def withdraw(store: Store, dataset: str, examples: Sequence[str], what: Wish) -> int:
    """Take wishes back, whoever's they are: the images are asked as if nobody had wished, and contested ones can be decided again.

    Returns:
        How many there were.
    """
    with store.write() as cursor:
        return len(cursor.execute(
            "DELETE FROM request WHERE dataset = ? AND what = ? AND list_contains(?::TEXT[], example) RETURNING example",
            [dataset, what, list(examples)],
        ).fetchall())  # fmt: skip


def who_could_answer(store: Store, dataset: str) -> dict[str, list[str]]:
    """Of each image with a wish for an opinion the people who may still be asked: those who have neither labelled nor flagged it.

    Images that nobody is asked to sort, because they show what the levels mean or have gone, are left out, as are those that everybody has judged.
    """
    rows = store.rows(
        f"""WITH wished AS (
               SELECT example FROM request JOIN example USING (dataset, example)
               WHERE dataset = $dataset AND what = 'opinion' AND present AND example NOT IN ({SHOWN})
           ), judged AS (
               SELECT DISTINCT example, annotator FROM standing_annotation
               WHERE dataset = $dataset AND example IN (FROM wished) AND (action = 'flag' OR action = 'label' AND NOT repeat)
           )
           SELECT example, list(annotator ORDER BY annotator)
           FROM wished CROSS JOIN annotator ANTI JOIN judged USING (example, annotator) WHERE NOT simulated GROUP BY example""",
        {"dataset": dataset},
    )
    return dict(rows)


def shown_as_examples(store: Store, dataset: str) -> set[str]:
    """The images that show the team what the levels mean, which nobody is asked to sort."""
    return {row[0] for row in store.rows(SHOWN, {"dataset": dataset})}
