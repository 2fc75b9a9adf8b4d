"""Who a request comes from: signed words that name a person, made by the page, checked by the routes.

A *token* names annotator and data set; a browser keeps a *cookie*, which it gets for a *ticket* that is good once. All are
bound to the person's present PIN and end with it. The secret is made once and kept beside the labels; who can read that
folder can read the labels too.
"""

from __future__ import annotations

import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from curriculum import people
from curriculum.errors import IdentityError, StoreError
from curriculum.files import flush
from curriculum.home import Home
from curriculum.store import Store

MAX_AGE_SECONDS = 30 * 24 * 3600
"""A page that stays open longer asks to be loaded anew; what waits in the browser is kept."""
TICKET_SECONDS = 60
SECRET_BYTES = 32
KEPT = "what waits in this browser is kept, and sent when you have signed in"


@dataclass(frozen=True)
class Identity:
    """An annotator at work on a data set."""

    annotator: str
    dataset: str


def sign(store: Store, identity: Identity) -> str:
    """The token for an annotator and a data set."""
    return _serializer(store.home, "sorting").dumps([identity.annotator, _credential(store, identity.annotator), identity.dataset])


def verify(store: Store, token: object, max_age: float = MAX_AGE_SECONDS) -> Identity:
    """Who a token names; IdentityError where it isn't ours, is too old, or was made before a change of the PIN."""
    if not isinstance(token, str) or not token.isascii():
        raise IdentityError("the request has no token", todo="Load the sorting page anew.")
    try:
        annotator, credential, dataset = _words(store.home, "sorting", token, max_age)
    except SignatureExpired as error:
        raise IdentityError("this page has been open too long", todo=f"Load it anew; {KEPT}") from error
    except (BadData, ValueError, TypeError) as error:
        raise IdentityError("this token is not one of ours", todo=f"Load the sorting page anew; {KEPT}") from error
    if credential != people.credential(store, annotator):
        raise IdentityError("your PIN was changed or reset", todo=f"Load the sorting page anew and sign in; {KEPT}")
    return Identity(annotator, dataset)


def _credential(store: Store, annotator: str) -> str:
    found = people.credential(store, annotator)
    if found is None:
        raise IdentityError("nobody is signed in under this name", got=annotator, todo="Sign in on the start page.")
    return found


def _words(home: Home, purpose: str, signed: str, max_age: float | None = None) -> list[str]:
    """What was signed: text and nothing else, whoever has the secret. BadData or ValueError where it isn't ours.

    A clock that was set back makes an age negative, which itsdangerous itself refuses: as far ahead as it may lie behind it counts.
    """
    words, signed_at = _serializer(home, purpose).loads(signed, return_timestamp=True)
    if max_age is not None and abs(time.time() - signed_at.timestamp()) > max_age:
        raise SignatureExpired("it is too old, or of a clock that is far off")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("something else than words was signed")
    return words


def _serializer(home: Home, purpose: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(read_secret(home.labels / "secret.key"), salt=purpose)


# -- what a browser keeps ------------------------------------------------------------------------


def cookie_name(home: Home) -> str:
    """Each home's own: browsers don't tell apart the ports of a machine."""
    return "curriculum_" + hmac.new(read_secret(home.labels / "secret.key"), b"cookie", "sha256").hexdigest()[:12]


def cookie(store: Store, annotator: str) -> str:
    """What a browser keeps to stay signed in."""
    return _serializer(store.home, "cookie").dumps([annotator, _credential(store, annotator)])


def read_cookie(store: Store, value: str | None) -> str | None:
    """Whom a cookie names; None where there is none, or it isn't ours, is too old, or was made before a change of the PIN."""
    try:
        annotator, credential = _words(store.home, "cookie", value or "", MAX_AGE_SECONDS)
    except (BadData, ValueError, TypeError):
        return None
    return str(annotator) if credential == people.credential(store, annotator) else None


_open_tickets: dict[str, float] = {}
"""The tickets that this process has made and nobody has used, each with the time of its end."""
_lock = threading.Lock()


def ticket(store: Store, annotator: str, now: Callable[[], float] = time.monotonic) -> str:
    """What the page hands the browser after a sign-in: good for a cookie, once, within a minute."""
    number, time_now = secrets.token_hex(16), now()
    with _lock:
        for other in [other for other, end in _open_tickets.items() if end < time_now]:
            del _open_tickets[other]
        _open_tickets[number] = time_now + TICKET_SECONDS
    return _serializer(store.home, "ticket").dumps([annotator, _credential(store, annotator), number])


def redeem(store: Store, words: object, now: Callable[[], float] = time.monotonic) -> str:
    """The cookie for a ticket; IdentityError where it isn't ours, was used, is too old, or was made before a change of the PIN."""
    try:
        annotator, credential, number = _words(store.home, "ticket", words if isinstance(words, str) else "")
    except (BadData, ValueError, TypeError) as error:
        raise IdentityError("this ticket is not one of ours", todo="Sign in anew.") from error
    with _lock:
        end = _open_tickets.pop(number, None)
    if end is None or end < now() or credential != people.credential(store, annotator):
        raise IdentityError("this ticket was used, or is too old", todo="Sign in anew.")
    return cookie(store, annotator)


# -- the secret ----------------------------------------------------------------------------------


def read_secret(path: Path) -> bytes:
    """The secret, made on first use: whole, for its owner's eyes only, and the same for all who come at once."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # a link, unlike a rename, leaves another's secret as it is
                os.link(fresh, path)
            flush(path.parent)
        finally:
            fresh.unlink()
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path} can't be read ({error.strerror})", todo="Give its owner, who runs the app, the right to read it."
        ) from error
    if len(secret) != SECRET_BYTES:
        raise StoreError(f"{path} is damaged", todo="Delete it: a new one is made, and open sorting pages ask to be loaded anew.")
    return secret
