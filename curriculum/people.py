"""Who the people are: names with a PIN, roles, and what keeps a guesser waiting.

A PIN is stored as an Argon2id hash and never leaves here. Who signs in through a provider (OIDC) has no PIN, but a mark in
its place, so that nobody can take the name with a PIN of their own. Who is on which page is the business of `app`.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from itertools import pairwise
from typing import Any, Literal, get_args

import pandas as pd
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from curriculum.errors import ConfigError, SignInError, UnknownError
from curriculum.labels import MAX_NAME, check_annotator
from curriculum.store import Cursor, Store
from curriculum.words import duration

Role = Literal["annotator", "lead"]
ROLES: tuple[Role, ...] = get_args(Role)
MIN_PIN, MAX_PIN = 4, 64
COMMON_PINS = frozenset({"0815", "1212", "2580", "6969", "password", "passwort", "qwerty", "qwertz", "letmein", "iloveyou", "admin"})
PROVIDER = "provider "
"""What stands in place of a PIN's hash for who signs in through a provider, before some random letters."""
NAMES = "SELECT annotator, pin_hash FROM annotator WHERE NOT simulated"
ATTEMPTS, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, FORGOTTEN_AFTER_SECONDS = 5, 30.0, 900.0, 3600.0

log = logging.getLogger(__name__)
_hasher = PasswordHasher()
_hashing = threading.BoundedSemaphore(2)
"""A hash takes 64 MiB and 0.1 s by design: many who come at once take turns."""
_queue = threading.BoundedSemaphore(24)
"""Who hashes or waits for it, about a second and a half in all."""


@dataclass(frozen=True)
class Person:
    """One who isn't simulated. `signs_in`: with a PIN, through a provider, or not yet (the next sign-in chooses a PIN)."""

    name: str
    role: Role
    signs_in: Literal["PIN", "provider", "not yet"]
    since: datetime
    labels: int
    last_seen: datetime | None


def list_people(store: Store) -> list[Person]:
    """Everybody, by name, with how many labels of theirs are in force and when the log last heard of them."""
    frame = store.query(
        """SELECT annotator, role, pin_hash, created_at,
                  (SELECT count(*) FROM current_label WHERE current_label.annotator = person.annotator) AS labels,
                  (SELECT max(recorded_at) FROM annotation WHERE annotation.annotator = person.annotator) AS last_seen
           FROM annotator AS person WHERE NOT simulated ORDER BY annotator"""
    )
    return [
        Person(row["annotator"], row["role"], _way(row["pin_hash"]), row["created_at"].to_pydatetime(), int(row["labels"]),
               None if pd.isna(row["last_seen"]) else row["last_seen"].to_pydatetime())
        for row in frame.to_dict("records")
    ]  # fmt: skip


def _way(pin_hash: object) -> Literal["PIN", "provider", "not yet"]:
    return "not yet" if not isinstance(pin_hash, str) else "provider" if pin_hash.startswith(PROVIDER) else "PIN"


def role_of(store: Store, name: str) -> Role | None:
    """The role that the database has now; None: nobody of that name."""
    rows = store.remembered("SELECT role FROM annotator WHERE annotator = ? AND NOT simulated", [name])
    return rows[0][0] if rows else None


def credential(store: Store, name: str) -> str | None:
    """What tokens and cookies of this person are bound to: another after every change of the PIN; None while there is none."""
    rows = store.remembered("SELECT pin_hash FROM annotator WHERE annotator = ? AND NOT simulated AND pin_hash IS NOT NULL", [name])
    return sha256(rows[0][0].encode()).hexdigest()[:32] if rows else None


# -- signing in ----------------------------------------------------------------------------------


def register(store: Store, name: str, pin: str, role: Role | None = None) -> str:
    """A new person, or one whom imports or older databases know without a PIN, chooses a PIN; returns the name as stored.

    Args:
        role: None: lead where nobody leads yet, else as it is, and annotator for who is new.

    Raises:
        ConfigError: the name or the PIN isn't allowed, the name is taken, or nobody would lead.
    """
    name, pin = check_annotator(name), check_pin(pin, name)
    pin_hash = _hash(pin)
    with store.write() as cursor:
        found = _find(cursor.execute(NAMES).fetchall(), name)
        if found and found[1] is not None:
            raise ConfigError("this name is taken", got=found[0], todo="Sign in with its PIN, or choose another name.")
        name = _enter(cursor, found[0] if found else name, pin_hash)
        if role:
            _set_role(cursor, name, role)
    log.info("registered", extra={"annotator": name})
    return name


def enter_from_provider(store: Store, name: str) -> str:
    """Whom a provider vouches for: registered if new; a PIN that somebody chose for this name ends. Returns the name as stored."""
    name = check_annotator(name)
    if store.rows("SELECT 1 FROM annotator WHERE annotator = ? AND NOT simulated AND starts_with(pin_hash, ?)", [name, PROVIDER]):
        return name
    with store.write() as cursor:
        return _enter(cursor, name, PROVIDER + secrets.token_hex(16))


def sign_in(store: Store, name: str, pin: str, now: Callable[[], float] = time.monotonic) -> str:
    """The person whose name and PIN these are, as stored.

    Whether the name or the PIN is wrong, or no PIN was chosen yet, can't be told from the error or its time.

    Args:
        now: a clock in seconds that never goes back.

    Raises:
        SignInError: they don't fit, or too many didn't before.
    """
    name = " ".join(name.split())
    known = _find(store.rows(NAMES), name)
    stored, pin_hash = known or (name, None)
    key = _key(store, stored, known is not None)
    _count_attempt(key, now())
    if not _fits(pin_hash, pin) or _find(store.rows(NAMES), name) != (stored, pin_hash):  # changed while we looked
        log.warning(
            "name and PIN don't fit", extra={"annotator": stored if known else "somebody unknown"}
        )  # who may have typed a PIN there
        raise SignInError(
            "name and PIN don't fit",
            todo="Try again; who is here for the first time, or has no PIN any more, chooses one under First time here",
        )
    with _lock:
        _attempts.pop(key, None)
    if pin_hash and _hasher.check_needs_rehash(pin_hash):
        _set_pin(store, stored, _hash(unicodedata.normalize("NFC", pin)), pin_hash)
    log.info("signed in", extra={"annotator": stored})
    return stored


def change_pin(store: Store, name: str, old: str, new: str) -> None:
    """Another PIN for who knows the present one; whoever is signed in with that one must sign in again."""
    name = sign_in(store, name, old)
    _, present = _find(store.rows(NAMES), name) or (name, None)
    _set_pin(store, name, _hash(check_pin(new, name)), present)
    log.info("PIN changed", extra={"annotator": name})


def check_pin(pin: str, name: str = "") -> str:
    """The PIN in one spelling; ConfigError where it is too short, too long, or what everybody tries first."""
    pin = unicodedata.normalize("NFC", pin)
    allowed = f"{MIN_PIN} to {MAX_PIN} printable characters, digits or letters"
    if not MIN_PIN <= len(pin) <= MAX_PIN or not pin.isprintable():
        raise ConfigError("this PIN can't be used", got=f"{len(pin)} characters", allowed=allowed)
    steps = {ord(b) - ord(a) for a, b in pairwise(pin)}
    if steps in ({0}, {1}, {-1}) or pin.casefold() in COMMON_PINS | {name.casefold()}:
        raise ConfigError(
            "this PIN is what everybody tries first", allowed=f"{allowed}; none such as 0000, 1234 or the name", todo="Choose another."
        )
    return pin


def _fits(pin_hash: str | None, pin: str) -> bool:
    """Takes as long where there is no hash to compare with."""
    pin = unicodedata.normalize("NFC", pin[: 4 * MAX_PIN])[: MAX_PIN + 1]
    known = pin_hash is not None and not pin_hash.startswith(PROVIDER)
    decoy = _decoy()
    try:
        with _turn():
            return _hasher.verify(pin_hash if pin_hash is not None and known else decoy, pin) and known
    except VerificationError:
        return False


@cache
def _decoy() -> str:
    """A hash that no PIN fits."""
    return _hasher.hash(secrets.token_hex(32))


def _hash(pin: str) -> str:
    with _turn():
        return _hasher.hash(pin)


@contextmanager
def _turn() -> Iterator[None]:
    """At most two hash at a time, and few wait for it: a flood of invented names keeps nobody out for long."""
    if not _queue.acquire(blocking=False):
        raise SignInError("too many people sign in at this moment", todo="Try again in a few seconds")
    try:
        with _hashing:
            yield
    finally:
        _queue.release()


def _enter(cursor: Cursor, name: str, pin_hash: str) -> str:
    """The row of who signs in for the first time; the first of a home leads."""
    led = cursor.execute("SELECT 1 FROM annotator WHERE role = 'lead' AND NOT simulated").fetchone()
    cursor.execute("INSERT INTO annotator (annotator, simulated) VALUES (?, false) ON CONFLICT DO NOTHING", [name])
    cursor.execute("UPDATE annotator SET pin_hash = ? WHERE annotator = ?", [pin_hash, name])
    if not led:
        cursor.execute("UPDATE annotator SET role = 'lead' WHERE annotator = ?", [name])
    return name


def _set_pin(store: Store, name: str, pin_hash: str, present: str | None) -> None:
    """Nothing happens where the PIN was changed or reset meanwhile."""
    with store.write() as cursor:
        cursor.execute("UPDATE annotator SET pin_hash = ? WHERE annotator = ? AND pin_hash = ?", [pin_hash, name, present])


def _find(rows: Sequence[tuple[Any, ...]], name: str) -> tuple[str, str | None] | None:
    """Name and hash of this person, or, where nobody has exactly this name, of the one whose name differs in case or letter forms only."""
    same = [row for row in rows if row[0] == name] or [row for row in rows if folded(row[0]) == folded(name)]
    return (same[0][0], same[0][1]) if same else None


def folded(name: str) -> str:
    """The same for all spellings that stand for one person: case and letter forms don't count."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


# -- who guesses waits ---------------------------------------------------------------------------

_attempts: dict[tuple[str, str], tuple[int, float]] = {}
"""Of each home and name that signs in: attempts since the last that fitted, and when the latest was."""
_lock = threading.Lock()


def _key(store: Store, name: str, known: bool = True) -> tuple[str, str]:
    """Of whom attempts are counted: each person, so that a namesake's success forgives none; of unknown names all spellings together."""
    return str(store.home.root), f"known {name}" if known else f"unknown {folded(name[: 2 * MAX_NAME])}"


def _count_attempt(key: tuple[str, str], now: float) -> None:
    """Counts before the PIN is looked at, so that many at once are as slow as one after another. SignInError while there is to wait."""
    with _lock:
        for other, (_, latest) in list(_attempts.items()):
            if now - latest > FORGOTTEN_AFTER_SECONDS:
                del _attempts[other]
        count, latest = _attempts.get(key, (0, now))
        left = latest + _wait_seconds(count) - now
        if left > 0:
            raise SignInError("too many wrong PINs for this name", todo=f"Wait {duration(left)}, then try again")
        _attempts[key] = count + 1, now


def _wait_seconds(count: int) -> float:
    """After so many attempts: nothing up to the fourth, then twice as long each time."""
    return 0.0 if count < ATTEMPTS else min(FIRST_WAIT_SECONDS * 2.0 ** min(count - ATTEMPTS, 10), LONGEST_WAIT_SECONDS)


# -- what leads do ---------------------------------------------------------------------------------


def set_role(store: Store, name: str, role: Role) -> None:
    """Make somebody a lead or an annotator; the last lead stays one.

    Raises:
        ConfigError: an unknown role, or nobody would lead.
        UnknownError: nobody has that name.
    """
    with store.write() as cursor:
        _known(cursor, name)
        _set_role(cursor, name, role)
    log.info("role given", extra={"annotator": name, "role": role})


def _set_role(cursor: Cursor, name: str, role: Role) -> None:
    if role not in ROLES:
        raise ConfigError("unknown role", got=role, allowed=ROLES)
    others = cursor.execute("SELECT 1 FROM annotator WHERE role = 'lead' AND NOT simulated AND annotator <> ?", [name]).fetchone()
    if role == "annotator" and not others:
        raise ConfigError("somebody must lead, and nobody else does", got=name, todo="Make another person lead first.")
    cursor.execute("UPDATE annotator SET role = ? WHERE annotator = ?", [role, name])


def reset_pin(store: Store, name: str, pin: str | None = None) -> None:
    """Forget a PIN: its owner is signed out everywhere and chooses a new one at the next sign-in, or has the one given here."""
    pin_hash = None if pin is None else _hash(check_pin(pin, name))
    with store.write() as cursor:
        _known(cursor, name)
        cursor.execute("UPDATE annotator SET pin_hash = ? WHERE annotator = ?", [pin_hash, name])
    with _lock:
        _attempts.pop(_key(store, name), None)
    log.info("PIN reset", extra={"annotator": name})


def _known(cursor: Cursor, name: str) -> None:
    if not cursor.execute("SELECT 1 FROM annotator WHERE annotator = ? AND NOT simulated", [name]).fetchone():
        raise UnknownError("nobody has this name", got=name, todo="`people list` shows who is there.")
