"""The training loop of a fit, and its state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import DivergenceError
from ..estimators import Estimator
from ..guides import Guide
from ..noise import PairedNoise, stream
from .convergence import ONE_STAGE, TOO_SHORT, Convergence, check_convergence, tolerance
from .data.batches import Batches
from .evaluation import Evaluation, Evaluator
from .schedule import Schedule
from .stepping.eager import StepInputs
from .stepping.flat import FlatParameters
from .stepping.optimizer import OptimizerState
from .stepping.step import Step
from .validation import Validation

_SAFE_EVERY = 25  # steps between copies of the parameters, for the return after a divergence
_ROW_NOISE = 7  # key of the stream of row noise


@dataclass
class TrainingState:
    """Complete training state between two steps. Together with the settings it determines the rest of the fit."""

    optimizer: OptimizerState
    step: int = 0  # steps taken
    history: list[float] = field(default_factory=list)  # the objective at each step
    evaluations: list[Evaluation] = field(default_factory=list)  # at the ends of the last two stages
    evaluated_at: int = 0  # step of the last evaluation
    validation: list[tuple[int, float]] = field(default_factory=list)  # step, mean log likelihood per row


class Trainer:
    """Trains a guide until convergence or ``max_steps``."""

    # The guide's parameters are updated at every evaluation, not at every step.

    def __init__(
        self,
        guide: Guide,
        step: Step,
        evaluator: Evaluator,
        batches: Batches,
        estimator: Estimator,
        schedule: Schedule,
        *,
        seed: int,
        work: int,  # multiplications of a step
        validation: Validation | None = None,
    ) -> None:
        self.guide = guide
        self.work = work
        self.step = step
        self.priors = step.objective.priors
        self.schedule = schedule
        self._evaluator = evaluator
        self._validation = validation
        self._batches = batches
        self.estimator = estimator
        self._seed = seed
        self._flat = FlatParameters(guide)
        self._start = self._flat.gather(), batches.state()
        self.state = TrainingState(OptimizerState.start(self._start[0].clone()))
        self._rates: tuple[int, Tensor, Tensor] | None = None
        like = self.state.optimizer.theta
        self._noise = PairedNoise(
            guide.noise_size, seed, schedule.particles, dtype=like.dtype, device=like.device
        )

    def train(self, on_step: Callable[[TrainingState, int], bool]) -> None:
        """Take steps until convergence, until ``max_steps``, or until the callback asks to stop."""
        state = self.state
        stop = False
        while not stop and state.step < self.schedule.max_steps:
            start, end = self.schedule.stage(state.step)
            # A checkpoint may have been written between the end of a stage and its evaluation.
            if state.step == start > state.evaluated_at and self._evaluator.plan.each_stage:
                self.evaluate()
            if self.convergence.converged:
                break
            stop = self.run_to(end, on_step)
            if stop or state.step == self.schedule.max_steps or self._evaluator.plan.each_stage:
                self.evaluate()

    def run_to(self, end: int, on_step: Callable[[TrainingState, int], bool]) -> bool:
        """Take steps up to a step, and write the parameters to the guide; return whether the callback asks to stop."""
        state = self.state
        stop, safe = False, state.optimizer.theta.clone()
        while not stop and state.step < end:
            before = state.optimizer.theta.clone() if state.step % _SAFE_EVERY == 0 else safe
            count = min(self.step.steps_per_call, end - state.step)
            self._take(count, safe)
            safe = before
            if self._validation is not None and state.step % self._validation.every == 0:
                self._flat.scatter(state.optimizer.theta)
                state.validation.append((state.step, self._validation(self.guide)))
            stop = on_step(state, count)
        self._flat.scatter(state.optimizer.theta)
        return stop

    def start_from_guide(self) -> None:
        """Start at the guide's present values, after they were set by other means than steps."""
        # `restart` still goes back to the guide as it was given: a fit that was resumed knows no other start.
        self.state = TrainingState(OptimizerState.start(self._flat.gather()))

    def restart(self) -> None:
        """Go back to the start, with a smaller learning rate."""
        theta, order = self._start
        self._flat.scatter(theta)
        self._batches.restore(order)
        self.schedule = self.schedule.slower()
        self._rates = None
        self.state = TrainingState(OptimizerState.start(theta.clone()))

    def evaluate(self) -> None:
        """Write the parameters to the guide, and estimate its ELBO."""
        self._flat.scatter(self.state.optimizer.theta)
        self.state.evaluations = [*self.state.evaluations[-1:], self._evaluator(self.guide)]
        self.state.evaluated_at = self.state.step

    def restore_guide(self) -> None:
        """Bring a guide up to date with a state from a checkpoint, which may lack the evaluation of its last step."""
        if self.state.step > self.state.evaluated_at:
            self.evaluate()
        else:
            self._flat.scatter(self.state.optimizer.theta)

    @property
    def convergence(self) -> Convergence:
        """The result of the convergence test now."""
        untested = ONE_STAGE if self._evaluator.plan.each_stage else TOO_SHORT
        return check_convergence(self.state.evaluations, tolerance(self._batches.num_data), untested)

    def log_weights(self) -> np.ndarray:
        """Compute the importance weights of the draws of the last evaluation."""
        return self._evaluator.log_weights(self.guide, self.state.evaluations[-1]).cpu().numpy()

    def _take(self, count: int, safe: Tensor) -> None:
        state = self.state
        batch = self._batches.next()
        _seed_global_generators(self._seed, state.step, state.optimizer.theta.device)
        losses = self.step.run(state.optimizer, self._step_inputs(count, len(batch.y)), batch)
        for step, loss in enumerate(losses, state.step):
            if not math.isfinite(loss):
                self._flat.scatter(safe)
                raise DivergenceError(step, loss)
        state.history += losses
        state.step += count

    def _step_inputs(self, count: int, rows: int) -> StepInputs:
        step, particles = self.state.step, self.schedule.particles
        start, rates, counts = self._rates_of_stage(step)
        part = slice(step - start, step - start + count)
        if self.estimator.uses_noise or self.guide.estimates_kl(self.priors):
            noise = self._noise.at(step, count)
        else:  # only its shape is used
            noise = rates.new_zeros(()).expand(count, particles, self.guide.noise_size)
        if not self.estimator.supported:
            return StepInputs(rates[part], counts[part], noise)
        generators = [stream(self._seed, each, _ROW_NOISE) for each in range(step, step + count)]
        row_noise = zip(*(self.estimator.row_noise(particles, rows, g) for g in generators), strict=True)
        return StepInputs(rates[part], counts[part], noise, tuple(torch.stack(parts) for parts in row_noise))

    def _rates_of_stage(self, step: int) -> tuple[int, Tensor, Tensor]:
        """Return the first step of the stage, the learning rates of its steps, and their counts from 1."""
        start, end = self.schedule.stage(step)
        if self._rates is None or self._rates[0] != start:
            theta = self.state.optimizer.theta
            rates = [self.schedule.rate(each) for each in range(start, end)]
            counts = torch.arange(start + 1.0, end + 1.0, dtype=torch.float32, device=theta.device)
            self._rates = start, torch.tensor(rates, dtype=theta.dtype, device=theta.device), counts
        return self._rates


def _seed_global_generators(seed: int, step: int, device: torch.device) -> None:
    """Make code that draws from torch's global generators (dropout) depend on seed and step alone."""
    # `fit` restores the caller's state at its end.
    torch.default_generator.manual_seed((seed << 32) + step)
    if device.type == "cuda":
        torch.cuda.manual_seed((seed << 32) + step)
