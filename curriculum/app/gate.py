"""What Streamlit's own routes let in: websockets of our own pages alone and short messages on them, uploads of leads' sessions alone.

Streamlit takes a websocket from any port of this machine, messages of 200 MB on it, and a file from whoever has a session, signed in or not.
"""

from __future__ import annotations

import logging
import re
import time

import uvicorn
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from curriculum.app import api

UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/")
REMEMBERED_SECONDS = 24 * 3600.0
MESSAGE_BYTES = 4_000_000
"""Of what a browser says on a websocket: where each field, box and chosen row of a page stands. Files come by another way."""

log = logging.getLogger(__name__)

_leads: dict[str, float] = {}
"""Sessions whose last page was a lead's, and when that was."""


def note(session_id: str, leads: bool) -> None:
    """Take down, at each run of a page, whether its session is a lead's."""
    now = time.monotonic()
    for other in [each for each, at in list(_leads.items()) if now - at > REMEMBERED_SECONDS]:
        _leads.pop(other, None)
    _leads.pop(session_id, None)
    if leads:
        _leads[session_id] = now


def limit_messages(receive: Receive) -> None:
    """uvicorn gathers a message before anybody else sees it, and Streamlit, when it starts uvicorn, lets it gather as much as it may itself send.

    Before the first connection the server asks for the lifespan; it is only by what it asks with that its configuration can be had.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if isinstance(config, uvicorn.Config):
        config.ws_max_size = MESSAGE_BYTES
    else:
        log.warning("another server than uvicorn: strangers' messages on websockets may be as long as it lets them")


class Gate:
    """Stands before the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            limit_messages(receive)
        if scope["type"] == "websocket":
            try:
                api.check_origin(HTTPConnection(scope))
            except api.RefusedError:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": "another site"})  # before it is accepted: a 403
                return
        if scope["type"] == "http" and scope["method"] in ("PUT", "POST"):
            upload = UPLOAD.search(scope["path"])
            if upload and upload[1] not in _leads:
                await PlainTextResponse("Only leads upload files.", status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)
