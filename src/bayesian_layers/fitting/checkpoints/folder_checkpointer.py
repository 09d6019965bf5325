"""Checkpoints in a folder: a fit that was killed at any moment resumes, and ends with the same bits.

A fit's numbers depend on its settings and data (see :mod:`.fingerprint`), its state between two steps, the step mode
and the number of threads. Noise depends on seed and step alone, so no generator has a state to save.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Self

import torch

from ... import saving
from ...errors import BayesianLayersError, StorageError
from ...saving import StoredFolder, atomic
from ...saving.locks import locked
from ..data.batches import Batches
from ..stepping.step import Mode
from ..threads import current, threads
from ..trainer import Trainer
from . import stored_state
from .checkpoint import Checkpoint, Checkpointer
from .fingerprint import Fingerprint
from .interruption import Interruption, stop
from .stored_state import DOCUMENT

_log = logging.getLogger(__name__)


def make_checkpointer(
    checkpoint: str | os.PathLike[str] | Checkpoint | None, fingerprint: Callable[[], Fingerprint]
) -> Checkpointer:
    """Make the checkpointer of a fit."""
    if checkpoint is None:
        return Checkpointer()
    if not isinstance(checkpoint, Checkpoint):
        if not isinstance(checkpoint, str | os.PathLike):
            raise TypeError(
                f"`checkpoint` must be a folder or a bl.Checkpoint; received {type(checkpoint).__name__}"
            )
        checkpoint = Checkpoint(checkpoint)
    return FolderCheckpointer(checkpoint, fingerprint())


class FolderCheckpointer(Checkpointer):
    """Saves the state of a fit in a folder, which is locked meanwhile."""

    # Inside the `with` block torch uses as many threads as at the start of the fit: sums in another order have other
    # last bits. From `on_start` to `on_end` SIGINT and SIGTERM stop the fit after its present step.

    def __init__(self, checkpoint: Checkpoint, fingerprint: Fingerprint) -> None:
        self._start = self._written = time.monotonic()
        self._every = checkpoint.every
        self._path = atomic.resolved(checkpoint.folder)
        self._fingerprint = fingerprint
        self._interruption = Interruption()
        self._cleanup = ExitStack()
        self._failures: list[str] = []
        self._notes: list[str] = []
        self._resumed_mode: Mode | None = None  # step mode of the last step before the fit was resumed
        self._threads = current()
        self._stored: StoredFolder | None = None

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            with contextlib.suppress(OSError):  # the first write reports it
                self._path.parent.mkdir(parents=True, exist_ok=True)
            cleanup.enter_context(
                locked(
                    self._path,
                    f"the checkpoint in {self._path} is in use by another fit: wait until that one ends, or choose "
                    "another folder",
                )
            )
            self._stored = self._read()
            if self._stored is not None:
                kept = self._stored.documents[DOCUMENT]
                self.mode, self.finished, self.seconds = kept["mode"], kept["finished"], kept["seconds"]
                self._threads = kept["threads"]
            cleanup.enter_context(threads(self._threads))
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._interruption.__exit__()
        self._cleanup.close()

    def _read(self) -> StoredFolder | None:
        atomic.remove_remains(self._path)
        path = atomic.current(self._path)
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return None
        try:
            stored = saving.read_folder(self._path)
            stored_state.check(stored.documents)
        except StorageError as error:
            raise self._unusable(error) from error
        kept = stored.documents[DOCUMENT]
        difference, remedy = self._fingerprint.difference(kept["fingerprint"], kept["values"])
        if difference:
            raise StorageError(
                f"the checkpoint in {self._path} belongs to another fit ({difference}): choose another folder, or "
                f"{remedy}"
            )
        return stored

    def _unusable(self, error: Exception) -> StorageError:
        return StorageError(
            f"cannot resume from {self._path}: {error} To start over, remove the folder or choose another."
        )

    def on_start(self, trainer: Trainer, batches: Batches, restarts: list[str]) -> None:
        """Restore the state of a fit, or save its start."""
        self._trainer, self._batches, self._restarts = trainer, batches, restarts
        self._interruption.__enter__()
        self._first = {name: value.detach().clone() for name, value in trainer.guide.named_parameters()}
        if self._stored is None:
            self.mode = trainer.step.mode
            self._write(finished=False)  # a folder that cannot be written is refused before any work
            return
        try:
            self._restore(self._stored)
        except BayesianLayersError as error:
            raise self._unusable(error) from error
        self._stored = None

    def _restore(self, stored: StoredFolder) -> None:
        kept, trainer = stored.documents[DOCUMENT], self._trainer
        trainer.schedule = stored_state.schedule(kept["schedule"], trainer.schedule)
        trainer.state = stored_state.state(kept, stored, trainer.state.optimizer.theta)
        self._batches.restore(kept["batches"])
        trainer.step.mode = self._resumed_mode = kept["last_mode"]
        self._restarts[:] = kept["restarts"]
        if trainer.state.step == trainer.schedule.max_steps > trainer.state.evaluated_at or self.finished:
            trainer.restore_guide()
        if self.finished:
            return
        if not self._batches.exact_order:
            self._notes.append(
                "the fit was resumed from a checkpoint with batches whose order cannot be restored, so it may differ "
                "from an uninterrupted fit; with bl.streams or tensors it does not"
            )
        if kept["machine"] != _machine():
            self._notes.append(
                f"the fit was resumed from a checkpoint of another processor ({kept['machine']} there, {_machine()} "
                "here), so its last digits may differ from those of an uninterrupted fit"
            )

    def on_step(self) -> None:
        """Save if it is time to; stop the fit if a signal was received."""
        received = self._interruption.received
        if received is not None:
            stop(received, self._stopped(self._try(finished=False)))
        if time.monotonic() - self._written >= self._every:
            self._try(finished=False)

    def on_end(self) -> None:
        """Save the finished fit."""
        saved = self.finished or self._try(finished=True)
        self._interruption.__exit__()
        received = self._interruption.received
        if received is not None:
            stop(received, self._stopped(saved))

    def _stopped(self, saved: bool) -> str:
        # The guide goes back to its start, so that the same call in the same process is the same fit.
        with torch.no_grad():
            for name, parameter in self._trainer.guide.named_parameters():
                parameter.copy_(self._first[name])
        step = self._trainer.state.step
        if saved:
            return f"stopped at step {step}; saved in {self._path}; run the same call again to resume"
        return (
            f"stopped at step {step}, which could not be saved in {self._path} ({self._failures[-1]}); free some "
            "space and run the same call again to resume from the last step that was saved"
        )

    def _try(self, *, finished: bool) -> bool:
        try:
            self._write(finished=finished)
        except StorageError as error:
            if not self._failures:
                _log.warning("no checkpoint at step %d: %s", self._trainer.state.step, error)
            self._failures.append(str(error))
            self._written = time.monotonic()
            return False
        return True

    def _write(self, *, finished: bool) -> None:
        trainer, state = self._trainer, self._trainer.state
        document = {
            "fingerprint": self._fingerprint.hashes,
            "values": self._fingerprint.values,
            "machine": _machine(),
            "mode": self.mode,
            "last_mode": trainer.step.mode,
            "threads": self._threads,
            "schedule": asdict(trainer.schedule),
            "batches": dict(self._batches.state()),
            "step": state.step,
            "evaluated_at": state.evaluated_at,
            "evaluations": len(state.evaluations),
            "restarts": list(self._restarts),
            "seconds": self.seconds + time.monotonic() - self._start,
            "finished": finished,
        }
        saving.write_folder(self._path, stored_state.arrays(state), {DOCUMENT: document})
        self._written = time.monotonic()

    def warnings(self) -> list[str]:
        """Return what did not go as it should."""
        found = list(self._notes)
        before = self._resumed_mode
        if before is not None and before != self._trainer.step.mode:
            found.append(
                f"steps ran {before} before the fit was stopped and {self._trainer.step.mode} after, so its last "
                "digits may differ from those of an uninterrupted fit"
            )
        if self._failures:
            found.append(
                f"{len(self._failures)} checkpoints could not be written, the last one because {self._failures[-1]}"
            )
        return found


def _machine() -> str:
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
