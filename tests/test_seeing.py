"""From a chart to its images and to one image, in a real Chromium: a cell, a frame, a press on a tile, a wish, a flag."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from curriculum import adjudication, labels
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.store import Store
from curriculum.vocabulary import LEVELS
from tests.browser import Server, serving, settled, stored
from tests.ml import write_folder


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    """45 images whose levels and difficulties rise together, but for one that is easy for Ana and the hardest for the model, which takes it for
    another class."""
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=15))
        names = [row[0] for row in store.rows("SELECT example FROM example ORDER BY example")]
        odd = names[0]
        for n, name in enumerate(names):
            labels.annotate(store, "textures", name, "Ana", LEVELS[n // 15])
        with store.write() as cursor:
            cursor.execute("""INSERT INTO run (run_id, kind, dataset, mode, seed, config, state, created_at)
                              VALUES ('ranked', 'score', 'textures', 'oof_loss', 0, '{"weights": "none", "image_size": 32}', 'done', now())""")
            place = {name: list("bgr").index(name[0]) for name in names}
            store.insert(cursor, "score", pd.DataFrame([
                {"run_id": "ranked", "dataset": "textures", "example": name, "method": "oof_loss", "seed": 0, "value": n / 10,
                 "difficulty": 1.0 if name == odd else n / 50, "predicted": "red" if name == odd else name.split("/")[0],
                 "probability_true": 0.05 if name == odd else 0.9,
                 "probabilities": [0.05, 0.05, 0.9] if name == odd else [0.9 if i == place[name] else 0.05 for i in range(3)]}
                for n, name in enumerate(names)
            ]))  # fmt: skip
    with serving(home, signed_up=["Ana"]) as running:
        yield running


def open_page(browser: Browser, server: Server, path: str) -> Page:
    tab = browser.new_page(viewport={"width": 1366, "height": 1500})
    tab.context.add_cookies([server.cookie("Ana")])
    tab.goto(f"{server.url}/{path}?dataset=textures")
    tab.wait_for_selector("h1", timeout=60_000)
    settled(tab)
    return tab


def test_from_charts_to_images_to_a_wish_and_a_flag(browser: Browser, server: Server) -> None:
    tab = open_page(browser, server, "human-model")
    tiles = tab.locator(".tile").filter(has_text="says")
    expect(tab.get_by_text("easy for people, hard for the model · 1")).to_be_visible()
    expect(tiles).to_have_count(1)
    expect(tiles.first).to_contain_text("model: 1.00, says red")

    table = tab.locator("[data-testid=stVegaLiteChart]").nth(1).locator("canvas, svg").first.bounding_box()
    assert table
    tab.mouse.click(table["x"] + table["width"] * 0.85, table["y"] + table["height"] * 0.85)  # hard for both
    expect(tab.get_by_text("chosen in the charts · 14")).to_be_visible()
    expect(tiles).to_have_count(14)

    points = tab.locator("[data-testid=stVegaLiteChart]").nth(0).locator("canvas, svg").first.bounding_box()
    assert points
    corners = [(points["x"] + points["width"] * x, points["y"] + points["height"] * y) for x, y in ((0.2, 0.01), (0.48, 0.2))]
    tab.mouse.move(*corners[0])
    tab.mouse.down()
    tab.mouse.move(*corners[1], steps=4)
    tab.mouse.up()
    expect(tab.get_by_text("chosen in the charts · 1", exact=True)).to_be_visible()
    expect(tiles).to_have_count(1)

    settled(tab)
    tiles.first.click()
    closer = tab.get_by_role("dialog")
    expect(closer.get_by_text("○ easy: Ana")).to_be_visible(timeout=30_000)
    expect(closer.get_by_text("Class blue. People's level ○ easy (1 of 1 say so).")).to_be_visible()
    closer.get_by_role("button", name="Third opinion").click()
    expect(tab.get_by_text("1 images come first to whoever hasn't sorted them from now on.")).to_be_visible()
    tab.close()

    tab = open_page(browser, server, "errors")
    expect(tab.get_by_text(re.compile("^1 of the images look"))).to_be_visible(timeout=30_000)
    tab.get_by_role("combobox", name="Flag as wrong class").click()
    tab.get_by_role("option", name="blue/000.png").click()
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Flag 1 images").click()
    expect(tab.locator(".tile").first).to_contain_text("flagged")
    expect(tab.locator(".tile").first).not_to_contain_text("not flagged")
    tab.close()
    assert stored(server, "example, note, source", "action = 'flag'") == [("blue/000.png", "wrong class", "team")]
    with Store.open(server.home) as store:
        assert adjudication.wishes(store, "textures", "opinion")["example"].tolist() == ["blue/000.png"]
