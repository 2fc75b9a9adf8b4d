"""What a lead does on the Examples and Decide pages, and what an annotator then meets: practice, example images, the key H."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from streamlit.testing.v1 import AppTest

from curriculum import adjudication, calibration, labels, people
from curriculum.app import curves, doubts, entering, gallery, pages, recipe_results, run_actions, service, why_features, why_regions
from curriculum.datasets import add_dataset
from curriculum.errors import IdentityError
from curriculum.home import Home
from curriculum.store import Store
from curriculum.vocabulary import LEVELS
from tests.browser import insist, saved, serving, settled, without_errors
from tests.conftest import PIN
from tests.ml import write_folder

ROUTER = """import streamlit as st
from curriculum.app import layout, pages, session
layout.guarded(lambda: pages.run(session.role()))
if path := st.session_state.pop("turn to", None):
    layout.go(path)
"""


@pytest.fixture
def contested(home: Home) -> Home:
    """45 images that Ana and Bo have sorted: they agree on two of three, and are two levels apart on every third easy one."""
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=15))
        for n, (example,) in enumerate(store.rows("SELECT example FROM example ORDER BY example")):
            labels.annotate(store, "textures", example, "Ana", LEVELS[n % 3])
            labels.annotate(store, "textures", example, "Bo", "hard" if n % 9 == 0 else LEVELS[n % 3])
    return home


@pytest.fixture
def opened(contested: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The app as Ana has it, who leads as Bo does; tests say which page to turn to."""
    monkeypatch.setenv("CURRICULUM_HOME", str(contested.root))
    store = service.current().store
    for name in ("Ana", "Bo"):
        people.register(store, name, PIN, "lead")
    test = AppTest.from_string(ROUTER, default_timeout=60)
    test.session_state["annotator"], test.session_state["_credential"] = "Ana", people.credential(store, "Ana")
    test.session_state["dataset"] = "textures"
    yield test
    service.close_all()


def _press(test: AppTest, label: str) -> AppTest:
    return next(button for button in test.button if button.label.startswith(label)).click().run()


def test_contested_images_are_decided_one_after_another(opened: AppTest) -> None:
    opened.session_state["turn to"] = "decide"
    opened.run()
    store = service.current().store
    first, *rest = [tab.label for tab in opened.tabs]
    assert [first, *rest] == ["Contested: 5", "Waiting for an opinion: 0", "Decided: 0"]
    assert all(button.disabled for button in opened.button if button.label.split()[-1] in LEVELS), "no decision without a reason"
    shown = next(caption.value for caption in opened.caption if caption.value.startswith("1 of 5"))
    next(box for box in opened.selectbox if box.label == "Because").select("two classes in one picture").run()
    _press(opened, "◐ medium")
    assert adjudication.decisions(store, "textures")[["level", "reason", "decided_by"]].to_numpy().tolist() == [
        ["medium", "two classes in one picture", "Ana"]
    ]
    assert next(c.value for c in opened.caption if c.value.startswith("1 of 4")) != shown
    _press(opened, "Third opinion")
    _press(opened, "Later")
    assert any(caption.value.startswith("2 of 3") for caption in opened.caption)
    _press(opened, "Compare four")
    assert len(adjudication.wishes(store, "textures", "opinion")) == len(adjudication.wishes(store, "textures", "compare")) == 1
    assert [tab.label for tab in opened.tabs] == ["Contested: 3", "Waiting for an opinion: 1", "Decided: 1"]
    assert not opened.exception


def test_a_wish_that_nobody_can_answer_says_so_and_is_withdrawn(opened: AppTest) -> None:
    opened.session_state["turn to"] = "decide"
    _press(opened.run(), "Third opinion")
    assert "waits for somebody new" in opened.toast[0].value
    assert [tab.label for tab in opened.tabs] == ["Contested: 4", "Waiting for an opinion: 1", "Decided: 0"]
    assert "1 of these waits for nobody" in opened.warning[0].value, "Ana and Bo have both sorted it"
    people.register(service.current().store, "Cy", PIN)
    opened.run()
    assert not opened.warning
    (table,) = (shown.value for shown in opened.dataframe if "able" in shown.value)
    assert table["able"].tolist() == ["Cy"]
    opened.session_state["_waiting"] = {"selection": {"rows": [0]}}
    opened.run()
    _press(opened, "Withdraw 1 wish")
    assert [tab.label for tab in opened.tabs] == ["Contested: 5", "Waiting for an opinion: 0", "Decided: 0"]
    assert not opened.exception


def test_after_a_taking_back_no_other_row_is_selected(opened: AppTest) -> None:
    store = service.current().store
    contested = labels.vote_counts(store, "textures", divided=True).index[:3].tolist()
    adjudication.decide(store, "textures", "Ana", dict.fromkeys(contested, LEVELS[0]), "clear")
    opened.session_state["turn to"] = "decide"
    opened.session_state["_decided"] = {"selection": {"rows": [0]}}
    opened.run().run()
    _press(opened, "Take back 1")
    assert len(adjudication.decisions(store, "textures")) == 2
    assert next(button for button in opened.button if button.label.startswith("Take back")).disabled


def test_examples_are_left_out_of_what_is_sent_for_an_opinion(opened: AppTest) -> None:
    store = service.current().store
    names = [row[0] for row in store.rows("SELECT example FROM example ORDER BY example")]
    calibration.choose(store, "textures", "Ana", "anchor", {names[0]: "easy", names[1]: "medium"}, "clear")
    page = AppTest.from_string(f"from curriculum.app import gallery\ngallery.send_buttons('textures', {names[:5]}, 'here')")
    for key in ("annotator", "_credential"):
        page.session_state[key] = opened.session_state[key]
    _press(page.run(), "Third opinion on 5")
    assert page.toast[0].value.startswith("3 images come first to whoever hasn't sorted them from now on. 2 left out: nobody is asked")
    assert set(adjudication.wishes(store, "textures", "opinion")["example"]) == set(names[2:5])
    _press(page, "Compare four on 5")
    assert page.toast[0].value == "5 images are among the fours that people order from now on."


def test_a_lead_takes_flags_back(opened: AppTest) -> None:
    store = service.current().store
    names = [row[0] for row in store.rows("SELECT example FROM example ORDER BY example LIMIT 2")]
    adjudication.flag(store, "textures", "Ana", names)
    opened.session_state["turn to"] = "errors"
    opened.run().run()
    opened.multiselect(key="_unflagged_textures").select(names[0]).run()
    _press(opened, "Take back 1 flag")
    assert adjudication.flags(store, "textures", "Ana") == names[1:]
    assert "Flagged by you: 1" in [header.value for header in opened.subheader]
    assert not opened.exception


def test_examples_are_suggested_exchanged_and_complete(opened: AppTest) -> None:
    opened.session_state["turn to"] = "examples"
    _press(opened.run(), "Choose the rest")
    store = service.current().store
    before = calibration.calibration_images(store, "textures")
    assert calibration.missing(before) == {}
    assert "Complete" in opened.success[0].value
    out = opened.multiselect(key="_out_anchor_easy")
    gone = out.options[0]
    out.select(out.options[0]).run()
    _press(opened, "Take out 1")
    assert "examples: 1 easy" in opened.info[0].value
    opened.text_input(key="_why_easy").set_value("nothing else looks like it").run()
    _press(opened, "Take")
    after = calibration.calibration_images(store, "textures")
    assert calibration.missing(after) == {}
    assert gone and "nothing else looks like it" in after["reason"].tolist()
    assert not opened.exception


# -- who leads no more ---------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "label"), [("decide", "◐ medium"), ("decide", "Third"), ("decide", "Compare"), ("examples", "Take")])
def test_who_led_a_moment_ago_does_nothing_more_on_an_open_page(opened: AppTest, page: str, label: str) -> None:
    opened.session_state["turn to"] = page
    store = service.current().store
    _with_a_reason(opened)
    people.set_role(store, "Ana", "annotator")
    before = store.changes
    _press(opened, label)
    assert store.changes == before
    assert [title.value for title in opened.title] == ["This page is for leads"]
    assert "Bo can make you a lead" in opened.info[0].value
    assert not opened.exception
    people.set_role(store, "Ana", "lead")
    before = store.changes
    _press(_with_a_reason(opened), label)
    assert store.changes > before, "the same click counts for who leads"


def _with_a_reason(test: AppTest) -> AppTest:
    for box in test.run().selectbox:
        if box.label == "Because":
            box.select("most are right").run()
    return test


def test_a_file_is_made_for_who_leads_at_the_click(opened: AppTest) -> None:
    page = AppTest.from_string(
        "import streamlit as st\nfrom curriculum.app import session\nst.session_state['file'] = session.file_for_leads(lambda: b'all')"
    )
    for key in ("annotator", "_credential"):
        page.session_state[key] = opened.session_state[key]
    file, store = page.run().session_state["file"], service.current().store
    assert file() == b"all"
    people.set_role(store, "Ana", "annotator")
    with pytest.raises(IdentityError, match="only who leads"):
        file()
    people.set_role(store, "Ana", "lead")
    assert file() == b"all"
    people.reset_pin(store, "Ana")
    with pytest.raises(IdentityError, match="only who leads"):
        file()


def _unchecked(module: ModuleType) -> set[str]:
    """The functions of a page that Streamlit runs without the router and that don't look for themselves who it is."""
    tree = ast.parse(inspect.getsource(module))
    functions = {one.name: ast.unparse(ast.List(one.decorator_list)) for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    called = {name for name, decorators in functions.items() if "st.fragment" in decorators or "st.dialog" in decorators}
    called |= {
        ast.unparse(one.args[0]) for one in ast.walk(tree) if isinstance(one, ast.Call) and one.args and ast.unparse(one.func) == "st.fragment"
        and not ast.unparse(one.args[0]).startswith("session.for_leads(")
    }  # fmt: skip
    called |= {ast.unparse(one.value) for one in ast.walk(tree) if isinstance(one, ast.keyword) and str(one.arg).startswith("on_")}
    return {name for name in called - {"'rerun'", "'ignore'"} if "session.for_leads" not in functions.get(name, "")}


SHOWN = [inspect.getmodule(page) for page, *_ in pages.FOR_LEADS] + [
    curves,
    run_actions,
    recipe_results,
    entering,
    gallery,
    doubts,
    why_regions,
    why_features,
]


@pytest.mark.parametrize("module", SHOWN, ids=lambda module: module.__name__)
def test_what_runs_without_the_router_is_for_leads_too(module: ModuleType) -> None:
    assert _unchecked(module) == set()


def test_a_backup_is_not_gone_back_to_by_who_leads_no_more(contested: Home, browser: Browser) -> None:
    with Store.open(contested) as store:
        for name in ("Ana", "Bo"):
            labels.add_annotator(store, name)
            people.set_role(store, name, "lead")
    with serving(contested, signed_up=["Ana", "Bo"]) as server:
        tabs = []
        for name, path in (("Ana", "labels"), ("Bo", "people")):
            context = browser.new_context(viewport={"width": 1366, "height": 900})
            context.add_cookies([server.cookie(name)])
            tabs.append(context.new_page())
            tabs[-1].goto(f"{server.url}/{path}?dataset=textures")
        ana, bo = tabs
        ana.get_by_role("button", name="Back up everything now").click(timeout=60_000)
        ana.get_by_role("button", name="Go back to this one").click(timeout=30_000)
        ana.get_by_role("dialog").wait_for(timeout=30_000)
        settled(ana)
        bo.get_by_label("Who", exact=True).click(timeout=60_000)
        bo.get_by_role("option", name="Ana").click()
        bo.get_by_role("button", name="Make annotator").click(timeout=30_000)
        expect(bo.get_by_text("Ana is an annotator now")).to_be_visible(timeout=30_000)
        ana.get_by_role("button", name="Go back", exact=True).click()
        expect(ana.get_by_role("heading", name="This page is for leads")).to_be_visible(timeout=30_000)
    with Store.open(contested) as store:
        assert people.role_of(store, "Ana") == "annotator"  # in the backup she leads


# -- practice ------------------------------------------------------------------------------------


def _practise(page: Page, level: str) -> None:
    """Enter begins; then all fifteen with one key; the same key twice at once answers one image, not two."""
    answer, go_on = page.get_by_role("button", name="easy"), page.get_by_role("button", name="Next")
    for left in range(15, 0, -1):
        insist(page, ["Enter"], lambda: expect(answer).to_be_visible(timeout=10_000))
        expect(go_on).to_have_count(0, timeout=30_000)  # what was said of the one before has left the page
        expect(page.get_by_text(f"Practice: {left} of 15 to go")).to_be_visible(timeout=30_000)
        insist(page, [level, level], lambda: expect(answer).to_have_count(0, timeout=10_000))
        go_on.wait_for()
    insist(page, ["Enter"], lambda: expect(go_on).to_have_count(0, timeout=10_000))


def test_an_annotator_practises_first_and_has_the_examples_at_hand(contested: Home, context: BrowserContext) -> None:
    with Store.open(contested) as store:
        calibration.suggest(store, "textures", "Ana")
    with serving(contested, signed_up=["Ana", "Dan"]) as server:
        context.add_cookies([server.cookie("Dan")])
        with without_errors(context) as open_tab:
            page = open_tab(f"{server.url}/sort?dataset=textures")
            expect(page.get_by_role("heading", name="What do easy, medium and hard mean here?")).to_be_visible(timeout=60_000)
            expect(page.locator(".gallery img")).to_have_count(9)
            expect(page.get_by_role("button", name="Sort images")).to_have_count(0)  # not before the practice
            _practise(page, "1")
            expect(page.get_by_text("5 of 15")).to_be_visible()
            expect(page.get_by_text("1.0 levels easier")).to_be_visible()
            insist(page, ["Enter"], lambda: expect(page.locator(".sorting img[data-example]")).to_be_visible(timeout=10_000))
            assert page.locator(".levels img:visible").count() == 3
            page.keyboard.press("h")
            expect(page.locator("dialog.examples img")).to_have_count(9)
            page.keyboard.press("1")  # no answer while the examples cover the image
            page.keyboard.press("h")
            expect(page.locator("dialog.examples")).to_be_hidden()
            page.keyboard.press("2")
            saved(page)
            page.get_by_role("button", name="Examples and practice").click()
            expect(page.get_by_role("button", name="Practise with 15 images")).to_be_visible()
            back = page.locator(".sorting img[data-example]")
            insist(page, ["Escape"], lambda: expect(back).to_be_visible(timeout=10_000))  # who has practised may skip it
    with Store.open(contested) as store:
        assert store.rows("SELECT action, level FROM annotation WHERE annotator = 'Dan'") == [("label", "medium")]
        assert calibration.practice_results(store, "textures", "Dan")[["answers", "same", "harder"]].to_numpy().tolist() == [[15, 5, -1]]
