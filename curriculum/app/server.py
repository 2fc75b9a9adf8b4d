"""The server: Streamlit's pages and, beside them, routes that serve images by content, and those of `api` and `session`.

An image's address is the SHA-256 of its file, so a browser may keep it for ever, and it says nothing
about class, difficulty or anybody's label.
"""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from curriculum.app import api, service, session
from curriculum.errors import CurriculumError
from curriculum.files import write_whole
from curriculum.images import open_rgb

THUMBNAIL = 224
"""Pixels of a thumbnail's longer side: sharp at half that size on a dense screen."""
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}

SCRIPT = Path(__file__).with_name("main.py")

log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[dict[str, Any]]:
    """Open the database when the server starts, close it when it stops."""
    try:
        service.current()
    except CurriculumError as error:
        log.error("%s", error)  # the pages say it too, and try again
    yield {}
    service.close_all()


def image(request: Request) -> Response:
    """The image as it is; formats that browsers don't show, as PNG."""
    found = _find(request)
    if found is None:
        return PlainTextResponse("no such image", status_code=404)
    path, image_format = found
    if image_format in MEDIA_TYPES:
        return FileResponse(path, media_type=MEDIA_TYPES[image_format], headers=FOREVER)
    return Response(_encoded(open_rgb(path), "PNG"), media_type="image/png", headers=FOREVER)


def thumbnail(request: Request) -> Response:
    """A small JPEG, made once."""
    found = _find(request)
    if found is None:
        return PlainTextResponse("no such image", status_code=404)
    sha256 = request.path_params["sha256"]
    made = service.current().home.cache / "thumbnails" / sha256[:2] / f"{sha256}.jpg"
    if not made.exists():
        try:
            small = ImageOps.contain(open_rgb(found[0]), (THUMBNAIL, THUMBNAIL))
        except CurriculumError:
            return PlainTextResponse("this image can't be read any more", status_code=404)
        made.parent.mkdir(parents=True, exist_ok=True)
        write_whole(made, lambda path: path.write_bytes(_encoded(small, "JPEG")), sync=False)
    return FileResponse(made, media_type="image/jpeg", headers=FOREVER)


def health(_request: Request) -> Response:
    """For a monitor: 200, or 503 with a reason."""
    try:
        trouble = service.current().trouble()
    except CurriculumError as error:
        log.error("%s", error)
        trouble = "the database can't be opened"
    return JSONResponse({"ok": not trouble, "reason": trouble}, status_code=503 if trouble else 200, headers=api.NEVER_KEPT)


def _find(request: Request) -> tuple[Path, str] | None:
    """Only files that the database lists can be had; the address never becomes a path."""
    store = service.current().store
    rows = store.rows(
        "SELECT root, example, format FROM example JOIN dataset USING (dataset) WHERE sha256 = ? AND present LIMIT 1",
        [request.path_params["sha256"]],
    )
    if not rows:
        return None
    path = store.home.root / rows[0][0] / rows[0][1]
    return (path, rows[0][2]) if path.is_file() else None


def _encoded(picture: Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, image_format, quality=85)
    return buffer.getvalue()


ROUTES = [Route("/img/{sha256}", image), Route("/thumb/{sha256}", thumbnail), Route("/api/health", health), *api.ROUTES, *session.ROUTES]
