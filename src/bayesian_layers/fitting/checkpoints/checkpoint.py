"""Checkpoints of a fit: killed at any moment, the same call goes on, to the same last bit.

What decides a fit's numbers is its settings and data (see :mod:`.fingerprint`), the state at a step's boundary, the
step mode and the number of threads. Noise depends on seed and step alone, so no generator has a state to keep.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch

from ... import saving
from ...errors import BayesianLayersError, DataError, StorageError
from ...saving import StoredFolder
from ..data.batches import Batches
from ..stepping.flat import FlatParameters
from ..stepping.step import Mode
from ..trainer import Run
from . import stored_state
from .fingerprint import differences
from .interruption import Interruption, end
from .stored_state import DOCUMENT

_log = logging.getLogger(__name__)

Fingerprint = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Checkpoint:
    """Where a fit keeps what it needs to go on after it was stopped, and how often it writes.

    Attributes:
        folder: A folder of its own: a new name, or the one from which to go on.
        every: Seconds from one write to the next, 0 or more; 0 writes at every step's boundary.

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
        number = isinstance(self.every, int | float) and not isinstance(self.every, bool)
        if not number or not self.every >= 0:
            raise DataError(f"`every` must be seconds, 0 or more; received {self.every!r}")


class Keeper:
    """Keeps nothing: what a fit without a checkpoint has.

    Attributes:
        mode: The step mode with which the fit began, or ``None`` where it begins now.
        finished: Whether the fit was finished in an earlier call.
        seconds: What earlier calls took.
    """

    mode: Mode | None = None
    finished = False
    seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def begin(self, run: Run, batches: Batches, said: list[str]) -> None:
        """Take a fit to where it stood, or note where it begins."""

    def boundary(self) -> None:
        """Write if it is time to, or if the process was told to end; call it between two steps."""

    def finish(self) -> None:
        """Write that the fit is finished."""

    def warnings(self) -> list[str]:
        """Tell what went otherwise than it should."""
        return []


def keeper(
    checkpoint: str | os.PathLike[str] | Checkpoint | None, identity: Callable[[], Fingerprint]
) -> Keeper:
    """Make what keeps a fit, and read what is kept already."""
    if checkpoint is None:
        return Keeper()
    if not isinstance(checkpoint, Checkpoint):
        if not isinstance(checkpoint, str | os.PathLike):
            raise TypeError(
                f"`checkpoint` must be a folder or a bl.Checkpoint; received {type(checkpoint).__name__}"
            )
        checkpoint = Checkpoint(checkpoint)
    return FolderKeeper(checkpoint, identity())


class FolderKeeper(Keeper):
    """Keeps a fit in a folder.

    While it is entered torch uses as many threads as when the fit began: sums in another order have other last bits.
    From ``begin`` to ``finish`` SIGINT and SIGTERM end the fit at the next step's boundary.

    Args:
        checkpoint: Where, and how often.
        own: Fingerprint of the fit.

    Raises:
        StorageError: If the folder holds something else than a checkpoint of this very fit.
    """

    def __init__(self, checkpoint: Checkpoint, own: Fingerprint) -> None:
        self._start = self._written = time.monotonic()
        self._checkpoint = checkpoint
        self._path = Path(os.path.realpath(checkpoint.folder))
        self._fingerprint = {group: dict(names) for group, names in own.items()}
        self._interruption = Interruption()
        self._failures: list[str] = []
        self._notes: list[str] = []
        self._ran: Mode | None = None  # step mode at the boundary from which the fit goes on
        self._threads_before = self._threads = torch.get_num_threads()
        self._stored = self._read()
        if self._stored is not None:
            kept = self._stored.documents[DOCUMENT]
            self.mode, self.finished, self.seconds = kept["mode"], kept["finished"], kept["seconds"]
            self._threads = kept["threads"]

    def _read(self) -> StoredFolder | None:
        _remove_remains(self._path)
        previous = self._path.with_name(f".{self._path.name}.previous")  # where a write was killed half-way
        if not previous.exists() and (not self._path.exists() or _is_empty(self._path)):
            return None
        try:
            stored = saving.read_folder(self._path)
            stored_state.check(stored.documents)
        except StorageError as error:
            raise self._unusable(error) from error
        group, found = differences(stored.documents[DOCUMENT]["fingerprint"], self._fingerprint)
        if found:
            remedy = "install these versions" if group == "versions" else "repeat the call it was written by"
            raise StorageError(
                f"the checkpoint in {self._path} belongs to another fit ({'; '.join(found)}): choose another folder, "
                f"or {remedy}"
            )
        return stored

    def _unusable(self, error: Exception) -> StorageError:
        return StorageError(
            f"{self._path} cannot be gone on from: {error} To begin anew, choose another folder or remove this one."
        )

    def __enter__(self) -> Self:
        self._threads_before = torch.get_num_threads()
        _set_threads(self._threads)
        return self

    def __exit__(self, *_: object) -> None:
        self._interruption.__exit__()
        _set_threads(self._threads_before)

    def begin(self, run: Run, batches: Batches, said: list[str]) -> None:
        """Take a fit to where it stood, or write where it begins; see :meth:`Keeper.begin`."""
        self._run, self._batches, self._said = run, batches, said
        self._interruption.__enter__()
        self._began = {name: value.detach().clone() for name, value in run.guide.named_parameters()}
        if self._stored is None:
            self.mode = run.stepper.mode
            self._write(finished=False)  # a folder that cannot be written is refused before any work
            return
        try:
            self._restore(self._stored)
        except BayesianLayersError as error:
            raise self._unusable(error) from error
        self._stored = None

    def _restore(self, stored: StoredFolder) -> None:
        kept, run = stored.documents[DOCUMENT], self._run
        run.schedule = stored_state.schedule(kept["schedule"], run.schedule)
        run.state = stored_state.state(kept, stored, run.state.position.theta)
        self._batches.restore(kept["order"])
        run.stepper.mode = self._ran = kept["ran"]
        self._said[:] = kept["said"]
        if run.state.step == run.schedule.max_steps > run.state.evaluated_at or self.finished:
            _settle(run)
        if self.finished:
            return
        if not self._batches.exact_order:
            self._notes.append(
                "the fit went on from a checkpoint, with a source of batches that cannot promise their order: it "
                "may differ from a fit that was never stopped; bl.streams and tensors keep it"
            )
        if kept["machine"] != _machine():
            self._notes.append(
                f"the fit went on from a checkpoint of another processor ({kept['machine']} there, {_machine()} "
                "here): its last digits may differ from those of a fit that was never stopped"
            )

    def boundary(self) -> None:
        """Write if it is time to, or if the process was told to end; see :meth:`Keeper.boundary`."""
        received = self._interruption.received
        if received is not None:
            end(received, self._stopped(self._try(finished=False)))
        if time.monotonic() - self._written >= self._checkpoint.every:
            self._try(finished=False)

    def finish(self) -> None:
        """Write that the fit is finished; see :meth:`Keeper.finish`."""
        saved = self.finished or self._try(finished=True)
        self._interruption.__exit__()
        received = self._interruption.received
        if received is not None:
            end(received, self._stopped(saved))

    def _stopped(self, saved: bool) -> str:
        with torch.no_grad():  # so that the same call in the same process is the same fit
            for name, parameter in self._run.guide.named_parameters():
                parameter.copy_(self._began[name])
        step = self._run.state.step
        if saved:
            return f"stopped at step {step}; saved in {self._path}; run the same call again to go on"
        return (
            f"stopped at step {step}, which could not be saved in {self._path} ({self._failures[-1]}); make room and "
            "run the same call again to go on from the last one that could"
        )

    def _try(self, *, finished: bool) -> bool:
        try:
            self._write(finished=finished)
        except StorageError as error:
            if not self._failures:
                _log.warning("no checkpoint at step %d: %s", self._run.state.step, error)
            self._failures.append(str(error))
            self._written = time.monotonic()
            return False
        return True

    def _write(self, *, finished: bool) -> None:
        run = self._run
        document = {
            "fingerprint": self._fingerprint,
            "machine": _machine(),
            "mode": self.mode,
            "ran": run.stepper.mode,
            "threads": self._threads,
            "schedule": asdict(run.schedule),
            "order": dict(self._batches.state()),
            "step": run.state.step,
            "evaluated_at": run.state.evaluated_at,
            "evaluations": len(run.state.evaluations),
            "said": list(self._said),
            "seconds": self.seconds + time.monotonic() - self._start,
            "finished": finished,
        }
        saving.write_folder(self._path, stored_state.arrays(run.state), {DOCUMENT: document})
        self._written = time.monotonic()

    def warnings(self) -> list[str]:
        """Tell what went otherwise than it should; see :meth:`Keeper.warnings`."""
        said = list(self._notes)
        if self._ran is not None and self._run.stepper.mode != self._ran:
            said.append(
                f"steps ran {self._ran} before the fit was stopped and {self._run.stepper.mode} after: its last digits "
                "may differ from those of a fit that was never stopped"
            )
        if self._failures:
            said.append(
                f"{len(self._failures)} times no checkpoint could be written, the last time because "
                f"{self._failures[-1]}"
            )
        return said


def _settle(run: Run) -> None:
    """Give the guide the last parameters; killed after the last step, the fit lacks only its evaluation."""
    if run.state.step > run.state.evaluated_at:
        run.evaluate()
    else:
        FlatParameters(run.guide).scatter(run.state.position.theta)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _remove_remains(path: Path) -> None:
    """Delete what writes left that were killed: a fit that is killed often would fill the disk."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.partial")
    if path.parent.is_dir():
        for each in path.parent.iterdir():
            if pattern.fullmatch(each.name):
                shutil.rmtree(each, ignore_errors=True)


def _set_threads(count: int) -> None:
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def _machine() -> str:
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
