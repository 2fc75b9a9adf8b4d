"""An OpenID provider on loopback that signs everybody in at once: what a login through a provider needs, and no more."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from tests.browser import free_port, on_loopback

CLIENT, SECRET = "curriculum", "a secret of this test alone"


class Provider:
    """Whom it vouches for stands in `claims`, to be changed at will."""

    def __init__(self, url: str, claims: dict[str, Any]) -> None:
        self.url, self.claims = url, claims
        self.key = RSAKey.generate_key(2048, parameters={"kid": "test", "use": "sig", "alg": "RS256"})
        self.codes: dict[str, str | None] = {}
        """The codes that are open, each with the nonce that its token must carry."""
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discovery),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
                Route("/jwks", self.jwks),
            ]
        )

    def discovery(self, _request: Request) -> JSONResponse:
        addresses = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        supported = {
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return JSONResponse({"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in addresses.items()}, **supported})

    def authorize(self, request: Request) -> RedirectResponse:
        assert request.query_params["client_id"] == CLIENT
        code = secrets.token_hex(8)
        self.codes[code] = request.query_params.get("nonce")
        answer = urlencode({"code": code, "state": request.query_params["state"]})
        return RedirectResponse(f"{request.query_params['redirect_uri']}?{answer}")

    async def token(self, request: Request) -> JSONResponse:
        form = parse_qs((await request.body()).decode())
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 600, "nonce": self.codes.pop(form["code"][0])}
        signed = jwt.encode({"alg": "RS256", "kid": "test"}, claims | self.claims, self.key)
        return JSONResponse({"access_token": "opaque", "token_type": "Bearer", "expires_in": 600, "id_token": signed})

    def jwks(self, _request: Request) -> JSONResponse:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})


@contextmanager
def providing(claims: dict[str, Any]) -> Iterator[Provider]:
    """A provider that runs until the end of the block."""
    port = free_port()
    provider = Provider(f"http://127.0.0.1:{port}", claims)
    with on_loopback(provider.app, port):
        yield provider


def secrets_file(provider: Provider, app_url: str, pins: bool) -> str:
    """`.streamlit/secrets.toml` of an app that signs in there."""
    return f"""
[auth]
redirect_uri = "{app_url}/oauth2callback"
cookie_secret = "{secrets.token_hex(32)}"
client_id = "{CLIENT}"
client_secret = "{SECRET}"
server_metadata_url = "{provider.url}/.well-known/openid-configuration"

[people]
pin = {str(pins).lower()}
"""
