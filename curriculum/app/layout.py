"""What every page shares: the choices that stay (data set, whose labels), errors, galleries."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from curriculum import datasets, labels, runs
from curriculum.app import service
from curriculum.charts.palette import LEVEL_MARK
from curriculum.config import Config
from curriculum.datasets import Dataset
from curriculum.errors import CurriculumError, StoreLockedError
from curriculum.files import NO_ROOM
from curriculum.rundir import Status
from curriculum.spreadsheet import without_formulas
from curriculum.store import Store
from curriculum.vocabulary import LEVELS
from curriculum.words import duration

KEPT = ("dataset", "view")
"""Choices that stand in the page's address too, so that a reload or a lost connection keeps them."""

AFTER_ESCAPES = re.compile(r"(?i)https?(?=:|\\:)|www(?=\.|\\\.)|:(?=[a-z+_-])")
"""Where Streamlit makes links, icons and pictures of what was escaped: a joiner that nobody sees parts it."""

log = logging.getLogger(__name__)

WHO_LABELLED = """
SELECT DISTINCT annotator FROM standing_annotation WHERE dataset = ? AND action = 'label' AND NOT repeat ORDER BY annotator
"""

WHO = {"people": "people", "simulated": "simulated annotators", "all": "people and simulated together"}

STYLE = """<style>
.gallery {display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(var(--tile), 1fr));}
.gallery figure {margin: 0; min-width: 0;}
.gallery img {width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 4px; display: block; background: rgba(128,128,128,.15);}
.gallery figcaption {font-size: .78rem; line-height: 1.25; margin-top: .2rem; overflow-wrap: anywhere;}
.picture {width: 100%; aspect-ratio: 1; object-fit: contain; display: block; border-radius: 4px; background: rgba(128,128,128,.15);}
.preloaded {display: none;}
.stMainBlockContainer {padding-top: 2.5rem; padding-bottom: 3rem;}
.gallery figcaption b {font-weight: 600;}
[data-testid=stMetricValue] {font-size: 1.75rem;}
[data-testid^="stBaseButton-primary"]:enabled, [data-testid=stMultiSelect] [data-tag] {color: light-dark(white, #0f0f0f);}
</style>"""


# -- choices that stay ---------------------------------------------------------------------------


def remember_in_address() -> None:
    """Take the kept choices from the address on the first run, write them there on every run."""
    if "annotator" in st.query_params:  # addresses once named the person; now a name there means nothing
        del st.query_params["annotator"]
    for key in KEPT:
        if key not in st.session_state and key in st.query_params:
            st.session_state[key] = st.query_params[key]
        if st.session_state.get(key):
            st.query_params[key] = st.session_state[key]


def use_style() -> None:
    """The few rules that Streamlit's theme doesn't have."""
    st.html(STYLE)


def guarded(page: Callable[[], None]) -> None:
    """Run a page; what goes wrong becomes a sentence with a way on, never a traceback."""
    try:
        page()
    except StoreLockedError as error:
        log.warning("%s", error)
        st.error(plain(str(error)), icon=":material/lock:")
        st.write("As soon as that process ends, this page works. Nothing is lost meanwhile.")
        st.button("Try again", icon=":material/refresh:")
    except CurriculumError as error:
        log.warning("%s", error)
        st.error(plain(str(error)), icon=":material/error:")
    except OSError as error:
        log.exception("the system refused")
        full = error.errno in NO_ROOM
        st.error("The disk is full. Nothing that was stored is lost; free some space, then try again." if full else plain(
            f"The system refused: {error}. Nothing that was stored is lost; mend it, then try again, or look at the page Health."
        ), icon=":material/error:")  # fmt: skip


def table(frame: pd.DataFrame, **options: Any) -> Any:
    """Streamlit's table, `st.dataframe`, whose own download as CSV is as safe in a spreadsheet as the app's files."""
    return st.dataframe(without_formulas(frame), **options)  # noqa: TID251 - here it is safe


def store() -> Store:
    """This process's database."""
    return service.current().store


def log_stamp(dataset: str) -> str:
    """The id of the last thing that was said of a data set's images: what was worked out at the same stamp still holds, in any home."""
    return str(store().rows("SELECT arg_max(id, seq) FROM annotation WHERE dataset = ?", [dataset])[0][0])


def register_pages(pages: Sequence[object]) -> None:
    """Let pages link to one another by their address."""
    st.session_state["_pages"] = {getattr(page, "url_path", "") or "start": page for page in pages}


def link(path: str, label: str, icon: str | None = None, query: dict[str, str] | None = None) -> None:
    """A link to another page of the app, with what it is to begin with; nothing where a page is shown on its own."""
    page = st.session_state.get("_pages", {}).get(path)
    if page is not None:
        st.page_link(page, label=label, icon=icon, query_params=query)


def go(path: str) -> None:
    """Turn to another page of the app."""
    page = st.session_state.get("_pages", {}).get(path)
    if page is not None:
        st.switch_page(page)


def chosen_dataset() -> Dataset | None:
    """The data set that the sidebar has, with a picker there; None, with a hint, while there is none."""
    known = {dataset.name: dataset for dataset in datasets.list_datasets(store())}
    if not known:
        st.info("There is no data set yet. On the start page, a lead adds demo scenes, RSSCN7 or a folder.", icon=":material/image_search:")
        link("start", "Go to the start page", ":material/home:")
        return None
    if st.session_state.get("dataset") not in known:
        st.session_state["dataset"] = next(iter(known))
    names = list(known)
    picked = st.sidebar.selectbox("Data set", names, index=names.index(st.session_state["dataset"]), key="_dataset_picker")
    if picked != st.session_state["dataset"]:
        st.session_state["dataset"] = picked
        st.rerun()
    dataset = known[picked]
    st.sidebar.caption(f"{dataset.examples:,} images, {len(dataset.classes)} classes")
    return dataset


def chosen_who(dataset: str) -> str:
    """Whose labels a page looks at: people where they have labelled, else simulated; one annotator, too."""
    summary = labels.summary(store(), dataset)
    simulated = summary["simulated"]
    assert isinstance(simulated, dict)
    people_count = summary["labelled"]
    names = [r[0] for r in store().rows(WHO_LABELLED, [dataset])]
    options = [*WHO, *names]
    default = "simulated" if not people_count and simulated["labelled"] else "people"
    counts = {"people": people_count, "simulated": simulated["labelled"]}
    picked: str = st.sidebar.selectbox(
        "Whose levels", options, index=options.index(default), key=f"_who_{dataset}",
        format_func=lambda who: f"{WHO[who]} ({counts[who]:,} images)" if who in counts else WHO.get(who, who),
    )  # fmt: skip
    if picked in ("simulated", "all") or picked.startswith("simulated-"):
        warn_simulated()
    return picked


def warn_simulated() -> None:
    """Stands above everything that simulated levels are part of."""
    st.warning("Simulated levels are shown. They were made by the program, for trying things out: no finding rests on them.", icon="🤖")


# -- pictures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """One image of a gallery; every line of the caption is plain text, the first stands out. `example`: its name where the title says more."""

    sha256: str
    title: str
    caption: tuple[str, ...] = ()
    example: str = ""


def gallery(tiles: Iterable[Tile], tile_pixels: int = 112) -> None:
    """A grid of thumbnails, each a link to the whole image."""
    figures = []
    for tile in tiles:
        lines = [f"<b>{escape(line)}</b>" if i == 0 else escape(line) for i, line in enumerate(tile.caption)]
        figures.append(
            f'<figure><a href="/img/{escape(tile.sha256)}" target="_blank"><img src="/thumb/{escape(tile.sha256)}" loading="lazy" '
            f'alt="{escape(tile.title)}" title="{escape(tile.title)}"></a><figcaption>{"<br>".join(lines)}</figcaption></figure>'
        )
    st.html(f'<div class="gallery" style="--tile: {tile_pixels}px">{"".join(figures)}</div>')


def picture(sha256: str, title: str, share: int = 64) -> None:
    """One image, whole, as wide as its column, and at most as high as its share of the window's height, in percent."""
    st.html(
        f'<img class="picture" style="max-height: {share}vh" src="/img/{escape(sha256)}" alt="{escape(title)}" title="{escape(title)}">'
    )


def preload(sha256: str) -> None:
    """Let the browser fetch an image that comes next."""
    st.html(f'<img class="preloaded" src="/img/{escape(sha256)}" alt="" aria-hidden="true">')


def pager(rows: int, size: int, key: str) -> slice:
    """Which of so many rows to show, `size` at a time; a control only where there is more than one page."""
    pages = max(1, -(-rows // size))
    number = st.number_input(f"Page (of {pages:,})", 1, pages, key=key, width=160) if pages > 1 else 1
    return slice((number - 1) * size, number * size)


def class_titles(classes: Iterable[str]) -> dict[str, str]:
    """Class folders' names as people say them: RSSCN7's dRiverLake is River Lake; others only lose their underscores."""
    names = list(classes)
    if all(re.fullmatch(r"[a-z][A-Z].+", name) for name in names):
        return {name: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name[1:]) for name in names}
    return {name: name.replace("_", " ") for name in names}


def plain(text: str) -> str:
    """Text in one line in which Markdown finds nothing to format, no entity and no address."""
    escaped = "".join("\\" + letter if letter in r"\`*_{}[]()#+-.!|<>~$:&" else letter for letter in " ".join(text.split()))
    return AFTER_ESCAPES.sub("\\g<0>\N{WORD JOINER}", escaped)


def short(example: str) -> str:
    """An example's file name: its class is said elsewhere."""
    return Path(example).name


def level_text(level: object) -> str:
    """A level with its mark; images that nobody sorted have none."""
    return f"{LEVEL_MARK[level]} {level}" if isinstance(level, str) and level in LEVELS else "no level"


# -- runs ----------------------------------------------------------------------------------------


def finished_runs(dataset: str) -> pd.DataFrame | None:
    """Training runs with a result, the newest first; None, with a hint, while there is none."""
    frame = runs.list_runs(store(), dataset, "train")
    done = frame[frame["result"].notna()]
    if done.empty:
        st.info("No training run of this data set has finished yet.", icon=":material/model_training:")
        link("train", "Train one", ":material/model_training:")
        return None
    return done


def start_run(config: Config) -> None:
    """Start a run, after a look for images of the same ground where nobody has looked since the files came."""
    with st.spinner("Looking once for images that show the same ground, so that no test image has its twin in train ...", show_time=True):
        datasets.ensure_overlaps(store(), config.dataset)
    runs.start(store(), config)


def show_status(status: Status) -> None:
    """A progress bar with words, for a run that is going on."""
    if status.epochs:
        within = status.done / status.total if status.total and status.phase == "training" else 0.0
        share = min((status.epoch + within) / status.epochs, 1.0)
        text = f"epoch {min(status.epoch + 1, status.epochs)} of {status.epochs}, {status.phase}"
    else:
        share = status.done / status.total if status.total else 0.0
        text = status.phase + (f": {status.done:,} of {status.total:,}" if status.total else " ...")
    left = f"; about {duration(status.seconds_left)} left" if status.seconds_left is not None else ""
    st.progress(share, text=f"{text or 'starting ...'}. {duration(status.seconds)} so far{left}.")


def weights_picker(dataset: str, key: str) -> str:
    """Which pretrained weights: the four choices of --weights."""
    trained = store().query(
        "SELECT run_id, mode, dataset FROM run WHERE kind = 'train' AND state = 'done' AND result IS NOT NULL ORDER BY created_at DESC"
    )
    trained = trained[[(store().home.runs / run_id / "model.pt").is_file() for run_id in trained["run_id"]]]
    names = {"imagenet": "ImageNet (downloaded once, 45 MB)", "none": "none: a random start, works offline", "file": "a file of mine"}
    if len(trained):
        names["run"] = "the model of an earlier run"
    kind = st.selectbox("Pretrained weights", list(names), format_func=names.__getitem__, key=f"{key}_weights")
    if kind == "file":
        path = st.text_input("Path of a ResNet18 state dict, on the machine that runs the app", key=f"{key}_path")
        return path.strip() or "(no path given)"
    if kind == "run":
        return f"run:{st.selectbox('Run', trained['run_id'].tolist(), key=f'{key}_run')}"
    return kind
