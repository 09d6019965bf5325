"""The progress bar of a fit, and the caller's callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from .trainer import TrainingState


@dataclass(frozen=True)
class Progress:
    """What a callback receives.

    Attributes:
        step: Steps taken so far.
        objective: The objective at the last step, in nats of the whole data set, noisy.
        validation: The latest mean log likelihood per row of the validation data; NaN without such data.
    """

    step: int
    objective: float
    validation: float


Callback = Callable[[Progress], object]


class ProgressReporter:
    """Updates the progress bar and calls the callbacks after each call of the step."""

    def __init__(
        self,
        bar: tqdm[Any],
        label: str,
        callbacks: tuple[Callback, ...],
        on_step: Callable[[], None],
        deadline: float,
    ) -> None:
        self._bar = bar
        self._on_step = on_step  # called last, unless a callback stops the fit
        self._label = label  # name of the objective in the bar
        self._callbacks = callbacks
        self._deadline = deadline  # of time.perf_counter()

    def __call__(self, state: TrainingState, count: int) -> bool:
        """Report that ``count`` steps were taken; return whether a callback or the deadline stops the fit."""
        self._bar.update(count)
        if state.step % 10 < count:
            recent = state.history[-10:]
            text = f"{self._label} {-sum(recent) / len(recent):.1f}"
            if state.validation:
                text += f", validation {state.validation[-1][1]:.3f}"
            self._bar.set_postfix_str(text, refresh=False)
        held_out = state.validation[-1][1] if state.validation else math.nan
        progress = Progress(state.step, state.history[-1], held_out)
        answers = [bool(callback(progress)) for callback in self._callbacks]  # all of them are called
        stop = any(answers) or time.perf_counter() >= self._deadline
        if not stop:  # a fit that is stopped is saved after its evaluation
            self._on_step()
        return stop
