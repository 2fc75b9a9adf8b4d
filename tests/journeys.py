"""What a lead finds on each page of the app, and presses there: for `test_every_page`, whose home has something to show on each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page, expect

from tests.browser import saved, settled, shown


@dataclass(frozen=True)
class Journey:
    """A page's title, words that stand on it only where it has something to show, and what its main button does."""

    title: str
    content: str
    press: Callable[[Page], None]


def _button(page: Page, name: str | re.Pattern[str], *, exact: bool = True) -> None:
    page.get_by_role("button", name=name, exact=exact).first.click(timeout=30_000)


def _see(page: Page, words: str | re.Pattern[str]) -> None:
    expect(page.get_by_text(words).first).to_be_visible(timeout=30_000)


def _titled(page: Page, title: str) -> None:
    expect(page.get_by_role("heading", name=title)).to_be_visible(timeout=30_000)


def _start(page: Page) -> None:
    page.get_by_role("link", name=re.compile("Compare with the model's ranking")).click()
    _titled(page, "Do we find hard what it finds hard?")


def _sort(page: Page) -> None:
    before = shown(page)
    page.keyboard.press("2")
    expect(page.locator(f'.sorting img[data-example="{before}"]')).to_have_count(0)
    saved(page)


def _team(page: Page) -> None:
    page.get_by_text("How we sort").click()
    _button(page, "Save")
    _see(page, "Saved. It holds from the next image on")


def _examples(page: Page) -> None:
    _button(page, "Choose the rest for me")
    _see(page, re.compile("images were chosen|nothing to choose from"))


def _decide(page: Page) -> None:
    _button(page, "Third opinion", exact=False)  # its name has its key too
    expect(page.get_by_role("tab", name=re.compile("Waiting for an opinion: [1-9]"))).to_be_visible(timeout=30_000)


def _people(page: Page) -> None:
    page.get_by_label("Who", exact=True).click()
    page.get_by_role("option", name="Cem", exact=True).click()
    settled(page)
    _button(page, re.compile("Make (lead|annotator)"))
    _see(page, re.compile("Cem is (a lead|an annotator) now"))


def _labels(page: Page) -> None:
    _button(page, "Back up everything now")
    _see(page, "The whole database is backed up in")


def _human_model(page: Page) -> None:
    """To begin with; `test_journey` ranks."""
    page.get_by_text("Rank again with other weights").click()
    expect(page.get_by_role("button", name="Rank the images")).to_be_enabled(timeout=30_000)


def _train(page: Page) -> None:
    """To begin with; `test_journey` trains."""
    page.get_by_text("Self-paced", exact=True).click()
    expect(page.get_by_role("button", name="Train 45 images, self-paced")).to_be_enabled(timeout=30_000)


def _runs(page: Page) -> None:
    _button(page, "Title and note")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Title", exact=True).fill("by hand")
    dialog.get_by_label("Title", exact=True).press("Enter")
    settled(page)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0, timeout=30_000)


def _comparison(page: Page) -> None:
    with page.expect_download(timeout=60_000) as waiting:
        _button(page, "Report")
    assert waiting.value.suggested_filename.endswith(".html")


def _recipes(page: Page) -> None:
    _button(page, "See the run")
    _titled(page, "What did it do?")


def _errors(page: Page) -> None:
    page.get_by_role("tab", name="The same images in other runs").click()
    _see(page, re.compile("Fixed|only finished run"))


def _why(page: Page) -> None:
    page.get_by_text("all of test", exact=True).click()
    settled(page)
    before = page.url
    page.get_by_role("button", name=re.compile("^(Next|Back)$"), disabled=False).first.click()
    page.wait_for_url(lambda url: url != before, timeout=30_000)


def _health(page: Page) -> None:
    _button(page, "Look again")
    settled(page)
    _see(page, "looked at")


JOURNEYS = {
    "": Journey("Easy, medium, hard: does the order help?", "What next", _start),
    "sort": Journey("", "sorted by you", _sort),
    "team": Journey("Do we agree?", "Annotators", _team),
    "examples": Journey("What do easy, medium and hard mean here?", "Still to be chosen", _examples),
    "decide": Journey("Which level is it?", "Is it hard to tell that this is", _decide),
    "people": Journey("Who is here?", "Change somebody", _people),
    "labels": Journey("What was said, and when?", "were in force", _labels),
    "human-model": Journey("Do we find hard what it finds hard?", "Spearman's rho", _human_model),
    "train": Journey("Train in that order, or self-paced", "Levels from", _train),
    "runs": Journey("What did it do?", "Test accuracy", _runs),
    "comparison": Journey("Did the order help?", "Delete this comparison", _comparison),
    "recipes": Journey("What did the reports find, and what do we?", "See the run", _recipes),
    "errors": Journey("What is still wrong?", "test images are misclassified", _errors),
    "why": Journey("Why does it say so?", "The model says", _why),
    "health": Journey("Is all well?", "looked at", _health),
}
"""By the page's address."""
