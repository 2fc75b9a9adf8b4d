"""The page Health, what a monitor is told, and what the server writes down."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.responses import Response
from streamlit.testing.v1 import AppTest

from curriculum import doctor, ownership, people
from curriculum.app import api, server, service
from curriculum.config import TrainConfig
from curriculum.errors import IdentityError, SignInError, StoreError
from curriculum.home import Home
from curriculum.preparation import prepare
from curriculum.rundir import Status
from curriculum.store import Store
from tests.conftest import PIN, until


@pytest.fixture
def running(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[service.Service]:
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    yield service.current()
    service.close_all()


def journal(home: Home) -> list[dict[str, object]]:
    return [json.loads(line) for line in (home.data / "logs" / "server.jsonl").read_text(encoding="utf-8").splitlines()]


def asked() -> tuple[int, dict[str, object]]:
    answer = server.health(Request({"type": "http"}))
    return answer.status_code, json.loads(bytes(answer.body))


def test_the_page_shows_what_needs_a_look_first(tiny: Store, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepare(tiny, TrainConfig("tiny", weights="none", mode="fine-tune", image_size=32))
    run.write_status(Status("running", pid=2**22 + 1, pid_started=0.0))
    people.register(tiny, "Ana", PIN)
    tiny.close()
    for slow in ("device", "weights", "memory", "disk"):
        monkeypatch.delitem(doctor.CHECKS, slow)
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    test = AppTest.from_string("from curriculum.app import layout, health\nlayout.guarded(health.page)", default_timeout=60).run()
    service.close_all()
    assert not test.exception
    assert [element.value for element in test.warning] == [f"1 of {len(doctor.CHECKS)} need a look."]
    assert [element.value for element in test.markdown if element.value.startswith("**")] == ["**Runs**"]
    assert f"{run.run_id}: the process is gone" in test.text[0].value
    assert "database" in set(test.table[0].value["looked at"])


def test_a_monitor_is_told_in_a_word_and_nothing_of_anybody(running: service.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked() == (200, {"ok": True, "reason": ""})
    monkeypatch.setattr(service, "LEAST_DISK", 10**18)
    assert asked() == (503, {"ok": False, "reason": "the disk is full"})
    running._stop.set()
    running._thread.join()
    running.looked_at = time.monotonic() - 2 * service.SILENCE_SECONDS
    assert asked() == (503, {"ok": False, "reason": "runs aren't taken in and no snapshot is written"})
    running.store.close()
    assert asked() == (503, {"ok": False, "reason": "the database doesn't answer"})


def test_a_monitor_is_told_of_a_database_that_cannot_be_opened(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.labels.mkdir(parents=True)
    home.database.write_bytes(b"half a")
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    assert asked() == (503, {"ok": False, "reason": "the database can't be opened"})


def test_what_the_server_does_is_written_down_a_line_each_and_no_pin(running: service.Service, home: Home) -> None:
    name = 'Ana "the\u2028lead" <b>'.replace("\u2028", " ")
    people.register(running.store, name, PIN)
    people.sign_in(running.store, name, PIN)
    with pytest.raises(SignInError):
        people.sign_in(running.store, name, "not this one")
    people.reset_pin(running.store, name)
    found = journal(home)
    assert [line["what"] for line in found] == ["database opened", "registered", "signed in", "name and PIN don't fit", "PIN reset"]
    assert [line["level"] for line in found[1:]] == ["INFO", "INFO", "WARNING", "INFO"]
    assert {line["annotator"] for line in found[1:]} == {name}
    assert all({"time", "level", "from", "what"} <= set(line) for line in found)
    text = (home.data / "logs" / "server.jsonl").read_text(encoding="utf-8")
    assert PIN not in text and "not this one" not in text


def test_a_request_that_is_refused_is_written_down(running: service.Service, home: Home) -> None:
    def forged(_request: Request, _body: api.Body) -> Response:
        raise IdentityError("this token is forged")

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": [(b"host", b"here")], "path": "/api/x"}, receive)
    answer = asyncio.run(api.route("/api/x", (), forged).endpoint(request))
    assert answer.status_code == 403
    last = journal(home)[-1]
    assert (last["what"], last["path"], last["status"]) == ("request refused", "/api/x", 403)


def test_the_journal_ends_with_the_service(running: service.Service, home: Home) -> None:
    service.close_all()
    lines = len(journal(home))
    logging.getLogger("curriculum.somewhere").error("after the end")
    assert len(journal(home)) == lines
    assert journal(home)[-1]["what"] == "database closed"
    with pytest.raises(StoreError):
        running.store.rows("SELECT 1")


def test_commands_read_no_snapshot_that_the_service_has_not_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last session, while this one takes its first runs in."""
    going = threading.Event()
    write = Store.write_snapshot
    monkeypatch.setattr(Store, "write_snapshot", lambda store: going.wait(60) and write(store))
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    service.current()
    assert ownership.marked(home) == (os.getpid(), ownership.STARTING)
    assert not ownership.owned_by_the_app(home, os.getpid())
    going.set()
    until(lambda: ownership.owned_by_the_app(home, os.getpid()))
    service.close_all()


def test_a_service_whose_last_snapshot_fails_ends_all_the_same(
    running: service.Service, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that was full, say: whoever goes back to a backup then needs the file."""
    until(lambda: ownership.owned_by_the_app(home, os.getpid()))
    people.register(running.store, "Ana", PIN)
    monkeypatch.setattr(Store, "write_snapshot", lambda store: 1 / 0)
    service.close_all()
    with Store.open(home) as store:
        assert store.rows("SELECT annotator FROM annotator") == [("Ana",)]


def test_the_last_snapshot_has_all_that_the_service_did(running: service.Service, home: Home) -> None:
    until(lambda: ownership.marked(home)[1] == ownership.THE_APP)  # its first snapshot is there, the next comes in 20 s
    people.register(running.store, "Ana", PIN)
    service.close_all()
    with Store.from_snapshot(home) as copy:
        assert copy.rows("SELECT annotator FROM annotator") == [("Ana",)]
