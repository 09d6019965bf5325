"""Builds a self-contained HTML page from text, tables and pictures: no script, nothing is fetched."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..errors import DataError
from ..lazy_imports import require

_TEMPLATE = Path(__file__).with_name("page.html")


class Report(NamedTuple):
    """A report that is not written yet: ``write_report(folder, *report)``."""

    page: str  # HTML
    pictures: dict[str, bytes]  # name of the file, without its ending, to the PNG file
    metrics: dict[str, Any]  # every number of the page; floats may be NaN or infinite


@dataclass(frozen=True)
class Paragraphs:
    """Paragraphs of text."""

    kind: ClassVar[str] = "paragraphs"
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Points:
    """A list of pairs: a short heading, which may be empty, and a sentence."""

    kind: ClassVar[str] = "points"
    points: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names the rows."""

    kind: ClassVar[str] = "table"
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    best: frozenset[tuple[int, int]] = frozenset()  # cells (row, column) to emphasize

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != (cells := len(self.header)):
                raise DataError(f"each row must have {cells} cells, as many as the header; received {row}")


@dataclass(frozen=True)
class Preformatted:
    """Lines that a program printed, with a caption below."""

    kind: ClassVar[str] = "preformatted"
    lines: tuple[str, ...]
    caption: str


@dataclass(frozen=True)
class Picture:
    """A PNG picture with its alternative text and its caption."""

    name: str  # of its file, without the ending
    png: bytes = field(repr=False)
    alt: str  # what the picture shows, for readers who cannot see it
    caption: str
    whole_row: bool = False  # pictures with several panels take a row of their own

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise DataError(f"picture `{self.name}` must have an `alt` text; received none")
        if not self.name.replace("_", "").isalnum():
            raise DataError(f"a picture's name must be letters, digits and _; received {self.name!r}")

    @property
    def uri(self) -> str:
        """The picture as a data URI, so that the page is one file."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side where there is room."""

    kind: ClassVar[str] = "gallery"
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Collapsible:
    """A table that the reader opens with a click."""

    kind: ClassVar[str] = "collapsible"
    title: str
    table: Table


Block = Paragraphs | Points | Table | Preformatted | Gallery | Collapsible


@dataclass(frozen=True)
class Section:
    """A titled part of a page."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A page: what it is about in a sentence or two, sections, and a footer."""

    title: str
    lead: str
    sections: tuple[Section, ...]
    footer: str

    def report(self, metrics: Mapping[str, Any]) -> Report:
        """Return the report of this page; the captions of its pictures are kept with the metrics."""
        pictures: dict[str, bytes] = {}
        captions: dict[str, str] = {}
        galleries = [
            each for section in self.sections for each in section.blocks if isinstance(each, Gallery)
        ]
        for picture in (picture for gallery in galleries for picture in gallery.pictures):
            if picture.name in pictures:
                raise DataError(f"pictures must have different names; {picture.name!r} is used twice")
            pictures[picture.name], captions[picture.name] = picture.png, picture.caption
        return Report(render(self), pictures, {**metrics, "captions": captions})


def render(page: Page) -> str:
    """Return a page as HTML."""
    jinja2 = require("jinja2", "jinja2", "report")
    options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, **options)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(page=page)


def to_json_types(value: Any) -> Any:
    """Convert numbers, arrays, tensors and containers of them to JSON's types; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): to_json_types(each) for key, each in value.items()}
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers, torch's tensors
        return to_json_types(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json_types(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
