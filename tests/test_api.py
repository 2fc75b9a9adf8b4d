"""The sorting routes over real HTTP: who may write what, that nothing is lost or doubled, and that nothing breaks them."""

from __future__ import annotations

import json
import stat
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer
from starlette.applications import Starlette

from curriculum import assignment, datasets, labels, people
from curriculum.app import api, identity, service
from curriculum.app.identity import Identity
from curriculum.datasets import Settings
from curriculum.errors import IdentityError, StoreError
from curriculum.home import Home
from curriculum.leases import Leases
from curriculum.store import Store
from curriculum.vocabulary import LEVELS
from tests.browser import free_port, on_loopback
from tests.conftest import PIN
from tests.ml import write_folder

NOON = "2026-03-01T12:00:00+01:00"
Folder = Callable[..., Path]


class Client:
    """Posts as one annotator's page does."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token

    def raw(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        request = urllib.request.Request(f"{self.url}/api/{path}", body, {"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def post(self, path: str, headers: dict[str, str] | None = None, **body: object) -> tuple[int, Any]:
        return self.raw(path, json.dumps({"token": self.token, **body}).encode(), headers)

    def send(self, *events: object) -> Any:
        status, answer = self.post("annotations", events=list(events))
        assert status == 200, answer
        return answer


@pytest.fixture
def serve(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The routes on a real socket, and this process's database behind them."""
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    port = free_port()
    with on_loopback(Starlette(routes=api.ROUTES), port):
        yield f"http://127.0.0.1:{port}"
    service.close_all()


@pytest.fixture
def database(serve: str, tiny_folder: Folder) -> Store:
    """The server's own store, with the data sets `tiny` and `other`."""
    store = service.current().store
    datasets.add_dataset(store, "tiny", tiny_folder())
    datasets.add_dataset(store, "other", tiny_folder(("x", "y"), 2, name="other"))
    return store


@pytest.fixture
def sign_in(serve: str, database: Store) -> Callable[..., Client]:
    def run(annotator: str = "Ann", dataset: str = "tiny") -> Client:
        if people.credential(database, annotator) is None:
            people.register(database, annotator, PIN)
        return Client(serve, identity.sign(database, Identity(annotator, dataset)))

    return run


SignIn = Callable[..., Client]


def event(action: str = "label", example: str | None = "a/a0.jpg", **more: object) -> dict[str, Any]:
    made: dict[str, Any] = {"id": str(uuid.uuid4()), "action": action, "answered_at": NOON, **more}
    if example is not None:
        made["example"] = example
    if action == "label":
        made.setdefault("level", "easy")
    return made


def current(store: Store, annotator: str = "Ann") -> dict[str, str]:
    return dict(store.rows("SELECT example, level FROM current_label WHERE annotator = ?", [annotator]))


def reason(answer: Any) -> str:
    assert answer["stored"] == []
    return str(answer["refused"][0]["reason"])


# -- who ------------------------------------------------------------------------------------------


def test_a_token_names_annotator_and_data_set(store: Store) -> None:
    who = Identity(people.register(store, "Ann Łee", PIN), "tiny")
    assert identity.verify(store, identity.sign(store, who)) == who
    with pytest.raises(IdentityError, match="nobody is signed in"):
        identity.sign(store, Identity("Bob", "tiny"))


@pytest.mark.parametrize("token", [None, 5, "", "forged", "WyJBbm4iLCJ0aW55Il0.aaaa.bbbb", "ü", ["a"]])
def test_forged_tokens_are_refused(sign_in: SignIn, database: Store, token: object) -> None:
    for path, body in (("annotations", {"events": [event()]}), ("queue", {}), ("history", {})):
        status, answer = sign_in().raw(path, json.dumps({"token": token, **body}).encode())
        assert status == 403
        assert "Load the sorting page anew" in answer["error"]
    assert database.rows("SELECT count(*) FROM annotation") == [(0,)]


def test_a_token_of_another_secret_or_an_older_day_is_refused(database: Store, sign_in: SignIn) -> None:
    client = sign_in()
    client.token = URLSafeTimedSerializer(b"x" * 32, salt="sorting").dumps(["Ann", people.credential(database, "Ann"), "tiny"])
    assert client.post("queue")[0] == 403
    token = identity.sign(database, Identity("Ann", "tiny"))
    time.sleep(2.1)
    with pytest.raises(IdentityError, match="open too long"):
        identity.verify(database, token, max_age=1)


def test_a_token_is_good_for_its_data_set_alone(sign_in: SignIn, database: Store) -> None:
    client = sign_in("Ann", "other")
    status, answer = client.post("annotations", dataset="tiny", events=[event()])
    assert (status, "another data set" in answer["error"]) == (403, True)
    assert "no such example" in reason(client.send(event()))
    gone = sign_in("Ann", "never was")
    assert gone.post("queue")[0] == 403
    assert database.rows("SELECT count(*) FROM annotation") == [(0,)]


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "labels" / "secret.key"
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda _: identity.read_secret(path), range(32)))
    assert len(made) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret.key"]
    path.write_bytes(b"short")
    with pytest.raises(StoreError, match="Delete it"):
        identity.read_secret(path)


def test_nobody_writes_or_undoes_for_another(sign_in: SignIn, database: Store) -> None:
    ann, bob = sign_in("Ann"), sign_in("Bob")
    mine = event(level="hard")
    ann.send(mine)
    assert "no judgement of yours" in reason(bob.send(event("undo", None, undoes=mine["id"])))
    assert "another event" in reason(bob.send({**mine, "level": "easy"}))
    status, answer = bob.post("annotations", events=[], annotator="Ann")
    assert (status, "annotator" in answer["error"]) == (400, True)
    assert "unknown fields" in reason(bob.send({**event(), "annotator": "Ann"}))
    assert (current(database, "Ann"), current(database, "Bob")) == ({"a/a0.jpg": "hard"}, {})


def test_another_sites_post_is_refused(sign_in: SignIn, database: Store) -> None:
    client = sign_in()
    for origin in ("https://elsewhere.example", "null", "http://[", f"{client.url}0"):
        status, answer = client.post("annotations", {"Origin": origin}, events=[event()])
        assert (status, "another site" in answer["error"]) == (403, True)
    assert database.rows("SELECT count(*) FROM annotation") == [(0,)]
    assert client.post("annotations", {"Origin": client.url}, events=[event()])[0] == 200
    assert client.post("queue", {"Origin": "https://team.example", "X-Forwarded-Host": "team.example"})[0] == 200


# -- storing --------------------------------------------------------------------------------------


def test_an_event_that_comes_twice_is_stored_once(sign_in: SignIn, database: Store) -> None:
    client, first, second = sign_in(), event(level="hard", seconds=1.5, shown_at=NOON), event(example="b/b0.jpg")
    both = [first["id"], second["id"]]
    assert client.send(first, first, second) == {"stored": [both[0], *both], "refused": []}
    assert client.send(second, first)["stored"] == both[::-1]
    assert database.rows("SELECT example, level, seconds, epoch(shown_at), epoch(answered_at) FROM annotation ORDER BY seq") == [
        ("a/a0.jpg", "hard", 1.5, 1772362800.0, 1772362800.0),
        ("b/b0.jpg", "easy", None, None, 1772362800.0),
    ]


def test_the_same_batch_from_many_tabs_at_once_is_stored_once(sign_in: SignIn, database: Store) -> None:
    client = sign_in()
    batch = [event(example=f"{c}/{c}{i}.jpg", level="medium") for c in "abc" for i in range(4)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.send(*batch), range(24)))
    assert all(answer == {"stored": [e["id"] for e in batch], "refused": []} for answer in answers)
    assert database.rows("SELECT count(*) FROM annotation") == [(12,)]


def test_the_order_is_that_of_arrival_whatever_the_clocks_say(sign_in: SignIn, database: Store) -> None:
    client = sign_in()
    client.send(event(level="easy", answered_at="2030-01-01T00:00:00Z"), event(level="hard", answered_at="1999-01-01T00:00:00-11:30"))
    assert current(database) == {"a/a0.jpg": "hard"}
    client.send(event(level="medium", answered_at="2020-01-01T00:00:00Z"))
    assert current(database) == {"a/a0.jpg": "medium"}


def test_good_events_are_stored_beside_refused_ones(sign_in: SignIn, database: Store) -> None:
    client, good, bad, last = sign_in(), event(), event(example="a/never.jpg"), event(example="b/b0.jpg")
    answer = client.send(good, bad, last)
    assert answer["stored"] == [good["id"], last["id"]]
    assert [refused["id"] for refused in answer["refused"]] == [bad["id"]]
    assert len(current(database)) == 2


REFUSALS: list[tuple[object, str]] = [
    (event(example="c/never.jpg"), "no such example"),
    (event(example="../../etc/passwd"), "no such example"),
    (event(level="Easy"), "unknown level"),
    (event(level=None), "has a level"),
    (event(level=3), "level is text"),
    (event("skip", level="easy"), "has a level"),
    (event("delete"), "unknown action"),
    (event(None), "unknown action"),  # type: ignore[arg-type]
    (event("label", None), "needs answered_at"),
    (event(answered_at=None), "needs answered_at"),
    (event(answered_at="2026-03-01T12:00:00"), "with its zone"),
    (event(answered_at="noon"), "ISO time"),
    (event(shown_at="0001-01-01T00:00:00+14:00"), "from 1970 on"),
    (event(shown_at="9999-12-31T23:59:59-14:00"), "from 1970 on"),
    (event(id="not a uuid"), "id is a UUID"),
    (event(id=None), "needs id"),
    (event(id=7), "id is text"),
    (event(seconds=-0.001), "seconds"),
    (event(seconds="1"), "seconds"),
    (event(seconds=True), "seconds"),
    (event(seconds=10**400), "seconds"),
    (event(seconds=float("nan")), "seconds"),
    (event(seconds=float("inf")), "seconds"),
    (event("flag"), "reason"),
    (event("flag", note="ugly"), "wrong class, broken image"),
    (event("note"), "1 to 10,000"),
    (event("note", note=""), "1 to 10,000"),
    (event("note", note="x" * 10_001), "10,001 characters"),
    (event("note", note="a\x00b"), "can't be stored"),
    (event("note", note="\ud800"), "can't be stored"),
    (event(example="\udfff"), "can't be stored"),
    (event(id="\ud83d"), "can't be stored"),
    (event(note="words"), "has no note"),
    (event(undoes=str(uuid.uuid4())), "only an undo"),
    (event("undo", None), "nothing is left to undo"),
    (event("undo", None, undoes=str(uuid.uuid4())), "no judgement of yours"),
    (event("undo", None, undoes="x"), "undoes is a UUID"),
    (event(place=-1), "place"),
    (event(place=0.5), "place"),
    (event(place=True), "place"),
    (event(place="0"), "place"),
    (event(repeat=True), "unknown fields"),
    (event(batch="x"), "batch is a UUID"),
    (event(batch=7), "batch is text"),
    (event(surprise=1), "unknown fields"),
    ({**event(), "\ud800": 1}, "unknown fields"),
    ("an event", "JSON object"),
    (None, "JSON object"),
    ([], "JSON object"),
]


@pytest.mark.parametrize(("raw", "why"), REFUSALS, ids=[f"{n}-{why.split()[0]}" for n, (_, why) in enumerate(REFUSALS)])
def test_what_cannot_be_stored_is_refused_with_its_reason(sign_in: SignIn, database: Store, raw: object, why: str) -> None:
    assert why in reason(sign_in().send(raw))
    assert database.rows("SELECT count(*) FROM annotation") == [(0,)]


def test_too_much_and_no_json_are_turned_away(sign_in: SignIn, database: Store) -> None:
    client = sign_in()
    status, answer = client.post("annotations", events=[event("note", note="x" * 9_000) for _ in range(120)])
    assert (status, "larger than 1,000,000 bytes" in answer["error"]) == (413, True)
    assert client.post("annotations", events=[event() for _ in range(1001)])[0] == 400
    for body in (b"", b"{", b"[]", b"5", b"\xff\xfe", b"[" * 100_000, b'{"token": ' + b"1" * 5000 + b"}"):
        assert client.raw("annotations", body)[0] == 400
    for wrong in (
        {"exclude": "a"},
        {"exclude": [1]},
        {"exclude": ["\ud800"]},
        {"limit": 65},
        {"limit": -1},
        {"limit": True},
        {"class": "d"},
        {"class": 1},
        {"class": "\ud800"},
        {"other": 1},
    ):
        assert client.post("queue", **wrong)[0] == 400
    no_events: list[object] = ["x", 1, [], {}]
    for before in no_events:
        assert client.post("history", before=before)[0] == 400
    assert database.rows("SELECT count(*) FROM annotation") == [(0,)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
)
FIELD = st.sampled_from(["id", "example", "action", "level", "note", "undoes", "shown_at", "answered_at", "seconds", "place", "batch"])
LIKELY = st.sampled_from(["label", "undo", "note", "a/a0.jpg", "easy", NOON, "00000000-0000-0000-0000-000000000000", "wrong class"])


def test_no_json_breaks_the_routes(sign_in: SignIn) -> None:
    client = sign_in()

    @given(
        st.lists(JSON | st.dictionaries(FIELD, LIKELY | JSON)),
        st.dictionaries(st.sampled_from(["exclude", "limit", "class", "before"]), JSON),
    )
    def check(events: list[Any], more: dict[str, Any]) -> None:
        answer = client.send(*events)
        assert len(answer["stored"]) + len(answer["refused"]) == len(events)
        for path in ("queue", "history"):
            assert client.post(path, **more)[0] in (200, 400)

    check()


def test_a_database_that_cannot_write_answers_503_and_stores_nothing(sign_in: SignIn, home: Home, database: Store) -> None:
    client = sign_in()
    database.writable = False  # as the store says while another process owns it
    status, answer = client.post("annotations", events=[event()])
    assert (status, bool(answer["error"])) == (503, True)
    database.writable = True
    assert len(client.send(event())["stored"]) == 1


# -- undo, skip, flag, note -----------------------------------------------------------------------


def test_undo_takes_back_the_named_event_and_brings_back_the_level_before(sign_in: SignIn, database: Store) -> None:
    client = sign_in()
    first, second, third = event(level="easy", seconds=1.0), event(level="hard"), event(level="medium", example="b/b0.jpg")
    client.send(first, second, third)
    client.send(event("undo", "a/a0.jpg", undoes=second["id"]))
    assert current(database) == {"a/a0.jpg": "easy", "b/b0.jpg": "medium"}
    assert database.rows("SELECT seconds FROM current_label WHERE example = 'a/a0.jpg'") == [(1.0,)]  # the label itself is back
    assert "taken back already" in reason(client.send(event("undo", None, undoes=second["id"])))
    assert "another image" in reason(client.send(event("undo", "c/c0.jpg", undoes=first["id"])))
    client.send(event("undo", None))  # unnamed: the latest that stands
    assert current(database) == {"a/a0.jpg": "easy"}
    client.send(event("undo", None, undoes=first["id"]))
    assert current(database) == {}


def test_undoing_an_older_answer_leaves_the_newer_one_in_force(sign_in: SignIn, database: Store) -> None:
    client, older, newer = sign_in(), event(level="easy"), event(level="hard")
    client.send(older, newer, event("undo", None, undoes=older["id"]))
    assert current(database) == {"a/a0.jpg": "hard"}
    client.send(event("undo", None, undoes=newer["id"]))
    assert current(database) == {}


@pytest.mark.parametrize("other", [event("skip"), event("flag", note="broken image"), event("note", note="a ship? ☂ " * 900)])
def test_skips_flags_and_notes_change_no_label_and_can_be_undone(sign_in: SignIn, database: Store, other: dict[str, Any]) -> None:
    client = sign_in()
    client.send(event(level="medium"), other)
    assert current(database) == {"a/a0.jpg": "medium"}
    assert database.rows("SELECT action, note FROM standing_annotation WHERE action <> 'label'") == [(other["action"], other.get("note"))]
    client.send(event("undo", None))
    assert current(database) == {"a/a0.jpg": "medium"}
    assert database.rows("SELECT count(*) FROM standing_annotation") == [(1,)]
    client.send(event("undo", None))
    assert "nothing is left" in reason(client.send(event("undo", None)))
    undone = event("undo", None)
    assert client.send(event(), undone, undone)["stored"][1:] == [undone["id"]] * 2  # sent again, it takes back no second one
    assert database.rows("SELECT count(*) FROM standing_annotation") == [(0,)]


# -- queue, progress, history -----------------------------------------------------------------------


def test_the_queue_gives_what_is_left_but_for_what_is_in_hand(sign_in: SignIn, database: Store) -> None:
    client = sign_in()
    order = assignment.queue(database, "tiny", "Ann", 12)
    answer = client.post("queue")[1]
    assert [card["example"] for card in answer["examples"]] == order
    sha256 = dict(database.rows("SELECT example, sha256 FROM example WHERE dataset = 'tiny'"))
    assert answer["examples"][0] == {"example": order[0], "image": f"/img/{sha256[order[0]]}", "class_title": order[0][0]}
    client.send(event(example=order[0]), event("skip", order[1]), event("flag", order[2], note="wrong class"))
    answer = client.post("queue", exclude=order[3:5], limit=64)[1]
    assert [card["example"] for card in answer["examples"]] == [*order[5:], order[1]]
    assert answer["progress"] == {
        "mine": {"easy": 1, "medium": 0, "hard": 0}, "skipped": 1, "flagged": 1, "total": 12, "team": 1, "median_seconds": None,
    }  # fmt: skip
    assert client.post("queue", limit=0)[1]["examples"] == []


def test_the_queue_of_a_class_says_what_is_left_of_each(sign_in: SignIn, database: Store) -> None:
    client = sign_in()
    b: dict[str, Any] = {"class": "b"}
    c: dict[str, Any] = {"class": "c"}
    order = assignment.queue(database, "tiny", "Ann", 12)
    of_b = [example for example in order if example.startswith("b/")]
    sign_in("Bob").send(*(event(example=example) for example in order))
    answer = client.post("queue", **b)[1]
    assert [card["example"] for card in answer["examples"]] == of_b  # the annotator's own order, all of the class
    assert answer["left"] == {"a": 4, "b": 4, "c": 4}  # Bob's levels are no concern of Ann's
    client.send(event(example=of_b[0]), event("skip", of_b[1]), event("flag", of_b[2], note="wrong class"), event(example="a/a0.jpg"))
    answer = client.post("queue", exclude=[of_b[3]], limit=64, **b)[1]
    assert [card["example"] for card in answer["examples"]] == [of_b[1]]
    assert answer["left"] == {"a": 3, "b": 2, "c": 4}
    assert client.post("queue", limit=0, **c)[1]["examples"] == []
    assert "left" not in client.post("queue")[1]


def test_a_batch_is_stored_with_each_event_and_shown_in_the_history(sign_in: SignIn, database: Store) -> None:
    client, batch = sign_in(), str(uuid.uuid4())
    sent = [event(example=f"a/a{i}.jpg", level="hard", batch=batch) for i in range(3)]
    assert client.send(*sent, sent[1])["stored"] == [*(one["id"] for one in sent), sent[1]["id"]]
    client.send(event(example="b/b0.jpg", seconds=2.5))
    assert database.rows("SELECT batch::TEXT, seconds FROM annotation ORDER BY seq") == [(batch, None)] * 3 + [(None, 2.5)]
    assert client.post("queue")[1]["progress"]["median_seconds"] == 2.5  # what was given in the grid has no time of its own
    assert [entry["batch"] for entry in client.post("history")[1]["events"]] == [None, batch, batch, batch]


def test_an_annotator_sees_nothing_of_others_or_of_a_model(sign_in: SignIn, database: Store) -> None:
    secret = [event(example=f"a/a{i}.jpg", level="hard") for i in range(3)]
    sign_in("Zelda").send(*secret, event("note", "a/a3.jpg", note="zelda's words"))
    database._connection.execute(
        "INSERT INTO score SELECT 'run-q', dataset, example, 'oof_loss', 0, 0.73519, 0.91827, 'b', 0.26481, [0.5] FROM example"
    )
    client = sign_in("Ann")
    client.send(event(example="b/b0.jpg", level="easy"))
    queue, history = client.post("queue")[1], client.post("history")[1]
    assert queue["progress"]["team"] == 4
    assert {example for card in queue["examples"] for example in card} == {"example", "image", "class_title"}
    assert [(entry["example"], entry["action"]) for entry in history["events"]] == [("b/b0.jpg", "label")]
    assert {field for entry in history["events"] for field in entry} == {
        "id",
        "example",
        "image",
        "class_title",
        "action",
        "note",
        "batch",
        "undoable",
    }
    assert history["levels"] == {"b/b0.jpg": [{"id": history["events"][0]["id"], "level": "easy"}]}
    wire = json.dumps([queue, history])
    for word in ("Zelda", "zelda", *(e["id"] for e in secret), "hard", "73519", "91827", "26481", "run-q", "oof", "difficulty", "probab"):
        assert word not in wire.replace('"hard": 0', "")


def test_the_end_of_the_queue_is_told_and_nothing_else(sign_in: SignIn, database: Store) -> None:
    client = sign_in("Ann", "other")
    answer = client.post("queue")[1]
    assert set(answer) == {"examples", "end", "later", "progress"}
    assert (len(answer["examples"]), answer["end"], answer["later"]) == (4, None, False)
    client.send(*(event(example=card["example"], place=0) for card in answer["examples"]))
    answer = client.post("queue")[1]
    assert (answer["examples"], answer["end"], answer["later"]) == ([], "You have sorted every image of other. Thank you!", False)


# -- shared out --------------------------------------------------------------------------------------


@pytest.fixture
def many(database: Store, tmp_path: Path) -> Store:
    """The server's store with the data set `many`: 3 classes of 40."""
    datasets.add_dataset(database, "many", write_folder(tmp_path / "many", each=40))
    return database


def sort_all(client: Client) -> int:
    """Sorts as the page does, a few in hand, until nothing is left; returns how many."""
    hand: list[str] = []
    done = 0
    while True:
        answer = client.post("queue", exclude=hand)[1]
        hand += [card["example"] for card in answer["examples"]]
        for example in [hand.pop(0) for _ in hand[:3]]:
            client.send(event(example=example, place=0))
            done += 1
        if answer["end"] and not answer["later"]:
            return done


def test_eight_at_once_give_each_image_the_one_label_that_it_needs(sign_in: SignIn, many: Store) -> None:
    datasets.change_settings(many, "many", Settings(1, 0.0))
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda n: sort_all(sign_in(f"person {n}", "many")), range(8)))
    assert sum(done) == 120
    assert many.rows("SELECT count(*), count(DISTINCT example), count(DISTINCT id) FROM annotation") == [(120, 120, 120)]
    assert sign_in("Zoe", "many").post("queue")[1]["end"] == "Every image has its 1 label. Thank you!"


def test_a_lease_reserves_and_never_refuses(sign_in: SignIn, database: Store) -> None:
    now = [0.0]
    service.current().leases = Leases(600, clock=lambda: now[0])
    datasets.change_settings(database, "tiny", Settings(1, 0.0))
    ann, bob = sign_in("Ann"), sign_in("Bob")
    hand = [card["example"] for card in ann.post("queue")[1]["examples"]]
    assert len(hand) == 12
    answer = bob.post("queue")[1]
    assert (answer["examples"], answer["later"]) == ([], True)
    ann.send(event("skip", hand[0], place=0))  # out of her hand: his at once
    assert [card["example"] for card in bob.post("queue")[1]["examples"]] == [hand[0]]
    for _ in range(4):  # still in her hand, as every request says
        now[0] += 500
        ann.post("queue", exclude=hand[1:])
    assert bob.post("queue", exclude=hand[:1])[1]["examples"] == []
    now[0] += 601
    assert len(bob.post("queue", exclude=hand[:1])[1]["examples"]) == 11
    bob.send(event(example=hand[1], level="hard", place=0))
    assert len(ann.send(*(event(example=example, place=0) for example in hand))["stored"]) == 12
    assert database.rows("SELECT count(*) FROM current_label") == [(13,)]


def test_what_an_undo_opens_again_is_in_the_hand_again(sign_in: SignIn, database: Store) -> None:
    datasets.change_settings(database, "tiny", Settings(1, 0.0))
    ann, bob = sign_in("Ann"), sign_in("Bob")
    first = ann.post("queue", limit=1)[1]["examples"][0]["example"]
    label = event(example=first, place=0)
    ann.send(label, event("undo", first, undoes=label["id"]))
    assert first not in [card["example"] for card in bob.post("queue")[1]["examples"]]


# -- a second time -----------------------------------------------------------------------------------


def test_a_repeat_looks_like_any_image_on_the_wire(sign_in: SignIn, many: Store) -> None:
    datasets.change_settings(many, "many", Settings(None, 0.0))
    client = sign_in("Ann", "many")
    first: dict[str, Any] = {}
    while len(first) < 80:
        for card in client.post("queue", limit=20)[1]["examples"]:
            first[card["example"]] = card
            client.send(event(example=card["example"], level="medium", place=0))
    datasets.change_settings(many, "many", Settings(None, 0.2))
    answer = client.post("queue", limit=20)[1]
    again = [card for card in answer["examples"] if card["example"] in first]
    assert len(again) == 4
    assert all(card == first[card["example"]] for card in again)
    assert set(answer["progress"]) == {"mine", "skipped", "flagged", "total", "team", "median_seconds"}
    assert answer["progress"]["mine"]["medium"] == 80
    name = again[0]["example"]
    second = event(example=name, level="hard", place=0)
    client.send(second)
    before, answer = answer["progress"], client.post("queue", limit=20)[1]
    assert answer["progress"]["mine"] == {"easy": 0, "medium": 80, "hard": 1}
    assert (answer["progress"]["total"], answer["progress"]["team"]) == (before["total"], 80)
    history = client.post("history")[1]
    assert history["levels"][name] == [{"id": second["id"], "level": "hard"}]
    assert current(many) == dict.fromkeys(first, "medium")
    assert labels.repeats(many, "many").values.tolist() == [[name, "Ann", "medium", "hard"]]
    client.send(event("undo", name, undoes=second["id"]))
    assert name in [card["example"] for card in client.post("queue", limit=20)[1]["examples"]]
    wire = json.dumps([answer, history]).lower()
    assert [
        word for word in ("repeat", "again", "twice", "second", "lease", "held", "source") if word in wire.replace("median_seconds", "")
    ] == []


def test_history_goes_back_page_by_page_over_ones_own_judgements(sign_in: SignIn, database: Store) -> None:
    ann = sign_in()
    for turn in range(12):
        ann.send(*(event(example=f"{c}/{c}{i}.jpg", level=LEVELS[turn % 3]) for c in "abc" for i in range(4)))
        sign_in("Bob").send(event())
    ann.send(event("undo", None))
    stored = [str(row[0]) for row in database.rows("SELECT id FROM standing_annotation WHERE annotator = 'Ann' ORDER BY seq DESC")]
    seen: list[str] = []
    page: Any = {"more": True}
    while page["more"]:
        page = ann.post("history", before=seen[-1] if seen else None)[1]
        seen += [entry["id"] for entry in page["events"]]
        newest = current(database)
        assert all(page["levels"][entry["example"]][0]["level"] == newest[entry["example"]] for entry in page["events"])
    assert seen == stored
    bobs = str(database.rows("SELECT id FROM annotation WHERE annotator = 'Bob' LIMIT 1")[0][0])
    assert ann.post("history", before=bobs)[1]["events"] == []
