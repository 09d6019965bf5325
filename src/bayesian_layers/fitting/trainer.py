"""A fit under way: its state, and the loop that moves it from stage to stage."""

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
from .convergence import Verdict
from .data.batches import Batches
from .evaluation import Evaluation, Evaluator, Validation
from .schedule import Schedule
from .stepping.flat import FlatParameters
from .stepping.step import Draws, Position, Stepper

_SAFE_EVERY = 25  # steps between copies of the parameters, to come back to after a divergence
_ROW_NOISE = 7  # tells this stream from the others of a fit
STEPS_A_CALL = 10  # of a compiled step on all rows
TOLERANCE, TOLERANCE_A_ROW = 0.05, 3e-4  # nats


@dataclass
class State:
    """All that a fit knows at a step's boundary; with the settings it decides all that follows.

    Attributes:
        position: Parameters and Adam's moments.
        step: Steps taken.
        history: The objective at each step.
        evaluations: The guide's worth at each stage's end; the last two are kept.
        evaluated_at: The step of the last evaluation.
        validation: Steps, and mean log likelihood a row of the validation data there.
    """

    position: Position
    step: int = 0
    history: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    evaluated_at: int = 0
    validation: list[tuple[int, float]] = field(default_factory=list)


class Run:
    """Moves a guide until it has converged or the steps are over.

    Args:
        guide: Trained in place, at every evaluation and at the end.
        stepper: Takes the steps.
        evaluator: Evaluates the guide.
        batches: The data.
        estimator: Whose noise the steps need.
        schedule: Learning rates and stages.
        seed: Seed of the noise.
        validation: Gives the log likelihood of validation data, or ``None``.

    Attributes:
        state: Where the fit stands.
        schedule: Learning rates and stages.
        estimator: How gradients are estimated.
        priors: The priors as flat vectors.
        tolerance: Nats that count as no gain.
    """

    def __init__(
        self,
        guide: Guide,
        stepper: Stepper,
        evaluator: Evaluator,
        batches: Batches,
        estimator: Estimator,
        schedule: Schedule,
        *,
        seed: int,
        validation: Validation | None = None,
    ) -> None:
        self.guide = guide
        self.stepper = stepper
        self.priors = stepper.objective.priors
        self.schedule = schedule
        self.tolerance = TOLERANCE + TOLERANCE_A_ROW * batches.num_data
        self._evaluator = evaluator
        self._validation = validation
        self._batches = batches
        self.estimator = estimator
        self._seed = seed
        self._flat = FlatParameters(guide)
        self._beginning = self._flat.gather(), batches.state()
        self.state = State(Position.start(self._beginning[0].clone()))
        self._rates: tuple[int, Tensor, Tensor] | None = None
        like = self.state.position.theta
        self._noise = PairedNoise(
            guide.noise_size, seed, schedule.particles, dtype=like.dtype, device=like.device
        )

    def go(self, on_step: Callable[[State, int], bool]) -> None:
        """Take steps until convergence, the last step, or until the caller has enough."""
        state = self.state
        enough = False
        while not enough and state.step < self.schedule.max_steps:
            start, end = self.schedule.stage(state.step)
            if (
                state.step == start > state.evaluated_at
            ):  # a checkpoint from between a stage and its evaluation
                self.evaluate()
            if self.verdict.converged:
                break
            safe = state.position.theta.clone()
            while not enough and state.step < end:
                before = state.position.theta.clone() if state.step % _SAFE_EVERY == 0 else safe
                count = min(self.stepper.steps_a_call, end - state.step)
                self._take(count, safe)
                safe = before
                if self._validation is not None and state.step % self._validation.every == 0:
                    self._flat.scatter(state.position.theta)
                    state.validation.append((state.step, self._validation(self.guide)))
                enough = on_step(state, count)
            self.evaluate()

    def take_from_guide(self) -> None:
        """Begin at the guide's present values, which something else has set."""
        self.state = State(Position.start(self._flat.gather()))

    def start_anew(self) -> None:
        """Go back to the beginning, with a smaller learning rate."""
        theta, order = self._beginning
        self._flat.scatter(theta)
        self._batches.restore(order)
        self.schedule = self.schedule.slower()
        self._rates = None
        self.state = State(Position.start(theta.clone()))

    def evaluate(self) -> None:
        """Write the parameters to the guide, and note what it is worth."""
        self._flat.scatter(self.state.position.theta)
        self.state.evaluations = [*self.state.evaluations[-1:], self._evaluator(self.guide)]
        self.state.evaluated_at = self.state.step

    def _take(self, count: int, safe: Tensor) -> None:
        state = self.state
        batch = self._batches.next()
        _reseed(self._seed, state.step, state.position.theta.device)
        losses = self.stepper.take(state.position, self._draws(count, len(batch.y)), batch)
        for step, loss in enumerate(losses, state.step):
            if not math.isfinite(loss):
                self._flat.scatter(safe)
                raise DivergenceError(step, loss)
        state.history += losses
        state.step += count

    def _draws(self, count: int, rows: int) -> Draws:
        step, particles = self.state.step, self.schedule.particles
        start, rates, clocks = self._rates_of_stage(step)
        part = slice(step - start, step - start + count)
        if self.estimator.uses_noise or self.guide.estimates_kl(self.priors):
            noise = self._noise.at(step, count)
        else:  # only its shape counts
            noise = rates.new_zeros(()).expand(count, particles, self.guide.noise_size)
        if not self.estimator.supported:
            return Draws(rates[part], clocks[part], noise)
        generators = [stream(self._seed, each, _ROW_NOISE) for each in range(step, step + count)]
        row_noise = zip(*(self.estimator.row_noise(particles, rows, g) for g in generators), strict=True)
        return Draws(rates[part], clocks[part], noise, tuple(torch.stack(parts) for parts in row_noise))

    def _rates_of_stage(self, step: int) -> tuple[int, Tensor, Tensor]:
        """First step of the stage, its learning rates, and the numbers of its steps."""
        start, end = self.schedule.stage(step)
        if self._rates is None or self._rates[0] != start:
            theta = self.state.position.theta
            rates = [self.schedule.rate(each) for each in range(start, end)]
            clocks = torch.arange(start + 1.0, end + 1.0, dtype=torch.float32, device=theta.device)
            self._rates = start, torch.tensor(rates, dtype=theta.dtype, device=theta.device), clocks
        return self._rates

    @property
    def verdict(self) -> Verdict:
        """Whether the last stage, which was not the first, surely gained nothing worth naming, and lost nothing."""
        if len(self.state.evaluations) < 2:
            return Verdict(math.nan, math.nan, self.tolerance, "one stage shows nothing", False)
        earlier, last = self.state.evaluations
        gain, stderr = last.gain_over(earlier)
        nothing = stderr <= self.tolerance and abs(gain + 2 * stderr) <= self.tolerance
        lost = max(0.0, -gain - 2 * stderr)  # surely, and so to be gained again
        return Verdict(
            max(gain, lost), stderr, self.tolerance, "what the last stage of steps gained", nothing
        )

    def log_weights(self) -> np.ndarray:
        """Compute the importance weights of the draws of the last evaluation."""
        return self._evaluator.log_weights(self.guide, self.state.evaluations[-1]).numpy()


def _reseed(seed: int, step: int, device: torch.device) -> None:
    """Make what only knows torch's global generators (dropout) depend on seed and step alone."""
    # The caller's state is kept and put back around the whole fit.
    torch.default_generator.manual_seed((seed << 32) + step)
    if device.type == "cuda":
        torch.cuda.manual_seed((seed << 32) + step)
