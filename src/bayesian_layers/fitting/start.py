"""Where the fit of a deep network starts: the best of several short fits with different noise of the weights.

The mean-field ELBO of a network with several hidden layers has many optima, tens to hundreds of nats apart: how many
units are used is decided early. Each attempt first trains the means under a **fixed** standard deviation of all
weights, then means and standard deviations for a short while. The noise decides how simple the resulting function is:
with little noise all units stay, and a fit needs many thousand steps to prune the superfluous ones; with too much noise
none stays. The right amount differs between problems by a factor of ten, so three are tried, and the one with the best
objective goes on (``reports/decisions/014-start-of-a-fit.md``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import DivergenceError
from ..guides import Guide, MeanFieldNormal
from ..model import BayesianModel
from .checkpoints.checkpoint import Checkpointer
from .data.batches import Batches
from .schedule import DEEP, choose_rate
from .setup import Settings, make_trainer
from .trainer import Trainer, TrainingState

# Standard deviations of the weights, times the root of the inputs of the widest layer: that of a layer's outputs if its
# inputs have unit scale.
LEVELS = (0.15, 0.4, 1.1)
_MAX_SCALE = 0.3
FIXED_STEPS, FREE_STEPS = 400, 200  # with fixed and with free standard deviations
_COMPARED = 50  # last steps of an attempt, whose mean objective is compared
_RATE = 2 / 3  # learning rate, relative to that of the fit
_SHARE = 3  # with `max_steps` all attempts together take at most one part in so many


@dataclass(frozen=True)
class Attempt:
    """One short fit."""

    level: float
    objective: float  # mean over the last steps, nats of the whole data set; infinite after a divergence
    guide: MeanFieldNormal


def is_searched(model: BayesianModel, guide: Guide, settings: Settings) -> bool:
    """Return whether a fit looks for its start: the guide is new and trained as a whole, and the network deep."""
    layout = guide.layout
    enough = settings.max_steps is None or settings.max_steps // _SHARE >= steps()
    deep = layout.depth >= DEEP and not layout.joint
    free = settings.optimizer is None and all(each.requires_grad for each in guide.parameters())
    return enough and deep and free and guide.is_new(model)


def steps() -> int:
    """Return the steps of all attempts together."""
    return len(LEVELS) * (FIXED_STEPS + FREE_STEPS)


def find_start(
    trainer: Trainer,
    model: BayesianModel,
    batches: Batches,
    settings: Settings,
    checkpointer: Checkpointer,
    deadline: float,
) -> None:
    """Let a trainer start at the best of several attempts; a guide that has a state of its own stays as it is."""
    guide = trainer.guide
    resumed = checkpointer.finished or trainer.state.step > 0
    if resumed or not is_searched(model, guide, settings):
        return
    locs, points = torch.atleast_2d(guide.loc.detach()), torch.atleast_2d(guide.point.detach())
    modes = [
        _Search(model, batches, settings, loc, point, checkpointer.on_step, deadline)
        for loc, point in zip(locs, points, strict=True)
    ]
    attempts = [modes[0].attempt(level) for level in LEVELS]
    best = min(attempts, key=lambda each: each.objective)
    if not math.isfinite(best.objective):  # all attempts diverged
        return
    # Only an Ensemble has further modes.
    found = [best.guide, *(mode.attempt(best.level).guide for mode in modes[1:])]
    loc, point, log_scale = (
        torch.stack([getattr(each, name).detach() for each in found]).view_as(getattr(guide, name))
        for name in ("loc", "point", "log_scale")
    )
    guide.start_at(loc, point, log_scale)
    trainer.start_from_guide()


class _Search:
    """Attempts from one set of weights."""

    def __init__(
        self,
        model: BayesianModel,
        batches: Batches,
        settings: Settings,
        loc: Tensor,
        point: Tensor,
        on_step: Callable[[], None],
        deadline: float,
    ) -> None:
        self._model, self._batches, self._on_step = model, batches, on_step
        # Compiling would take longer than the steps.
        self._settings = replace(settings, particles=None, compile=None)
        self._loc, self._point = loc, point
        self._deadline = deadline

    def attempt(self, level: float) -> Attempt:
        """Fit with one level of noise."""
        fixed, free = (MeanFieldNormal(self._model) for _ in range(2))
        scale = min(_MAX_SCALE, level / math.sqrt(fixed.max_fan_in))
        fixed.log_scale.requires_grad_(False)
        fixed.start_at(self._loc, self._point, torch.full_like(self._loc, scale).log())
        try:
            self._train(fixed, FIXED_STEPS)
            free.start_at(fixed.loc, fixed.point, fixed.log_scale)
            return Attempt(level, self._train(free, FREE_STEPS), free)
        except DivergenceError:
            return Attempt(level, math.inf, free)

    def _train(self, guide: MeanFieldNormal, count: int) -> float:
        """Take steps, and return the mean objective of the last ones."""
        rate = _RATE * choose_rate(guide.max_fan_in, guide.layout.depth)
        settings = replace(self._settings, max_steps=count, learning_rate=rate)
        trainer = make_trainer(self._model, guide, self._batches, settings, mode=None, validation=None)
        trainer.schedule = replace(trainer.schedule, first_steps=count, later_steps=count)
        trainer.run_to(count, self._after_step)
        recent = trainer.state.history[-_COMPARED:]
        return sum(recent) / len(recent)

    def _after_step(self, state: TrainingState, count: int) -> bool:
        self._on_step()
        return time.perf_counter() >= self._deadline
