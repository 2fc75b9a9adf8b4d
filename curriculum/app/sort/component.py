"""The sorting component, one by one, as a grid or four at a time: HTML, CSS and JavaScript as files, put together once, and what the page hands over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import streamlit as st

VIEWS = {
    "one": ("sort.html", "sort.css", ("watch.js", "sort.js")),
    "grid": ("grid.html", "grid.css", ("select.js", "board.js", "grid.js")),
    "four": ("four.html", "four.css", ("watch.js", "fours.js", "four.js")),
}
"""The ways of sorting, and what each adds to what they share."""
SCRIPTS = ("outbox.js", "keys.js", "queue.js", "past.js", "dialogs.js", "screen.js")
"""Shared, in this order, before a view's own: Streamlit takes a single text."""


def _read(*names: str) -> str:
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


def _declare(view: str) -> Callable[..., object]:
    html, css, scripts = VIEWS[view]
    whole = _read("frame.html").replace("<!-- screen -->", _read(html))
    return st.components.v2.component(f"sorting_{view}", html=whole, css=_read("frame.css", css), js=_read(*SCRIPTS, *scripts))


_components = {view: _declare(view) for view in VIEWS}


def sorting(
    view: str, tokens: Mapping[str, str], annotator: str, dataset: str, classes: Mapping[str, str], anchors: Sequence[Mapping[str, str]]
) -> None:
    """Show the component: all that it is told is who sorts what, the classes with the names that people give them, and the
    lead's examples: level, class, title (of the class), thumb (address), reason. `tokens`: by data set, as answers to others
    than this one may wait in the browser.

    Images, progress and history it asks of `api`. Where it asks for another view, the page runs anew with that one.
    """
    key = f"sorting_{view}"

    def change() -> None:
        st.session_state["view"] = st.session_state[key]["view"]

    data = {
        "token": tokens[dataset], "tokens": dict(tokens), "annotator": annotator, "dataset": dataset, "classes": list(classes.items()), "anchors": list(anchors),
        "recognised": bool(st.session_state.get("recognised")),  # by the browser's cookie, not by a sign-in in this very tab
    }  # fmt: skip
    _components[view](key=key, data=data, on_view_change=change)
