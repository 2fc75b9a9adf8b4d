"""Which four images are compared next: some drawn by chance, the others where an answer tells most about the scale.

Pure, and seeded by its caller. The fours drawn by chance are chosen without a look at any answer, so a reliability can be
measured on them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import combinations
from math import comb

import numpy as np
import scipy

from curriculum.scaling import PRIOR_VARIANCE, Floats, Scale

CHANCE = 5
"""One four in so many is drawn by chance."""
FEW = 1000
"""With no more fours than this, all that are left are looked at; with more, drawing again finds a new one soon."""
TRIES = 100

Random = np.random.Generator


@dataclass(frozen=True)
class Four:
    """Four images in the order in which they are shown, which says nothing; `adaptive`: chosen, not drawn by chance."""

    examples: tuple[str, ...]
    adaptive: bool


@dataclass
class Known:
    """What the choice rests on. `seen` grows with the fours that are chosen, so that none comes twice."""

    pool: Sequence[str]
    scale: Scale
    chance_counts: Mapping[str, int]  # in how many fours drawn by chance an image was, for anybody
    seen: set[frozenset[str]]  # fours that this annotator had
    away: set[str] = field(default_factory=set)  # images in hand: others first, so that no image stands there twice in a row


def seeded(*words: object) -> Random:
    """Chance that comes out the same for the same words, on every machine."""
    return np.random.default_rng(int.from_bytes(blake2b("\0".join(map(str, words)).encode(), digest_size=8).digest(), "big"))


def by_chance(turn: int, *words: object) -> bool:
    """Whether a person's four of this number is drawn by chance: one of each block of `CHANCE`, nobody knows which."""
    return bool(seeded(*words, "block", turn // CHANCE).integers(CHANCE) == turn % CHANCE)


def next_four(known: Known, chance: bool, random: Random) -> Four | None:
    """One more four; None where every four of the pool was had."""
    pool = list(known.pool)
    if comb(len(pool), 4) <= FEW:
        left = [four for four in combinations(pool, 4) if frozenset(four) not in known.seen]
        if not left:
            return None
        chosen: Collection[str] = left[random.integers(len(left))] if chance else _most_telling(left, known, random)
    else:
        draws = (_drawn(pool, known, random) if chance else _chosen(pool, known, random) for _ in range(TRIES))
        found = next((four for four in draws if frozenset(four) not in known.seen), None)
        chosen = found or tuple(random.choice(pool, 4, replace=False).tolist())
    known.seen.add(frozenset(chosen))
    known.away.update(chosen)
    return Four(tuple(random.permutation(list(chosen)).tolist()), not chance)


def _drawn(pool: list[str], known: Known, random: Random) -> tuple[str, ...]:
    """By chance, those first that chance has drawn least: without a look at answers, and no image is forgotten."""
    order = random.permutation(len(pool))
    counts = np.array([known.chance_counts.get(name, 0) for name in pool])
    return tuple(pool[place] for place in order[np.argsort(counts[order], kind="stable")][:4])


def _chosen(pool: list[str], known: Known, random: Random) -> tuple[str, ...]:
    """An image among the least certain, and the three that meeting it tells most about."""
    near = [name for name in pool if name not in known.away]
    near = near if len(near) >= 8 else pool
    mean, covariance = _on_the_scale(near, known.scale)
    first = int(np.argmax(np.diag(covariance) * random.uniform(0.5, 1, len(near))))
    worth = telling(mean, covariance, first) * random.uniform(0.8, 1, len(near))
    worth[first] = np.inf
    return tuple(near[place] for place in np.argsort(-worth)[:4])


def _most_telling(left: Sequence[tuple[str, ...]], known: Known, random: Random) -> tuple[str, ...]:
    names = sorted({name for four in left for name in four})
    mean, covariance = _on_the_scale(names, known.scale)
    pairs = np.array([telling(mean, covariance, place) for place in range(len(names))])
    place = {name: i for i, name in enumerate(names)}
    worth = [sum(pairs[place[a], place[b]] for a, b in combinations(four, 2)) for four in left]
    return left[int(np.argmax(np.array(worth) * random.uniform(0.8, 1, len(left))))]


def telling(mean: Floats, covariance: Floats, first: int) -> Floats:
    """How much a meeting of `first` with each image tells, (n,): the variance of their difference times the answer's own.

    Large where both are uncertain and nobody can say which is harder.
    """
    variance = np.maximum(np.diag(covariance) + covariance[first, first] - 2 * covariance[first], 0.0)
    harder = scipy.special.expit((mean[first] - mean) / np.sqrt(1 + np.pi * variance / 8))  # averaged over what isn't known (MacKay 1992)
    return np.asarray(variance * harder * (1 - harder))


def _on_the_scale(names: Sequence[str], scale: Scale) -> tuple[Floats, Floats]:
    """Mean and covariance of these images; those that were never compared have the prior's."""
    place = {name: i for i, name in enumerate(scale.examples)}
    known = [i for i, name in enumerate(names) if name in place]
    there = [place[names[i]] for i in known]
    mean, covariance = np.zeros(len(names)), np.eye(len(names)) * PRIOR_VARIANCE
    mean[known] = scale.latent[there]
    covariance[np.ix_(known, known)] = scale.covariance[np.ix_(there, there)]
    return mean, covariance
