"""Steps of a fit, run in one of three modes: eager, captured, or captured and compiled."""

from __future__ import annotations

import logging
from typing import Literal

import torch
from torch import Tensor

from ..data.batches import Batch
from ..schedule import Schedule
from .capture import Function
from .eager import EagerStep, StepInputs, batch_tensors
from .flat import FlatParameters
from .objective import Objective
from .optimizer import CustomOptimizer, MakeOptimizer, OptimizerState, fused_adam, plain_adam
from .verified import capture_step

Mode = Literal["eager", "captured", "compiled"]
MODES = ("eager", "captured", "compiled")
STEPS_PER_CALL = 10  # of a compiled step on all rows
# Capturing takes as long as about three eager steps. Compiling takes up to a minute, so it is never the default.
_MIN_STEPS_TO_CAPTURE = 10
_log = logging.getLogger(__name__)


def choose_mode(schedule: Schedule) -> Mode:
    """Choose the mode of a fit before its first step."""
    return "captured" if schedule.max_steps >= _MIN_STEPS_TO_CAPTURE else "eager"


class Step:
    """Takes steps of Adam, or of the caller's optimizer, on a stochastic objective."""

    # A step is captured for each shape of batch (the last one of an epoch may be smaller).

    def __init__(
        self,
        objective: Objective,
        flat: FlatParameters,
        mode: Mode,
        *,
        steps_per_call: int = 1,  # of a compiled step
        optimizer: MakeOptimizer | None = None,
    ) -> None:
        self._optimizer = None if optimizer is None else CustomOptimizer(optimizer)
        self.steps_per_call = steps_per_call if mode == "compiled" and optimizer is None else 1
        self.objective = objective
        self._flat = flat
        self._captured: dict[object, Function] = {}
        self.mode: Mode = mode  # "eager" once something could not be captured

    def run(self, state: OptimizerState, step_inputs: StepInputs, batch: Batch) -> list[float]:
        """Take steps on one batch; update the state in place and return the objective at each step."""
        inputs = (*state.tensors(), *step_inputs.tensors(), *batch_tensors(batch))
        function = self._function(step_inputs, batch, inputs)
        with torch.no_grad():
            losses, *gradient = function(*inputs)
            if self._optimizer is not None:
                self._optimizer.step(state.theta, *gradient)
        return losses.tolist()

    def _function(self, step_inputs: StepInputs, batch: Batch, inputs: tuple[Tensor, ...]) -> Function:
        adam = plain_adam if self.mode == "compiled" else fused_adam
        adam = adam if self._optimizer is None else None
        eager = EagerStep(self.objective, self._flat, step_inputs, batch, adam)
        if self.mode == "eager":
            return eager
        key = (batch.scale, *(tensor.shape for tensor in inputs))
        if key not in self._captured:
            # An odd number of steps at the end of a stage is not worth another compilation.
            compiled = self.mode == "compiled" and len(step_inputs.rates) == self.steps_per_call
            try:
                self._captured[key] = capture_step(eager, inputs, step_inputs, batch, compiled=compiled)
            except Exception as error:  # whatever it is, the network can still be run
                _log.info("steps run eagerly: %s", _first_line(error))
                self.mode = "eager"
                return self._function(step_inputs, batch, inputs)
        return self._captured[key]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0][:200]}"
