"""Decide: the lead looks at one contested image after another, settles its level with a reason, or asks for one opinion more."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from curriculum import adjudication, consensus, datasets, evidence, labels
from curriculum.app import gallery, layout, session
from curriculum.datasets import Dataset
from curriculum.vocabulary import LEVELS, Level

SHORTCUT = {"easy": "1", "medium": "2", "hard": "3"}
REASONS = (
    "most are right",
    "typical of its class",
    "two classes in one picture",
    "blurred, dark or covered",
    "the class itself is doubtful",
)
"""Offered until the team's own reasons are there, and beside them."""


def page() -> None:
    st.title("Which level is it?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    lead = str(st.session_state["annotator"])
    divided = labels.vote_counts(layout.store(), dataset.name, divided=True)
    decided, wishes = adjudication.decisions(layout.store(), dataset.name), adjudication.wishes(layout.store(), dataset.name, "opinion")
    waiting = wishes[~wishes["answered"]]
    contested = consensus.contested(divided)
    contested = contested[~contested["example"].isin([*decided["example"], *waiting["example"]])]
    queue, sent, done = st.tabs(
        [f"Contested: {len(contested):,}", f"Waiting for an opinion: {len(waiting):,}", f"Decided: {len(decided):,}"]
    )
    with queue:
        _queue(dataset, lead, contested, anything=not divided.empty or bool(layout.store().rows(layout.WHO_LABELLED, [dataset.name])))
    with sent:
        _waiting(dataset.name, waiting)
    with done:
        _decided(dataset, lead, decided)


# -- one after another ---------------------------------------------------------------------------


def _queue(dataset: Dataset, lead: str, contested: pd.DataFrame, *, anything: bool) -> None:
    if not anything:
        st.info("Nobody has sorted an image of this data set yet.", icon=":material/group:")
        layout.link("sort", "Sort images", ":material/sort:")
        return
    if contested.empty:
        st.success("No image is left that people disagree on and nobody has decided.", icon=":material/done_all:")
        return
    place = min(int(st.session_state.get("_contested", 0)), len(contested) - 1)
    example, *coming = map(str, contested["example"].iloc[place : place + 3])
    found = datasets.described(layout.store(), dataset.name, [example, *coming])
    class_of, content = ({str(e): str(v) for e, v in zip(found["example"], found[name], strict=True)} for name in ("class", "sha256"))
    left, right = st.columns([5, 4], gap="medium")
    with left:
        layout.picture(content[example], example)
        for after in coming:
            layout.preload(content[after])  # so that it shows at once
    with right:
        title = layout.class_titles(dataset.classes).get(class_of[example], class_of[example])
        st.subheader(f"Is it hard to tell that this is {layout.plain(title)}?")
        st.caption(f"{place + 1:,} of {len(contested):,}, the widest apart first. {layout.plain(example)}")
        said = evidence.votes(layout.store(), dataset.name, example)
        gallery.said_by_people(dataset.name, example, said[~said["simulated"]])
        _answer(dataset.name, lead, example)
        back, on = st.columns(2, gap="xsmall")
        back.button(
            "Back", icon=":material/arrow_back:", shortcut="Left", disabled=place == 0, on_click=_go, args=[place - 1], width="stretch"
        )
        last = place + 1 == len(contested)
        on.button(
            "Later", icon=":material/arrow_forward:", shortcut="Right", disabled=last, on_click=_go, args=[place + 1], width="stretch"
        )


@session.for_leads
def _go(place: int) -> None:
    st.session_state["_contested"] = max(place, 0)


def _answer(dataset: str, lead: str, example: str) -> None:
    used = [row[0] for row in layout.store().rows("SELECT reason FROM decision GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 8")]
    reason = st.selectbox(
        "Because", list(dict.fromkeys([*used, *REASONS])), index=None, key=f"_reason_{dataset}_{example}", accept_new_options=True,
        placeholder="Pick a reason or type one", help="Everybody who sees the decision sees the reason too.",
    )  # fmt: skip
    for column, level in zip(st.columns(3, gap="xsmall"), LEVELS, strict=True):
        column.button(
            layout.level_text(level), key=f"_decide_{level}", shortcut=SHORTCUT[level], disabled=not reason, width="stretch",
            on_click=_decide, args=[dataset, lead, example, level, reason], help=None if reason else "First say because of what.",
        )  # fmt: skip
    third, four = st.columns(2, gap="xsmall")
    third.button("Third opinion", icon=":material/person_add:", shortcut="T", on_click=_ask, args=[dataset, lead, example, "opinion"],
                 help="It comes first to the next person who hasn't sorted it.", width="stretch")  # fmt: skip
    four.button("Compare four", icon=":material/grid_view:", shortcut="V", on_click=_ask, args=[dataset, lead, example, "compare"],
                help="It joins the images that people order four at a time.", width="stretch")  # fmt: skip


@session.for_leads
def _decide(dataset: str, lead: str, example: str, level: Level, reason: str) -> None:
    adjudication.decide(layout.store(), dataset, lead, {example: level}, reason)
    st.toast(f"Decided: {layout.level_text(level)}. The next image is here.")


@session.for_leads
def _ask(dataset: str, lead: str, example: str, what: adjudication.Wish) -> None:
    fresh = adjudication.ask_for(layout.store(), dataset, lead, [example], what)
    st.toast(_where(dataset, example, what) if fresh else "This was asked for already.")


def _where(dataset: str, example: str, what: adjudication.Wish) -> str:
    """Where an image that was just sent is now."""
    if what == "compare":
        return "It will be among four."
    if adjudication.who_could_answer(layout.store(), dataset).get(example):
        return "It comes first to the next person."
    return "Everybody here has judged it already: it waits for somebody new. Under Waiting the wish can be withdrawn."


# -- what was done -------------------------------------------------------------------------------


def _waiting(dataset: str, waiting: pd.DataFrame) -> None:
    if waiting.empty:
        st.info("No image waits for an opinion. Contested ones can be sent: they come first to the next person who hasn't sorted them.")
        return
    able = adjudication.who_could_answer(layout.store(), dataset)
    table = waiting.assign(able=[_some(able.get(example, [])) for example in waiting["example"]])
    columns: dict[str, Any] = {"requested_by": "asked for by", "able": "could answer"}
    chosen = layout.table(
        table[["example", "able", "requested_by", "requested_at"]], hide_index=True, on_select="rerun", selection_mode="multi-row", key="_waiting",
        column_config={"example": "image", **columns, "requested_at": st.column_config.DatetimeColumn("since", format="YYYY-MM-DD HH:mm")},
    )  # fmt: skip
    if vain := int((~waiting["example"].isin(able)).sum()):
        st.warning(
            f"{vain:,} of these wait{'s' if vain == 1 else ''} for nobody: everybody here has sorted or flagged the image, or it is among the Examples, "
            "or its file has gone. Withdraw the wish and decide yourself, or let somebody new sort.", icon=":material/hourglass_disabled:",
        )  # fmt: skip
    names = _selected(waiting, chosen)["example"].tolist()
    st.button(f"Withdraw {len(names):,} wish{'es' if len(names) > 1 else ''}" if names else "Withdraw", icon=":material/undo:", disabled=not names,
              help="Where people disagree the image is among the contested again.", on_click=_withdraw, args=[dataset, names])  # fmt: skip
    st.caption("As soon as somebody has sorted one, it is among the contested again, or agreed.")


def _some(names: list[str]) -> str:
    """The first few names; "nobody" where there are none."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "nobody"


def _selected(rows: pd.DataFrame, chosen: Any) -> pd.DataFrame:
    return rows.iloc[[row for row in chosen["selection"]["rows"] if row < len(rows)]]


def _select_none(key: str) -> None:
    """What was selected has left the table: else the rows that take its place would be selected."""
    st.session_state[key] = {"selection": {"rows": []}}


@session.for_leads
def _withdraw(dataset: str, examples: list[str]) -> None:
    gone = adjudication.withdraw(layout.store(), dataset, examples, "opinion")
    _select_none("_waiting")
    st.toast(f"Withdrawn: {gone:,}.")


def _decided(dataset: Dataset, lead: str, decided: pd.DataFrame) -> None:
    if decided.empty:
        st.info("Nothing has been decided yet. Consensus is the majority until it is.")
        return
    table = decided.assign(level=[layout.level_text(level) for level in decided["level"]])
    columns: dict[str, Any] = {"decided_by": "by", "decided_at": st.column_config.DatetimeColumn("when", format="YYYY-MM-DD HH:mm")}
    chosen = layout.table(
        table[["example", "class", "level", "reason", "decided_by", "decided_at"]], hide_index=True, on_select="rerun",
        selection_mode="multi-row", key="_decided", column_config={"example": "image", **columns},
    )  # fmt: skip
    rows = _selected(decided, chosen)
    layout.gallery((layout.Tile(row["sha256"], row["example"], (row["class"], row["reason"])) for row in rows.to_dict("records")), 130)
    st.button(f"Take back {len(rows):,} decisions" if len(rows) else "Take back", icon=":material/undo:", disabled=rows.empty,
              help="Then the votes count again.", on_click=_take_back, args=[dataset.name, lead, rows["example"].tolist()])  # fmt: skip


@session.for_leads
def _take_back(dataset: str, lead: str, examples: list[str]) -> None:
    adjudication.decide(layout.store(), dataset, lead, dict.fromkeys(examples), "taken back")
    _select_none("_decided")
