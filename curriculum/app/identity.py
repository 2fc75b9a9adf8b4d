"""Who a request comes from: a signed token that names annotator and data set, made by the page, checked by the routes.

The secret is made once and kept beside the labels; who can read that folder can read the labels too.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from curriculum.config import Home
from curriculum.errors import IdentityError, StoreError

MAX_AGE_SECONDS = 30 * 24 * 3600
"""A page that stays open longer asks to be loaded anew; what waits in the browser is kept."""
SECRET_BYTES = 32


@dataclass(frozen=True)
class Identity:
    """An annotator at work on a data set."""

    annotator: str
    dataset: str


def sign(home: Home, identity: Identity) -> str:
    """The token for an annotator and a data set."""
    return _serializer(home).dumps([identity.annotator, identity.dataset])


def verify(home: Home, token: object, max_age: float = MAX_AGE_SECONDS) -> Identity:
    """Who a token names; IdentityError where it isn't ours or is too old."""
    if not isinstance(token, str) or not token.isascii():
        raise IdentityError("the request has no token", todo="Load the sorting page anew.")
    try:
        annotator, dataset = _serializer(home).loads(token, max_age=int(max_age))
    except SignatureExpired as error:
        raise IdentityError("this page has been open too long", todo="Load it anew; what waits in this browser is kept.") from error
    except (BadSignature, ValueError, TypeError) as error:
        raise IdentityError(
            "this token is not one of ours", todo="Load the sorting page anew; what waits in this browser is kept."
        ) from error
    return Identity(annotator, dataset)


def _serializer(home: Home) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(read_secret(home.labels / "secret.key"), salt="sorting")


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
        finally:
            fresh.unlink()
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise StoreError(f"{path} is damaged", todo="Delete it: a new one is made, and open sorting pages ask to be loaded anew.")
    return secret
