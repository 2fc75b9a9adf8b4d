"""The grid in a real Chromium, verified in the database: keys land on the images selected, one undo takes a key press back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from curriculum import assignment, labels
from curriculum.datasets import Settings, add_dataset, change_settings
from curriculum.home import Home
from curriculum.store import Store
from tests.browser import TILE, Server, loaded_ahead, press, saved, serving, stored, tiles, without_errors
from tests.ml import write_folder

Open = Callable[..., Page]


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    """A running app with the data sets `textures`, 3 classes of 45, and `few`, 3 classes of 3."""
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=45))
        add_dataset(store, "few", write_folder(home.root / "few", each=3, seed=1))
        for name in ("textures", "few"):
            change_settings(store, name, Settings(None, 0.0))
    with serving(home, signed_up=["Ann"]) as running:
        yield running


@pytest.fixture
def open_page(context: BrowserContext, server: Server) -> Iterator[Open]:
    """Opens a grid."""
    with without_errors(context) as open_tab:
        context.add_cookies([server.cookie("Ann")])
        yield lambda dataset="textures", view="grid": open_tab(f"{server.url}/sort?dataset={dataset}&view={view}")


def other_tiles(page: Page, before: list[str], count: int = 20) -> list[str]:
    """The next page."""
    expect(page.locator(f'.sorting .tile[data-example="{before[-1]}"]')).to_have_count(0, timeout=30_000)
    return tiles(page, count)


def selected(page: Page) -> list[int]:
    found: list[int] = page.locator(".sorting .tile:not([hidden])").evaluate_all(
        "tiles => tiles.flatMap((tile, place) => tile.ariaSelected === 'true' ? [place] : [])"
    )
    return found


def states(page: Page) -> list[str]:
    return page.locator(".sorting .tile:not([hidden]) .state").all_inner_texts()


def said(page: Page) -> Locator:
    return page.locator(".sorting .said")


# -- every key, on its images ---------------------------------------------------------------------------


def test_keys_land_on_the_images_selected_and_the_rest_on_one_press(open_page: Open, server: Server) -> None:
    page = open_page()
    page_one = tiles(page)
    press(page, "1")  # the image in focus; the focus goes on to the next
    press(page, "ArrowDown", "2")  # of the second row; on to the third there
    press(page, "Shift+ArrowRight", "Shift+ArrowDown", "3")
    press(page, "Control+a")
    chosen = [0, 6, *range(7, 14)]
    assert selected(page) == [place for place in range(20) if place not in chosen]
    press(page, "1")
    assert states(page) == ["○ easy"] * 6 + ["◐ medium"] + ["● hard"] * 7 + ["○ easy"] * 6
    page_two = other_tiles(page, page_one)  # by itself, as all have a level
    assert not set(page_one) & set(page_two)
    saved(page)
    log = stored(server, "example, level, batch, seconds, shown_at IS NOT NULL")
    levels = [(page_one[0], "easy"), (page_one[6], "medium"), *((page_one[n], "hard") for n in range(7, 14))]
    levels += [(page_one[n], "easy") for n in range(20) if n not in chosen]
    assert [row[:2] for row in log] == levels
    batches = [row[2] for row in log]
    assert [batches.count(batch) for batch in dict.fromkeys(batches)] == [1, 1, 7, 11]
    assert {row[3:] for row in log} == {(None, True)}  # no time of its own
    with Store.open(server.home) as store:
        assert assignment.queue(store, "textures", "Ann", 20, of_class="blue") == page_two  # the annotator's own order goes on
        assert assignment.left_by_class(store, "textures", "Ann") == {"blue": 25, "green": 45, "red": 45}


def test_the_mouse_selects_as_everywhere(open_page: Open, server: Server) -> None:
    page = open_page()
    examples = tiles(page)
    tile = page.locator(TILE)
    tile.nth(3).click()
    tile.nth(7).click(modifiers=["Shift"])
    assert selected(page) == [3, 4, 5, 6, 7]
    tile.nth(5).click(modifiers=["Control"])
    tile.nth(12).click(modifiers=["Control"])
    assert selected(page) == [3, 4, 6, 7, 12]
    page.get_by_role("button", name="◐ medium").click()
    tile.nth(1).click()
    assert selected(page) == [1]
    press(page, "Control+ArrowRight", "Control+ArrowDown", "Space")
    assert selected(page) == [1, 7]
    press(page, "Escape")
    assert selected(page) == []
    tile.nth(9).dblclick()
    expect(page.get_by_role("dialog", name="One image, large")).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    tile.nth(9).dblclick()
    expect(page.get_by_role("dialog", name="One image, large")).to_be_visible()
    press(page, "ArrowRight", "3")  # of the image shown large, and of no other
    expect(page.get_by_role("dialog")).to_have_count(0)
    saved(page)
    assert stored(server) == [(examples[n], "medium") for n in (3, 4, 6, 7, 12)] + [(examples[10], "hard")]


def test_a_touch_adds_to_the_selection(browser: Browser, server: Server) -> None:
    with browser.new_context(viewport={"width": 800, "height": 1100}, has_touch=True) as context:
        context.add_cookies([server.cookie("Ann")])
        page = context.new_page()
        page.goto(f"{server.url}/sort?dataset=textures&view=grid")
        examples = tiles(page)
        for place in (2, 11, 4, 11):
            page.locator(TILE).nth(place).tap()
        assert selected(page) == [2, 4]
        page.get_by_role("button", name="● hard").tap()
        saved(page)
    assert stored(server) == [(examples[2], "hard"), (examples[4], "hard")]


def test_a_key_counts_only_for_images_that_were_painted(open_page: Open, server: Server, context: BrowserContext) -> None:
    held: list[Route] = []
    holding = True

    def hold(route: Route) -> None:
        held.append(route) if holding and len(held) < 4 else route.continue_()

    context.route("**/thumb/*", hold)
    page = open_page()
    painted = tiles(page, 16)
    press(page, "Control+a", "2")
    expect(page.locator(".sorting .state:not(:empty)")).to_have_count(16)
    holding = False
    for route in held:
        route.continue_()
    late = [example for example in tiles(page) if example not in painted]
    press(page, "Control+a", "1", "3", "3", "3")  # one key too many, thrice: the page is on its way
    other_tiles(page, late)
    saved(page)
    assert stored(server) == [(example, "medium") for example in painted] + [(example, "easy") for example in late]


# -- undo ---------------------------------------------------------------------------------------------


def test_one_undo_takes_back_one_key_press_over_pages_and_a_reload(open_page: Open, server: Server) -> None:
    page = open_page()
    page_one = tiles(page)
    press(page, "3", "Control+a", "1")
    page_two = other_tiles(page, page_one)
    press(page, "Shift+ArrowRight", "2")
    press(page, "Backspace")
    assert tiles(page) == page_two
    assert selected(page) == [0, 1]  # so that another level is one key away
    press(page, "Backspace")  # the page before is back as it was
    assert other_tiles(page, page_two) == page_one
    assert selected(page) == list(range(1, 20))
    assert states(page) == ["● hard"] + [""] * 19
    press(page, "2")
    assert other_tiles(page, page_one) == page_two
    saved(page)
    page.reload()
    assert tiles(page) == page_two
    press(page, "Backspace")
    assert other_tiles(page, page_two, 19) == page_one[1:]
    expect(said(page)).to_have_text("Taken back, all 19 images of one key press in the grid.")
    press(page, "Backspace", "Backspace")
    expect(said(page)).to_have_text("There is nothing left to undo.")
    expect(page.get_by_text("0 of 135 sorted by you")).to_be_visible()
    expect(page.get_by_role("button", name="blue, 45 left")).to_be_visible()
    saved(page)
    log = stored(server, "action, batch, undoes")
    assert [row[0] for row in log] == ["label"] * 22 + ["undo"] * 21 + ["label"] * 19 + ["undo"] * 20
    batches = [row[1] for row in log if row[0] == "undo"]
    assert [batches.count(batch) for batch in dict.fromkeys(batches)] == [2, 19, 19, 1]
    with Store.open(server.home) as store:
        assert store.rows("SELECT count(*) FROM current_label") == [(0,)]


def test_one_by_one_an_undo_takes_back_the_whole_key_press_too(open_page: Open, server: Server) -> None:
    page = open_page()
    examples = tiles(page)
    press(page, "1", "Shift+ArrowRight", "Shift+ArrowRight", "3")
    saved(page)
    page.get_by_role("button", name="One by one").click()
    page.locator(".sorting .stage img[data-example]").wait_for(timeout=30_000)
    assert "view=one" in page.url
    press(page, "Backspace")
    expect(page.locator(f'.sorting img[data-example="{examples[1]}"]')).to_be_visible()
    expect(said(page)).to_have_text("Before: taken back, all 3 images of one key press in the grid")
    press(page, "2")  # here again one image at a time: the others come next
    expect(page.locator(f'.sorting img[data-example="{examples[2]}"]')).to_be_visible()
    saved(page)
    assert stored(server, "example, level", "action = 'undo'") == [(examples[n], None) for n in (1, 2, 3)]
    with Store.open(server.home) as store:
        assert store.rows("SELECT example, level FROM current_label ORDER BY seq") == [(examples[0], "easy"), (examples[1], "medium")]


def test_a_batch_that_lies_on_two_pages_of_the_history_is_still_one_undo(open_page: Open, server: Server) -> None:
    page = open_page()
    first = tiles(page)
    press(page, "Control+a", "1")
    second = other_tiles(page, first)
    press(page, "Control+a", "2")
    other_tiles(page, second, 5)
    press(page, "PageDown")
    green = tiles(page)
    press(page, "Control+a", "3")
    other_tiles(page, green)
    press(page, "1", "2")
    saved(page)
    page.reload()
    tiles(page)
    for left in (61, 60, 40, 20, 0):  # of 62 events the history's first page has 60
        press(page, "Backspace")
        expect(page.get_by_text(re.compile(f"^{left} of 135 sorted by you"))).to_be_visible()
    assert tiles(page) == first
    saved(page)
    assert len(stored(server, which="action = 'undo'")) == 62


# -- nothing lost, nothing doubled ----------------------------------------------------------------------


def test_a_lost_connection_loses_nothing(open_page: Open, server: Server, context: BrowserContext) -> None:
    page = open_page()
    examples = tiles(page)
    loaded_ahead(page, "thumb", 40)
    context.set_offline(True)
    press(page, "Shift+ArrowDown", "2", "Control+a", "1")
    second = other_tiles(page, examples)  # loaded before its turn
    press(page, "Backspace")
    assert other_tiles(page, second) == examples
    press(page, "3")
    assert other_tiles(page, examples) == second
    expect(page.locator(".sorting .badge")).to_have_text("offline, 48 waiting, nothing is lost", timeout=30_000)
    context.set_offline(False)
    saved(page)
    assert len(stored(server)) == 48
    with Store.open(server.home) as store:
        levels = dict(store.rows("SELECT example, level FROM current_label"))
        assert levels == {example: "medium" if place < 6 else "hard" for place, example in enumerate(examples)}
        assert store.rows("SELECT count(*) = count(DISTINCT id) FROM annotation") == [(True,)]


def test_a_killed_server_loses_nothing(open_page: Open, server: Server) -> None:
    page = open_page()
    examples = tiles(page)
    press(page, "Shift+ArrowDown", "2")
    loaded_ahead(page, "thumb", 40)
    server.kill()
    press(page, "Shift+ArrowRight", "3")
    page.wait_for_timeout(6000)  # by now Streamlit covers the page with its own notice: sorting goes on
    press(page, "Control+a", "1")
    second = other_tiles(page, examples)
    expect(page.locator(".sorting .badge")).to_have_text(re.compile("offline, (14|20) waiting, nothing is lost"), timeout=30_000)
    server.start()
    saved(page)
    press(page, "1")
    saved(page)
    levels = [(example, "medium" if n < 6 else "hard" if n < 8 else "easy") for n, example in enumerate(examples)]
    assert stored(server) == [*levels, (second[0], "easy")]


# -- pages and classes ----------------------------------------------------------------------------------


def test_enter_skips_what_has_no_level_and_it_comes_again_at_the_end(open_page: Open, server: Server) -> None:
    page = open_page()
    first = tiles(page)
    press(page, "2", "Enter")
    second = other_tiles(page, first)
    page.get_by_role("button", name="Next 20").click()
    expect(page.locator(f'.sorting .tile[data-example="{second[-1]}"]')).to_have_count(0)
    page.locator(TILE).nth(4).wait_for()
    third = tiles(page, page.locator(".sorting .tile:not([hidden])").count())
    assert not {*third[:5]} & {*first, *second}  # of 45 images the five fresh ones come first
    assert third[5:] == first[1 : len(third) - 4]  # then, where the server has heard of the skips by now, the oldest of these
    expect(page.get_by_text("39 skipped")).to_be_visible()
    press(page, "Backspace")
    assert other_tiles(page, third) == second
    saved(page)
    log = stored(server, "action, example")
    assert log[:40] == [("label", first[0]), *(("skip", example) for example in first[1:] + second)]
    assert [action for action, _ in log[40:]] == ["undo"] * 20


def test_the_class_stays_over_a_reload_and_gives_way_when_it_is_done(open_page: Open, server: Server) -> None:
    page = open_page("few")
    assert {example.split("/")[0] for example in tiles(page, 3)} == {"blue"}
    press(page, "PageDown")
    expect(page.locator(".sorting .question")).to_have_text("How hard is it to tell that each of these is green?")
    green = tiles(page, 3)
    page.reload()
    assert tiles(page, 3) == green
    page.get_by_role("button", name="red, 3 left").click()
    red = other_tiles(page, green, 3)
    press(page, "Control+a", "1")
    blue = other_tiles(page, red, 3)  # the next in which any are left
    assert {example.split("/")[0] for example in blue} == {"blue"}
    expect(page.get_by_role("button", name="red, 0 left")).to_contain_text("✓")
    press(page, "f", "2", "2")  # one flagged as broken, one medium
    press(page, "Enter")  # the one that is left can wait
    assert other_tiles(page, blue, 3) == green
    press(page, "1", "2", "3")
    rest = other_tiles(page, green, 1)
    assert rest[0] in blue
    press(page, "Enter")
    expect(said(page)).to_have_text("These are the last ones: no other image is left.")
    press(page, "3")
    expect(page.get_by_text("No image is left to sort. Thank you! Flagged and set aside: 1. Undo still works.")).to_be_visible()
    press(page, "Backspace")
    assert tiles(page, 1) == rest
    press(page, "1")
    expect(page.get_by_text("No image is left to sort.")).to_be_visible()
    saved(page)
    assert stored(server, "example, note", "action = 'flag'") == [(blue[0], "broken image")]
    with Store.open(server.home) as store:
        levels = dict(store.rows("SELECT example, level FROM current_label"))
    assert levels == dict.fromkeys(red, "easy") | dict(zip(green, ["easy", "medium", "hard"], strict=True)) | {
        blue[1]: "medium",
        blue[2]: "easy",
    }


def test_keys_changed_on_one_page_hold_on_the_other(open_page: Open, server: Server) -> None:
    page = open_page(view="one")
    page.locator(".sorting .stage img[data-example]").wait_for(timeout=30_000)
    for action, key in (("easy", "j"), ("back", "b"), ("hard", "ArrowLeft")):
        press(page, "?")
        page.get_by_role("button", name=f"Change the key for {action}").click()
        press(page, key, "Escape")
    page.get_by_role("button", name="Grid", exact=True).click()
    examples = tiles(page)
    press(page, "1")  # means nothing any more
    press(page, "j", "ArrowRight", "ArrowLeft", "3")  # the arrow moves here: so 3 means hard again
    press(page, "?")
    page.get_by_role("button", name="Change the key for medium").click()
    press(page, "Space")
    expect(page.locator(".sorting .told")).to_have_text(re.compile("Space (moves and selects here|means skip already)."))
    press(page, "Escape")
    saved(page)
    assert stored(server) == [(examples[0], "easy"), (examples[1], "hard")]


# -- what a person sees, and what not -------------------------------------------------------------------


def test_nothing_of_others_is_on_the_wire(open_page: Open, server: Server, context: BrowserContext) -> None:
    server.stop()
    with Store.open(server.home) as store:
        labels.add_annotator(store, "Zelda")
        for example in assignment.queue(store, "textures", "Zelda", 200):
            labels.annotate(store, "textures", example, "Zelda", "hard")
    server.start()
    answers: list[bytes] = []
    context.on("response", lambda response: answers.append(response.body()) if "/api/" in response.url else None)
    page = open_page()
    tiles(page)
    press(page, "1", "PageDown")
    saved(page)
    page.wait_for_timeout(4000)  # the counts are asked for again
    everything = b"\n".join([*answers, page.locator(".sorting").inner_html().encode()])
    assert len(answers) >= 5
    assert b"Zelda" not in everything
    assert b'"hard"' not in everything.replace(b'"hard":0', b"").replace(b'data-do="hard"', b"")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_whole_screen_fits_a_laptop(browser: Browser, server: Server, scheme: Any) -> None:
    page = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme=scheme)
    page.context.add_cookies([server.cookie("Ann")])
    page.goto(f"{server.url}/sort?dataset=textures&view=grid")
    tiles(page)
    assert page.evaluate("(main => main.scrollHeight - main.clientHeight)(document.querySelector('[data-testid=stMain]'))") <= 0
    box = page.locator(TILE).last.bounding_box()
    assert box is not None
    assert box["height"] > 120
    press(page, "3", "Shift+ArrowRight")
    assert page.locator(TILE).last.bounding_box() == box  # no step when something is marked
    expect(page.get_by_role("gridcell", name=re.compile("image 1 of 20, blue, hard"))).to_be_visible()
    expect(page.get_by_role("gridcell", selected=True)).to_have_count(2)
    expect(page.get_by_role("gridcell", name=re.compile("image 3 of 20"))).to_be_focused()
    colours = page.locator(".sorting").evaluate("node => [getComputedStyle(node).color, getComputedStyle(document.body).backgroundColor]")
    assert colours[0] != colours[1]
    page.set_viewport_size({"width": 1280, "height": 800})
    cut = page.locator(".sorting .actions button").evaluate_all("all => all.filter((one) => one.scrollWidth > one.clientWidth).length")
    assert cut == 0, "a small laptop shows every button whole"
    page.close()
