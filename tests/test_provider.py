"""A whole login through a provider (OIDC) in a real Chromium, against one that runs beside it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from curriculum import people
from curriculum.home import Home
from curriculum.store import Store
from tests.browser import Server, serving, settled
from tests.conftest import PIN
from tests.provider import providing, secrets_file


def _log_in(page: Page) -> None:
    page.get_by_role("button", name="Sign in with your organisation").click()


def _signed_in(page: Page, name: str) -> None:
    expect(page.get_by_text(f"Signed in as {name}")).to_be_visible(timeout=60_000)


def _configure(server: Server, path: Path, words: str) -> None:
    server.stop()
    path.write_text(words)
    server.start()


def test_a_verified_address_signs_in_without_a_pin(home: Home, context: BrowserContext, tmp_path: Path) -> None:
    with Store.open(home) as store:
        people.register(store, "Lee", PIN)
        people.register(store, "ann@example.org", PIN)  # somebody was quicker
    path = tmp_path / "secrets.toml"
    path.write_text("")
    claims = {"email": "Ann@Example.org", "email_verified": True}
    with providing(claims) as provider, serving(home, environment={"STREAMLIT_SECRETS_FILES": str(path)}) as server:
        _configure(server, path, secrets_file(provider, server.url, pins=True))
        page = context.new_page()
        page.goto(server.url)
        expect(page.get_by_label("PIN", exact=True)).to_be_visible(timeout=60_000)
        page.get_by_role("radio", name="First time here").click()
        page.get_by_label("Name", exact=True).fill("bob@example.org")
        for label in ("Choose a PIN", "The PIN again"):
            page.get_by_label(label).fill(PIN)
        page.get_by_role("button", name="Begin").click()
        expect(page.get_by_text("addresses sign in through the provider")).to_be_visible()
        _log_in(page)
        _signed_in(page, "ann@example.org")
        assert page.get_by_text("Change my PIN").count() == 0
        assert page.get_by_text("and you lead").count() == 0
        page.goto(f"{server.url}/team")
        expect(page.get_by_text("Lee can make you a lead")).to_be_visible(timeout=60_000)
        assert page.locator("[data-testid=stSidebarNav] a").count() == 2, "an annotator's pages, as of any other: Start and Sort"
        page.goto(server.url)
        _signed_in(page, "ann@example.org")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in with your organisation")).to_be_visible(timeout=60_000)

        claims["email_verified"] = False
        _log_in(page)
        expect(page.get_by_text("hasn't verified this address")).to_be_visible(timeout=60_000)
        expect(page.get_by_label("Name", exact=True)).to_be_visible()
        settled(page)
        page.get_by_role("button", name="Use another account").click()
        expect(page.get_by_text("hasn't verified this address")).to_have_count(0, timeout=60_000)

        claims.update(email="dora@example.org", email_verified=True)
        _configure(server, path, secrets_file(provider, server.url, pins=False))
        page.goto(server.url)
        expect(page.get_by_role("button", name="Sign in with your organisation")).to_be_visible(timeout=60_000)
        settled(page)
        assert page.get_by_label("PIN", exact=True).count() == 0
        _log_in(page)
        _signed_in(page, "dora@example.org")

        _configure(server, path, "[people]\npin = never\n")
        page.goto(server.url)
        expect(page.get_by_text("secrets.toml can't be read")).to_be_visible(timeout=60_000)
        assert page.get_by_label("PIN", exact=True).count() == 0  # nobody gets in by a mistake in it
    with Store.open(home) as store:
        found = {person.name: (person.role, person.signs_in) for person in people.list_people(store)}
    assert found == {
        "Lee": ("lead", "PIN"), "ann@example.org": ("annotator", "provider"), "dora@example.org": ("annotator", "provider"),
    }  # fmt: skip
