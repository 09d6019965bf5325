"""What a fit tells while it runs: the progress bar, and callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tqdm.auto import tqdm

from .trainer import State


@dataclass(frozen=True)
class Progress:
    """What a callback is told.

    Attributes:
        step: Steps taken so far.
        objective: The objective at the last step, in nats of the whole data set, noisy.
        validation: The latest mean log likelihood a row of the validation data; NaN without.
    """

    step: int
    objective: float
    validation: float


Callback = Callable[[Progress], object]


class Report:
    """Tells the progress bar and the caller's callbacks how the fit goes.

    Args:
        bar: The progress bar.
        label: What the objective is called there.
        callbacks: The caller's.
        boundary: Called at the end, unless a callback ended the fit.
    """

    def __init__(
        self, bar: tqdm, label: str, callbacks: tuple[Callback, ...], boundary: Callable[[], None]
    ) -> None:
        self._bar = bar
        self._boundary = boundary
        self._label = label
        self._callbacks = callbacks

    def __call__(self, state: State, count: int) -> bool:
        """Tell of a boundary between two steps."""
        self._bar.update(count)
        if state.step % 10 < count:
            recent = state.history[-10:]
            text = f"{self._label} {-sum(recent) / len(recent):.1f}"
            if state.validation:
                text += f", validation {state.validation[-1][1]:.3f}"
            self._bar.set_postfix_str(text, refresh=False)
        held_out = state.validation[-1][1] if state.validation else math.nan
        progress = Progress(state.step, state.history[-1], held_out)
        answers = [bool(callback(progress)) for callback in self._callbacks]  # each is asked
        if not any(answers):  # else the end is kept, once it is evaluated
            self._boundary()
        return any(answers)
