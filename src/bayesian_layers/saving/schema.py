"""Schemas of JSON documents that are not trusted: what each value must be."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import StorageError
from .regular_files import AGAIN

_SHOWN = 100
_SHORT = reprlib.Repr()
_SHORT.maxlist, _SHORT.maxstring, _SHORT.maxlevel = 20, 60, 3


def show(value: object, most: int = _SHOWN) -> str:
    r"""Format an untrusted value for an error: in ASCII, short, on one line, without control characters."""
    if isinstance(value, str):
        text = ascii(value[: most + 1])  # a long text is cut before it is formatted
    else:
        text = _SHORT.repr(value).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= most else text[:most] + "..."


@dataclass(frozen=True)
class Problem:
    """A value that does not fit its schema; the message is made only where it is raised."""

    place: str  # inside the whole document, such as ".name.0"
    kind: Schema
    value: Any

    def inside(self, name: str) -> Problem:
        """Return the same problem as seen from the object or list that contains the value."""
        return Problem(f".{name}{self.place}", self.kind, self.value)


class Schema(ABC):
    """What a value in a JSON document must be."""

    @abstractmethod
    def _expected(self) -> str:
        """Return what follows "must be" in an error."""

    @abstractmethod
    def _problem(self, value: Any) -> Problem | None:
        """Return where and how a value does not fit; ``None`` if it does."""

    def check(self, value: Any, where: str) -> Any:
        """Return the value if it fits; raise StorageError, which calls it ``where``, if not."""
        found = self._problem(value)
        if found is not None:
            kind, value = found.kind, found.value
            raise StorageError(
                f"`{show(where + found.place, 200)[1:-1]}` must be {kind._expected()}; "
                f"received {kind._received(value)}. {AGAIN}"
            )
        return value

    def build(self, value: Any) -> Any:
        """Return the Python object that a fitting value describes: the value itself, lists as tuples."""
        return tuple(value) if isinstance(value, list) else value

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
class Integer(Schema):
    """An integer from ``least`` to ``most``."""

    least: int = -(2**63)
    most: int = 2**63 - 1

    def _expected(self) -> str:
        return f"an integer from {self.least} to {self.most}"

    def _problem(self, value: Any) -> Problem | None:
        fits = type(value) is int and self.least <= value <= self.most
        return None if fits else Problem("", self, value)


@dataclass(frozen=True)
class Number(Schema):
    """A number from ``least`` to ``most``; the parser has refused NaN and infinities."""

    least: float = -(2.0**1023)
    most: float = 2.0**1023

    def _expected(self) -> str:
        return f"a number from {self.least:g} to {self.most:g}"

    def _problem(self, value: Any) -> Problem | None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number and self.least <= value <= self.most else Problem("", self, value)


# A scale whose square neither underflows nor overflows in float32.
SCALE = Number(1e-18, 1e18)


MAX_CHARACTERS = 1000  # of a text without a list of words


@dataclass(frozen=True)
class String(Schema):
    """A text of at most ``MAX_CHARACTERS``; with ``words``, one of these."""

    words: tuple[str, ...] = ()

    def _expected(self) -> str:
        return " or ".join(map(repr, self.words)) or f"a text of at most {MAX_CHARACTERS} characters"

    def _problem(self, value: Any) -> Problem | None:
        known = value in self.words if self.words else isinstance(value, str) and len(value) <= MAX_CHARACTERS
        return None if isinstance(value, str) and known else Problem("", self, value)


@dataclass(frozen=True)
class Null(Schema):
    """``null``."""

    def _expected(self) -> str:
        return "null"

    def _problem(self, value: Any) -> Problem | None:
        return None if value is None else Problem("", self, value)


@dataclass(frozen=True)
class AnyOf(Schema):
    """One of several kinds."""

    kinds: tuple[Schema, ...]  # a problem inside the last one that is an object or a list is the one reported
    words: str = ""  # replaces the list of what each kind expects

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

    def build(self, value: Any) -> Any:
        """Return what the kind that fits builds; see :meth:`Schema.build`."""
        return next(kind for kind in self.kinds if kind._problem(value) is None).build(value)


def optional(kind: Schema) -> Schema:
    """Return a schema that also allows ``null``."""
    return AnyOf((kind, Null()))


@dataclass(frozen=True)
class ListOf(Schema):
    """A list of at most ``most`` items of one kind."""

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
    """An object with any names, whose values are of one kind, or of any."""

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
class Record(Schema):
    """An object with exactly the names of ``needed`` and perhaps some of ``allowed``."""

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
class Union(Schema):
    """An object of one of several kinds, which the field ``tag`` tells apart."""

    tag: str
    kinds: Mapping[str, Record]  # of the fields other than the tag

    def _expected(self) -> str:
        return f"an object whose {self.tag!r} is one of {list(self.kinds)}"

    def _problem(self, value: Any) -> Problem | None:
        kind = value.get(self.tag) if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in self.kinds:
            return Problem("", self, value)
        return self.kinds[kind]._problem({name: item for name, item in value.items() if name != self.tag})
