"""A report as a document: its parts, and how they become one HTML file that needs no network. Knows nothing of runs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import altair as alt
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from PIL import Image

from curriculum.charts.theme import svg
from curriculum.errors import DatasetError
from curriculum.images import open_rgb

PICTURE_PIXELS = 224


@dataclass(frozen=True)
class Table:
    """`numbers`: the columns that stand to the right."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Figure:
    svg: str
    caption: str


@dataclass(frozen=True)
class Picture:
    """`source`: a data address; empty where the file has gone."""

    source: str
    alt: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A section: sentences, then facts, tables, figures, pictures and code, whatever it has of them."""

    title: str
    paragraphs: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    pictures: Sequence[Picture] = ()
    code: str = ""

    @property
    def empty(self) -> bool:
        return not (self.paragraphs or self.facts or self.tables or self.figures or self.pictures or self.code)


@dataclass(frozen=True)
class Document:
    title: str
    made: str
    verdict: Sequence[str] = ()
    parts: Sequence[Part] = field(default_factory=tuple)


def render(document: Document) -> str:
    """The document as HTML; whatever came from people or files is escaped, pictures and charts are within it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(["html"]), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    parts = [part for part in document.parts if not part.empty]
    return environment.get_template("report.html").render(title=document.title, made=document.made, verdict=document.verdict, parts=parts)


def figure(chart: alt.TopLevelMixin, caption: str) -> Figure:
    """A chart as it stands in the document."""
    return Figure(svg(chart), caption)


def picture(path: Path | None, alt: str, lines: Sequence[str], pixels: int = PICTURE_PIXELS) -> Picture:
    """An image file, made smaller; one that has gone or is damaged leaves its words. None: it has gone."""
    if path is None:
        return Picture("", alt, tuple(lines))
    try:
        image = open_rgb(path)
    except DatasetError:
        return Picture("", alt, tuple(lines))
    image.thumbnail((pixels, pixels))
    return Picture(data_address(image), alt, tuple(lines))


def data_address(image: Image.Image) -> str:
    """A picture as an address that carries it, JPEG."""
    into = io.BytesIO()
    image.save(into, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(into.getvalue()).decode()}"
