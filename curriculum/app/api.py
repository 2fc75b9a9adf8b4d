"""The routes that the sorting component talks to: store events, ask for images to sort, look back at one's own judgements.

Every request carries a signed token; every answer is JSON, a refusal too. Nothing of the model and nothing
of other people's levels leaves through here: of the team, one number.
"""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from curriculum import assignment, comparisons, events, worklists
from curriculum.app import identity, layout, service
from curriculum.app.identity import Identity
from curriculum.app.service import Service
from curriculum.errors import CallError, ConfigError, CurriculumError, IdentityError
from curriculum.store import Store

MAX_BODY = 1_000_000
MAX_QUEUE, QUEUE, MAX_EXCLUDE, HISTORY = 64, 24, 5000, 60
MAX_FOURS, FOURS = 16, 4
DONE = ("label", "skip", "flag")
"""What takes an image out of the annotator's hand; an undo puts it back."""
NEVER_KEPT = {"Cache-Control": "no-store"}
WRITERS = CapacityLimiter(64)
"""Threads for those who write. They wait for one another, behind a long import too, and must leave the common threads to those who look."""

Body = dict[str, Any]
log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that is turned away before any work: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


# -- what the routes do --------------------------------------------------------------------------


def keep(running: Service, who: Identity, body: Body) -> Body:
    """Store a batch; answered after the commit."""
    batch = body.get("events")
    if not isinstance(batch, list) or len(batch) > events.MAX_EVENTS:
        raise ConfigError(f"events is a list of up to {events.MAX_EVENTS:,}")
    answer = events.store_events(running.store, who.dataset, who.annotator, batch)
    stored = [event for event in batch if isinstance(event, dict) and event.get("id") in answer["stored"]]
    done, open_again = (
        [event["example"] for event in stored if event["action"] in actions and event.get("example")] for actions in (DONE, ("undo",))
    )
    running.leases.release(who.dataset, who.annotator, done)
    running.leases.take(who.dataset, who.annotator, open_again)
    return answer


def next_images(running: Service, who: Identity, body: Body) -> Body:
    """The next images for this annotator, without those in hand, and how far they and the team are; of one class, also what is left of each."""
    exclude, limit, of_class = body.get("exclude", []), body.get("limit", QUEUE), body.get("class")
    if (
        not isinstance(exclude, list)
        or len(exclude) > MAX_EXCLUDE
        or not all(isinstance(name, str) and events.storable(name) for name in exclude)
    ):
        raise ConfigError(f"exclude is a list of up to {MAX_EXCLUDE:,} examples")
    if type(limit) is not int or not 0 <= limit <= MAX_QUEUE:
        raise ConfigError("limit is out of range", got=limit, allowed=f"0 to {MAX_QUEUE}")
    store, left = running.store, {}
    if of_class is not None:
        left = assignment.left_by_class(store, who.dataset, who.annotator)
        if not isinstance(of_class, str) or of_class not in left:
            raise ConfigError("no such class", got=ascii(of_class)[:40], allowed=list(left))
    found = assignment.hand_out(store, running.leases, who.dataset, who.annotator, limit, exclude, of_class)
    return {
        "examples": _cards(store, who.dataset, found.examples),
        "end": found.end,
        "later": found.later,
        "progress": asdict(assignment.progress(store, who.dataset, who.annotator)),
    } | ({"left": left} if of_class is not None else {})


def look_back(running: Service, who: Identity, body: Body) -> Body:
    """A page of this annotator's own judgements, newest first."""
    page = events.history(running.store, who.dataset, who.annotator, before=_event_id(body.get("before")), limit=HISTORY)
    titles = _titles(running.store, who.dataset)
    for event in page["events"]:
        event["image"], event["class_title"] = f"/img/{event.pop('sha256')}", titles[event.pop("class")]
    return page


def next_fours(running: Service, who: Identity, body: Body) -> Body:
    """The next fours for this annotator, without those in hand or skipped, how many they have compared, how many images there are."""
    exclude, limit = body.get("exclude", []), body.get("limit", FOURS)
    if not isinstance(exclude, list) or len(exclude) > MAX_EXCLUDE or not all(_is_four(names) for names in exclude):
        raise ConfigError(f"exclude is a list of up to {MAX_EXCLUDE:,} fours")
    if type(limit) is not int or not 0 <= limit <= MAX_FOURS:
        raise ConfigError("limit is out of range", got=limit, allowed=f"0 to {MAX_FOURS}")
    found = comparisons.next_fours(running.store, who.dataset, who.annotator, limit, exclude)
    return {
        "fours": [{"examples": _cards(running.store, who.dataset, four.examples), "adaptive": four.adaptive} for four in found.fours],
        "end": found.end,
        "progress": {"mine": found.mine, "pool": found.pool},
    }


def _is_four(names: object) -> bool:
    return isinstance(names, list) and len(names) == 4 and all(isinstance(name, str) and events.storable(name) for name in names)


def past_fours(running: Service, who: Identity, body: Body) -> Body:
    """A page of this annotator's own comparisons, newest first: what undo takes back."""
    page = comparisons.history(running.store, who.dataset, who.annotator, before=_event_id(body.get("before")))
    for done in page["comparisons"]:
        done["examples"] = _cards(running.store, who.dataset, done["examples"])
    return page


def _event_id(text: object) -> uuid.UUID | None:
    if text is None:
        return None
    if isinstance(text, str):
        with contextlib.suppress(ValueError):
            return uuid.UUID(text)
    raise ConfigError("before is the id of an event")


def _cards(store: Store, dataset: str, names: Sequence[str]) -> list[Body]:
    """What the browser needs to show these examples, in their order."""
    titles = _titles(store, dataset)
    found = worklists.described(store, dataset, names).items()
    cards = {
        name: {"example": name, "image": f"/img/{sha256}", "class_title": titles[class_name]} for name, (sha256, class_name) in found
    }  # the image's address says nothing but its content
    return [cards[name] for name in names]


def _titles(store: Store, dataset: str) -> dict[str, str]:
    found = store.remembered("SELECT DISTINCT class FROM example WHERE dataset = ?", [dataset])
    return layout.class_titles(class_name for (class_name,) in found)


# -- what every route has in common --------------------------------------------------------------


def _route(
    path: str, work: Callable[[Service, Identity, Body], Body], fields: Sequence[str], threads: CapacityLimiter | None = None
) -> Route:
    return route(path, ("token", "dataset", *fields), lambda _request, body: JSONResponse(_work(work, body), headers=NEVER_KEPT), threads)


def route(path: str, fields: Sequence[str], respond: Callable[[Request, Body], Response], threads: CapacityLimiter | None = None) -> Route:
    """A route for JSON with these fields from our own pages; what is wrong becomes a status and a sentence.

    Args:
        threads: those that it works in, where others shouldn't wait for it; None: the common ones.
    """

    async def answer(request: Request) -> Response:
        try:
            check_origin(request)
            body = parse(await read_body(request), fields)
            return await to_thread.run_sync(partial(respond, request, body), limiter=threads)
        except RefusedError as error:
            log.warning("request refused", extra={"path": path, "status": error.status, "reason": str(error)[:200]})
            return _refusal(error.status, str(error))
        except IdentityError as error:
            log.warning("request refused", extra={"path": path, "status": 403, "reason": str(error)[:200]})
            return _refusal(403, str(error))
        except CallError as error:
            return _refusal(400, str(error))
        except CurriculumError as error:
            log.error("%s", error)
            return _refusal(503, str(error))

    checked: Callable[[Request], Awaitable[Response]] = answer
    return Route(path, checked, methods=["POST"])


def _work(work: Callable[[Service, Identity, Body], Body], body: Body) -> Body:
    running = service.current()
    who = identity.verify(running.store, body.get("token"))
    if body.get("dataset", who.dataset) != who.dataset:
        raise IdentityError("this token is for another data set", got=who.dataset, todo="Load the sorting page anew.")
    if not running.store.remembered("SELECT 1 FROM dataset WHERE dataset = ?", [who.dataset]):
        raise IdentityError("this token is for a data set that isn't there any more", got=who.dataset)
    return work(running, who, body)


def _refusal(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status_code=status, headers=NEVER_KEPT)


def check_origin(request: HTTPConnection) -> None:
    """Refuse what another site's page sends. A proxy's own header counts too: another site can't set it without asking us first."""
    origin = request.headers.get("origin")
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    if origin is not None and _host(origin) not in hosts - {None, ""}:
        raise RefusedError(403, f"This request comes from another site ({origin[:100]}) and is refused.")


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def read_body(request: Request) -> bytes:
    """The body, as far as the limit."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY:
                raise RefusedError(413, f"The request is larger than {MAX_BODY:,} bytes. Send fewer events at once.")
            parts.append(part)
    except ClientDisconnect as error:
        raise RefusedError(400, "The request broke off.") from error
    return b"".join(parts)


def parse(raw: bytes, allowed: Sequence[str]) -> Body:
    """The JSON object of a request; unknown fields are refused."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "The request is no JSON.") from error
    if not isinstance(body, dict):
        raise RefusedError(400, "The request is no JSON object.")
    if unknown := sorted(set(body) - set(allowed)):
        named = ", ".join(ascii(name[:40]) for name in unknown[:5]) + (" and more" if len(unknown) > 5 else "")
        raise RefusedError(400, f"Unknown fields: {named}. Allowed: {', '.join(allowed)}.")
    return body


ROUTES = [
    _route("/api/annotations", keep, ("events",), WRITERS),
    _route("/api/queue", next_images, ("exclude", "limit", "class")),
    _route("/api/history", look_back, ("before",)),
    _route("/api/fours", next_fours, ("exclude", "limit")),
    _route("/api/fours/history", past_fours, ("before",)),
]
