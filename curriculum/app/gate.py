"""What Streamlit's own routes let in: websockets of our own pages alone, uploads of leads' sessions alone.

Streamlit takes a websocket from any port of this machine, and a file from whoever has a session, signed in or not.
"""

from __future__ import annotations

import re
import time

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from curriculum.app import api

UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/")
REMEMBERED_SECONDS = 24 * 3600.0

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


class Gate:
    """Stands before the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
