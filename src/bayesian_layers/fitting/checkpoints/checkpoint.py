"""`Checkpoint`: where and how often a fit saves its state; and the interface of what saves it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from ...arguments import is_number
from ...errors import DataError
from ..data.batches import Batches
from ..stepping.step import Mode
from ..trainer import Trainer


@dataclass(frozen=True)
class Checkpoint:
    """The folder in which a fit saves its state, and how often; the same call resumes from it.

    Attributes:
        folder: A new folder, or the one to resume from. It is locked while a fit uses it.
        every: Seconds between two writes, 0 or more; 0 writes after every step.

    Raises:
        DataError: If ``every`` is not a number, 0 or more.
        TypeError: If ``folder`` is not a path.

    Example:
        >>> Checkpoint("fits/first", every=10.0)
        Checkpoint(folder='fits/first', every=10.0)
    """

    folder: str | os.PathLike[str]
    every: float = 60.0

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | os.PathLike) or not os.fspath(self.folder):
            raise TypeError(f"the `folder` of a checkpoint must be a path; received {self.folder!r}")
        if not is_number(self.every) or not self.every >= 0:
            raise DataError(f"`every` must be a number of seconds, 0 or more; received {self.every!r}")


class Checkpointer:
    """Saves the state of a fit while it runs; this one, for fits without a checkpoint, saves nothing."""

    mode: Mode | None = None  # step mode at the start of the fit; None if it starts now
    finished = False  # whether the fit was finished by an earlier call
    seconds = 0.0  # time that earlier calls took

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def on_start(self, trainer: Trainer, batches: Batches, restarts: list[str]) -> None:
        """Restore the state of a fit, or save its start."""

    def on_step(self) -> None:
        """Save if it is time to; stop the fit if a signal was received."""

    def on_end(self) -> None:
        """Save the finished fit."""

    def warnings(self) -> list[str]:
        """Return what did not go as it should."""
        return []
