"""One file at a time, read without following links."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..errors import StorageError

Read = TypeVar("Read")
AGAIN = "Save it again, or take an undamaged copy."


def read(path: Path, choose: Callable[[BinaryIO, int], Read]) -> Read:
    """Read from a regular file, through one descriptor."""
    if path.is_symlink():  # for the better message; the flag below is what guards
        raise StorageError(f"{path} must be a regular file; received a symbolic link. {AGAIN}")
    try:
        with open(path, "rb", opener=_open_unfollowed) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise StorageError(f"{path} must be a regular file; received another kind. {AGAIN}")
            return choose(file, status.st_size)
    except OSError as error:
        raise StorageError(f"{path} must be a readable file; received: {error.strerror}. {AGAIN}") from error


def _open_unfollowed(path: str, flags: int) -> int:
    # Without O_NONBLOCK a named pipe in the folder would be waited for. Windows has neither flag.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
