"""What ``fit`` chooses where the caller does not: particles, steps, learning rate, and its decay.

The figures behind the constants are in ``reports/decisions/002-default-fit.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..errors import DataError

MOST_PARTICLES, LARGE_NETWORK = 16, 20_000  # a large network's minibatch has noise enough for one particle
_WORK = 2**21  # rows x entries x particles of a step, about: beyond it arithmetic, not overhead, is its cost
RATE, LARGEST_RATE = (
    1.2,
    0.12,
)  # learning rate: RATE over the inputs of the widest layer, at most LARGEST_RATE
TRAVEL = 60.0  # steps of the first stage times its learning rate; more with fewer than _FEW particles
_FEW = 4
FEWEST_STEPS, MOST_STEPS = 300, 3000  # of the first stage
LATER = 0.4  # length of each later stage, to the first's
EPOCHS, FEWEST_BATCHES = (
    60,
    2000,
)  # of the first stage at least, for minibatches, whose noise only averaging removes
STAGES = 20  # later ones at most, unless `max_steps` says otherwise
LATER_RATE = 1 / 3  # of the first stage's


@dataclass(frozen=True)
class Schedule:
    r"""How a fit moves: in stages, in each of which the learning rate falls to zero on half a cosine.

    .. math:: \text{rate}(t) = \tfrac12 r_k (1 + \cos(\pi t / T_k))

    The first stage finds the optimum, the later ones polish, and show by what they still gain whether it was one.

    Attributes:
        particles: Draws of the weights a step; an even number is drawn in antithetic pairs.
        max_steps: Number of steps, at most.
        learning_rate: Adam's rate at the first step.
        first_steps: Steps of the first stage.
        later_steps: Steps of each later one.

    Raises:
        DataError: If a number is out of range.

    References:
        Loshchilov & Hutter (2017), arXiv 1608.03983.
    """

    particles: int
    max_steps: int
    learning_rate: float
    first_steps: int
    later_steps: int

    def __post_init__(self) -> None:
        for name in ("particles", "max_steps", "first_steps", "later_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DataError(f"`{name}` must be a whole number, 1 or more; received {value!r}")
        if not 0 < self.learning_rate < math.inf:
            raise DataError(
                f"`learning_rate` must be a finite number above 0; received {self.learning_rate!r}"
            )

    def stage(self, step: int) -> tuple[int, int]:
        """Tell in which stage a step lies."""
        if step < self.first_steps:
            return 0, min(self.first_steps, self.max_steps)
        start = step - (step - self.first_steps) % self.later_steps
        return start, min(start + self.later_steps, self.max_steps)

    def rate(self, step: int) -> float:
        """Give the learning rate of a step."""
        start, end = self.stage(step)
        peak = self.learning_rate * (1.0 if start == 0 else LATER_RATE)
        return 0.5 * peak * (1 + math.cos(math.pi * (step - start) / (end - start)))

    def slower(self) -> Schedule:
        """Give the schedule to try after a divergence."""
        return replace(self, learning_rate=self.learning_rate / 4)


def choose(
    batches_an_epoch: int,
    rows: int,
    size: int,
    widest: int,
    *,
    multiple: int = 1,
    particles: int | None,
    max_steps: int | None,
    learning_rate: float | None,
) -> Schedule:
    r"""Fill in what the caller left open."""
    # The rate falls with the inputs of the widest layer: a step of all its weights in one direction moves
    # its outputs by their number times the rate. Larger rates prune units for good before the data have
    # spoken.
    if particles is None:
        particles = math.ceil(_particles(rows * size, size) / multiple) * multiple
    rate = min(LARGEST_RATE, RATE / max(widest, 1)) if learning_rate is None else learning_rate
    wanted = TRAVEL / rate if rate > 0 else FEWEST_STEPS  # a wrong rate is refused by the schedule itself
    if isinstance(particles, int) and 0 < particles < _FEW:
        wanted *= math.sqrt(_FEW / particles)
    first = math.ceil(min(max(wanted, FEWEST_STEPS), MOST_STEPS))
    if batches_an_epoch > 1:
        first = max(first, FEWEST_BATCHES, EPOCHS * batches_an_epoch)
    later = math.ceil(LATER * first)
    if isinstance(max_steps, int) and 1 < max_steps < first + later:
        later = max(1, max_steps // 3)
        first = max_steps - later
    return Schedule(
        particles=particles,
        max_steps=first + STAGES * later if max_steps is None else max_steps,
        learning_rate=rate,
        first_steps=first,
        later_steps=later,
    )


def _particles(work: int, size: int) -> int:
    """As many as cost little beside a step's overhead: a power of 2, from one pair to MOST_PARTICLES."""
    if size > LARGE_NETWORK:
        return 1
    return max(2, min(MOST_PARTICLES, 2 ** int(math.log2(max(_WORK / max(work, 1), 1)))))
