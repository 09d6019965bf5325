"""JSON documents within limits: small, shallow, without duplicate keys, NaN or infinities."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import StorageError
from .regular_files import AGAIN

MAX_BYTES = 8 * 2**20
# Parsed, the smallest text of a value grows to some 250 bytes of Python objects: 50 MB at most.
BYTES_PER_VALUE = 256
MAX_VALUES = 200_000
_COPIES = 3  # of a text while it is parsed: its bytes, its letters, and the strings in it
MAX_MEMORY = _COPIES * MAX_BYTES + BYTES_PER_VALUE * MAX_VALUES
MAX_DEPTH = 32

# The closing quote is optional, so that a match never fails and no text takes quadratic time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class _RefusedError(ValueError):
    """What was received instead of a plain JSON object."""


def parse(text: bytes, where: str) -> dict[str, Any]:
    """Return an untrusted JSON object as a dict of finite numbers; raise StorageError if it is beyond a limit."""
    try:
        return _parse(text)
    except _RefusedError as error:
        received = str(error)
    except (ValueError, RecursionError) as error:
        received = f"text that is not JSON ({str(error)[:200]!a})"
    raise StorageError(f"{where} must be a plain JSON object; received {received}. {AGAIN}")


def _parse(text: bytes) -> dict[str, Any]:
    _check_limits(text)
    document = json.loads(
        text.decode(),
        parse_constant=_refuse_constant,
        parse_float=_finite,
        parse_int=_whole,
        object_pairs_hook=_unique,
    )
    if b"\\u" in text:  # half a surrogate pair parses, but can be neither printed nor saved
        json.dumps(document, ensure_ascii=False).encode()
    if not isinstance(document, dict):
        raise _RefusedError(f"a {type(document).__name__}")
    return document


def dump(document: Mapping[str, Any], where: str) -> bytes:
    """Write a document as JSON that :func:`parse` gives back."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise StorageError(
            f"{where} must hold only what JSON can; received something else ({error}). "
            "Use dicts, lists, text and finite numbers."
        ) from error
    if not _has_text_keys(document):  # the encoder would make text of them, in silence
        raise StorageError(f"{where} must have text for keys; received another kind. Use str(key).")
    parse(text, where)  # what could not be read back is refused now, while there is something to save
    return text


def _check_limits(text: bytes) -> None:
    """Raise, before any parsing, if a text would take much memory or a deep stack."""
    if len(text) > MAX_BYTES:
        raise _RefusedError(f"{len(text)} bytes, more than the {MAX_BYTES} allowed")
    values = _most_values(text)
    if values > MAX_VALUES:
        raise _RefusedError(f"{values} values, more than the {MAX_VALUES} allowed")
    brackets = _STRING.sub(b"", text).translate(None, _NOT_BRACKETS)
    depth = max(itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)
    if depth > MAX_DEPTH:
        raise _RefusedError(f"one nested {depth} deep, more than the {MAX_DEPTH} allowed")


def _most_values(text: bytes) -> int:
    return max(sum(map(text.count, (b",", b"[", b"{"))), text.count(b'"') // 4)


def most_memory(text: bytes) -> int:
    """Return a bound, in bytes, of the memory that a text and what it is parsed to take together."""
    return _COPIES * len(text) + BYTES_PER_VALUE * _most_values(text)


def _refuse_constant(name: str) -> NoReturn:
    raise _RefusedError(f"one that holds {name}")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):  # 1e999 is JSON, yet no float
        raise _RefusedError(f"one that holds {digits:.20}, which is infinite")
    return number


def _whole(digits: str) -> int:
    # As wide as a seed may be. A larger one overflows, far from here, where a float is made of it.
    if len(digits) > 21 or not -(2**64) < int(digits) < 2**64:
        raise _RefusedError(f"one that holds {digits[:20]}..., an integer of more than 64 bits")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _RefusedError(f"one that has the key {twice[:60]!a} twice")
    return found


def _has_text_keys(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value) and all(map(_has_text_keys, value.values()))
    return not isinstance(value, (list, tuple)) or all(map(_has_text_keys, value))
