"""Who a session is: from sign-in, from the browser's cookie or from a provider, and no longer than the database agrees.

A page can read cookies, but set none. So after a sign-in it shows a component without a picture (`sign_in.js`), which takes
a ticket to a route of the same server, and that answers with the cookie. The cookie is read once a session: what the browser
held when the page was loaded is all that a session can see. So a tab keeps who it was, whoever signs in in another.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import streamlit as st
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from curriculum import people
from curriculum.app import api, identity, layout, provider, service
from curriculum.app.api import Body
from curriculum.errors import CurriculumError, IdentityError
from curriculum.people import Role

ENDED = (
    "You are signed out: your PIN was changed or reset, or 30 days have passed. After a reset, choose a new one under First time here. "
    "Answers that wait in this browser are sent as soon as you have signed in."
)

ERRAND_SECONDS = 20
P = ParamSpec("P")

_errands = st.components.v2.component("curriculum_sign_in", js=Path(__file__).with_name("sign_in.js").read_text(encoding="utf-8"))


# -- pages ---------------------------------------------------------------------------------------


def role() -> Role | None:
    """The role that this session's person has now; None: nobody is signed in."""
    state = st.session_state
    if not state.get("annotator"):
        _recognise()
    name = state.get("annotator")
    if name and people.credential(layout.store(), name) != state.get("_credential"):
        _forget()
        state["_said"] = ENDED
        return None
    return people.role_of(layout.store(), name) if name else None


def for_leads(action: Callable[P, None]) -> Callable[P, None]:
    """What Streamlit runs without the router, a page's callbacks, fragments and dialogs, asks for itself whether a lead is here.

    Who leads no more meets the router instead, which says so. What goes wrong becomes a sentence, as the router makes it.
    """

    @wraps(action)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        if role() != "lead":
            st.rerun()
        layout.guarded(lambda: action(*args, **kwargs))

    return checked


def by_oneself(action: Callable[P, None]) -> Callable[P, None]:
    """The same for what an annotator's callbacks store under a name, their second argument: the session is that person's still."""

    @wraps(action)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        if role() is None or st.session_state.get("annotator") != args[1]:
            st.rerun()
        action(*args, **kwargs)

    return checked


def file_for_leads(make: Callable[[], bytes]) -> Callable[[], bytes]:
    """The same for what a download button makes at the click, in a thread that knows no session: there is no file for who leads no more."""
    name, credential = st.session_state.get("annotator"), st.session_state.get("_credential")

    def checked() -> bytes:
        if not name or people.role_of(layout.store(), name) != "lead" or people.credential(layout.store(), name) != credential:
            raise IdentityError("only who leads takes files out", got=name, todo="Load the page anew.")
        return make()

    return checked


def _recognise() -> None:
    """Whom the browser or a provider vouches for."""
    state, store = st.session_state, layout.store()
    try:
        if (name := provider.person()) and not state.get("_said"):
            enter(people.enter_from_provider(store, name), told=True)
    except CurriculumError as error:
        state["_said"] = layout.plain(str(error))  # an address may stand in it
    if not state.get("annotator") and not state.get("_cookie_read") and provider.pins_allowed():
        held = st.context.cookies.get(identity.cookie_name(store.home))
        if found := identity.read_cookie(store, held):
            enter(found, told=True)
        elif held:
            state["_said"] = ENDED
    state["_cookie_read"] = True


def enter(name: str, *, told: bool = False) -> None:
    """This session is that person's from now on; unless the browser has been told already, it will be."""
    store, state = layout.store(), st.session_state
    ticket = identity.ticket(store, name)  # nobody comes in whose PIN was reset this very moment
    state["annotator"], state["_credential"], state["recognised"] = name, people.credential(store, name), told
    for old in ("_said", "_forgetful"):
        state.pop(old, None)
    if not told:
        _send("/api/sign-in", {"ticket": ticket})


def leave() -> None:
    """Nobody is signed in here any more, nor in this browser where its cookie is this person's."""
    name = st.session_state.get("annotator")
    _forget()
    _send("/api/sign-out", {"annotator": name})
    if provider.signed_in():
        st.logout()


def _send(path: str, body: Body) -> None:
    """An errand for the browser, with a number, so that the same errand can be run again later."""
    st.session_state["_errand"] = {"path": path, "body": body, "number": secrets.token_hex(8)}
    st.session_state["_sent_at"] = time.monotonic()


def _forget() -> None:
    st.session_state.clear()
    st.session_state["_cookie_read"] = True


def run_errand() -> None:
    """At the end of a page: let the browser fetch or drop its cookie.

    It reports back only where it couldn't: a run of the page that comes by itself swallows a click of the same moment.
    So what was sent is sent again with the next runs, for a while, and the browser knows it by its number.
    """
    state = st.session_state
    errand = state.get("_errand")
    if not errand or time.monotonic() - state["_sent_at"] > ERRAND_SECONDS:
        return

    def failed() -> None:
        state["_forgetful"] = state["_sign_in_errand"]["failed"] == errand["number"]

    with st.sidebar if state.get("annotator") else st.container():  # where it takes no room from a page that just fits
        _errands(key="_sign_in_errand", data=errand, on_failed_change=failed)


# -- routes --------------------------------------------------------------------------------------


def keep(request: Request, body: Body) -> Response:
    """A cookie for a ticket: out of scripts' reach, for this site alone, and over https alone where it came so."""
    running = service.current()
    response = _done()
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").split(",")[0].strip().lower())
    response.set_cookie(
        identity.cookie_name(running.home), identity.redeem(running.store, body.get("ticket")), max_age=identity.MAX_AGE_SECONDS,
        httponly=True, samesite="strict", secure=secure,
    )  # fmt: skip
    return response


def drop(request: Request, body: Body) -> Response:
    """The browser forgets its cookie, unless that is another person's, who signed in in another tab."""
    response = _done()
    if _whose(request) in (None, body.get("annotator")):
        response.delete_cookie(identity.cookie_name(service.current().home), httponly=True, samesite="strict")
    return response


def kept(request: Request, body: Body) -> Response:
    """Whether the browser did keep its cookie."""
    return JSONResponse({"kept": _whose(request) is not None}, headers=api.NEVER_KEPT)


def _whose(request: Request) -> str | None:
    running = service.current()
    return identity.read_cookie(running.store, request.cookies.get(identity.cookie_name(running.home)))


def _done() -> Response:
    return JSONResponse({}, headers=api.NEVER_KEPT)


ROUTES = [
    api.route("/api/sign-in", ("ticket",), keep),
    api.route("/api/sign-out", ("annotator",), drop),
    api.route("/api/signed-in", (), kept),
]
