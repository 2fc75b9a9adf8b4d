"""The server: Streamlit's pages and, beside them, routes that serve images by content, and those of `api` and `session`.

An image's address is the SHA-256 of its file, so a browser may keep it for ever, and it says nothing
about class, difficulty or anybody's label.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_thread
from PIL import Image, ImageOps
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from curriculum import content
from curriculum.app import api, gate, service, session
from curriculum.errors import CurriculumError
from curriculum.files import digest, write_whole
from curriculum.images import inside, open_rgb

THUMBNAIL = 224
"""Pixels of a thumbnail's longer side: sharp at half that size on a dense screen."""
NOSNIFF = {"X-Content-Type-Options": "nosniff"}
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable", **NOSNIFF}
MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82"}
"""With which every whole file of the format ends that is made here."""

MANY_CHUNKS = 1000
"""Of a PNG: with more of them before its pixels it is made anew without them."""

CHANGED = {**NOSNIFF, **api.NEVER_KEPT}
"""Of a file that isn't what was indexed any more: what its address says is another's."""

MANY_FILES = 16_384
"""That one process may hold open, where the system lets it."""

M_ARENA_MAX, HEAPS = -8, 2
"""glibc's name for how many heaps a process may have, and how many the server has."""

WHOLE_BYTES = 4_000_000
"""A picture up to this size is read by the thread that looked for it: to open, read and close it piece by piece takes a thread each time."""

SCRIPT = Path(__file__).with_name("main.py")

log = logging.getLogger(__name__)
_decoding = threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class Found:
    """A file of a data set; `same`: by its size and time, or else by its content, it is what was indexed."""

    path: Path
    format: str
    same: bool


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[dict[str, Any]]:
    """Open the database when the server starts, close it when it stops."""
    allow_many_files()
    keep_few_heaps()
    try:
        service.current()
    except (CurriculumError, OSError) as error:
        log.error("%s", error)  # the pages say it too, and try again
    yield {}
    service.close_all()


def allow_many_files() -> None:
    """Each session holds four files, each browser that loads pictures six more: fifty people reach the 1,024, or 256, that a process may start with."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def keep_few_heaps() -> None:
    """glibc gives threads heaps of their own, up to eight a processor, and each keeps what it once needed: pages run in threads that come and go."""
    with suppress(OSError, AttributeError, TypeError):  # another C library, or none by that way
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, HEAPS)


def image(request: Request) -> Response:
    """The image as it is; what browsers don't show, or would move, as PNG, made once: people see what the model sees."""
    found = _find(request)
    if found is None:
        return PlainTextResponse("no such image", status_code=404)
    if found.format in MEDIA_TYPES and not _moves(found.path):
        return _sent(found.path, MEDIA_TYPES[found.format], FOREVER if found.same else CHANGED)
    return _made_once(request, found, "shown", "PNG", lambda whole: whole)


def thumbnail(request: Request) -> Response:
    """A small JPEG, made once."""
    found = _find(request)
    if found is None:
        return PlainTextResponse("no such image", status_code=404)
    return _made_once(request, found, "thumbnails", "JPEG", lambda whole: ImageOps.contain(whole, (THUMBNAIL, THUMBNAIL)))


def _made_once(request: Request, found: Found, kind: str, image_format: str, change: Callable[[Image.Image], Image.Image]) -> Response:
    """An image that is made of another and kept, while that is what was indexed and the disk has room; at most two are made at a time, so
    that large ones leave processors for those who sort."""
    sha256 = request.path_params["sha256"]
    made = service.current().home.cache / kind / sha256[:2] / f"{sha256}{SUFFIXES[image_format]}"
    if not (found.same and _whole(made, ENDS[image_format])):
        with _decoding:
            if not (found.same and _whole(made, ENDS[image_format])):
                try:
                    encoded = _encoded(change(open_rgb(found.path)), image_format)
                except CurriculumError:
                    return PlainTextResponse("this image can't be read any more", status_code=404)
                if not (found.same and digest(found.path) == sha256):
                    return Response(encoded, media_type=MEDIA_TYPES[image_format], headers=CHANGED)
                try:
                    made.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(made, lambda fresh: fresh.write_bytes(encoded), sync=False)
                except OSError:
                    return Response(encoded, media_type=MEDIA_TYPES[image_format], headers=CHANGED)
    return _sent(made, MEDIA_TYPES[image_format], FOREVER)


def _sent(file: Path, media_type: str, headers: dict[str, str]) -> Response:
    try:
        if file.stat().st_size > WHOLE_BYTES:
            return FileResponse(file, media_type=media_type, headers=headers)
        return Response(file.read_bytes(), media_type=media_type, headers=headers)
    except OSError:
        return PlainTextResponse("this image can't be read any more", status_code=404)


def health(_request: Request) -> Response:
    """For a monitor: 200, or 503 with a reason."""
    try:
        trouble = service.current().trouble()
    except CurriculumError as error:
        log.error("%s", error)
        trouble = "the database can't be opened"
    return JSONResponse({"ok": not trouble, "reason": trouble}, status_code=503 if trouble else 200, headers=api.NEVER_KEPT)


def _moves(file: Path) -> bool:
    """Whether browsers may show it as an animation: a PNG with acTL among the chunks before its pixels, a WebP that says so in its header."""
    try:
        with file.open("rb") as opened:
            head = opened.read(33)  # of a PNG its signature and first chunk
            if not head.startswith(b"\x89PNG"):
                return head[12:16] == b"VP8X" and bool(head[20] & 2)
            for _ in range(MANY_CHUNKS):
                chunk = opened.read(8)
                if len(chunk) < 8 or chunk[4:] == b"IDAT":
                    return False
                if chunk[4:] == b"acTL":
                    break
                opened.seek(int.from_bytes(chunk[:4]) + 4, os.SEEK_CUR)
            return True
    except (OSError, IndexError):
        return False


def _whole(file: Path, end: bytes) -> bool:
    """Whether it is there with its end: a power cut may leave less, or zeros in its place."""
    try:
        with file.open("rb") as opened:
            opened.seek(-len(end), os.SEEK_END)
            return opened.read() == end
    except OSError:  # shorter than the end, too
        return False


def _find(request: Request) -> Found | None:
    """Only files that the database lists can be had, and only where they still lie in their data set; the address never becomes a path."""
    store, sha256 = service.current().store, request.path_params["sha256"]
    row = content.find(store, sha256)
    path = inside(store.home.root / row.root, row.example) if row else None
    if row is None or path is None:
        return None
    now = path.stat()
    return Found(path, row.format, (now.st_size, now.st_mtime_ns) == (row.bytes, row.mtime_ns) or digest(path) == sha256)


def _encoded(picture: Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, image_format, quality=85)
    return buffer.getvalue()


def _pictures(path: str, find: Callable[[Request], Response], threads: int) -> Route:
    """A route with threads of its own: pictures that wait to be made keep nobody from storing an answer, thumbnails keep no image waiting."""
    own = CapacityLimiter(threads)

    async def answer(request: Request) -> Response:
        return await to_thread.run_sync(partial(find, request), limiter=own)

    checked: Callable[[Request], Awaitable[Response]] = answer
    return Route(path, checked)


ROUTES = [
    _pictures("/img/{sha256}", image, 8),
    _pictures("/thumb/{sha256}", thumbnail, 4),
    Route("/api/health", health),
    *api.ROUTES,
    *session.ROUTES,
]
MIDDLEWARE = [Middleware(gate.Gate)]
