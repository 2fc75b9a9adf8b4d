"""What the server lets in and gives out: websockets, uploads, files of data sets, text of strangers on a page, cells of a CSV file."""

from __future__ import annotations

import asyncio
import http.client
import io
import platform
import shutil
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from anyio import to_thread
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.testing.v1 import AppTest

from curriculum import datasets, people
from curriculum.app import gate, identity, layout, server, service
from curriculum.app.identity import Identity
from curriculum.home import Home
from tests.browser import serving
from tests.conftest import PIN

Asked = list[dict[str, Any]]


def through(scope: dict[str, Any]) -> tuple[bool, Asked]:
    """Whether the gate lets it through to the application, and what it answers itself."""
    let: list[bool] = []
    said: Asked = []

    async def application(*_: object) -> None:
        let.append(True)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        said.append(dict(message))

    asyncio.run(gate.Gate(application)(scope, receive, send))
    return bool(let), said


def socket(origin: str | None, host: str = "127.0.0.1:8501", **more: str) -> dict[str, Any]:
    headers = {"host": host, **({"origin": origin} if origin else {}), **{name.replace("_", "-"): value for name, value in more.items()}}
    return {"type": "websocket", "path": "/_stcore/stream", "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}


@pytest.mark.parametrize(("scope", "let"), [
    (socket("http://127.0.0.1:8501"), True),
    (socket(None), True),  # no browser: it has no cookie of anybody
    (socket("http://127.0.0.1:9999"), False),
    (socket("http://localhost:8501"), False),
    (socket("http://evil.example"), False),
    (socket("null"), False),
    (socket("https://sort.example", "10.0.0.2:8501", x_forwarded_host="sort.example"), True),
])  # fmt: skip
def test_a_websocket_is_of_a_page_of_ours(scope: dict[str, Any], let: bool) -> None:
    assert through(scope)[0] is let
    if not let:
        assert [message["type"] for message in through(scope)[1]] == ["websocket.close"]


def test_only_sessions_of_leads_upload() -> None:
    def put(session: str, method: str = "PUT") -> dict[str, Any]:
        return {"type": "http", "method": method, "path": f"/base/_stcore/upload_file/{session}/f1", "headers": []}

    assert not through(put("s1"))[0]
    assert through(put("s1"))[1][0]["status"] == 403
    gate.note("s1", True)
    assert through(put("s1"))[0]
    assert not through(put("s2"))[0]
    gate.note("s1", False)  # leads no more, or signed out
    assert not through(put("s1"))[0]
    assert through(put("s1", "GET"))[0]
    assert through({"type": "lifespan"})[0]


def test_the_real_server_has_the_gate(home: Home) -> None:
    with serving(home) as running:
        for origin, status in ((running.url, 101), ("http://127.0.0.1:9999", 403)):
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
            headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Origin": origin}
            connection.request("GET", "/_stcore/stream", headers={**headers, "Sec-WebSocket-Key": "c29ydGluZyBpbWFnZXMhIQ=="})
            assert connection.getresponse().status == status
            connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        connection.request("PUT", "/_stcore/upload_file/somebody/something", b"much")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (403, b"Only leads upload files.")
        connection.close()


def frame(opcode: int, payload: bytes, length: int | None = None, last: bool = False) -> bytes:
    """As a browser sends it; of `length` the beginning. Masked by zeros, which change nothing."""
    return bytes([opcode | 128 * last, 255]) + (length or len(payload)).to_bytes(8, "big") + bytes(4) + payload


def test_nobody_fills_memory_by_messages_and_pages_go_on(home: Home) -> None:
    with serving(home) as running:
        assert running.process is not None
        server_process = psutil.Process(running.process.pid)

        def page(many: ExitStack) -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
            many.callback(connection.close)
            headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Origin": running.url}
            connection.request("GET", "/_stcore/stream", headers={**headers, "Sec-WebSocket-Key": "c29ydGluZyBpbWFnZXMhIQ=="})
            assert connection.getresponse().status == 101
            return connection

        with ExitStack() as many:
            asked = BackMsg()
            asked.rerun_script.widget_states.widgets.add(id="a", string_value="x" * 3_000_000)
            signed_in = page(many)
            signed_in.send(frame(2, asked.SerializeToString(), last=True))
            assert signed_in.sock.recv(1)[0] == 0x82, "an answer, no close"
            before = server_process.memory_info().rss
            for parts in (1, 30) * 5:  # no message ever ends
                stranger = page(many)
                with suppress(ConnectionError):
                    stranger.send(frame(2, bytes(1_000_000), length=30_000_000 // parts))
                    for _ in range(29):
                        stranger.send(bytes(1_000_000) if parts == 1 else frame(0, bytes(1_000_000)))
                until = time.monotonic() + 10
                stranger.sock.settimeout(10)
                with suppress(ConnectionError):
                    while stranger.sock.recv(65536):
                        assert time.monotonic() < until, "nobody hangs up"
            assert server_process.memory_info().rss - before < 60_000_000, "of 300 MB that were sent"


# -- files of data sets --------------------------------------------------------------------------


@pytest.fixture
def running(home: Home, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[service.Service]:
    """The service of a home with the data set `tiny`, one image of which is a TIFF."""
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    folder = tiny_folder()
    Image.new("RGB", (40, 30), "red").save(folder / "a" / "z.tif")
    found = service.current()
    datasets.add_dataset(found.store, "tiny", folder)
    yield found
    service.close_all()


def asked(route: Callable[[Request], Response], running: service.Service, example: str) -> Response:
    ((sha256,),) = running.store.rows("SELECT sha256 FROM example WHERE example = ?", [example])
    return route(Request({"type": "http", "path_params": {"sha256": sha256}}))


@pytest.mark.parametrize("route", [server.image, server.thumbnail])
def test_a_link_that_came_after_indexing_leads_nowhere(running: service.Service, home: Home, route: Callable[[Request], Response]) -> None:
    root = datasets.get_dataset(running.store, "tiny").root
    secret = home.labels / "secret.jpg"
    shutil.copyfile(root / "a" / "a0.jpg", secret)
    assert asked(route, running, "a/a1.jpg").status_code == 200
    for name, target in (("a/a2.jpg", secret), ("a/a3.jpg", Path("/etc/hostname"))):
        (root / name).unlink()
        (root / name).symlink_to(target)
        assert asked(route, running, name).status_code == 404
    (root / "b" / "b0.jpg").unlink()
    (root / "b" / "b0.jpg").symlink_to(root / "b" / "b1.jpg")
    assert asked(route, running, "b/b0.jpg").status_code == 200, "within the data set a link is a file like any"


def test_a_format_that_browsers_do_not_show_is_converted_once(running: service.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    first = asked(server.image, running, "a/z.tif")
    assert (first.status_code, first.media_type, first.headers["X-Content-Type-Options"]) == (200, "image/png", "nosniff")
    monkeypatch.setattr(server, "open_rgb", lambda _path: pytest.fail("decoded again"))
    assert asked(server.image, running, "a/z.tif").status_code == 200


@pytest.mark.parametrize(("image_format", "moves"), [("PNG", True), ("WEBP", True), ("PNG", False), ("WEBP", False)])
def test_of_an_animation_people_see_what_the_model_sees(running: service.Service, image_format: str, moves: bool) -> None:
    root, name = datasets.get_dataset(running.store, "tiny").root, f"a/moving.{image_format.lower()}"
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    told = PngInfo()
    told.add_text("about", "x" * 100_000)
    frames[0].save(root / name, image_format, save_all=moves, append_images=frames[1:] if moves else [], pnginfo=told, lossless=True)
    datasets.check_dataset(running.store, "tiny")
    sent = bytes(asked(server.image, running, name).body)
    assert (sent == (root / name).read_bytes()) is not moves
    with Image.open(io.BytesIO(sent)) as shown:
        assert (getattr(shown, "n_frames", 1), shown.convert("RGB").getpixel((5, 5))) == (1, (255, 0, 0))


@pytest.mark.parametrize("route", [server.image, server.thumbnail])
def test_a_file_that_was_damaged_later_is_not_there(running: service.Service, route: Callable[[Request], Response]) -> None:
    (datasets.get_dataset(running.store, "tiny").root / "a" / "z.tif").write_bytes(b"II*\0 no more of it")
    assert asked(route, running, "a/z.tif").status_code == 404


@pytest.mark.parametrize("route", [server.image, server.thumbnail])
def test_a_picture_is_sent_whole_or_in_parts(
    running: service.Service, monkeypatch: pytest.MonkeyPatch, route: Callable[[Request], Response]
) -> None:
    whole = asked(route, running, "a/a0.jpg")
    monkeypatch.setattr(server, "WHOLE_BYTES", 10)
    parts = asked(route, running, "a/a0.jpg")
    assert isinstance(parts, FileResponse) and Path(parts.path).read_bytes() == whole.body
    same = [name for name in whole.headers if name != "content-length"]  # which the parts get as they are sent
    assert [parts.headers[name] for name in same] == [whole.headers[name] for name in same]


# -- many at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["answers", "thumbnails"])
def test_who_has_to_wait_keeps_nobody_from_looking(running: service.Service, what: str) -> None:
    """Behind a long import, or large images that are made small: who waits holds no thread that others need."""
    people.register(running.store, "Ann", PIN)
    token = identity.sign(running.store, Identity("Ann", "tiny"))
    ((sha256,),) = running.store.rows("SELECT sha256 FROM example WHERE example = 'a/a0.jpg'")

    async def look() -> list[int]:
        to_thread.current_default_thread_limiter().total_tokens = 3
        transport = httpx2.ASGITransport(Starlette(routes=server.ROUTES))
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http, asyncio.TaskGroup() as waiting:
            with ExitStack() as held:
                held.enter_context(running.store.write())
                for _ in range(2):
                    held.enter_context(server._decoding)
                for _ in range(12):
                    waiting.create_task(http.post("/api/annotations", json={"token": token, "events": []}) if what == "answers" else
                                        http.get(f"/thumb/{sha256}"))  # fmt: skip
                await asyncio.sleep(0.3)
                async with asyncio.timeout(20):
                    handed = await http.post("/api/queue", json={"token": token})
                    return [handed.status_code, (await http.get(f"/img/{sha256}")).status_code]

    assert asyncio.run(look()) == [200, 200]


def test_the_server_may_hold_more_files_open_than_it_was_started_with(child: Callable[..., subprocess.Popen[str]], home: Home) -> None:
    """Fifty sessions take some 500, and those that broke off a while longer."""
    answer, _ = child("""
import asyncio, os, resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
os.environ["CURRICULUM_HOME"] = sys.argv[1]
from curriculum.app import server
async def begin():
    async with server.lifespan(None):
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(hard, 4096))
asyncio.run(begin())
""", home.root).communicate()  # fmt: skip
    assert answer == "True\n"


def test_the_threads_of_the_server_share_two_heaps(child: Callable[..., subprocess.Popen[str]], home: Home, tmp_path: Path) -> None:
    """glibc would make up to eight a processor, and none of them ever gives back what lies between two pieces in use."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library")
    answer, _ = child("""
import asyncio, ctypes, os, sys, threading
os.environ["CURRICULUM_HOME"], heap_file = sys.argv[1:]
from curriculum.app import server
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
def heaps():
    file = ctypes.c_void_p(libc.fopen(heap_file.encode(), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    return open(heap_file).read().count("<heap nr=")
async def begin():
    before = heaps()
    async with server.lifespan(None):
        together = threading.Barrier(12)
        def take():
            together.wait()
            kept = [bytes(2000) for _ in range(1000)]
            together.wait()
        threads = [threading.Thread(target=take) for _ in range(12)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(before, heaps())
asyncio.run(begin())
""", home.root, tmp_path / "heaps").communicate()  # fmt: skip
    before, after = map(int, answer.split())
    assert after <= max(before, server.HEAPS)


# -- text of strangers ---------------------------------------------------------------------------

STRANGE = [
    "![x](http:&sol;&sol;127.0.0.1:9&sol;p.png)", "fine\n\n● hard: Anna, Boss", "    four spaces", "see https://example.org/x and www.example.org",
    ":material/lock: :smile: :red[x]", "&sol;&amp;&#47;", "# no title", "<b>no</b> $x$ `code` **bold** ~~gone~~", "1. one",
]  # fmt: skip


def test_text_of_strangers_stays_text(browser: Browser, home: Home, tmp_path: Path) -> None:
    script = tmp_path / "strange.py"
    script.write_text(textwrap.dedent(f"""
        import streamlit as st
        from curriculum.app import layout
        for number, text in enumerate({STRANGE!r}):
            with st.container(key=f"line{{number}}"):
                st.markdown("note: " + layout.plain(text))
        st.segmented_control("Class", {STRANGE!r}, format_func=layout.plain)
        st.title("All")
    """))  # fmt: skip
    with serving(home, app=script) as strange:
        page = browser.new_page()
        fetched: list[str] = []
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(strange.url)
        page.get_by_role("heading", name="All").wait_for()
        for number, text in enumerate(STRANGE):
            line = page.locator(f".st-key-line{number} [data-testid=stMarkdownContainer]")
            assert line.inner_text().replace("\N{WORD JOINER}", "") == "note: " + " ".join(text.split())
            assert line.locator("a, img, code, b, strong, em, del, h1, li, svg, [data-testid*=Icon]").count() == 0, text
            assert line.locator("p").count() == 1
        assert not [url for url in fetched if "127.0.0.1:9/" in url or "example.org" in url]
        page.close()


# -- callbacks of who is no more signed in -------------------------------------------------------


def test_practice_of_who_was_signed_out_stores_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    store = service.current().store
    people.register(store, "Ann", PIN)
    script = """
        import streamlit as st
        from curriculum.app.sort import practice
        from curriculum import calibration
        calibration.answer = lambda *given: st.session_state.update(stored=given)
        st.button("answer", on_click=practice._answer, args=["tiny", "Ann", 1, "a/a0.jpg", "easy"])
        st.button("for another", on_click=practice._answer, args=["tiny", "Bob", 1, "a/a0.jpg", "easy"])
    """
    test = AppTest.from_string(textwrap.dedent(script), default_timeout=30)
    test.session_state["annotator"], test.session_state["_credential"] = "Ann", people.credential(store, "Ann")
    test.run().button[1].click().run()
    assert "stored" not in test.session_state
    test.button[0].click().run()
    assert test.session_state["stored"][2] == "Ann"
    del test.session_state["stored"]
    people.reset_pin(store, "Ann")
    test.button[0].click().run()
    assert "stored" not in test.session_state
    service.close_all()


def test_plain_is_one_line_and_has_no_entity() -> None:
    assert "\n" not in layout.plain("a\n\nb")
    assert r"\&sol" in layout.plain("&sol;")
