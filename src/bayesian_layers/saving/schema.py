"""Schemas of JSON documents, declared as values: what is not declared is refused.

A schema is built from the few kinds below and asked by ``schema.check(value, where)``, which returns the value
or raises a ``StorageError`` that names the place (```model.parameters.0.weight.frozen```), what was expected
there and what came, shortened and escaped.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import StorageError
from .regular_files import AGAIN

_SHOWN = 80  # characters of what came: it may be long, and hostile
_SHORT = reprlib.Repr()
_SHORT.maxlist, _SHORT.maxstring, _SHORT.maxlevel = 20, 60, 3


def show(value: object, most: int = _SHOWN) -> str:
    r"""Write a value that nobody vouches for into an error: short, on one line, without control characters.

    Args:
        value: Anything from a JSON document.
        most: Characters.

    Returns:
        The value as Python writes it, in ASCII, cut.

    Example:
        >>> show({"a": "\x1b[2J" * 100}, 20)
        "{'a': '\\x1b[2J\\x1b[2..."
    """
    if isinstance(value, str):
        text = ascii(value[: most + 1])  # the whole of it need not be written out to be cut
    else:
        text = _SHORT.repr(value).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= most else text[:most] + "..."


@dataclass(frozen=True)
class Problem:
    """A value that does not fit; its words are made only where it is raised.

    Attributes:
        place: Where it stands in the whole, such as ``.name.0``.
        kind: What it must be.
        value: What it is.
    """

    place: str
    kind: Schema
    value: Any

    def inside(self, name: str) -> Problem:
        """Say that the problem is in a part of something."""
        return Problem(f".{name}{self.place}", self.kind, self.value)


class Schema(ABC):
    """What a value in a JSON document must be."""

    @abstractmethod
    def _expected(self) -> str:
        """Say what the value must be, to stand after "must be"."""

    @abstractmethod
    def _problem(self, value: Any) -> Problem | None:
        """Find what is wrong with a value."""

    def check(self, value: Any, where: str) -> Any:
        """Refuse a value that does not fit."""
        found = self._problem(value)
        if found is not None:
            kind, value = found.kind, found.value
            raise StorageError(
                f"`{show(where + found.place, 200)[1:-1]}` must be {kind._expected()}; "
                f"received {kind._received(value)}. {AGAIN}"
            )
        return value

    def _received(self, value: Any) -> str:
        return show(value)


@dataclass(frozen=True)
class Bool(Schema):
    """``true`` or ``false``."""

    def _expected(self) -> str:
        return "true or false"

    def _problem(self, value: Any) -> Problem | None:
        return None if isinstance(value, bool) else Problem("", self, value)


@dataclass(frozen=True)
class Whole(Schema):
    """A whole number.

    Attributes:
        least: The smallest that fits.
        most: The largest that fits.
    """

    least: int = -(2**63)
    most: int = 2**63 - 1

    def _expected(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def _problem(self, value: Any) -> Problem | None:
        fits = type(value) is int and self.least <= value <= self.most
        return None if fits else Problem("", self, value)


@dataclass(frozen=True)
class Number(Schema):
    """A number; the parser has refused NaN and infinities.

    Attributes:
        least: The smallest that fits.
        above: All that fit are greater.
    """

    least: float | None = None
    above: float | None = None

    def _expected(self) -> str:
        if self.above is not None:
            return f"a number above {self.above:g}"
        return "a number" if self.least is None else f"a number, {self.least:g} or more"

    def _problem(self, value: Any) -> Problem | None:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and -(2**1023) < value < 2**1023
        fits = fits and (self.least is None or value >= self.least)
        return None if fits and (self.above is None or value > self.above) else Problem("", self, value)


@dataclass(frozen=True)
class Text(Schema):
    """A text.

    Attributes:
        words: The texts that fit; empty for any up to 1000 characters.
    """

    words: tuple[str, ...] = ()

    def _expected(self) -> str:
        return " or ".join(map(repr, self.words)) or "a text of at most 1000 characters"

    def _problem(self, value: Any) -> Problem | None:
        fits = isinstance(value, str) and (value in self.words if self.words else len(value) <= 1000)
        return None if fits else Problem("", self, value)


@dataclass(frozen=True)
class AnyOf(Schema):
    """One of several kinds, told apart by their JSON type.

    Attributes:
        kinds: The kinds; the last one that is an object or a list says what is wrong inside of it.
        words: What to call them together; nothing to name one after the other.
    """

    kinds: tuple[Schema, ...]
    words: str = ""

    def _expected(self) -> str:
        return self.words or ", or ".join(kind._expected() for kind in self.kinds)

    def _problem(self, value: Any) -> Problem | None:
        inside = None
        for kind in self.kinds:
            found = kind._problem(value)
            if found is None:
                return None
            inside = found if found.place else inside
        return inside or Problem("", self, value)


@dataclass(frozen=True)
class Null(Schema):
    """``null``."""

    def _expected(self) -> str:
        return "null"

    def _problem(self, value: Any) -> Problem | None:
        return None if value is None else Problem("", self, value)


def optional(kind: Schema) -> Schema:
    """Allow ``null`` too."""
    return AnyOf((kind, Null()))


@dataclass(frozen=True)
class ListOf(Schema):
    """A list.

    Attributes:
        kind: What each item must be.
        most: The longest that fits.
    """

    kind: Schema
    most: int = 64

    def _expected(self) -> str:
        return f"a list of at most {self.most} items"

    def _problem(self, value: Any) -> Problem | None:
        if not isinstance(value, list) or len(value) > self.most:
            return Problem("", self, value)
        for i, item in enumerate(value):
            if found := self.kind._problem(item):
                return found.inside(str(i))
        return None


@dataclass(frozen=True)
class MapOf(Schema):
    """An object with any names.

    Attributes:
        kind: What each value must be; ``None`` for anything.
    """

    kind: Schema | None = None

    def _expected(self) -> str:
        return "an object"

    def _problem(self, value: Any) -> Problem | None:
        if not isinstance(value, dict):
            return Problem("", self, value)
        for name, item in value.items() if self.kind else ():
            if found := self.kind._problem(item):  # pyright: ignore  (no items where there is no kind)
                return found.inside(name)
        return None


@dataclass(frozen=True)
class Fields(Schema):
    """An object with just these names.

    Attributes:
        needed: Name to what its value must be.
        allowed: The same, of names that may be absent.
    """

    needed: Mapping[str, Schema]
    allowed: Mapping[str, Schema] = field(default_factory=dict)

    def _expected(self) -> str:
        more = f" and perhaps {sorted(self.allowed)}" if self.allowed else ""
        return f"an object with the fields {sorted(self.needed)}{more}"

    def _problem(self, value: Any) -> Problem | None:
        known = {**self.needed, **self.allowed} if self.allowed else self.needed
        if not isinstance(value, dict) or not self.needed.keys() <= value.keys() <= known.keys():
            return Problem("", self, value)
        for name, item in value.items():
            if found := known[name]._problem(item):
                return found.inside(name)
        return None

    def _received(self, value: Any) -> str:
        return show(sorted(value) if isinstance(value, dict) else value)


@dataclass(frozen=True)
class Tagged(Schema):
    """An object of one of several kinds, which one of its fields tells apart.

    Attributes:
        tag: Name of that field.
        kinds: Its value to the object's other fields.
    """

    tag: str
    kinds: Mapping[str, Fields]

    def _expected(self) -> str:
        return f"an object whose {self.tag!r} is one of {list(self.kinds)}"

    def _problem(self, value: Any) -> Problem | None:
        kind = value.get(self.tag) if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in self.kinds:
            return Problem("", self, value)
        return self.kinds[kind]._problem({name: item for name, item in value.items() if name != self.tag})
