"""The Labels page in a real Chromium: files in and out, an image's life, the labels as they were, a backup."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from curriculum import assignment, labels
from curriculum.backup import restore
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.store import Store
from tests.browser import serving, settled
from tests.ml import write_folder


def _download(page: Page, folder: Path, name: str) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Download {name}").click()
    assert waiting.value.suggested_filename == name
    path = folder / name
    waiting.value.save_as(path)
    return path


def _upload(page: Page, path: Path) -> None:
    page.locator("input[type=file]").set_input_files(path)
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Import", exact=True).click()


def test_labels_go_out_and_come_back(home: Home, browser: Browser, tmp_path: Path) -> None:
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=10))
        first, second = assignment.queue(store, "textures", "Ann", 2)
        labels.annotate(store, "textures", first, "Ann", "easy")
        labels.annotate(store, "textures", first, "Ann", "hard")
        labels.undo(store, "textures", "Ann")
        before = store.rows("SELECT seq, id, example, action, level, undoes FROM annotation ORDER BY seq")
    with serving(home, signed_up=["Ann"]) as server, browser.new_context(viewport={"width": 1366, "height": 1200}) as context:
        page = context.new_page()
        context.add_cookies([server.cookie("Ann")])
        page.goto(f"{server.url}/labels?dataset=textures")
        expect(page.get_by_text("1 levels on 1 images were in force.")).to_be_visible(timeout=60_000)
        expect(page.get_by_text(first).first).to_be_visible()
        out = _download(page, tmp_path, "textures-labels.csv")
        header, line = out.read_text().splitlines()
        assert header.startswith("example,annotator,level")
        assert line.startswith(f"{first},Ann,easy")

        page.get_by_text("everything that was ever done").first.click()
        expect(page.get_by_role("radio", name="everything that was ever done").first).to_be_checked()
        log = _download(page, tmp_path, "textures-log.csv")
        assert len(log.read_text().splitlines()) == 4  # a level, another, the undo

        bad = tmp_path / "bad.csv"
        bad.write_text(f"example,annotator,level\n{second},Bob,easy\nnowhere.png,Bob,tricky\n")
        _upload(page, bad)
        expect(page.get_by_text("line 3")).to_be_visible()
        expect(page.get_by_text("nothing was imported")).to_be_visible()
        good = tmp_path / "good.csv"
        good.write_text(f"example,annotator,level\n{second},Bob,easy\n")
        page.reload()
        _upload(page, good)
        expect(page.get_by_text("1 read, 1 were new.")).to_be_visible()

        page.get_by_role("button", name="Back up everything now").click()
        expect(page.get_by_text("The whole database is backed up in")).to_be_visible()
        third = tmp_path / "third.csv"
        third.write_text(f"example,annotator,level\n{second},Cem,hard\n")
        page.reload()
        _upload(page, third)
        expect(page.get_by_text("1 read, 1 were new.")).to_be_visible()
        settled(page)
        page.get_by_role("button", name="Go back to this one").click()
        page.get_by_role("button", name="Go back", exact=True).click()
        expect(page.get_by_text("Done. What was there is kept as")).to_be_visible()
        page.reload()
        expect(page.get_by_text("2 levels on 2 images were in force.")).to_be_visible(timeout=30_000)  # Cem's isn't
    (saved,) = (home.labels / "backups").iterdir()
    with Store.open(home) as store:
        assert store.rows("SELECT example, level FROM current_label WHERE annotator = 'Bob'") == [(second, "easy")]
        assert store.rows("SELECT seq, id, example, action, level, undoes FROM annotation WHERE annotator = 'Ann' ORDER BY seq") == before
        labels.annotate(store, "textures", second, "Ann", "hard")
    restore(home, saved)
    with Store.open(home) as store:
        assert store.rows("SELECT count(*) FROM annotation") == [(len(before) + 1,)]
