"""What ``fit`` chooses where the caller does not: particles, steps, learning rate, and its decay.

The figures behind the constants are in ``reports/decisions/002-default-fit.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..arguments import check_integer, check_positive

MAX_PARTICLES = 16
LARGE_NETWORK = 20_000  # entries; minibatches of such a network are so noisy that one particle is enough
DEEP = 3  # layers with random weights from which on a network has many optima of unlike quality
# Multiplications of a step, about rows x entries x particles. Above it arithmetic, not overhead, takes the time.
_WORK = 2**21
# The learning rate is LEARNING_RATE over the inputs of the widest layer, at most MAX_LEARNING_RATE.
LEARNING_RATE, MAX_LEARNING_RATE = 1.2, 0.12
LATER_RATE = 1 / 3  # learning rate of later stages, relative to the first
_MAX_RATE_OF_DEEP = 0.03
# Steps of the first stage: TRAVEL over its learning rate, more with fewer than _FEW particles, within these bounds.
TRAVEL, MIN_STEPS, MAX_STEPS = 60.0, 300, 3000
_FEW = 4
# With minibatches the first stage is at least this long: only averaging removes their noise.
MIN_EPOCHS, MIN_BATCHES = 60, 2000
LATER_LENGTH = 0.4  # steps of each later stage, relative to the first
# With noise per row a step averages over rows as over draws, and needs this many of them.
_NOISY_ROWS = 512
LATER_STAGES = 20  # at most, unless the caller passes `max_steps`


@dataclass(frozen=True)
class Schedule:
    """Stages of steps, in each of which the learning rate falls to zero on half a cosine."""

    # rate(t) = rate_k (1 + cos(pi t / T_k)) / 2: Loshchilov & Hutter (2017), arXiv 1608.03983. The first stage finds
    # the optimum. Later stages polish it, and what they still gain shows whether it was one.
    particles: int  # draws of the weights per step; an even number is drawn in antithetic pairs
    max_steps: int
    learning_rate: float  # of Adam at the first step
    first_steps: int  # steps of the first stage
    later_steps: int  # steps of each later stage

    def __post_init__(self) -> None:
        for name in ("particles", "max_steps", "first_steps", "later_steps"):
            check_integer(name, getattr(self, name), least=1)
        check_positive("learning_rate", self.learning_rate)

    def stage(self, step: int) -> tuple[int, int]:
        """Return the first step of a step's stage, and the first step after it."""
        if step < self.first_steps:
            return 0, min(self.first_steps, self.max_steps)
        start = step - (step - self.first_steps) % self.later_steps
        return start, min(start + self.later_steps, self.max_steps)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        start, end = self.stage(step)
        peak = self.learning_rate * (1.0 if start == 0 else LATER_RATE)
        return 0.5 * peak * (1 + math.cos(math.pi * (step - start) / (end - start)))

    def slower(self) -> Schedule:
        """Return the schedule to try after a divergence."""
        return replace(self, learning_rate=self.learning_rate / 4)


def choose(num_batches: int, *, particles: int, learning_rate: float, max_steps: int | None) -> Schedule:
    """Choose the lengths of the stages; without ``max_steps`` by learning rate, particles and batches."""
    length = TRAVEL / learning_rate
    if particles < _FEW:
        length *= math.sqrt(_FEW / particles)
    first = math.ceil(min(max(length, MIN_STEPS), MAX_STEPS))
    if num_batches > 1:
        first = max(first, MIN_BATCHES, MIN_EPOCHS * num_batches)
    later = math.ceil(LATER_LENGTH * first)
    if max_steps is not None and 1 < max_steps < first + later:
        later = max(1, max_steps // 3)
        first = max_steps - later
    return Schedule(
        particles=particles,
        max_steps=first + LATER_STAGES * later if max_steps is None else max_steps,
        learning_rate=learning_rate,
        first_steps=first,
        later_steps=later,
    )


def choose_rate(max_fan_in: int, depth: int) -> float:
    """Return the learning rate for a network whose widest layer has so many inputs."""
    # A step of all weights of a layer in one direction moves its outputs by the number of inputs times the rate.
    # Larger rates prune units for good before the data have had an influence.
    most = MAX_LEARNING_RATE if depth < DEEP else _MAX_RATE_OF_DEEP
    return min(most, LEARNING_RATE / max(max_fan_in, 1))


def choose_particles(rows: int, size: int, *, by_rows: bool, multiple: int = 1) -> int:
    """Choose the draws per step: as many as cost little, or as are needed where each row has noise of its own."""
    if by_rows:
        wanted = 2 ** min(4, math.ceil(math.log2(max(_NOISY_ROWS / rows, 1))))
    else:
        wanted = _cheap_draws(rows * size, size)
    return math.ceil(wanted / multiple) * multiple


def draws_are_cheap(rows: int, size: int) -> bool:
    """Return whether a step with the most draws costs little more than one with a single draw."""
    return _cheap_draws(rows * size, size) == MAX_PARTICLES


def _cheap_draws(work: int, size: int) -> int:
    """Return the largest power of 2 that costs little next to a step's overhead, from 2 to MAX_PARTICLES."""
    if size > LARGE_NETWORK:
        return 1
    return max(2, min(MAX_PARTICLES, 2 ** int(math.log2(max(_WORK / max(work, 1), 1)))))
