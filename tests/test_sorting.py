"""Sorting in a real Chromium, verified in the database: every accepted key is stored once, on the image that was on the screen."""

from __future__ import annotations

import json
import re
import struct
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from curriculum import assignment, labels
from curriculum.datasets import Settings, add_dataset, change_settings
from curriculum.home import Home
from curriculum.store import Store
from tests.browser import Server, loaded_ahead, saved, serving, shown, stored, without_errors
from tests.ml import write_folder

LEVEL = {"1": "easy", "2": "medium", "3": "hard"}
RECORD = """window.pressed = [];
const find = (root) => root.querySelector('.sorting') ?? [...root.querySelectorAll('*')].map((n) => n.shadowRoot && find(n.shadowRoot)).find(Boolean);
addEventListener('keydown', (event) => {
  const image = find(document)?.querySelector('.stage img');
  window.pressed.push({key: event.key, example: image?.dataset.example ?? null, source: image?.src ?? null});
}, true);"""


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    """A running app with the data set `textures`: 3 classes of 40, each to be asked once."""
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=40))
        change_settings(store, "textures", Settings(None, 0.0))
    with serving(home, signed_up=("Ann", "Bob")) as running:
        yield running


@pytest.fixture
def context(context: BrowserContext) -> BrowserContext:
    """That writes down which keys were pressed on which image."""
    context.add_init_script(RECORD)
    return context


Open = Callable[..., Page]


@pytest.fixture
def open_page(context: BrowserContext, server: Server) -> Iterator[Open]:
    """Opens a sorting page."""
    with without_errors(context) as open_tab:

        def run(annotator: str = "Ann", dataset: str = "textures") -> Page:
            context.add_cookies([server.cookie(annotator)])
            return open_tab(f"{server.url}/sort?dataset={dataset}")

        yield run


def press(page: Page, keys: str) -> None:
    """Each key on an image that is on the screen."""
    for key in keys:
        before = shown(page)
        page.keyboard.press("Space" if key == " " else key)
        expect(page.locator(f'.sorting img[data-example="{before}"]')).to_have_count(0)


def badge(page: Page) -> Locator:
    return page.locator(".sorting .badge")


def told_of(page: Page) -> Locator:
    """What the page warns of."""
    return page.locator(".sorting .warning")


def accepted(*pages: Page) -> list[tuple[str, str]]:
    """What the page saw pressed while keys counted: (image, level)."""
    pressed = [one for page in pages for one in page.evaluate("window.pressed")]
    return [(one["example"], LEVEL[one["key"]]) for one in pressed if one["example"] and one["key"] in LEVEL]


def labelled(server: Server) -> list[Any]:
    return stored(server, which="action = 'label'")


# -- every key, on its image --------------------------------------------------------------------------


def test_sixty_keys_land_on_the_images_that_were_shown(open_page: Open, server: Server) -> None:
    page = open_page()
    press(page, "123" * 20)
    saved(page)
    pressed = accepted(page)
    sources = [(one["example"], one["source"].rsplit("/", 1)[1]) for one in page.evaluate("window.pressed")]
    expect(page.get_by_text("60 of 120 sorted by you")).to_be_visible()
    assert len({example for example, _ in pressed}) == 60
    assert labelled(server) == pressed
    with Store.open(server.home) as store:
        files = dict(store.rows("SELECT example, sha256 FROM example"))
        seconds = [row[0] for row in store.rows("SELECT seconds FROM annotation")]
    assert all(files[example] == source for example, source in sources)  # the picture itself, not only its name
    assert all(0 < second < 20 for second in seconds)


def test_a_burst_of_keys_is_stored_on_the_images_that_took_them(open_page: Open, server: Server) -> None:
    page = open_page()
    shown(page)
    for n in range(80):
        page.keyboard.press("123"[n % 3])
        page.wait_for_timeout(30)
    saved(page)
    pressed = accepted(page)
    assert len(page.evaluate("window.pressed")) == 80
    assert 10 <= len(pressed) <= 80
    assert labelled(server) == pressed
    assert len({example for example, _ in pressed}) == len(pressed)


def test_a_key_before_the_paint_is_not_accepted_and_one_image_takes_one(open_page: Open, server: Server, context: BrowserContext) -> None:
    held: list[Route] | None = []
    context.route("**/img/*", lambda route: route.continue_() if held is None else held.append(route))
    page = open_page()
    expect(page.get_by_text("How hard is it to tell that this is")).to_be_visible(timeout=30_000)
    for key in "1231":
        page.keyboard.press(key)
    waiting, held = held or [], None
    for route in waiting:
        route.continue_()
    first = shown(page)
    page.evaluate("""() => { for (const more of [{}, {}, {repeat: true}])
        document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '2', bubbles: true, composed: true, ...more})); }""")
    second = shown(page)
    page.evaluate("""() => document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '3', bubbles: true, repeat: true}))""")
    for modifier in ("Control", "Alt", "Meta"):
        page.keyboard.press(f"{modifier}+3")
    assert shown(page) == second
    press(page, "3")
    saved(page)
    assert labelled(server) == [(first, "medium"), (second, "hard")]


# -- nothing lost, nothing doubled ----------------------------------------------------------------------


def test_a_lost_connection_loses_nothing(open_page: Open, server: Server, context: BrowserContext) -> None:
    page = open_page()
    press(page, "123")
    saved(page)
    loaded_ahead(page, "img", 12)
    context.set_offline(True)
    press(page, "3213213")
    expect(badge(page)).to_have_text("offline, 7 waiting, nothing is lost", timeout=30_000)
    context.set_offline(False)
    saved(page)
    press(page, "11")
    saved(page)
    pressed = accepted(page)
    assert len(pressed) == 12
    assert labelled(server) == pressed


def refusing(status: int) -> Callable[[Route], None]:
    return lambda route: route.fulfill(status=status, json={"message": "blocked"})


def test_what_a_proxy_refuses_in_its_own_words_waits(open_page: Open, server: Server) -> None:
    page = open_page()
    for status in (400, 403, 413):
        page.route("**/api/annotations", refusing(status))
        press(page, "1")
        expect(badge(page)).to_have_text("offline, 1 waiting, nothing is lost")
        page.unroute("**/api/annotations")
        saved(page)
    assert labelled(server) == accepted(page)
    assert len(labelled(server)) == 3


def test_a_killed_server_loses_nothing(open_page: Open, server: Server) -> None:
    page = open_page()
    press(page, "12")
    loaded_ahead(page, "img", 12)
    server.kill()
    press(page, "32132")
    expect(badge(page)).to_have_text(re.compile("offline, [567] waiting, nothing is lost"), timeout=30_000)
    page.wait_for_timeout(6000)  # by now Streamlit covers the page with its own notice: sorting goes on
    press(page, "11")
    server.start()
    saved(page)
    press(page, "33")
    saved(page)
    pressed = accepted(page)
    assert len(pressed) == 11
    assert labelled(server) == pressed


def test_what_a_closed_tab_left_is_sent_by_the_next(open_page: Open, server: Server, context: BrowserContext) -> None:
    context.route("**/api/annotations", lambda route: route.abort())
    first = open_page()
    press(first, "12")
    first.reload()  # the same tab, another life
    press(first, "3")
    pressed = accepted(first)
    first.close()
    context.unroute("**/api/annotations")
    second = open_page()
    saved(second)
    expect(second.get_by_text("3 of 120 sorted by you")).to_be_visible(timeout=20_000)
    # The closing tab may have sent them with its last breath; what it kept is known to be stored at the next look, every 30 s.
    second.wait_for_function("!Object.keys(localStorage).some((key) => key.startsWith('curriculum-sorting|'))", timeout=45_000)
    log = labelled(server)
    assert [level for _, level in log] == ["easy", "medium", "hard"]
    assert pressed == [log[2]]
    with Store.open(server.home) as store:
        assert store.rows("SELECT count(*), count(DISTINCT id) FROM annotation") == [(3, 3)]


@pytest.mark.parametrize("locks", [True, False], ids=["https", "plain http"])
def test_a_reload_while_answers_wait_goes_on_after_them(open_page: Open, server: Server, context: BrowserContext, locks: bool) -> None:
    """Not asked again, where a second answer would be stored before the first; and Undo takes the newest of them back."""
    if not locks:  # which a team's server has on https alone
        context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    page = open_page()
    press(page, "1")
    saved(page)
    context.route("**/api/annotations", refusing(502))
    press(page, "23")
    pressed = accepted(page)
    for _ in range(2):  # of the load before the last one too
        page.reload()
        assert shown(page) not in [example for example, _ in pressed]
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('curriculum-sorting|')).length") == 2
    page.keyboard.press("Backspace")
    expect(page.locator(".sorting .said")).to_have_text("Older answers can't be reached until the server is back.")
    press(page, "1")
    pressed += accepted(page)
    context.unroute("**/api/annotations")
    saved(page)
    for example, _ in pressed[:0:-1]:
        page.keyboard.press("Backspace")
        expect(page.locator(f'.sorting img[data-example="{example}"]')).to_be_visible()
    saved(page)
    labels, undone = [("label", example) for example, _ in pressed], [("undo", example) for example, _ in pressed[:0:-1]]
    assert stored(server, "action, example") == labels + undone


def test_two_tabs_keep_to_their_own_until_one_is_gone(open_page: Open, server: Server) -> None:
    one, two = open_page(), open_page()
    one.route("**/api/annotations", lambda route: route.abort())
    one.bring_to_front()
    press(one, "123")
    two.reload()
    two.bring_to_front()
    press(two, "33")
    saved(two)
    kept = "Object.keys(localStorage).filter((key) => key.startsWith('curriculum-sorting|')).length"
    assert two.evaluate(kept) == 3  # the first is alive: its answers are its own to send
    pressed = accepted(two) + accepted(one)
    one.close()
    two.reload()
    saved(two)
    two.wait_for_function(f"{kept} === 0")
    assert sorted(labelled(server)) == sorted(pressed)


def test_what_waits_of_another_data_set_is_sent_and_of_another_person_is_told(
    open_page: Open, server: Server, context: BrowserContext, tmp_path: Path
) -> None:
    server.stop()
    with Store.open(server.home) as store:
        add_dataset(store, "others", write_folder(tmp_path / "others", each=4))
    server.start()
    context.route("**/api/annotations", refusing(502))
    pressed: list[tuple[str, str]] = []
    for annotator, dataset, keys in (("Ann", "textures", "12"), ("Bob", "textures", "3"), ("Ann", "others", "1")):
        page = open_page(annotator, dataset)
        press(page, keys)
        pressed += accepted(page)
        page.close()
    context.unroute("**/api/annotations")
    page = open_page("Ann", "others")
    expect(told_of(page)).to_have_text(
        "Not sent yet, in this browser: 1 answer of Bob's. They are sent when that person signs in here and opens Sort.", timeout=30_000
    )
    page.wait_for_function("Object.keys(localStorage).filter((key) => key.startsWith('curriculum-sorting|')).length === 1")
    page.close()
    page = open_page("Bob", "others")
    page.wait_for_function("!Object.keys(localStorage).some((key) => key.startsWith('curriculum-sorting|'))")
    expect(told_of(page)).to_be_hidden()
    ann, bob = [pressed[0], pressed[1], pressed[3]], [pressed[2]]
    log = stored(server, "annotator, example, level")
    assert sorted(log) == sorted([("Ann", *one) for one in ann] + [("Bob", *one) for one in bob])


def test_without_storage_sorting_goes_on_and_says_so(open_page: Open, server: Server, context: BrowserContext) -> None:
    context.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };")
    page = open_page()
    page.route("**/api/annotations", lambda route: route.abort())
    press(page, "12")
    expect(page.get_by_role("alert")).to_contain_text("storage is full or switched off")
    expect(badge(page)).to_have_text("offline, 2 waiting: keep this page open")
    page.unroute("**/api/annotations")
    saved(page)
    assert labelled(server) == accepted(page)


# -- undo and looking back ----------------------------------------------------------------------------


def test_undo_reaches_back_over_a_reload(open_page: Open, server: Server) -> None:
    page = open_page()
    press(page, "123 1")
    order = [one["example"] for one in page.evaluate("window.pressed")]
    saved(page)
    page.reload()
    shown(page)
    for example in order[::-1]:
        page.keyboard.press("Backspace")
        expect(page.locator(f'.sorting img[data-example="{example}"]')).to_be_visible()
    page.keyboard.press("Backspace")
    expect(page.get_by_text("There is nothing left to undo.").first).to_be_visible()
    press(page, "2")
    saved(page)
    assert [row[0] for row in stored(server, "action")] == ["label"] * 3 + ["skip", "label"] + ["undo"] * 5 + ["label"]
    with Store.open(server.home) as store:
        assert store.rows("SELECT example, level FROM current_label") == [(order[0], "medium")]


def test_browsing_back_shows_the_own_level_and_takes_another(open_page: Open, server: Server) -> None:
    page = open_page()
    press(page, "123")
    order = [example for example, _ in accepted(page)]
    front = shown(page)
    saved(page)
    page.reload()
    shown(page)
    for example in order[::-1]:
        page.keyboard.press("ArrowLeft")
        expect(page.locator(f'.sorting img[data-example="{example}"]')).to_be_visible()
    assert shown(page) == order[0]
    expect(page.get_by_text("Your answer: ○ easy")).to_be_visible()
    expect(page.locator(".sorting [data-do=easy]")).to_have_attribute("aria-pressed", "true")
    press(page, "3")
    assert shown(page) == order[1]
    expect(page.get_by_text("Your answer: ◐ medium")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(f'.sorting img[data-example="{front}"]')).to_be_visible()
    page.keyboard.press("Backspace")  # the level before is back, and the image with it
    expect(page.get_by_text("Your answer: ○ easy")).to_be_visible()
    expect(page.get_by_text("3 of 120 sorted by you · ○ easy 1 ◐ medium 1 ● hard 1")).to_be_visible()
    saved(page)
    assert stored(server, "action, level")[3:] == [("label", "hard"), ("undo", "easy")]


def test_a_look_back_from_the_first_image_leaves_later_ones_right(open_page: Open) -> None:
    page = open_page()
    shown(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".sorting .said")).to_have_text("There is no earlier image.")
    press(page, "12")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f'.sorting img[data-example="{accepted(page)[-1][0]}"]')).to_be_visible()
    expect(page.get_by_text("Your answer: ◐ medium")).to_be_visible()


def test_an_undo_that_waits_for_the_server_takes_back_nothing_newer(open_page: Open, server: Server, context: BrowserContext) -> None:
    page = open_page()
    press(page, "1")
    saved(page)
    held: list[Route] = []
    context.route("**/api/history", lambda route: held.append(route))
    page.reload()
    shown(page)
    page.keyboard.press("Backspace")  # of what was done before the reload, which the page doesn't know yet
    press(page, "2")
    for route in held:
        route.continue_()
    expect(page.locator(".sorting .said")).to_have_text("Not undone: you went on before the server answered.")
    saved(page)
    assert stored(server, "action, level") == [("label", "easy"), ("label", "medium")]


# -- skip, flag, note, help, mouse ---------------------------------------------------------------------


def test_flags_and_notes_with_their_words(open_page: Open, server: Server) -> None:
    page = open_page()
    first = shown(page)
    page.keyboard.press("n")
    page.keyboard.type("1 roof, 2 roads? f z")  # letters and digits are words here, not levels
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Your note: 1 roof, 2 roads? f z")).to_be_visible()
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    assert shown(page) == first
    page.keyboard.press("f")
    page.keyboard.press("1")
    expect(page.locator(f'.sorting img[data-example="{first}"]')).to_have_count(0)
    second = shown(page)
    page.locator(".sorting [data-do=flag]").click()
    page.get_by_role("button", name="broken image").click()
    expect(page.get_by_text("2 flagged")).to_be_visible()
    shown(page)
    page.keyboard.press("Backspace")
    expect(page.get_by_text("1 flagged")).to_be_visible()
    assert shown(page) == second
    saved(page)
    assert stored(server, "example, action, note") == [
        (first, "note", "1 roof, 2 roads? f z"), (first, "flag", "wrong class"), (second, "flag", "broken image"), (second, "undo", None),
    ]  # fmt: skip


def test_keys_can_be_changed_but_not_doubled(open_page: Open, server: Server) -> None:
    page = open_page()
    shown(page)
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()

    def change(action: str, key: str) -> None:
        page.get_by_role("button", name=f"Change the key for {action}").click()
        page.keyboard.press(key)

    for key, why in (("2", "2 means medium already."), ("r", "R can't be used"), ("c", "C can't be used"), ("Tab", "Tab can't be used")):
        change("easy", key)
        expect(page.locator(".sorting .told")).to_contain_text(why)
    change("easy", "j")
    expect(page.locator(".sorting .told")).to_contain_text("J means easy now.")
    page.keyboard.press("Escape")
    page.reload()
    first = shown(page)
    expect(page.locator(".sorting [data-do=easy]")).to_contain_text("J")
    page.keyboard.press("1")  # means nothing any more
    page.wait_for_timeout(200)
    assert shown(page) == first
    press(page, "j")
    saved(page)
    assert labelled(server) == [(first, "easy")]


def test_letters_of_other_alphabets_count_by_their_place(open_page: Open) -> None:
    page = open_page()
    shown(page)
    page.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'т', code: 'KeyN', bubbles: true, composed: true}))")
    expect(page.get_by_role("dialog", name="Note on this image")).to_be_visible()


def test_a_note_that_was_left_is_there_again_for_its_image(open_page: Open) -> None:
    page = open_page()
    shown(page)
    page.keyboard.press("n")
    page.keyboard.type("half a thought")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    note = page.get_by_label("Note", exact=True)
    expect(note).to_have_value("half a thought")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Your note: half a thought")).to_be_visible()
    page.keyboard.press("n")
    expect(note).to_have_value("")
    page.keyboard.type("another")
    page.keyboard.press("Escape")
    press(page, "1")
    shown(page)
    page.keyboard.press("n")
    expect(note).to_have_value("")


def test_mouse_and_tab_key_work_too_and_leave_space_alone(open_page: Open, server: Server) -> None:
    page = open_page()
    first = shown(page)
    page.locator(".sorting [data-do=medium]").click()
    expect(page.locator(f'.sorting img[data-example="{first}"]')).to_have_count(0)
    press(page, " ")  # after a click Space is still Skip
    third = shown(page)
    page.locator(".sorting [data-do=hard]").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f'.sorting img[data-example="{third}"]')).to_have_count(0)
    shown(page)
    page.locator("[data-testid=stSidebar] input").first.focus()
    page.keyboard.press("1")  # typed into the sidebar's field
    page.keyboard.press("Escape")
    saved(page)
    assert stored(server, "action, level") == [("label", "medium"), ("skip", None), ("label", "hard")]


def test_a_rerun_of_the_page_disturbs_nothing(open_page: Open, server: Server) -> None:
    page = open_page()
    press(page, "12")
    before = shown(page)
    page.keyboard.press("r")  # Streamlit's own key: the page's script runs again
    page.wait_for_timeout(1500)
    assert shown(page) == before
    page.get_by_role("link", name="Start", exact=True).click()
    expect(page.locator(".sorting")).to_have_count(0)
    page.get_by_role("link", name="Sort", exact=True).click()
    press(page, "3")
    saved(page)
    assert labelled(server) == accepted(page)


# -- what a person sees, and what not -------------------------------------------------------------------


def test_broken_images_and_the_end_of_the_queue(open_page: Open, server: Server, tmp_path: Path) -> None:
    server.stop()
    with Store.open(server.home) as store:
        folder = write_folder(tmp_path / "few", each=2)
        add_dataset(store, "few", folder)
        broken = assignment.queue(store, "few", "Ann", 6)[1]
    (folder / broken).write_bytes(b"no picture any more")
    server.start()
    page = open_page(dataset="few")
    press(page, "1")
    expect(page.get_by_text("This image can't be shown.")).to_be_visible(timeout=30_000)
    page.keyboard.press("1")  # nobody can judge what isn't there
    page.keyboard.press("f")
    page.keyboard.press("2")
    press(page, " 223")
    skipped = shown(page)
    press(page, " ")
    assert shown(page) == skipped  # the only one that is left comes again
    press(page, "1")
    expect(page.get_by_text("You have sorted every image of few. Thank you! Flagged and set aside: 1.")).to_be_visible(timeout=30_000)
    page.keyboard.press("Backspace")
    press(page, "2")
    saved(page)
    assert stored(server, "example, note", "action = 'flag'") == [(broken, "broken image")]
    with Store.open(server.home) as store:
        assert store.rows("SELECT count(*), count(*) FILTER (example = ?) FROM current_label", [broken]) == [(5, 0)]


def test_a_login_page_in_a_pictures_place_is_waited_for(open_page: Open, context: BrowserContext) -> None:
    """As a hotel's network answers everything until somebody signs in: no image is broken for that."""
    context.route("**/img/*", lambda route: route.fulfill(status=200, content_type="text/html", body="<h1>Welcome</h1>"))
    page = open_page()
    expect(page.get_by_text("Loading the image ...")).to_be_visible(timeout=30_000)
    page.wait_for_timeout(3000)
    expect(page.get_by_text("Loading the image ...")).to_be_visible()
    context.unroute("**/img/*")
    press(page, "1")
    saved(page)


def test_nothing_of_a_model_or_of_others_is_on_the_wire(open_page: Open, server: Server, context: BrowserContext) -> None:
    server.stop()
    with Store.open(server.home) as store:
        for example in assignment.queue(store, "textures", "Zelda", 120):
            labels.annotate(store, "textures", example, "Zelda", "hard")
        labels.add_annotator(store, "Zelda")
        with store.write() as cursor:
            cursor.execute(
                """INSERT INTO score SELECT 'run-quark', 'textures', example, 'oof_loss', 0, 0.73519, 0.91827, 'red', 0.26481, [0.5]
                   FROM example"""
            )
    server.start()
    wire: list[bytes] = []

    def keep(payload: str | bytes) -> None:
        wire.append(payload.encode() if isinstance(payload, str) else payload)

    context.on("page", lambda page: page.on("websocket", lambda socket: socket.on("framereceived", keep)))
    answers: list[bytes] = []
    context.on("response", lambda response: answers.append(response.body()) if "/api/" in response.url else None)
    page = open_page()
    press(page, "123")
    page.keyboard.press("ArrowLeft")
    saved(page)
    page.wait_for_timeout(4000)  # the counts are asked for again
    assert len(answers) >= 5
    assert any(b"Ann" in frame for frame in wire)
    team = json.loads(answers[0] if b"team" in answers[0] else next(a for a in answers if b"team" in a))
    assert team["progress"]["team"] == 120
    everything = b"\n".join([*wire, *answers, page.content().encode(), page.locator(".sorting").inner_html().encode()])
    secrets = [b"Zelda", b"run-quark", b"oof_loss", b"difficulty", b"probability"]
    secrets += [form for value in (0.73519, 0.91827, 0.26481) for form in (str(value).encode(), struct.pack("<d", value))]
    assert [secret for secret in secrets if secret in everything] == []
    levels = [level for answer in answers for level in json.loads(answer).get("levels", {}).values()]
    assert {one["level"] for of_example in levels for one in of_example} <= {"easy", "medium", "hard"}
    assert sum(len(of_example) for of_example in levels) <= 3  # of 120 labelled images, the own three at most


def nothing_said(page: Page) -> None:
    """The image looks like one that was never judged."""
    expect(page.locator(".sorting .said")).not_to_contain_text("Your")
    expect(page.locator(".sorting .levels [aria-pressed=true]")).to_have_count(0)


def test_an_image_that_comes_again_looks_like_a_new_one(open_page: Open, server: Server, context: BrowserContext) -> None:
    server.stop()
    with Store.open(server.home) as store:
        known = assignment.queue(store, "textures", "Ann", 80)
        for example in known:
            labels.annotate(store, "textures", example, "Ann", "medium")
        with store.write() as cursor:
            labels.record(cursor, "textures", "Ann", labels.Event(uuid.uuid4(), "note", known[0], datetime.now(UTC), note="an old note"))
        change_settings(store, "textures", Settings(None, 0.5))
        due = [name for name in assignment.queue(store, "textures", "Ann", 24) if name in known]
        total = assignment.progress(store, "textures", "Ann").total
    server.start()
    answers: list[bytes] = []
    context.on("response", lambda response: answers.append(response.body()) if "/api/" in response.url else None)
    page = open_page()
    turns: list[str] = []
    while len(set(turns) & set(due)) < 4:
        turns.append(shown(page))
        nothing_said(page)
        press(page, "3")
        counts = f"{80 + len(turns)} of {total} sorted by you · ○ easy 0 ◐ medium 80 ● hard {len(turns)}"
        expect(page.get_by_text(counts)).to_be_visible()
    front = shown(page)
    saved(page)
    again = turns[-1]
    page.keyboard.press("ArrowLeft")
    assert shown(page) == again
    expect(page.get_by_text("1 back. Your answer: ● hard.")).to_be_visible()  # as of any image, what was said of it last
    press(page, "1")  # a slip of the finger, mended
    assert shown(page) == front
    for reloaded in (False, True):
        page.keyboard.press("Backspace")
        expect(page.get_by_text("Your answer: ● hard")).to_be_visible()  # the mending is taken back
        page.keyboard.press("Backspace")
        expect(page.get_by_text("Your answer: ● hard")).to_have_count(0)
        assert shown(page) == again
        nothing_said(page)
        page.keyboard.press("z")
        if not reloaded:
            press(page, "3")
            page.keyboard.press("ArrowLeft")
            assert shown(page) == again
            press(page, "1")
            saved(page)
            page.reload()
            shown(page)
    press(page, "2")
    saved(page)
    page.wait_for_timeout(4000)  # the counts are asked for again, and stay
    expect(page.get_by_text(f"{80 + len(turns)} of {total} sorted by you")).to_be_visible()
    wire = b"\n".join(answers).lower().replace(b"median_seconds", b"")
    assert [word for word in (b"repeat", b"again", b"twice", b"second", b"lease") if word in wire] == []
    twice = sorted(set(turns) & set(due))
    assert [row for row in stored(server, "example, level", "action = 'label' AND repeat") if row[0] != again] == [
        (name, "hard") for name in turns if name in twice and name != again
    ]
    with Store.open(server.home) as store:
        current = dict(store.rows("SELECT example, level FROM current_label"))
        pairs = labels.repeats(store, "textures")
    assert [current[name] for name in twice] == ["medium"] * 4
    assert pairs[["example", "second"]].values.tolist() == [[name, "medium" if name == again else "hard"] for name in twice]
    assert len(current) == 80 + len(turns) - 4


def test_images_run_out_when_each_has_its_labels(open_page: Open, server: Server) -> None:
    server.stop()
    with Store.open(server.home) as store:
        change_settings(store, "textures", Settings(1, 0.0))
        order = assignment.queue(store, "textures", "Ann", 120)
        for example in order[2:]:
            labels.annotate(store, "textures", example, "Zelda", "hard")
    server.start()
    ann = open_page()
    shown(ann)
    bob = open_page("Bob")
    expect(bob.get_by_text("The last images are in other people's hands.")).to_be_visible(timeout=30_000)
    ann.bring_to_front()
    left = shown(ann)
    press(ann, "1")
    assert shown(ann) != left
    ann.keyboard.press("f")
    ann.keyboard.press("2")  # set aside by her: Bob's turn, as his page finds by itself
    bob.bring_to_front()
    other = shown(bob)
    assert {left, other} == set(order[:2])
    press(bob, "2")
    for page in (ann, bob):
        page.bring_to_front()
        saved(page)
    expect(bob.get_by_text("Every image has its 1 label. Thank you! Back and Undo still work.")).to_be_visible(timeout=30_000)
    assert stored(server, "example, level", "action = 'label' AND annotator <> 'Zelda'") == [(left, "easy"), (other, "medium")]


def _stage_height(page: Page) -> float:
    box = page.locator(".sorting .stage").bounding_box()
    assert box is not None
    return box["height"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_whole_screen_fits_a_laptop(browser: Browser, server: Server, scheme: Any) -> None:
    page = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme=scheme)
    page.context.add_cookies([server.cookie("Ann")])
    page.goto(f"{server.url}/sort?dataset=textures")
    shown(page)
    assert page.evaluate("(main => main.scrollHeight - main.clientHeight)(document.querySelector('[data-testid=stMain]'))") <= 0
    height = _stage_height(page)
    assert height > 450
    press(page, "1")
    assert _stage_height(page) == height  # no step between two images
    colours = page.locator(".sorting").evaluate("node => [getComputedStyle(node).color, getComputedStyle(document.body).backgroundColor]")
    assert colours[0] != colours[1]
    expect(page.locator(".sorting .live")).to_have_text("Stored: ○ easy.")
    page.close()
