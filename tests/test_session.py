"""Staying signed in, over real HTTP: tickets, cookies and their flags, and tokens that end with the PIN; and who gets which pages."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from itsdangerous import URLSafeTimedSerializer
from starlette.applications import Starlette

from curriculum import datasets, people
from curriculum.app import identity, pages, server, service
from curriculum.app.identity import Identity
from curriculum.errors import IdentityError
from curriculum.home import Home
from curriculum.store import Store
from tests.browser import free_port, on_loopback
from tests.conftest import PIN

Answer = tuple[int, Any, str | None]
Post = Callable[..., Answer]


@pytest.fixture
def port(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """All routes of the app on a real socket, and this process's database behind them."""
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    found = free_port()
    with on_loopback(Starlette(routes=server.ROUTES), found):
        yield found
    service.close_all()


@pytest.fixture
def database(port: int, tiny_folder: Callable[..., Path]) -> Store:
    """The server's own store, with Ann, Bob and a data set."""
    found = service.current().store
    datasets.add_dataset(found, "tiny", tiny_folder())
    for name in ("Ann", "Bob"):
        people.register(found, name, PIN)
    return found


@pytest.fixture
def post(port: int) -> Post:
    """Posts JSON; returns status, answer, and the header that sets a cookie."""

    def run(path: str, body: object, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, json.dumps(body), sent)
        response = connection.getresponse()
        answer = response.status, json.loads(response.read()), response.headers["Set-Cookie"]
        connection.close()
        return answer

    return run


def value(header: str | None) -> str:
    assert header is not None
    ((name, morsel),) = SimpleCookie(header).items()
    return f"{name}={morsel.value}"


# -- tickets and cookies -------------------------------------------------------------------------


def test_a_ticket_gives_one_cookie_that_scripts_and_other_sites_do_not_get(post: Post, database: Store, port: int) -> None:
    ticket = identity.ticket(database, "Ann")
    status, _, header = post("/api/sign-in", {"ticket": ticket}, Origin=f"http://127.0.0.1:{port}")
    assert status == 200 and header is not None
    flags = {part.strip().lower() for part in header.split(";")[1:]}
    assert flags == {"httponly", "samesite=strict", "path=/", f"max-age={30 * 24 * 3600}"}
    assert identity.read_cookie(database, value(header).split("=", 1)[1]) == "Ann"
    assert post("/api/signed-in", {}, Cookie=value(header))[1] == {"kept": True}
    assert post("/api/signed-in", {})[1] == {"kept": False}
    status, answer, header = post("/api/sign-in", {"ticket": ticket})
    assert (status, header) == (403, None)
    assert "was used" in answer["error"]


def test_over_https_the_cookie_stays_there(post: Post, database: Store) -> None:
    for proto, secure in (("https", True), ("HTTPS, http", True), ("http", False), ("", False)):
        header = post("/api/sign-in", {"ticket": identity.ticket(database, "Ann")}, X_Forwarded_Proto=proto)[2]
        assert header is not None
        assert ("secure" in header.lower()) == secure


def test_forged_foreign_and_late_tickets_give_none(post: Post, database: Store) -> None:
    cookie, token = identity.cookie(database, "Ann"), identity.sign(database, Identity("Ann", "tiny"))
    forged = URLSafeTimedSerializer(b"x" * 32, salt="ticket").dumps(["Ann", people.credential(database, "Ann"), "0" * 32])
    for ticket in (None, 5, "", "forged", ["a"], cookie, token, forged, "ü", "a.b.c"):
        status, answer, header = post("/api/sign-in", {"ticket": ticket})
        assert (status, header) == (403, None), ticket
        assert "not one of ours" in answer["error"]
    clock = iter([0.0, 60.5])
    late = identity.ticket(database, "Ann", lambda: next(clock))
    with pytest.raises(IdentityError, match="too old"):
        identity.redeem(database, late, lambda: next(clock))
    before = identity.ticket(database, "Ann")
    people.change_pin(database, "Ann", PIN, "new pin")
    assert post("/api/sign-in", {"ticket": before})[0] == 403
    assert post("/api/sign-in", {"ticket": identity.ticket(database, "Ann"), "annotator": "Bob"})[0] == 400


def test_another_sites_page_signs_nobody_in_or_out(post: Post, database: Store) -> None:
    ann = f"{identity.cookie_name(database.home)}={identity.cookie(database, 'Ann')}"
    for path, body in (("sign-in", {"ticket": identity.ticket(database, "Ann")}), ("sign-out", {"annotator": "Ann"}), ("signed-in", {})):
        status, answer, header = post(f"/api/{path}", body, Origin="https://elsewhere.example", Cookie=ann)
        assert (status, header) == (403, None)
        assert "another site" in answer["error"]


def test_signing_out_drops_the_own_cookie_alone(post: Post, database: Store) -> None:
    name = identity.cookie_name(database.home)
    ann = f"{name}={identity.cookie(database, 'Ann')}"
    assert post("/api/sign-out", {"annotator": "Bob"}, Cookie=ann)[2] is None  # Ann signed in in another tab meanwhile
    header = post("/api/sign-out", {"annotator": "Ann"}, Cookie=ann)[2]
    assert header is not None and value(header) == f"{name}=" and "max-age=0" in header.lower()
    assert post("/api/sign-out", {"annotator": "Ann"}, Cookie=f"{name}=nonsense")[2] is not None


def test_a_cookie_ends_with_the_pin_and_fits_its_home_alone(database: Store, tmp_path: Path) -> None:
    cookie = identity.cookie(database, "Ann")
    assert identity.read_cookie(database, cookie) == "Ann"
    changed = cookie[:-9] + ("A" if cookie[-9] != "A" else "B") + cookie[-8:]  # not the last letter: some of its bits stand for nothing
    for other in (None, "", "x", changed, identity.sign(database, Identity("Ann", "tiny"))):
        assert identity.read_cookie(database, other) is None
    with Store.open(Home(tmp_path / "other")) as elsewhere:
        people.register(elsewhere, "Ann", PIN)
        assert identity.read_cookie(elsewhere, cookie) is None
        assert identity.cookie_name(elsewhere.home) != identity.cookie_name(database.home)
    people.reset_pin(database, "Ann")
    assert identity.read_cookie(database, cookie) is None
    people.register(database, "Ann", PIN)
    assert identity.read_cookie(database, cookie) is None  # the same PIN, chosen anew


# -- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [["Ann"], None, 7, {"Ann": 1}])
def test_our_own_signature_under_something_that_is_no_name_counts_for_nobody(database: Store, name: object) -> None:
    words = [name, people.credential(database, "Ann"), "demo"]
    signed = {
        purpose: identity._serializer(database.home, purpose).dumps(words[:count])
        for purpose, count in (("cookie", 2), ("sorting", 3), ("ticket", 3))
    }
    asked: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "credential", lambda _store, annotator: asked.append(annotator))
        assert identity.read_cookie(database, signed["cookie"]) is None
        with pytest.raises(IdentityError, match="not one of ours"):
            identity.verify(database, signed["sorting"])
        with pytest.raises(IdentityError, match="not one of ours"):
            identity.redeem(database, signed["ticket"])
    assert asked == [], "the database isn't asked for it"


@pytest.mark.parametrize("change", ["reset", "changed", "gone"])
def test_a_token_ends_with_the_pin_and_what_waits_goes_out_with_the_next(post: Post, database: Store, change: str) -> None:
    token = identity.sign(database, Identity("Ann", "tiny"))
    event = {"id": str(uuid.uuid4()), "action": "label", "level": "easy", "example": "a/a0.jpg", "answered_at": "2026-03-01T12:00:00+01:00"}
    if change == "reset":
        people.reset_pin(database, "Ann")
    elif change == "changed":
        people.change_pin(database, "Ann", PIN, "new pin")
    else:
        with database.write() as cursor:
            cursor.execute("DELETE FROM annotator WHERE annotator = 'Ann'")
    for path, more in (("annotations", {"events": [event]}), ("queue", {}), ("history", {})):
        status, answer, _ = post(f"/api/{path}", {"token": token, **more})
        assert status == 403
        assert "changed or reset" in answer["error"] and "sent when you have signed in" in answer["error"]
    assert database.rows("SELECT count(*) FROM annotation") == [(0,)]
    if change != "changed":
        people.register(database, "Ann", PIN)
    status, answer, _ = post("/api/annotations", {"token": identity.sign(database, Identity("Ann", "tiny")), "events": [event]})
    assert (status, answer["stored"]) == (200, [event["id"]])


@pytest.mark.parametrize(("set_by", "good"), [
    (-1, True), (-5, True), (-3600, True), (-24 * 3600, True), (29 * 24 * 3600, True), (31 * 24 * 3600, False), (-31 * 24 * 3600, False),
])  # fmt: skip
def test_who_is_signed_in_stays_so_though_the_clock_is_set(
    database: Store, monkeypatch: pytest.MonkeyPatch, set_by: float, good: bool
) -> None:
    """As far back as it may go forward."""
    token, cookie = identity.sign(database, Identity("Ann", "tiny")), identity.cookie(database, "Ann")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + set_by)
    assert identity.read_cookie(database, cookie) == ("Ann" if good else None)
    if good:
        assert identity.verify(database, token) == Identity("Ann", "tiny")
    else:
        with pytest.raises(IdentityError, match="open too long"):
            identity.verify(database, token)


# -- pages by role -------------------------------------------------------------------------------


def test_a_role_has_its_pages() -> None:
    roles: tuple[people.Role | None, ...] = (None, "annotator", "lead")
    paths = {role: [path for _, _, _, path in pages.allowed(role)] for role in roles}
    assert paths[None] == [""]
    assert paths["annotator"] == ["", "sort"]
    assert paths["lead"] == [
        "",
        "sort",
        "team",
        "examples",
        "decide",
        "people",
        "labels",
        "human-model",
        "train",
        "runs",
        "comparison",
        "recipes",
        "errors",
        "why",
        "health",
    ]
