"""Signing in through a provider (OIDC), where `.streamlit/secrets.toml` has `[auth]`: Streamlit does the work, the person is an address.

`[people]` with `pin = false` in the same file leaves the provider as the only way in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from curriculum.errors import ConfigError, IdentityError


def names() -> list[str]:
    """The providers that are configured, as `st.login` knows them; a single one without a name is 'default'."""
    auth = _section("auth")
    named = [name for name, value in auth.items() if isinstance(value, Mapping) and "client_id" in value]
    return [*(["default"] if "client_id" in auth else []), *named]


def pins_allowed() -> bool:
    """Whether people may sign in with a PIN; always where there is no other way."""
    return not names() or _section("people").get("pin", True) is not False


def signed_in() -> bool:
    """Whether this browser has come back from a provider."""
    return bool(names()) and bool(st.user.is_logged_in)


def person() -> str | None:
    """The address of who has signed in through a provider in this browser.

    Raises:
        IdentityError: the provider names no address, or doesn't vouch for it.
    """
    if not signed_in():
        return None
    address = st.user.get("email")
    if not isinstance(address, str) or not address.strip():
        raise IdentityError(
            "the provider names no e-mail address for you", todo="Ask for the scope `email` in [auth], or use another account"
        )
    if st.user.get("email_verified") in (False, "false"):
        raise IdentityError("the provider hasn't verified this address", got=address, todo="Verify it there, or use another account")
    return address.strip().lower()


def _section(name: str) -> Mapping[str, Any]:
    try:
        found = st.secrets.get(name, {})
    except StreamlitSecretNotFoundError as error:
        there = [path for path in st.get_option("secrets.files") if Path(path).exists()]
        if there:  # never in silence as if nothing were configured
            raise ConfigError(f"{' or '.join(there)} can't be read ({error})", todo="Correct it and start the app anew.") from error
        return {}
    return found if isinstance(found, Mapping) else {}
