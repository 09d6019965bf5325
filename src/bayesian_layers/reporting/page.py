"""Rows, pictures and sentences to one self-contained HTML page: no script, nothing fetched."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..errors import DataError
from .extras import require

_TEMPLATE = Path(__file__).with_name("page.html")


class Report(NamedTuple):
    """A report, not yet written: ``write_report(folder, *report)``.

    Attributes:
        page: The HTML page.
        pictures: File stem to PNG file.
        metrics: Every number, with where it comes from; JSON's types, floats may be NaN or infinite.
    """

    page: str
    pictures: dict[str, bytes]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Text:
    """Paragraphs.

    Attributes:
        paragraphs: Plain text each.
    """

    kind: ClassVar[str] = "text"
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Points:
    """A list of sentences, each after a short heading.

    Attributes:
        points: Heading and sentence; the heading may be empty.
    """

    kind: ClassVar[str] = "points"
    points: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names the rows.

    Attributes:
        header: Names of the columns.
        rows: Cells.
        caption: What it shows.
        best: Cells (row, column) to emphasize.

    Raises:
        DataError: If a row has another number of cells than the header.
    """

    kind: ClassVar[str] = "table"
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    best: frozenset[tuple[int, int]] = frozenset()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise DataError(f"a row must have {len(self.header)} cells, as the header; received {row}")


@dataclass(frozen=True)
class Printed:
    """What a program printed, line for line.

    Attributes:
        lines: The lines.
        caption: What to see in them.
    """

    kind: ClassVar[str] = "printed"
    lines: tuple[str, ...]
    caption: str


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: Stem of its file.
        png: The file's content.
        alt: What it shows, for who cannot see it.
        caption: What to see in it.
        whole_row: Whether it has several panels, and takes a row of its own.

    Raises:
        DataError: If it has no text for those who cannot see it, or its name is no file stem.
    """

    name: str
    png: bytes = field(repr=False)
    alt: str
    caption: str
    whole_row: bool = False

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise DataError(f"picture `{self.name}` must have an `alt` text; received none")
        if not self.name.replace("_", "").isalnum():
            raise DataError(f"a picture's name must be letters, digits and _; received {self.name!r}")

    @property
    def uri(self) -> str:
        """The picture inside the page itself, so that the page can be sent alone."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side where there is room.

    Attributes:
        pictures: The pictures.
    """

    kind: ClassVar[str] = "gallery"
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Folded:
    """A table that is shown when asked for.

    Attributes:
        title: What is inside.
        table: The table.
    """

    kind: ClassVar[str] = "folded"
    title: str
    table: Table


Block = Text | Points | Table | Printed | Gallery | Folded


@dataclass(frozen=True)
class Section:
    """A titled part of a page.

    Attributes:
        title: Its title.
        blocks: What is in it, in order.
    """

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: Its title.
        lead: What it is about, in a sentence or two.
        sections: Its parts, in order.
        footer: Who made it, by what.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    footer: str

    def pictures(self) -> dict[str, bytes]:
        """Gather the pictures."""
        found: dict[str, bytes] = {}
        for picture in self._all_pictures():
            if picture.name in found:
                raise DataError(f"pictures must have different names; {picture.name!r} comes twice")
            found[picture.name] = picture.png
        return found

    def captions(self) -> dict[str, str]:
        """Gather what is said under the pictures, numbers included."""
        return {picture.name: picture.caption for picture in self._all_pictures()}

    def _all_pictures(self) -> Iterator[Picture]:
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Gallery):
                    yield from block.pictures


def render(page: Page) -> str:
    """Write a page as HTML."""
    jinja2 = require("jinja2", "jinja2")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(page=page)


def plain(value: Any) -> Any:
    """Turn numbers and containers of them into what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers, torch's tensors
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
