"""Signing in: a name with a PIN, or a provider's button; and, signed in, one's own PIN and the way out."""

from __future__ import annotations

import unicodedata

import streamlit as st
from streamlit.errors import StreamlitAuthError

from curriculum import people
from curriculum.app import layout, provider, session
from curriculum.errors import ConfigError, CurriculumError
from curriculum.labels import MAX_NAME

KNOWN, NEW = "Sign in", "First time here"
ALLOWED = f"{people.MIN_PIN} to {people.MAX_PIN} digits or letters, none that everybody tries first, such as 0000, 1234 or your name."


def form() -> None:
    """Who are you? Afterwards the page runs anew, as that person's."""
    if said := st.session_state.get("_said"):
        st.warning(said, icon=":material/lock:")
    if provider.names():
        _providers()
    if provider.pins_allowed():
        _pin()


def _providers() -> None:
    for name in provider.names():
        title = "your organisation" if name == "default" else name.capitalize()
        if st.button(f"Sign in with {title}", icon=":material/login:", type="primary", key=f"_login_{name}"):
            _to_provider(name)
    if st.session_state.get("_said") and provider.signed_in() and st.button("Use another account", icon=":material/logout:"):
        st.logout()


def _to_provider(name: str) -> None:
    try:
        st.login() if name == "default" else st.login(name)
    except StreamlitAuthError as error:
        st.error(f"[auth] in .streamlit/secrets.toml is incomplete: {layout.plain(str(error))}", icon=":material/error:")


def _pin() -> None:
    somebody = any(person.signs_in != "not yet" for person in people.list_people(layout.store()))
    if not somebody:
        st.info("Nobody has signed in here yet. Whoever does so first leads the team.", icon=":material/flag:")
    way = st.segmented_control("Who are you?", [KNOWN, NEW], default=KNOWN if somebody else NEW, required=True, key="_way")
    new, wrong = way == NEW, st.container()
    with st.form("sign_in"):
        name = st.text_input("Name", max_chars=MAX_NAME, autocomplete="username")
        pin = _secret("Choose a PIN", new=True) if new else _secret("PIN")
        again = _secret("The PIN again", new=True) if new else pin
        if new:
            st.caption(ALLOWED)
        sent = st.form_submit_button("Begin" if new else "Sign in", icon=":material/login:", type="primary")
    if not sent:
        return
    try:
        session.enter(_register(name, pin, again) if new else people.sign_in(layout.store(), name, pin))
    except CurriculumError as error:
        wrong.error(_sentence(error), icon=":material/error:")
        return
    st.rerun()


def _sentence(error: CurriculumError) -> str:
    said = str(error)
    return layout.plain(said[:1].upper() + said[1:])


def _secret(label: str, *, new: bool = False) -> str:
    """A field whose letters don't show; browsers' password managers know what it is by `autocomplete`."""
    autocomplete = "new-password" if new else "current-password"
    return st.text_input(label, type="password", max_chars=people.MAX_PIN, autocomplete=autocomplete)


def _register(name: str, pin: str, again: str) -> str:
    if pin != again:
        raise ConfigError("the two PINs differ", todo="Type the same one twice.")
    if provider.names() and "@" in unicodedata.normalize("NFKC", name):
        raise ConfigError("addresses sign in through the provider", got=name, todo="Choose a name without @, or use the button above.")
    return people.register(layout.store(), name, pin)


# -- signed in -----------------------------------------------------------------------------------


def account(role: people.Role) -> None:
    """Who is signed in, another PIN, and the way out."""
    name = st.session_state["annotator"]
    st.header("You")
    leads = ", and you lead" if role == "lead" else ""
    st.write(f"Signed in as **{layout.plain(name)}**{leads}. Labels that you give are stored under this name.")
    if st.session_state.get("_forgetful"):
        st.caption("This browser keeps no cookie of ours: you stay signed in until you load the page anew.")
    if st.button("Sign out", icon=":material/logout:"):
        session.leave()
        st.rerun()
    if not provider.signed_in():
        with st.expander("Change my PIN", icon=":material/password:"):
            _change(name)


def _change(name: str) -> None:
    with st.form("change_pin", border=False, clear_on_submit=True):
        old, new, again = _secret("Present PIN"), _secret("New PIN", new=True), _secret("The new PIN again", new=True)
        st.caption(ALLOWED)
        if not st.form_submit_button("Change", icon=":material/check:"):
            return
    try:
        if new != again:
            raise ConfigError("the two new PINs differ", todo="Type the same one twice.")
        people.change_pin(layout.store(), name, old, new)
    except CurriculumError as error:
        st.error(_sentence(error), icon=":material/error:")
        return
    session.enter(name)
    st.success("Changed. Other browsers that were signed in under this name ask for the new PIN.", icon=":material/check:")
