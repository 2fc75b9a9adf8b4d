"""Compare four in a real Chromium, verified in the database: what is stored is what was pressed on what was shown."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from curriculum import comparisons, labels
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.store import Store
from curriculum.vocabulary import Level
from tests.browser import TILE, Server, press, saved, serving, settled, tiles, without_errors
from tests.ml import write_folder

RECORD = """() => {
  const find = (root) => root.querySelector('.sorting .tile')
    ?? [...root.querySelectorAll('*')].map((node) => node.shadowRoot && find(node.shadowRoot)).find(Boolean);
  let host = null;
  window.pressed = [];
  addEventListener('keydown', (event) => {  // before the page hears of it: the key, and the four for which keys count
    if (!host?.isConnected) host = find(document)?.closest('.sorting');
    window.pressed.push([event.key, [...(host?.querySelectorAll('.tile[data-example]') ?? [])].map((tile) => tile.dataset.example)]);
  }, true);
}"""

Said = tuple[tuple[str, ...], str, str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An app with the data sets `textures`, on whose 45 images two people differ, and `fresh`, which nobody has sorted."""
    home = Home(tmp_path_factory.mktemp("four"))
    levels: tuple[tuple[str, Level], ...] = (("Zelda", "hard"), ("Yorick", "easy"))
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=15))
        add_dataset(store, "fresh", write_folder(home.root / "fresh", each=2, seed=1))
        for example in [str(row[0]) for row in store.rows("SELECT example FROM example WHERE dataset = 'textures'")]:
            for name, level in levels:
                labels.annotate(store, "textures", example, name, level)
    with serving(home, signed_up=["Lea", "Ann", "Bo", "Cem"]) as running:
        yield running


def address(server: Server, dataset: str = "textures") -> str:
    return f"{server.url}/sort?dataset={dataset}&view=four"


def four(page: Page) -> tuple[str, ...]:
    """The four on the screen, as soon as keys count for them."""
    return tuple(tiles(page, 4))


def next_four(page: Page, before: tuple[str, ...]) -> tuple[str, ...]:
    """The four after these, of which one image at least stands elsewhere."""
    deadline = time.monotonic() + 30
    while (shown := four(page)) == before:
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)
    return shown


def meant(pressed: list[list[Any]]) -> list[Said]:
    """What stands after these keys, by the rules: two different digits on one four are an answer, the same digit twice is
    none; undo takes back a first choice, else the latest answer."""
    standing: list[Said] = []
    first: str | None = None
    for (key, shown), (_, before) in zip(pressed, [["", []], *pressed[:-1]], strict=True):
        if shown != before:
            first = None
        if key == "Backspace":
            standing, first = standing if first else standing[:-1], None
        elif key in "1234" and len(shown) == 4:
            if first not in (None, key):
                standing.append((tuple(shown), shown[int(str(first)) - 1], shown[int(key) - 1]))
            first = key if first is None else None
    return standing


def stored(server: Server, annotator: str) -> list[Said]:
    """What stands of an annotator's comparisons, in order, while the server rests."""
    server.stop()
    try:
        with Store.open(server.home) as store:
            done = comparisons.standing(store, "textures")
            assert store.rows("SELECT count(*) = count(DISTINCT id) FROM comparison") == [(True,)]
            own = done[done["annotator"] == annotator]
            return list(zip(own["examples"].tolist(), own["hardest"].tolist(), own["easiest"].tolist(), strict=True))
    finally:
        server.start()


def test_fast_keys_a_killed_server_and_undo_lose_and_mix_nothing(browser: Browser, server: Server) -> None:
    """120 keys 30 ms apart; the server dies among them. Every answer is about the four that were on the screen."""
    keys = random.Random(4)
    with browser.new_context(viewport={"width": 1366, "height": 768}) as context, without_errors(context) as open_tab:
        answers: list[bytes] = []
        context.on("response", lambda response: answers.append(response.body()) if "/api/fours" in response.url else None)
        context.add_cookies([server.cookie("Ann")])
        page = open_tab(address(server))
        four(page)
        page.wait_for_timeout(1000)
        page.evaluate(RECORD)
        for n in range(120):
            if n == 60:
                server.kill()
            elif n == 100:
                server.start()
                page.wait_for_timeout(500)
                expect(page.locator(TILE)).to_have_count(4, timeout=30_000)
            page.keyboard.press("Backspace" if n % 23 == 22 else keys.choice("1234"))
            page.wait_for_timeout(30)
        saved(page)
        expected = meant(page.evaluate("window.pressed"))
        assert len(expected) > 15
        expect(page.locator(".sorting .counts")).to_have_text(f"{len(expected)} compared by you · pool of 45 images")
        assert len({frozenset(shown) for shown, _, _ in expected}) == len(expected)  # none twice
        everything = b"\n".join([*answers, page.locator(".sorting").inner_html().encode()])
        assert len(answers) > 5
        assert not [word for word in (b"Zelda", b"Yorick", b'"hard"', b'"easy"', b"latent", b"loss") if word in everything]
        assert stored(server, "Ann") == expected
        page.reload()  # and another day
        shown = four(page)
        press(page, "Backspace")
        assert next_four(page, shown) == expected[-1][0]
        press(page, "Backspace")
        assert next_four(page, expected[-1][0]) == expected[-2][0]
        press(page, "Backspace")
        assert next_four(page, expected[-2][0]) == expected[-3][0]
        expect(page.locator(".sorting .counts")).to_contain_text(f"{len(expected) - 3} compared by you")
        assert four(page) == expected[-3][0]
        press(page, "2", "1")  # answered anew
        saved(page)
        again = expected[-3][0]
        assert stored(server, "Ann") == [*expected[:-3], (again, again[1], again[0])]


def test_arrows_mouse_touch_large_and_skip(browser: Browser, server: Server) -> None:
    with browser.new_context(viewport={"width": 1366, "height": 768}, has_touch=True) as context, without_errors(context) as open_tab:
        context.add_cookies([server.cookie("Bo")])
        page = open_tab(address(server))
        said, said_now = [], page.locator(".sorting .said")
        one = four(page)
        press(page, "3", "3", "2", "Backspace")  # taken back
        expect(page.locator(".sorting .mark:not(:empty)")).to_have_count(0)
        press(page, "ArrowRight", "ArrowUp", "Enter")  # from the third over the fourth to the second
        expect(page.get_by_role("gridcell", selected=True)).to_have_text(
            ["2" + page.get_by_role("gridcell").nth(1).locator("p > span").inner_text() + "● hardest⤢"]
        )
        expect(said_now).to_contain_text("hardest: image 2")
        press(page, "ArrowLeft", "Enter")
        said.append((one, one[1], one[0]))
        two = next_four(page, one)
        expect(said_now).to_contain_text("Before: image 2")
        page.get_by_role("gridcell").nth(3).click()
        page.get_by_role("gridcell").nth(2).tap()
        said.append((two, two[3], two[2]))
        three = next_four(page, two)
        press(page, "Space")
        rest = next_four(page, three)
        page.get_by_role("button", name="Image 4, large").click()
        large = page.get_by_role("dialog", name="One image, large")
        expect(large).to_contain_text("image 4")
        press(page, "ArrowLeft")
        expect(large).to_contain_text("image 3")
        press(page, "1")
        expect(large).to_contain_text("● hardest: image 1")
        press(page, "Enter")  # the third, shown large, is the easiest
        said.append((rest, rest[0], rest[2]))
        next_four(page, rest)
        expect(large).to_have_count(0)
        page.get_by_role("button", name="Undo").click()
        for place, example in enumerate(rest):
            expect(page.locator(".sorting .tile").nth(place)).to_have_attribute("data-example", example)
        saved(page)
        page.get_by_role("button", name="One by one").click()
        page.locator(".sorting .stage img[data-example]").wait_for(timeout=30_000)
        page.get_by_role("button", name="Compare four").click()
        four(page)
        assert stored(server, "Bo") == said[:-1]


def test_where_nothing_is_uncertain_it_says_what_to_do(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    page.context.add_cookies([server.cookie("Ann")])
    page.goto(address(server, "fresh"))
    expect(
        page.get_by_text("Nothing is uncertain yet. Sort images first: fours are made of images that people disagree on.")
    ).to_be_visible(timeout=30_000)
    expect(page.locator(".sorting .counts")).to_have_text("0 compared by you · pool of 0 images")
    press(page, "1", "2", "Space", "z", "Backspace")
    expect(page.locator(".sorting .said")).to_have_text("There is nothing left to undo.")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_screen_fits_stays_still_and_has_no_barriers(browser: Browser, server: Server, scheme: Any) -> None:
    page = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme=scheme)
    page.context.add_cookies([server.cookie("Cem")])
    page.goto(address(server))
    four(page)
    settled(page)
    assert page.evaluate("(main => main.scrollHeight - main.clientHeight)(document.querySelector('[data-testid=stMain]'))") <= 0
    boxes = [tile.bounding_box() for tile in page.locator(".sorting .tile").all()]
    assert all(box and box["height"] > 300 for box in boxes)
    press(page, "4")
    expect(page.get_by_role("gridcell", name="chosen as the hardest")).to_have_count(1)
    assert [tile.bounding_box() for tile in page.locator(".sorting .tile").all()] == boxes
    page.wait_for_timeout(1500)
    found = [rule for rule in Axe().run(page).response["violations"] if rule["impact"] in ("serious", "critical")]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found] == []
    page.close()


def test_the_rules_that_the_journey_is_held_to() -> None:
    """By hand: an answer, a choice taken back, a key before the paint, an undo."""
    a, b = ["w", "x", "y", "z"], ["p", "q", "r", "s"]
    keys = [("1", a), ("2", a), ("3", []), ("3", b), ("3", b), ("4", b), ("1", b)]
    pressed = [[key, shown] for key, shown in keys]
    assert meant(pressed) == [(tuple(a), "w", "x"), (tuple(b), "s", "p")]
    assert meant([*pressed, ["Backspace", a]]) == [(tuple(a), "w", "x")]
    assert meant([*pressed, ["1", a], ["Backspace", a]]) == meant(pressed)  # the choice alone
    assert list(itertools.chain(meant([["1", a], ["1", b], ["2", b]]))) == [(tuple(b), "p", "q")]
