"""The manifest: which files a folder has, of which size and hash.

It also lists notes, texts for people such as a model card. They are never read, so they may be edited; they are
replaced and removed with the folder's other files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import StorageError
from . import regular_files, strict_json
from .budget import Budget
from .regular_files import AGAIN

FORMAT = "bayesian-layers"
FORMAT_VERSION = 2
ARRAYS = "arrays.safetensors"
MANIFEST = "manifest.json"
# Names without dots or separators before their one suffix: no name leads out of the folder.
_DOCUMENT = re.compile(r"[a-z_]{1,60}\.json")
_NOTE = re.compile(r"[A-Z_]{1,60}\.md")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """The size of a file in bytes, and its hash in hexadecimal digits."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Entry:
        """Describe the content of a file."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    def check_size(self, size: int, path: Path) -> int:
        """Return the size of a file if it is the listed one; called before the file is read."""
        if size != self.size:
            raise StorageError(f"{path} must have {self.size} bytes; received {size}. {AGAIN}")
        return size

    def read(self, path: Path) -> bytes:
        """Read a listed file."""
        data = regular_files.read(path, lambda file, size: file.read(self.check_size(size, path)))
        if Entry.of(data) != self:
            raise StorageError(
                f"{path} must have the sha256 that {MANIFEST} gives; received another. {AGAIN}"
            )
        return data


def make(files: Mapping[str, bytes]) -> bytes:
    """Write the manifest of some files."""
    entries = {name: Entry.of(data) for name, data in files.items()}
    listed = {name: {"bytes": entry.size, "sha256": entry.sha256} for name, entry in entries.items()}
    document = {"format": FORMAT, "format_version": FORMAT_VERSION, "files": listed}
    _check(document, "the folder to save")
    return strict_json.dump(document, MANIFEST)


def is_note(name: str) -> bool:
    """Return whether a file is for people only."""
    return _NOTE.fullmatch(name) is not None


def read(folder: Path, budget: Budget | None = None) -> dict[str, Entry]:
    """Read and check the manifest of a folder."""
    if not folder.is_dir():
        raise StorageError(
            f"{folder} must be a folder that this library wrote; there is none. Check the path."
        )
    path = folder / MANIFEST
    budget = Budget() if budget is None else budget
    text = regular_files.read(path, lambda file, size: file.read(_limited(size, path, budget)))
    budget.take(strict_json.most_memory(text) - len(text), str(path))
    return _check(strict_json.parse(text, str(path)), str(path))


def _limited(size: int, path: Path, budget: Budget) -> int:
    if size > strict_json.MAX_BYTES:
        raise StorageError(
            f"{path} must have at most {strict_json.MAX_BYTES} bytes; received {size}. {AGAIN}"
        )
    budget.take(size, str(path))
    return size


def _check(document: dict[str, Any], where: str) -> dict[str, Entry]:
    if document.get("format") != FORMAT:
        raise StorageError(f"{where} must have the format {FORMAT!r}; received another. Check the path.")
    version = document.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise StorageError(
            f"{where} must have a format version from 1 to {FORMAT_VERSION}; received {str(version)[:20]!a}. "
            "Read it with the version of bayesian-layers that wrote it, or a later one."
        )
    files = document.get("files")
    if set(document) != {"format", "format_version", "files"} or not isinstance(files, dict):
        raise StorageError(f"{where} must have just format, format_version and files. {AGAIN}")
    entries = {name: _entry(name, described, where) for name, described in files.items()}
    if ARRAYS not in entries:
        raise StorageError(f"{where} must list {ARRAYS}; it does not. {AGAIN}")
    if sum(entry.size for name, entry in entries.items() if name != ARRAYS) > strict_json.MAX_BYTES:
        raise StorageError(
            f"{where} must list documents of at most {strict_json.MAX_BYTES} bytes in all; received more. "
            "Put long series into arrays."
        )
    return entries


def _entry(name: str, described: Any, where: str) -> Entry:
    if name != ARRAYS and (name == MANIFEST or not (_DOCUMENT.fullmatch(name) or is_note(name))):
        raise StorageError(
            f"{where} must list documents named in [a-z_], not `manifest`, and notes; received {name[:60]!a}. {AGAIN}"
        )
    match described:
        case {"bytes": size, "sha256": str(digest), **rest} if not rest and _SHA256.fullmatch(digest):
            if type(size) is int and 0 <= size < 2**63:
                return Entry(size, digest)
    raise StorageError(f"{where} must give just bytes and sha256 of {name}; received something else. {AGAIN}")
