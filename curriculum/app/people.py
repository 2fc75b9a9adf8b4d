"""People, for who leads: who is here, who leads, and a way on for who forgot the PIN."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from curriculum import people
from curriculum.app import layout
from curriculum.errors import CurriculumError
from curriculum.people import Person


def page() -> None:
    st.title("Who is here?")
    everybody = people.list_people(layout.store())
    layout.table(
        pd.DataFrame([{
            "name": person.name, "role": person.role, "signs in with": {"not yet": "nothing yet"}.get(person.signs_in, person.signs_in),
            "labels": person.labels, "here since": person.since, "last seen": person.last_seen,
        } for person in everybody]),
        hide_index=True,
        placeholder="",
        column_config={
            "labels": st.column_config.NumberColumn(format="localized", help="In force now, of all data sets."),
            "here since": st.column_config.DatetimeColumn(format="YYYY-MM-DD"),
            "last seen": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", help="When an answer of theirs was last stored."),
        },
    )  # fmt: skip
    st.caption(
        "Who is new registers on the start page and begins as an annotator, who sees Start and Sort alone. Whoever leads sees every page. "
        "A name that signs in with nothing yet belongs to the first who chooses a PIN for it."
    )
    _change(everybody)


def _change(everybody: list[Person]) -> None:
    st.header("Change somebody")
    if said := st.session_state.pop("_changed", None):
        st.success(said, icon=":material/check:")
    name = st.selectbox("Who", [person.name for person in everybody], index=None, placeholder="A name", width=360)
    person = next((one for one in everybody if one.name == name), None)
    if person is None:
        return
    with st.container(horizontal=True):
        other: people.Role = "annotator" if person.role == "lead" else "lead"
        if st.button(f"Make {other}", icon=":material/swap_vert:"):
            _do(
                lambda: people.set_role(layout.store(), person.name, other),
                f"{person.name} is {_article(other)} now, from the next page on.",
            )
        if st.button("Reset the PIN", icon=":material/lock_reset:", disabled=person.signs_in != "PIN"):
            _do(
                lambda: people.reset_pin(layout.store(), person.name),
                f"{person.name} is signed out everywhere and chooses a new PIN under First time here: best at once, before anybody else does.",
            )


def _article(role: people.Role) -> str:
    return "a lead" if role == "lead" else "an annotator"


def _do(work: Callable[[], None], said: str) -> None:
    try:
        work()
    except CurriculumError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    st.session_state["_changed"] = layout.plain(said)
    st.rerun()
