"""Tables that a spreadsheet opens: nothing that somebody typed becomes a formula, and nothing else changes."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from curriculum.home import Home
from curriculum.spreadsheet import to_csv, without_formulas
from tests.browser import serving

BEGINNINGS = "=+-@＝＋－＠\t\r\n"


def test_a_formula_in_a_cell_is_text() -> None:
    frame = pd.DataFrame({"annotator": ['=HYPERLINK("http://x")', "Ana", None, "-1+2"], "difference": [-0.5, 1.0, None, 2.0]})
    read = pd.read_csv(io.BytesIO(to_csv(frame)))
    assert read["annotator"].tolist()[:2] == ['\'=HYPERLINK("http://x")', "Ana"]
    assert read["annotator"].tolist()[3] == "'-1+2"
    assert read["difference"].tolist()[0] == -0.5


@pytest.mark.parametrize("kind", ["object", "string", "category"])
def test_names_of_columns_and_rows_too_whatever_holds_the_texts(kind: str) -> None:
    frame = pd.DataFrame({"=1+A1": pd.Series(["@SUM(A1)", "dog"], ["+x", "b"], dtype=kind), "n": [-1, 2]}, index=["+x", "b"])
    safe = without_formulas(frame)
    assert safe.columns.tolist() == ["'=1+A1", "n"]
    assert safe.index.tolist() == ["'+x", "b"]
    assert safe["'=1+A1"].tolist() == ["'@SUM(A1)", "dog"]
    assert safe["n"].tolist() == [-1, 2]
    assert frame.iloc[0, 0] == "@SUM(A1)", "the table that was given stays as it is"


@given(
    st.lists(
        st.one_of(
            st.text(max_size=8),
            st.sampled_from(BEGINNINGS).flatmap(lambda first: st.text(max_size=8).map(first.__add__)),
            st.none(),
            st.integers(),
        )
    )
)
def test_no_text_begins_like_a_formula_and_all_else_stays(values: list[object]) -> None:
    safe = without_formulas(pd.DataFrame({"value": pd.Series(values, dtype=object)}))["value"].tolist()
    assert len(safe) == len(values)
    for before, after in zip(values, safe, strict=True):
        assert after == before or (isinstance(before, str) and after == f"'{before}" and before.lstrip("'")[0] in BEGINNINGS)
        if isinstance(after, str) and after and after[0] in BEGINNINGS:
            assert not any(sign.isalpha() for sign in after), "figures alone compute nothing"


@pytest.mark.parametrize("figure", ["-3.5", "+0.12 [-0.1, 0.3]", "-", "-4.9 %", "-1 (2)"])
def test_figures_stay_figures(figure: str) -> None:
    assert without_formulas(pd.DataFrame({"difference": [figure]})).iloc[0, 0] == figure


def test_the_download_that_a_table_on_a_page_offers(browser: Browser, home: Home, tmp_path: Path) -> None:
    script = tmp_path / "table.py"
    script.write_text(
        textwrap.dedent("""
        import pandas as pd
        from curriculum.app import layout
        layout.table(pd.DataFrame({"image": ["=cmd|' /C calc'!A0", "a/a0.jpg"], "loss": [-0.5, 1.5]}), hide_index=True)
    """)
    )
    with serving(home, app=script) as server, browser.new_context(accept_downloads=True) as context:
        page = context.new_page()
        page.add_init_script("delete window.showSaveFilePicker")  # it would ask where to
        page.goto(server.url)
        page.get_by_test_id("stDataFrame").hover()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download as CSV").click()
        assert Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines() == [
            "image,loss",
            "'=cmd|' /C calc'!A0,-0.5",
            "a/a0.jpg,1.5",
        ]
