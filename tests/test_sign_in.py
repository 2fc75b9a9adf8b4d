"""Signing in, in a real Chromium: who stays signed in, who sees which pages, and that nobody's answers go out under another's name."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from curriculum import labels
from curriculum.app import pages
from curriculum.datasets import Settings, add_dataset, change_settings
from curriculum.home import Home
from curriculum.store import Store
from tests.browser import Server, saved, serving, settled, shown, stored, without_errors
from tests.conftest import PIN
from tests.ml import write_folder

OTHER = "another pin"
ESTRANGED = "This tab was Ann's, and this browser is signed in as Bob by now."
LEADS_PAGES = [
    "Team",
    "Examples",
    "Decide",
    "People",
    "Labels",
    "Human and model",
    "Train",
    "Runs",
    "Comparison",
    "Recipes",
    "Errors",
    "Why",
    "Health",
]


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    """A running app with the data set `textures` and labels of Zelda's, who has no PIN yet."""
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=20))
        change_settings(store, "textures", Settings(None, 0.0))
        labels.add_annotator(store, "Zelda")
    with serving(home) as running:
        yield running


def register(page: Page, name: str, pin: str = PIN, again: str | None = None) -> None:
    if page.get_by_label("Choose a PIN").count() == 0:
        page.get_by_role("radio", name="First time here").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Choose a PIN").fill(pin)
    page.get_by_label("The PIN again").fill(pin if again is None else again)
    page.get_by_role("button", name="Begin").click()


def sign_in(page: Page, name: str, pin: str = PIN) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("PIN", exact=True).fill(pin)
    page.get_by_role("button", name="Sign in", exact=True).click()


def is_signed_in(page: Page, name: str) -> None:
    expect(page.get_by_text(f"Signed in as {name}")).to_be_visible(timeout=30_000)
    settled(page)


def asks_who(page: Page) -> None:
    expect(page.get_by_label("Name", exact=True)).to_be_visible(timeout=30_000)


def linked(page: Page) -> list[str]:
    return [text.splitlines()[-1] for text in page.locator("[data-testid=stSidebarNav] a").all_inner_texts()]  # behind the icon


def kept(context: BrowserContext) -> list[Any]:
    """The cookie of ours that the browser has, if any."""
    return [one for one in context.cookies() if one["name"].startswith("curriculum_")]


def _eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def press(page: Page, key: str) -> str:
    before = shown(page)
    page.keyboard.press(key)
    expect(page.locator(f'.sorting img[data-example="{before}"]')).to_have_count(0)
    return before


# -- staying signed in -----------------------------------------------------------------------------


def test_the_first_leads_stays_signed_in_and_leaves(browser: Browser, context: BrowserContext, server: Server) -> None:
    with without_errors(context) as open_tab:
        page = open_tab(f"{server.url}/?annotator=Zelda")
        asks_who(page)
        expect(page.get_by_text("Whoever does so first leads the team.")).to_be_visible()
        expect(page).to_have_url(f"{server.url}/")  # a name in the address means nothing, and goes
        assert page.locator("[data-testid=stSidebarNav] a").count() == 0
        for name, pin, again, said in (
            ("Ann", "1234", "1234", "what everybody tries first"),
            ("Ann", PIN, "other", "The two PINs differ"),
            ("simulated-1", PIN, PIN, "must not begin so"),
        ):
            register(page, name, pin, again)
            expect(page.get_by_role("alert").filter(has_text=said)).to_be_visible()
        register(page, "Ann")
        is_signed_in(page, "Ann")
        assert linked(page) == ["Start", "Sort", *LEADS_PAGES]
        _eventually(lambda: len(kept(context)) == 1)
        (cookie,) = kept(context)
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and not cookie["secure"]
        assert "curriculum_" not in page.evaluate("document.cookie")
        page.reload()
        is_signed_in(page, "Ann")
        page.get_by_text("Change my PIN").click()
        for label, pin in (("Present PIN", PIN), ("New PIN", OTHER), ("The new PIN again", OTHER)):
            page.get_by_label(label, exact=True).fill(pin)
        settled(page)
        page.get_by_role("button", name="Change", exact=True).click()
        expect(page.get_by_text("Changed. Other browsers")).to_be_visible(timeout=30_000)
        _eventually(lambda: kept(context)[0]["value"] != cookie["value"])
        page.reload()
        is_signed_in(page, "Ann")
        server.kill()
        server.start()
        page.get_by_role("link", name="Team", exact=True).click()  # a new session of the page that stayed open
        expect(page.get_by_role("heading", name="Do we agree?")).to_be_visible(timeout=30_000)
        page.goto(server.url)
        is_signed_in(page, "Ann")
        page.get_by_role("button", name="Sign out").click()
        asks_who(page)
        _eventually(lambda: not kept(context))
        sign_in(page, "Ann", OTHER)
        is_signed_in(page, "Ann")
        _eventually(lambda: len(kept(context)) == 1)
        page.get_by_role("button", name="Sign out").click()  # a second time in the same page
        asks_who(page)
        _eventually(lambda: not kept(context))
        page.goto(f"{server.url}/team")
        asks_who(page)
        answers = set()
        for name, pin in (("Ann", PIN), ("Nobody", PIN), ("Zelda", PIN)):
            sign_in(page, name, pin)
            settled(page)
            expect(page.get_by_text("Name and PIN don't fit")).to_be_visible()
            answers.add(page.get_by_role("alert").inner_text())
        assert len(answers) == 1  # nothing tells a name that exists
        sign_in(page, " ann ", OTHER)
        expect(page.get_by_role("heading", name="Do we agree?")).to_be_visible(timeout=30_000)  # the page that was asked for
    with browser.new_context() as other:
        other.route("**/api/sign-in", lambda route: route.fulfill(status=200, json={}))  # as if the browser dropped the cookie
        page = other.new_page()
        page.goto(server.url)
        asks_who(page)
        sign_in(page, "Ann", OTHER)
        is_signed_in(page, "Ann")
        expect(page.get_by_text("you stay signed in until you load the page anew")).to_be_visible()
        page.reload()
        asks_who(page)


# -- roles, and a PIN that ends ----------------------------------------------------------------------


def test_roles_hold_at_once_and_a_reset_pin_loses_no_answer(browser: Browser, server: Server) -> None:
    desk = {"width": 1366, "height": 768}
    with browser.new_context(viewport=desk) as anns, browser.new_context(viewport=desk) as bobs, without_errors(bobs) as open_tab:  # type: ignore[arg-type]
        ann, bob = anns.new_page(), open_tab(f"{server.url}/sort?annotator=Ann&dataset=textures")
        ann.goto(server.url)
        asks_who(ann)
        register(ann, "Ann")
        is_signed_in(ann, "Ann")
        asks_who(bob)  # where sorting would be
        register(bob, "Bob")
        first = press(bob, "1")
        saved(bob)
        assert linked(bob) == ["Start", "Sort"]
        for _, _, _, path in pages.FOR_LEADS:
            bob.goto(f"{server.url}/{path}")
            expect(bob.get_by_text("You sort as an annotator. Ann can make you a lead")).to_be_visible(timeout=30_000)
            settled(bob)
            assert bob.get_by_text("Zelda").count() == 0
            assert linked(bob) == ["Start", "Sort"]
        bob.get_by_role("link", name="Start", exact=True).click()
        is_signed_in(bob, "Bob")
        expect(bob.get_by_text("1 of 60 of textures sorted by you")).to_be_visible()
        assert bob.get_by_text("Add images").count() == bob.get_by_text("What next").count() == 0
        bob.get_by_role("button", name="Go on sorting").click()
        shown(bob)

        ann.get_by_role("link", name="People", exact=True).click()
        _choose(ann, "Bob")
        ann.get_by_role("button", name="Reset the PIN").click()
        expect(ann.get_by_text("Bob is signed out everywhere")).to_be_visible()
        second = press(bob, "2")
        expect(bob.locator(".sorting .badge")).to_have_text("not accepted, 1 waiting")
        expect(bob.get_by_text("Your PIN was changed or reset.")).to_be_visible()
        bob.reload()
        asks_who(bob)
        expect(bob.get_by_text("You are signed out: your PIN was changed or reset")).to_be_visible()
        register(bob, "Bob", OTHER)
        shown(bob)
        saved(bob)  # what waited went out

        _choose(ann, "Bob")
        ann.get_by_role("button", name="Make lead").click()
        expect(ann.get_by_text("Bob is a lead now")).to_be_visible()
        bob.get_by_role("link", name="Start", exact=True).click()
        is_signed_in(bob, "Bob, and you lead")
        assert linked(bob) == ["Start", "Sort", *LEADS_PAGES]
        _choose(ann, "Ann")
        ann.get_by_role("button", name="Make annotator").click()
        expect(ann.get_by_text("This page is for leads")).to_be_visible()
    assert stored(server, "annotator, example, level") == [("Bob", first, "easy"), ("Bob", second, "medium")]


def _choose(page: Page, name: str) -> None:
    settled(page)
    page.get_by_label("Who", exact=True).click()
    page.get_by_role("option", name=name, exact=True).click()
    settled(page)


# -- two people in one browser -------------------------------------------------------------------------


def test_two_people_in_one_browser_send_only_their_own(context: BrowserContext, server: Server) -> None:
    sent: list[tuple[str, str]] = []
    held = True

    def note(request: Request) -> None:
        if request.url.endswith("/api/annotations"):
            body = json.loads(request.post_data or "{}")
            token = body["token"].split(".")[0]
            annotator = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))[0]
            sent.extend((annotator, event["example"]) for event in body["events"])

    context.on("request", note)
    context.route("**/api/annotations", lambda route: route.abort() if held else route.continue_())
    with without_errors(context) as open_tab:
        one = open_tab(f"{server.url}/sort?dataset=textures")
        asks_who(one)
        register(one, "Ann")
        anns = {press(one, key) for key in "12"}
        expect(one.locator(".sorting .badge")).to_have_text("offline, 2 waiting, nothing is lost", timeout=30_000)
        two = open_tab(server.url)
        is_signed_in(two, "Ann")
        two.get_by_role("button", name="Sign out").click()
        asks_who(two)
        register(two, "Bob")
        is_signed_in(two, "Bob")
        two.get_by_role("link", name="Sort", exact=True).click()
        bobs = {press(two, key) for key in "333"}
        one.bring_to_front()
        anns.add(press(one, "1"))  # this tab is Ann's still
        held = False
        for page in (one, two):
            page.bring_to_front()
            saved(page)
        held = True
        bobs.add(press(two, "3"))
        server.kill()
        server.start()
        one.bring_to_front()
        anns.add(press(one, "2"))  # nothing has told this tab anything else yet
        for patience in (5_000, 10_000, 45_000):  # right after a restart, Streamlit loses a click now and then
            settled(one)
            one.get_by_role("link", name="Sort", exact=True).click()
            with suppress(AssertionError):
                expect(one.get_by_text(ESTRANGED)).to_be_visible(timeout=patience)
                break
        expect(one.get_by_text(ESTRANGED)).to_be_visible()
        for key in "123":
            one.keyboard.press(key)
        two.close()  # with an answer of Bob's waiting
        one.reload()  # the browser is Bob's now, and so is what this tab finds
        held = False
        shown(one)
        expect(one.get_by_text("Sorting as Bob")).to_be_visible()
        expect(one.get_by_text("4 of 60 sorted by you")).to_be_visible(timeout=30_000)
        saved(one)
    assert {example for annotator, example in sent if annotator == "Ann"} == anns
    assert {example for annotator, example in sent if annotator == "Bob"} == bobs
    rows = stored(server, "annotator, example, level")
    assert {(annotator, example) for annotator, example, _ in rows} == {("Ann", one) for one in anns} | {("Bob", one) for one in bobs}
    assert len(rows) == 8
