"""Sort: one image, one question, three keys. Shows nothing of the model and nothing of other people's levels."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from html import escape

import streamlit as st

from curriculum import labels
from curriculum.app import layout
from curriculum.config import LEVELS, Level

PRELOADED = 4
STYLE = """<style>
.sorting img {display: block; margin: 0 auto; height: min(58vh, 640px); max-width: 100%; object-fit: contain; border-radius: 6px;}
.sorting p {text-align: center; font-size: 1.15rem; margin: 0 0 .5rem;}
.preload {position: absolute; width: 1px; height: 1px; overflow: hidden; opacity: 0;}
</style>"""


def page() -> None:
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    if not st.session_state.get("annotator"):
        st.title("Sort")
        st.info("Sorting needs to know whose judgement it is. Enter your name on the start page.", icon=":material/person:")
        layout.link("start", "Enter my name", ":material/home:")
        return
    st.sidebar.write(f"Sorting as **{layout.plain(st.session_state['annotator'])}**")
    _sorting(dataset.name, st.session_state["annotator"], layout.class_titles(dataset.classes))


@st.fragment
def _sorting(dataset: str, annotator: str, titles: dict[str, str]) -> None:
    """A fragment: a key press runs this alone, not the whole page."""
    store = layout.store()
    again = st.session_state.get("_again")
    coming = [again] if again and again[0] == dataset else []
    queue = [example for example in labels.queue(store, dataset, annotator, PRELOADED + 1) if example not in [c[1] for c in coming]]
    examples = [c[1] for c in coming] + queue
    _progress(dataset, annotator)
    if not examples:
        st.success(f"You have sorted every image of {dataset}. Thank you!", icon=":material/done_all:")
        layout.link("human-model", "Compare with the model's ranking", ":material/compare:")
        st.button("Undo the last one", shortcut="Backspace", on_click=_undo, args=(dataset, annotator))
        return
    rows = dict(
        store.rows("SELECT example, [sha256, class] FROM example WHERE dataset = ? AND example IN (SELECT unnest(?))", [dataset, examples])
    )
    example = examples[0]
    sha256, class_name = rows[example]
    preload = "".join(f'<img src="/img/{escape(rows[name][0])}" alt="">' for name in examples[1:])
    st.html(
        f'{STYLE}<div class="sorting"><p>How hard is it to tell that this is <b>{escape(titles[class_name])}</b>?</p>'
        f'<img src="/img/{escape(sha256)}" alt="{escape(example)}" data-example="{escape(example)}"></div><div class="preload">{preload}</div>'
    )
    shown_at = datetime.now(UTC)
    columns = st.columns([4, 4, 4, 3, 4])
    for column, level, key in zip(columns[:3], LEVELS, "123", strict=True):
        # The widget's key names the image, so a press that was meant for the one before can't hit this one.
        column.button(
            f"{layout.LEVEL_MARK[level]} {level}", key=f"{level} {example} {annotator}", shortcut=key, width="stretch",
            on_click=_label, args=(dataset, example, annotator, level, shown_at, uuid.uuid4()),
        )  # fmt: skip
    columns[3].button(
        "Skip", key=f"skip {example} {annotator}", shortcut="Space", width="stretch", help="It comes again at the end.",
        on_click=_label, args=(dataset, example, annotator, None, shown_at, uuid.uuid4()),
    )  # fmt: skip
    columns[4].button(
        "Undo", key=f"undo {example} {annotator}", shortcut="Backspace", width="stretch", help="As often as you like, over days.",
        on_click=_undo, args=(dataset, annotator),
    )  # fmt: skip
    if st.session_state.pop("_nothing_to_undo", False):
        st.caption("There is nothing left to undo.")


def _label(dataset: str, example: str, annotator: str, level: Level | None, shown_at: datetime, event: uuid.UUID) -> None:
    """Stored before the next image is shown; the event's id makes a repeated press harmless."""
    labels.annotate(layout.store(), dataset, example, annotator, level, event=event, shown_at=shown_at)
    st.session_state.pop("_again", None)


def _undo(dataset: str, annotator: str) -> None:
    example = labels.undo(layout.store(), dataset, annotator)
    st.session_state["_again"] = (dataset, example) if example else None
    st.session_state["_nothing_to_undo"] = example is None


def _progress(dataset: str, annotator: str) -> None:
    done = labels.progress(layout.store(), dataset, annotator)
    mine = sum(done.mine.values())
    levels = "  ".join(f"{layout.LEVEL_MARK[level]} {level} {count:,}" for level, count in done.mine.items())
    pace = f" · median {done.median_seconds:.1f} s an image" if done.median_seconds is not None else ""
    skipped = f" · {done.skipped:,} skipped" if done.skipped else ""
    st.progress(mine / max(done.total, 1), text=f"{mine:,} of {done.total:,} sorted by you · {levels}{skipped}{pace} · team: {done.team:,}")
