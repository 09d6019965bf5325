"""A folder of arrays and documents: written whole or not at all, read without trust."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from ..errors import StorageError
from . import arrays as array_files
from . import atomic, manifest, regular_files, strict_json
from .arrays import ArraySpec
from .budget import Budget
from .manifest import ARRAYS, MANIFEST, Entry


@dataclass(frozen=True)
class StoredFolder:
    """A folder whose documents are read and whose arrays are known, but not yet loaded."""

    path: Path
    documents: Mapping[str, dict[str, Any]]
    header: Mapping[str, ArraySpec]
    _entry: Entry = field(repr=False)
    _beginning: bytes = field(repr=False)
    _budget: Budget = field(repr=False)

    def reserve(self, nbytes: int, what: str) -> None:
        """Count memory that the caller is about to take for the folder, in addition to that of its files."""
        self._budget.take(nbytes, what)

    def load_arrays(self, expected: Mapping[str, ArraySpec]) -> dict[str, Tensor]:
        """Load the arrays, if they are the expected ones."""
        # Nothing is allocated before names, dtypes and shapes are found equal; then once the file's size.
        path = self.path / ARRAYS
        array_files.check_same(expected, self.header, str(path))

        def load(file: BinaryIO, size: int) -> dict[str, Tensor]:
            self._entry.check_size(size, path)
            return array_files.read_arrays(file, self._beginning, self.header, self._entry.sha256, str(path))

        return regular_files.read(path, load)


def read_folder(folder: str | os.PathLike[str], max_bytes: int | None = None) -> StoredFolder:
    """Read the documents of a folder, and which arrays it has."""
    # A hard link is a regular file like any other; a symbolic link is refused, but as the folder itself.
    budget = Budget(max_bytes)
    path = atomic.resolved(folder)
    try:
        return _read_folder(atomic.current(path), budget)
    except OSError as error:
        raise StorageError(
            f"{path} must be a readable folder; received: {error.strerror}. Check it."
        ) from error


def _read_folder(path: Path, budget: Budget) -> StoredFolder:
    entries = manifest.read(path, budget)
    entry, where = entries.pop(ARRAYS), path / ARRAYS
    budget.take(entry.size, str(where))
    texts = {
        name: _read_text(path / name, listed, budget)
        for name, listed in entries.items()
        if not manifest.is_note(name)
    }
    _check_together(texts.values(), str(path))
    documents = {
        name.removesuffix(".json"): strict_json.parse(text, str(path / name)) for name, text in texts.items()
    }

    def beginning_of(file: BinaryIO, size: int) -> bytes:
        start = file.read(8)
        end = array_files.header_end(start, entry.check_size(size, where), str(where))
        file.seek(0)
        return file.read(end)

    beginning = regular_files.read(where, beginning_of)
    budget.take(strict_json.most_memory(beginning) - len(beginning), f"the header of {where}")
    header = array_files.read_header(beginning, entry.size, str(where))
    return StoredFolder(path, documents, header, entry, beginning, budget)


def _check_together(texts: Collection[bytes], where: str) -> None:
    """Raise if documents are within the limits each, but not together."""
    memory = sum(map(strict_json.most_memory, texts))
    if len(texts) > 1 and memory > strict_json.MAX_MEMORY:
        raise StorageError(
            f"the documents of {where} must fit into {strict_json.MAX_MEMORY} bytes of memory once they are parsed; "
            f"received up to {memory}. Put long series into arrays."
        )


def _read_text(path: Path, listed: Entry, budget: Budget) -> bytes:
    budget.take(listed.size, str(path))
    text = listed.read(path)
    budget.take(strict_json.most_memory(text) - len(text), str(path))
    return text


def write_folder(
    folder: str | os.PathLike[str],
    arrays: Mapping[str, Tensor],
    documents: Mapping[str, Mapping[str, Any]],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write arrays and documents as a folder, all of it or nothing; raise StorageError if it could not be read."""
    # The files go to a temporary sibling, are synced, and take the place of the folder by renaming. A folder that the
    # library wrote is replaced if it holds a document named like the first one; files of others in it are kept.
    # Names: documents in [a-z_], not `manifest`; notes, Markdown for people that no reader opens, in [A-Z_].
    target = atomic.resolved(folder)
    files = {ARRAYS: array_files.encode(arrays)}
    files |= {
        f"{name}.json": strict_json.dump(each, f"document `{name}`") for name, each in documents.items()
    }
    _check_together([files[f"{name}.json"] for name in documents], "the folder to save")
    files |= {f"{name}.md": text.encode() for name, text in (notes or {}).items()}
    files[MANIFEST] = manifest.make(files)
    check_replaceable(target, next(iter(documents), None), set(files))
    atomic.write_folder(target, files, _ours)


def check_replaceable(
    folder: str | os.PathLike[str], document: str | None, names: Collection[str] = ()
) -> None:
    """Raise StorageError if :func:`write_folder` would, before the work whose result it is for."""
    target = atomic.resolved(folder)
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
        ours = _ours(target)
        foreign = {path.name for path in target.iterdir()} - ours
    except OSError as error:
        raise StorageError(f"{target} must be writable; received: {error.strerror or error}.") from error
    except StorageError as error:
        raise StorageError(
            f"{target} exists and must be a folder that this library wrote; received another. "
            "Choose another name, or remove it yourself."
        ) from error
    if document is not None and f"{document}.json" not in ours:
        raise StorageError(
            f"{target} must be absent or hold a {document}; this library wrote something else there "
            f"({', '.join(sorted(ours - {MANIFEST, ARRAYS}))}). Choose another name, or remove it yourself."
        )
    if clash := sorted(foreign & set(names)):
        raise StorageError(
            f"{target / clash[0]} must be absent; this library did not write it. Move it away."
        )


def _ours(folder: Path) -> set[str]:
    return {MANIFEST, *manifest.read(folder)}
