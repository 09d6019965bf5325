"""What ``fit`` chooses where the caller does not: particles, steps, learning rate, and its decay.

The figures behind the constants are in ``reports/decisions/002-default-fit.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import DataError

PARTICLES = 16
FULL_BATCH_STEPS = 1000
EPOCHS = 100
LEARNING_RATE = 0.1
SMALL_NETWORK = 50_000  # entries up to which LEARNING_RATE is right; beyond, with the root of their number


@dataclass(frozen=True)
class Schedule:
    r"""How a fit moves: a learning rate that falls to zero on half a cosine.

    .. math:: \text{rate}(t) = \tfrac12 \text{learning\_rate}\,(1 + \cos(\pi t / \text{max\_steps}))

    Attributes:
        particles: Draws of the weights a step; an even number is drawn in antithetic pairs.
        max_steps: Number of steps.
        learning_rate: Adam's rate at the first step.
        batch_size: Rows a step.

    Raises:
        DataError: If a number is out of range.

    References:
        Loshchilov & Hutter (2017), arXiv 1608.03983.
    """

    particles: int
    max_steps: int
    learning_rate: float
    batch_size: int

    def __post_init__(self) -> None:
        for name in ("particles", "max_steps", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DataError(f"`{name}` must be a whole number, 1 or more; received {value!r}")
        if not 0 < self.learning_rate < math.inf:
            raise DataError(
                f"`learning_rate` must be a finite number above 0; received {self.learning_rate!r}"
            )

    def rate(self, step: int) -> float:
        """Give the learning rate of a step.

        Args:
            step: Counted from 0.

        Returns:
            Adam's learning rate.
        """
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * step / self.max_steps))


def choose(
    n: int,
    size: int,
    *,
    particles: int | None,
    max_steps: int | None,
    learning_rate: float | None,
    batch_size: int | None,
) -> Schedule:
    """Fill in what the caller left open.

    Args:
        n: Rows of the data given.
        size: Number of entries that are learned.
        particles: Or ``None``.
        max_steps: Or ``None``: a fixed number for the full batch, a number of epochs for minibatches.
        learning_rate: Or ``None``: smaller for larger networks.
        batch_size: Or ``None`` for the full batch.

    Returns:
        The schedule.
    """
    batch = n if batch_size is None else min(batch_size, n)
    steps = max(FULL_BATCH_STEPS, EPOCHS * math.ceil(n / max(batch, 1))) if batch < n else FULL_BATCH_STEPS
    rate = LEARNING_RATE * min(1.0, math.sqrt(SMALL_NETWORK / max(size, 1)))
    return Schedule(
        particles=PARTICLES if particles is None else particles,
        max_steps=steps if max_steps is None else max_steps,
        learning_rate=rate if learning_rate is None else learning_rate,
        batch_size=batch,
    )
