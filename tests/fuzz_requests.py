"""What `tests.fuzz` feeds whoever is asked: request bodies, tokens, cookies and tickets, names and notes, words of a command line."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from itsdangerous import URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from curriculum import cli, labels, people
from curriculum.app import api, identity, service, session
from curriculum.app.identity import Identity
from curriculum.app.service import Service
from curriculum.errors import CallError, ConfigError, CurriculumError
from curriculum.home import Home
from curriculum.leases import Leases
from curriculum.rundir import About, RunDir
from curriculum.store import Store
from tests.fuzz_chance import ODD_TEXTS, Chance
from tests.fuzz_labels import Input, made, show, shown, undone

__all__ = ["shown"]

NOON = "2026-03-01T12:00:00+01:00"


class Running:
    """What the routes need of a service: a database and who has which image in hand."""

    def __init__(self, store: Store) -> None:
        self.home, self.store, self.leases = store.home, store, Leases()


def _served(store: Store) -> Running:
    running = Running(store)
    service.current = lambda: cast(Service, running)
    return running


def ask(path: str, raw: bytes, headers: dict[str, str]) -> Response:
    """What a route answers, called as the server calls it."""
    routes = {route.path: route for route in (*api.ROUTES, *session.ROUTES)}
    sent = [{"type": "http.request", "body": raw, "more_body": False}]
    scope = {
        "type": "http", "method": "POST", "path": path, "scheme": "http", "query_string": b"", "server": ("127.0.0.1", 80),
        "headers": [(name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers.items()],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return sent.pop()

    async def call() -> Response:
        return cast(Response, await routes[path].endpoint(Request(scope, receive)))

    return _loop.run_until_complete(call())


_loop = asyncio.new_event_loop()


def requests(folder: Path) -> Input:
    """Bodies of every route, with a valid token and without: an answer in JSON of 200 or a refusal, nothing lost and nothing doubled."""

    async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    setattr(api, "run_in_threadpool", at_once)  # noqa: B010 - another thread has other cursors, whose transactions could not be taken back
    import_module("sklearn.linear_model")  # which the first four that is asked for would wait for
    store, _ = made(folder)
    running = _served(store)
    people.register(store, "Ann", "73 oaks")
    token, cookie = identity.sign(store, Identity("Ann", "tiny")), identity.cookie(store, "Ann")
    name = identity.cookie_name(store.home)
    events: list[dict[str, Any]] = [
        {"id": str(uuid.UUID(int=77)), "action": "label", "example": "a/a2.jpg", "level": "easy", "answered_at": NOON, "shown_at": NOON, "seconds": 1.5, "place": 0},
        {"id": str(uuid.UUID(int=78)), "action": "note", "example": "a/a2.jpg", "note": "words", "answered_at": NOON, "batch": str(uuid.UUID(int=1))},
        {"id": str(uuid.UUID(int=79)), "action": "undo", "answered_at": NOON, "undoes": str(uuid.UUID(int=77))},
        {"id": str(uuid.UUID(int=80)), "action": "flag", "example": "b/b0.jpg", "note": "wrong class", "answered_at": NOON},
        {"id": str(uuid.UUID(int=81)), "action": "compare", "examples": ["a/a0.jpg", "a/a1.jpg", "b/b0.jpg", "c/c0.jpg"], "hardest": "a/a0.jpg",
         "easiest": "c/c0.jpg", "adaptive": True, "answered_at": NOON},
        {"id": str(uuid.UUID(int=82)), "action": "undo_compare", "answered_at": NOON},
    ]  # fmt: skip
    bodies: dict[str, dict[str, Any]] = {
        "/api/annotations": {"token": token, "dataset": "tiny", "events": events}, "/api/queue": {"token": token, "exclude": ["a/a0.jpg"], "limit": 3, "class": "a"},
        "/api/history": {"token": token, "before": str(uuid.UUID(int=77))}, "/api/fours/history": {"token": token, "before": str(uuid.UUID(int=1))},
        "/api/fours": {"token": token, "exclude": [["a/a0.jpg", "a/a1.jpg", "b/b0.jpg", "c/c0.jpg"]], "limit": 2}, "/api/sign-in": {"ticket": "x"},
        "/api/sign-out": {"annotator": "Ann"}, "/api/signed-in": {},
    }  # fmt: skip

    def one(data: bytes) -> None:
        chance = Chance(data)
        path = chance.pick((*bodies, "/api/annotations", "/api/annotations"))
        raw = (
            chance.raw()
            if chance.yes(8)
            else chance.json({**bodies[path], **({"token": token} if chance.yes(3) and "token" in bodies[path] else {})})
        )
        headers = {"cookie": f"{name}={cookie if chance.yes() else chance.text()}", "host": "127.0.0.1"}
        if chance.yes(6):
            headers |= {
                chance.pick(("origin", "x-forwarded-host", "x-forwarded-proto", "host", "cookie")): chance.pick(
                    ("http://127.0.0.1", "http://[", chance.text())
                )
            }
        show((path, headers, raw))
        with undone(store):
            before = store.rows("SELECT count(*) FROM annotation")[0][0]
            answer = ask(path, raw, headers)
            assert answer.status_code in (200, 400, 403, 413), (answer.status_code, answer.body)
            said = json.loads(bytes(answer.body))
            if path == "/api/annotations" and answer.status_code == 200:
                sent = json.loads(raw)["events"]
                assert len(said["stored"]) + len(said["refused"]) == len(sent), "an event has no answer"
                assert all(isinstance(each["reason"], str) for each in said["refused"])
                ids = set(said["stored"])
                there = {str(row[0]) for row in store.rows("SELECT id FROM annotation UNION ALL SELECT id FROM comparison")}
                assert all(str(uuid.UUID(each)) in there for each in ids), "an event counts as stored and isn't"
                again = json.loads(bytes(ask(path, raw, headers).body))
                assert set(again.get("stored", ())) >= ids, "the same batch again is refused"
            elif answer.status_code != 200:
                assert store.rows("SELECT count(*) FROM annotation")[0][0] == before
        running.leases = Leases()

    return one


def identities(folder: Path) -> Input:
    """Tokens, cookies and tickets: damaged ones, and ones with our own signature about anything else: nobody else's."""
    store, _ = made(folder)
    people.register(store, "Ann", "73 oaks")
    credential = people.credential(store, "Ann")
    secret = identity.read_secret(store.home.labels / "secret.key")
    good = {
        "sorting": identity.sign(store, Identity("Ann", "tiny")), "cookie": identity.cookie(store, "Ann"), "ticket": identity.ticket(store, "Ann"),
    }  # fmt: skip

    def one(data: bytes) -> None:
        chance = Chance(data)
        purpose = chance.pick(tuple(good))
        if chance.yes():
            words: Any = chance.damaged(good[purpose].encode(), 3).decode("utf-8", "surrogateescape") if chance.yes() else chance.value()
            assert words != good[purpose] or chance.left.remaining_bytes() >= 0
        else:
            content = chance.changed(["Ann", credential, chance.pick(("tiny", "number"))][: chance.number(1, 3)])
            try:
                words = URLSafeTimedSerializer(secret, salt=chance.pick((purpose, purpose, "other"))).dumps(content)
            except (RecursionError, ValueError):
                return
        show((purpose, words))
        if purpose == "cookie":
            found = identity.read_cookie(store, words if isinstance(words, str) else None)
            assert found in (None, "Ann"), found
        elif purpose == "sorting":
            assert identity.verify(store, words).annotator == "Ann"
        else:
            assert identity.redeem(store, words)

    return one


def words(folder: Path) -> Input:
    """Words of a command line, names of people, PINs, titles and notes: done or a sentence, never a traceback; no name reads back as another."""
    store, _ = made(folder)
    run = RunDir(folder / "run")
    run.path.mkdir()
    home = Home(folder / "empty")
    parser = cli.parser()
    known = _words(parser)
    quick = ("data list", "data check", "labels summary", "labels history", "labels settings", "labels agreement", "labels scale", "people list",
             "people role", "runs list", "runs show", "runs rename", "runs note", "runs diff", "runs cancel", "runs resume", "runs delete",
             "recipe list", "recipe show", "recipe results",
             "labels export", "labels import", "labels replay", "report", "explain", "labels restore", "data add", "recipe resume")  # fmt: skip

    def one(data: bytes) -> None:
        chance = Chance(data)
        if chance.yes():
            arguments = [chance.pick(known) if chance.number(0, 3) else chance.text().replace("\0", "") for _ in range(chance.number(0, 8))]
            show(arguments)
            with suppress(SystemExit, CallError), redirect_stdout(io.StringIO()):
                try:
                    parser.parse_args(arguments)
                except SystemExit as end:
                    assert end.code == 0, end.code
                    raise
            return
        if chance.yes():
            command = chance.pick(quick).split()
            more = [chance.pick(known) if chance.yes() else chance.text().replace("\0", "") for _ in range(chance.number(0, 4))]
            more = [_harmless(word, folder) for word in more]
            more += chance.pick(([], ["--json"], ["--dataset", "tiny"], ["--dataset", "tiny", "--json"], ["--out", str(folder / "out")]))
            arguments = ["--home", str(home.root), *command, *more]
            show(arguments)
            out, said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
            code: Any = 0
            with suppress(SystemExit), redirect_stdout(out), redirect_stderr(said):
                try:
                    code = cli.main(arguments)
                except SystemExit as end:
                    assert end.code == 0, end.code
                    raise
            assert code in (0, 1, 2)
            assert "Traceback" not in said.getvalue(), said.getvalue()
            return
        name, text = chance.text(), chance.text()
        show((name, text))
        with suppress(ConfigError):
            checked = labels.check_annotator(name, simulated=chance.yes())
            assert labels.check_annotator(checked, simulated=checked.startswith("simulated-")) == checked
            with undone(store):
                labels.add_annotator(store, checked, simulated=checked.startswith("simulated-"))
                assert store.rows("SELECT 1 FROM annotator WHERE annotator = ?", [checked]), "a name reads back as another"
        with suppress(ConfigError):
            people.check_pin(name, text)
        with suppress(ConfigError):
            run.write_about(About(name, text))
            about = run.about()
            run.write_about(about)
            assert run.about() == about and about.title.isprintable()
        with suppress(CurriculumError), undone(store):
            people.set_role(store, name, cast(Any, text))

    return one


def _harmless(word: str, folder: Path) -> str:
    """A path that would lead out of the target's folder leads into it."""
    return str(folder / "place" / word.strip("/.~")[:100]) if word.startswith(("/", "~", "..")) else word


def _words(parser: Any) -> list[str]:
    """Every word that a parser knows: commands, flags, choices."""
    found = list(ODD_TEXTS[:12])
    for action in parser._actions:
        found += [option for option in action.option_strings if option not in ("-h", "--help")]
        if isinstance(action.choices, dict):
            for name, below in action.choices.items():
                found += [name, *_words(below)]
        elif action.choices:
            found += map(str, action.choices)
    return list(dict.fromkeys(found))
