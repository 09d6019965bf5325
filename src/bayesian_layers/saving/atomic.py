"""Files and folders that appear whole or not at all.

Everything is written to a temporary sibling, ``.NAME.<16 hex digits>.partial``, synced, and renamed. A writer holds a
lock on its sibling, so that the next write to the same place can remove what killed writers left.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError

try:
    import fcntl
except ImportError:  # Windows has no such locks: nothing is removed there
    fcntl = None


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces ``path`` when the block ends, or leaves it as it was on an error."""
    target = resolved(path)
    if target.is_dir():
        raise StorageError(f"{target} must be the path of a file; it is a folder. Add a file name.")
    partial = _partial(target)
    try:
        remove_remains(target)
        with partial.open("xb") as file:
            _lock(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.replace(target)
        _sync_directory(target.parent)
    except OSError as error:
        raise _not_writable(target, error) from error
    finally:
        partial.unlink(missing_ok=True)


def write_folder(target: Path, files: Mapping[str, bytes], ours: Callable[[Path], set[str]]) -> None:
    """Write files as a folder, all of them or none; parents are made."""
    # `ours` returns the names of the files in an existing folder that may be deleted; others are kept.
    partial = _partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_remains(target)
        partial.mkdir()
        with _locked_folder(partial):
            for name, data in files.items():
                _write_synced(partial / name, data)
            _sync_directory(partial)
            _swap(partial, target, ours)
    except OSError as error:
        raise _not_writable(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return the path without symbolic links."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{os.fspath(path)!a} must be a path; it contains characters that no path has."
        ) from error


def current(target: Path) -> Path:
    """Return where a folder's files are: a writer that was killed between its two renames left them next to it."""
    previous = _previous(target)
    return previous if not target.exists() and previous.exists() else target


def remove_remains(target: Path) -> None:
    """Delete temporary siblings that no running process holds."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{16}}\.partial")
    if fcntl is None or not target.parent.is_dir():
        return
    for path in target.parent.iterdir():
        if pattern.fullmatch(path.name) and not path.is_symlink() and not _is_held(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _not_writable(target: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{target} must be writable; received: {error.strerror or error}. "
        "What was there before is unchanged; free some space, or choose another path."
    )


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # it is gone by now, or not readable
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # pyright: ignore  (callers check it)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _locked_folder(path: Path) -> Iterator[None]:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(partial: Path, target: Path, ours: Callable[[Path], set[str]]) -> None:
    """Put the new folder in the place of the old one, which is deleted last."""
    previous = _previous(target)
    replaces = target.exists()
    if replaces:
        _discard(previous, target, ours)
        target.rename(previous)
    try:
        partial.rename(target)
    except BaseException:
        if replaces:
            with contextlib.suppress(OSError):
                previous.rename(target)
        raise
    with contextlib.suppress(OSError, StorageError):  # the new folder is complete; the next write tries again
        _sync_directory(target.parent)
        _discard(previous, target, ours)


def _discard(previous: Path, heir: Path, ours: Callable[[Path], set[str]]) -> None:
    """Delete our files; files of others move to the heir, where nothing is overwritten."""
    if not previous.exists():
        return
    deleted = ours(previous) if any(previous.iterdir()) else set()
    for path in list(previous.iterdir()):
        if path.name not in deleted and not os.path.lexists(heir / path.name):
            path.rename(heir / path.name)
    # Metadata last: as long as it is there, `ours` can list the others.
    for name in sorted(deleted, key=lambda name: (name in {"manifest.json", "metrics.json"}, name)):
        (previous / name).unlink(missing_ok=True)
    previous.rmdir()
