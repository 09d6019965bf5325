"""A lock on the name of a folder, which the system releases when the process ends, even if it is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StorageError

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nothing is locked
    fcntl = None


@contextmanager
def locked(target: Path, message: str) -> Iterator[None]:
    """Hold a lock for a block; raise StorageError with the message if another process or thread holds it."""
    path = target.with_name(f".{target.name}.lock")
    descriptor = _acquire(path, message)
    try:
        yield
    finally:
        if fcntl is not None and descriptor is not None:
            path.unlink(missing_ok=True)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # forked processes may have copies of the descriptor
            os.close(descriptor)


def _acquire(path: Path, message: str) -> int | None:
    while fcntl is not None:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:  # the folder is read-only, which the first write reports
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise StorageError(message) from error
        except OSError:  # some network file systems have no locks
            os.close(descriptor)
            return None
        os.close(descriptor)  # its last owner has deleted the file in between: try again
    return None
