"""An annotator without a browser: what the sorting page's JavaScript does (outbox.js, queue.js, past.js, sort.js, grid.js) over HTTP
and Streamlit's websocket, at a person's pace. It shows nothing; it knows what was acknowledged, and how long everything took.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import uuid
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx2
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from curriculum.vocabulary import LEVELS
from tests.browser import Server

BATCH, ANSWER_WITHIN, LONGEST_WAIT, SYNC_AFTER = 100, 15.0, 8.0, 3.0
AHEAD, GRID_PAGE, GRID_AHEAD = 16, 20, 44
TOKEN, CLASSES = re.compile(rb'"token": ?"([^"]+)"'), re.compile(rb'"classes": ?(\[\[.*?\]\])')
PAUSE_SHARE, UNDO_SHARE, BURST_SHARE, RERUN_SHARE = 0.02, 0.04, 0.03, 0.02
STAYS_SECONDS = 240.0
"""How long a page stays open, about; then it is loaded anew."""

Event = dict[str, Any]


class Notes:
    """How long each route took, from the client's side, in seconds; what went wrong, by kind."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()

    def took(self, route: str, since: float) -> None:
        self.seconds[route].append(time.monotonic() - since)


class Outbox:
    """Every event until the server says that it is stored; batches, waits and second tries as in outbox.js."""

    def __init__(self, sorter: Sorter) -> None:
        self.sorter, self.entries = sorter, list[Event]()
        self.acknowledged: dict[str, Event] = {}
        self.busy, self.failures, self.batch = False, 0, BATCH
        self.sync: asyncio.Task[None] | None = None

    def add(self, *events: Event) -> None:
        self.entries += events
        self.sorter.begin(self.pump())

    async def pump(self) -> None:
        if self.busy or not self.sorter.token:
            return
        self.busy, going = True, True
        while going and self.entries:
            going = await self.send(self.entries[: self.batch])
        self.busy = False

    async def send(self, batch: list[Event]) -> bool:
        status, answer = await self.sorter.post("/api/annotations", events=batch)
        if status == 200:
            return self.acknowledge(answer)
        if status == 403:
            return False  # the next load of the page brings a token
        if status in (400, 413):
            if len(batch) == 1:
                self.entries.remove(batch[0])
            self.batch = 1
            return True
        self.sorter.begin(self.again(min(LONGEST_WAIT, 0.25 * 2**self.failures) * random.uniform(0.75, 1.25)))
        self.failures += 1
        return False

    async def again(self, wait: float) -> None:
        await asyncio.sleep(wait)
        await self.pump()

    def acknowledge(self, answer: dict[str, Any]) -> bool:
        self.failures, self.batch = 0, BATCH
        stored, refused = set(answer["stored"]), {one["id"]: one["reason"] for one in answer["refused"]}
        for reason in refused.values():
            self.sorter.notes.errors[f"refused: {reason[:60]}"] += 1
        self.acknowledged |= {event["id"]: event for event in self.entries if event["id"] in stored}
        self.entries = [event for event in self.entries if event["id"] not in stored and event["id"] not in refused]
        if not self.entries:
            if self.sync:
                self.sync.cancel()
            self.sync = self.sorter.begin(self.sorter.count())
        return bool(stored or refused)


class Sorter:
    """One annotator with one page; `view`: one by one, or as a grid."""

    def __init__(self, server: Server, name: str, dataset: str, view: str, notes: Notes) -> None:
        self.server, self.name, self.dataset, self.view, self.notes = server, name, dataset, view, notes
        self.chance, self.token, self.classes = random.Random(name), "", list[str]()
        self.outbox = Outbox(self)
        self.hand: list[dict[str, Any]] = []
        self.done: list[list[tuple[Event, dict[str, Any]]]] = []  # what can be taken back: events with their images, a key press each
        self.held: set[str] = set()  # pictures in the browser's cache
        self.loading: dict[str, asyncio.Task[None]] = {}
        self.judged: dict[str, int] = {}
        self.judgements, self.filling, self.finished, self.turned = 0, False, False, 0
        self.tasks: set[asyncio.Task[None]] = set()
        cookie = server.cookie(name)
        self.cookie = {str(cookie["name"]): str(cookie["value"])}
        self.http = httpx2.AsyncClient(base_url=server.url, cookies=self.cookie, timeout=None,
                                       limits=httpx2.Limits(max_connections=6, max_keepalive_connections=6))  # fmt: skip

    def begin(self, work: Any) -> asyncio.Task[None]:
        """Beside everything else, as a promise that nobody awaits; what goes wrong is counted."""
        doing = asyncio.ensure_future(work)

        async def noted() -> None:
            try:
                await doing
            except Exception as error:
                self.notes.errors[f"the measuring client: {type(error).__name__}: {error}"] += 1

        task = asyncio.create_task(noted())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # -- requests --------------------------------------------------------------------------------

    async def post(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """Status and answer; 0 where there was none."""
        since, words = time.monotonic(), {"token": self.token, "dataset": self.dataset, **body}
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                answer = await self.http.post(path, json=words)
        except (httpx2.HTTPError, TimeoutError) as error:
            self.notes.took(path, since)
            self.notes.errors[f"POST {path}: {type(error).__name__}"] += 1
            return 0, {}
        self.notes.took(path, since)
        if answer.status_code != 200:
            self.notes.errors[f"POST {path}: {answer.status_code}"] += 1
        return answer.status_code, answer.json()

    async def get(self, path: str, route: str) -> bool:
        since = time.monotonic()
        try:
            status: object = (await self.http.get(path)).status_code
        except httpx2.HTTPError as error:
            status = type(error).__name__
        self.notes.took(route, since)
        if status != 200:
            self.notes.errors[f"GET {route}: {status}"] += 1
        return status == 200

    async def load(self, address: str) -> None:
        if address in self.held:
            return
        while not await self.get(address, "/" + address.split("/")[1]):
            await asyncio.sleep(0.7)
        self.held.add(address)

    # -- the queue (queue.js) ------------------------------------------------------------------------

    @property
    def ahead(self) -> int:
        return GRID_AHEAD if self.view == "grid" else AHEAD

    def prepare(self) -> None:
        for item in self.hand[: self.ahead]:
            address = item["image"].replace("/img/", "/thumb/") if self.view == "grid" else item["image"]
            if item["example"] not in self.loading:
                self.loading[item["example"]] = self.begin(self.load(address))

    async def fill(self) -> None:
        if self.filling or self.finished or len(self.hand) >= self.ahead:
            return
        self.filling, wait = True, 0.3
        while not await self.ask(self.ahead if self.view == "grid" else None):
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        self.filling = False

    async def ask(self, limit: int | None) -> bool:
        since = self.judgements
        exclude = list(dict.fromkeys([item["example"] for item in self.hand] + [event["example"] for event in self.outbox.entries]))
        more: dict[str, Any] = {} if limit is None else {"limit": limit}
        if self.view == "grid":
            more["class"] = self.classes[self.turned % len(self.classes)]
        route = "/api/queue"
        status, answer = await self.post(route, exclude=exclude, **more)
        if status != 200:
            return False
        if limit != 0:
            mine = {item["example"] for item in self.hand}
            fresh = [one for one in answer["examples"] if one["example"] not in mine and self.judged.get(one["example"], -1) <= since]
            self.hand += fresh
            self.finished = not fresh and not exclude and not answer["later"]
            self.prepare()
        return True

    async def count(self) -> None:
        """A while after everything is stored, the counts."""
        await asyncio.sleep(SYNC_AFTER)
        await self.ask(0)

    # -- the page ------------------------------------------------------------------------------------

    async def stay(self, until: float) -> None:
        """Load the page, sort for a while, and again, until the time is over and everything is stored."""
        await asyncio.sleep(self.chance.uniform(0, 10))
        while time.monotonic() < until:
            closing = min(until, time.monotonic() + STAYS_SECONDS * self.chance.uniform(0.5, 1.5))
            try:
                await self.visit(closing)
            except (OSError, WebSocketException, TimeoutError) as error:
                self.notes.errors[f"websocket: {type(error).__name__}"] += 1
                await asyncio.sleep(2)
        last = time.monotonic() + 120
        while self.outbox.entries and time.monotonic() < last:
            await self.outbox.pump()
            await asyncio.sleep(0.5)
        for task in list(self.tasks):
            task.cancel()
        await self.http.aclose()

    async def visit(self, closing: float) -> None:
        since = time.monotonic()
        await self.get(f"/sort?dataset={self.dataset}", "page /sort: HTML")
        words = "; ".join(f"{name}={value}" for name, value in self.cookie.items())
        address = f"{self.server.url.replace('http', 'ws', 1)}/_stcore/stream"
        async with connect(address, subprotocols=["streamlit"], origin=self.server.url, additional_headers={"Cookie": words},  # type: ignore[arg-type, list-item]
                           max_size=None, open_timeout=60) as socket:  # fmt: skip
            drain = asyncio.create_task(self.drain(socket, since))
            try:
                await self.rerun(socket)
                self.hand, self.loading, self.filling, self.finished = [], {}, False, False
                while not self.token or not self.classes:
                    await asyncio.sleep(0.05)
                    if drain.done():
                        drain.result()
                        raise ConnectionError("closed before the page came")
                self.begin(self.outbox.pump())
                self.begin(self.history())
                await self.fill()
                while time.monotonic() < closing and not drain.done():
                    await self.act(socket)
                if drain.done():
                    drain.result()
                    raise ConnectionError("closed by the server")
            finally:
                drain.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await drain

    async def rerun(self, socket: ClientConnection) -> None:
        message = BackMsg()
        message.rerun_script.query_string = f"dataset={self.dataset}" + ("&view=grid" if self.view == "grid" else "")
        message.rerun_script.page_name = "sort"
        self.asked = time.monotonic()
        await socket.send(message.SerializeToString())

    async def drain(self, socket: ClientConnection, since: float) -> None:
        """All that the page's script says: the sorting component with its token, exceptions, its end."""
        first = True
        async for raw in socket:
            assert isinstance(raw, bytes)
            if found := TOKEN.search(raw):
                self.token = found[1].decode()
                self.classes = [name for name, _ in json.loads((CLASSES.search(raw) or [b"", b"[]"])[1])]
                if first:
                    self.notes.took("page /sort: until it can ask for images", since)
                    first = False
            message = ForwardMsg()
            message.ParseFromString(raw)
            if message.WhichOneof("type") == "script_finished":
                self.notes.took("page /sort: a run of its script", self.asked)
            elif message.WhichOneof("type") == "delta" and message.delta.new_element.WhichOneof("type") in ("exception", "alert"):
                self.notes.errors["page /sort: an exception or alert on it"] += 1

    async def history(self) -> None:
        await self.post("/api/history")

    async def act(self, socket: ClientConnection) -> None:
        """What a person does next; a second or two of thought before it."""
        if self.chance.random() < RERUN_SHARE:
            await self.rerun(socket)
        if self.chance.random() < PAUSE_SHARE:
            await asyncio.sleep(self.chance.uniform(4, 12))
        if not self.hand:
            await self.out_of_images()
        elif self.view == "grid":
            await self.judge_page()
        else:
            burst = 5 if self.chance.random() < BURST_SHARE else 1
            for _ in range(burst):
                await asyncio.sleep(0.1 if burst > 1 else self.chance.uniform(1.0, 2.0))
                if self.hand:
                    self.judge(self.hand[:1])
                    await self.next_picture()
        if self.done and self.chance.random() < UNDO_SHARE:
            self.undo()

    async def next_picture(self) -> None:
        """From the key to the next image loaded: what stands between it and the eye is the browser's."""
        since = time.monotonic()
        while not self.hand and self.filling:
            await asyncio.sleep(0.02)
        if self.hand and (task := self.loading.get(self.hand[0]["example"])):
            await task
        self.notes.took("next image at hand", since)

    async def judge_page(self) -> None:
        """A page of one class: a key for some of them at a time."""
        page = self.hand[:GRID_PAGE]
        await asyncio.gather(*(self.loading[item["example"]] for item in page if item["example"] in self.loading))
        while page:
            await asyncio.sleep(self.chance.uniform(1.5, 4.0))
            many = min(len(page), self.chance.randint(3, 12))
            self.judge(page[:many])
            page = page[many:]

    def judge(self, items: list[dict[str, Any]]) -> None:
        batch = {"batch": str(uuid.uuid4())} if self.view == "grid" else {"place": 0, "seconds": round(self.chance.uniform(0.5, 2), 3)}
        level, now = self.chance.choice(LEVELS), datetime.now(UTC).isoformat()
        events = [{"id": str(uuid.uuid4()), "example": item["example"], "action": "label", "level": level, "shown_at": now, "answered_at": now,
                   **batch} for item in items]  # fmt: skip
        self.done = [*self.done, list(zip(events, items, strict=True))][-60:]
        self.outbox.add(*events)
        for item in items:
            self.judgements += 1
            self.judged[item["example"]] = self.judgements
        gone = {item["example"] for item in items}
        self.hand = [item for item in self.hand if item["example"] not in gone]
        self.finished = False
        self.prepare()
        self.begin(self.fill())

    def undo(self) -> None:
        """The last key press, with all its images, which come into the hand again."""
        pressed, now = self.done.pop(), datetime.now(UTC).isoformat()
        batch = {"batch": str(uuid.uuid4())} if self.view == "grid" else {"place": 0}
        self.outbox.add(*({"id": str(uuid.uuid4()), "example": item["example"], "action": "undo", "undoes": event["id"], "shown_at": None,
                           "answered_at": now, **batch} for event, item in pressed))  # fmt: skip
        back = [item for _, item in pressed]
        self.hand = [*back, *(item for item in self.hand if item["example"] not in {one["example"] for one in back})]
        self.prepare()

    async def out_of_images(self) -> None:
        """Another class; where there is nothing anywhere, the last answers are taken back, so that it goes on."""
        await asyncio.sleep(1)
        if self.outbox.entries or self.filling:
            return
        self.turned += 1
        self.finished = False
        await self.fill()
        if not self.hand and (self.view != "grid" or self.turned % max(1, len(self.classes)) == 0):
            for _ in range(min(20, len(self.done))):
                self.undo()
