"""Which pages there are, and who gets which: nobody signed in Start, annotators Sort too, leads all.

Where a page isn't for this person, its address shows a hint instead: nothing of the page itself is run. What Streamlit runs
before this or without it, such as a button's callback, asks for itself: `session.for_leads`.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from curriculum import people as team_members
from curriculum.app import (
    comparison,
    decide,
    errors,
    examples,
    gate,
    health,
    human_model,
    labels,
    layout,
    people,
    recipes,
    runs,
    sign_in,
    sort,
    start,
    team,
    train,
    why,
)
from curriculum.people import Role

START, SORT = (start.page, "Start", ":material/home:", ""), (sort.page, "Sort", ":material/sort:", "sort")
FOR_LEADS = (
    (team.page, "Team", ":material/group:", "team"),
    (examples.page, "Examples", ":material/school:", "examples"),
    (decide.page, "Decide", ":material/gavel:", "decide"),
    (people.page, "People", ":material/badge:", "people"),
    (labels.page, "Labels", ":material/label:", "labels"),
    (human_model.page, "Human and model", ":material/compare:", "human-model"),
    (train.page, "Train", ":material/model_training:", "train"),
    (runs.page, "Runs", ":material/query_stats:", "runs"),
    (comparison.page, "Comparison", ":material/balance:", "comparison"),
    (recipes.page, "Recipes", ":material/science:", "recipes"),
    (errors.page, "Errors", ":material/error_outline:", "errors"),
    (why.page, "Why", ":material/visibility:", "why"),
    (health.page, "Health", ":material/monitor_heart:", "health"),
)
Entry = tuple[Callable[[], None], str, str, str]


def allowed(role: Role | None) -> tuple[Entry, ...]:
    """The pages of a role: function, title, icon, address."""
    return (START, *((SORT,) if role else ()), *(FOR_LEADS if role == "lead" else ()))


def run(role: Role | None) -> None:
    """Show the page of the address, or why it can't be shown."""
    mine = allowed(role)
    if context := get_script_run_ctx():
        gate.note(context.session_id, role == "lead")
    shown = [st.Page(function, title=title, icon=icon, url_path=path, default=not path) for function, title, icon, path in mine]
    hint = _needs_lead if role else _needs_name
    others = [
        st.Page(hint, title=title, icon=icon, url_path=path, visibility="hidden")
        for function, title, icon, path in (SORT, *FOR_LEADS)
        if path not in {entry[3] for entry in mine}
    ]
    layout.register_pages(shown)
    layout.guarded(st.navigation([*shown, *others], expanded=True).run)


def _needs_name() -> None:
    st.title("Sign in")
    with st.columns(2)[0]:
        sign_in.form()


def _needs_lead() -> None:
    st.title("This page is for leads")
    leads = [layout.plain(person.name) for person in team_members.list_people(layout.store()) if person.role == "lead"]
    st.info(f"You sort as an annotator. {' or '.join(leads)} can make you a lead, on the page People.", icon=":material/lock:")
    layout.link("sort", "Sort images", ":material/sort:")
