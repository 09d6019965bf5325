"""Random streams that depend on what they are for, never on who called before.

Law: draw ``i`` of anything depends only on ``(seed, i)``. A counter-based generator gives each draw a
stream of its own, so ten draws are the start of a thousand and chunks change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from .errors import DataError

_NUMBERS_A_BLOCK = 2**18
_TABLE = 2**22


def standard_normal(
    seed: int,
    num_draws: int,
    size: int,
    start: int = 0,
    *,
    dtype: torch.dtype,
    device: torch.device | None = None,
) -> Tensor:
    """Standard normal noise whose row ``i`` depends on ``(seed, i)`` alone.

    Args:
        seed: A whole number, 0 or more.
        num_draws: Number of rows S.
        size: Numbers a row.
        start: The first row: these are the rows ``start`` to ``start + S`` of all that the seed has.
        dtype: Floating type of the result; half precisions are rounded from ``float32``.
        device: Where the result lives; the numbers are the same everywhere.

    Returns:
        Noise of shape ``(num_draws, size)``.

    References:
        Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3" (Philox).

    Example:
        >>> few, many = (standard_normal(0, s, 3, dtype=torch.float32) for s in (2, 5))
        >>> bool((many[:2] == few).all())
        True
    """
    numpy_dtype: Any = np.float64 if dtype == torch.float64 else np.float32
    rows = np.empty((num_draws, size), dtype=numpy_dtype)
    bits = np.random.Philox(key=seed, counter=[0, 0, start, 0])
    numbers, state = np.random.Generator(bits), bits.state
    for i, row in enumerate(rows, start):
        # As a new generator with this counter, which would first ask the system for randomness that it does not use.
        state["state"]["counter"][2] = i
        bits.state = state
        numbers.standard_normal(out=row, dtype=numpy_dtype)
    return torch.from_numpy(rows).to(device=device, dtype=dtype)


class PairedNoise:
    r"""Standard normal noise for the steps of a fit: antithetic pairs on a scrambled Sobol sequence.

    Each row is standard normal by itself, so every average over rows is unbiased. Together the rows fill
    the space evenly, within a step by their signs and over the steps by the sequence: where a gradient is
    nearly quadratic in the noise, as near an optimum, deviations settle ten times closer than with
    independent rows (``reports/decisions/002-default-fit.md``). Beyond the 21,201 dimensions that the
    sequence has, a row is a stretch of one long table of standard normal numbers, from a random place on: making
    half a million numbers anew at each step would cost as much as the network's own products. The
    table's mean is 0 and its variance 1 exactly; it is so long (4 million numbers, and four rows) that what its
    stretches share is far below the noise of any number of steps that a fit takes.

    The noise of a step depends on ``(seed, step)`` alone, so a fit can go on where another process stopped.

    Args:
        size: Numbers P a row.
        seed: Seed of the scrambling.
        particles: Rows S a step; an odd number leaves one row without its partner.
        dtype: Floating type of the result.
        device: Where the result lives.
        block: Steps drawn at a time, at most: many cost little more than one.

    References:
        Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points"; Buchholz, Wenzel & Mandt (2018),
        "Quasi-Monte Carlo variational inference", arXiv 1807.01604; Salimans et al. (2017), "Evolution
        strategies", arXiv 1703.03864, for the table.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        particles: int,
        *,
        dtype: torch.dtype,
        device: torch.device | None = None,
        block: int = 64,
    ) -> None:
        self._size, self._seed, self._particles = size, seed, particles
        self._pairs = (particles + 1) // 2
        self._to = {"dtype": dtype, "device": device}
        self._steps = max(1, min(block, _NUMBERS_A_BLOCK // max(1, self._pairs * size)))
        self._sequence = self._table = None
        if 0 < size <= SobolEngine.MAXDIM:
            self._sequence = SobolEngine(size, scramble=True, seed=seed)
        elif size:
            table = torch.randn(max(_TABLE, 4 * size), generator=stream(seed, _TABLE))
            self._table = ((table - table.mean()) / table.std(correction=0)).to(**self._to)
        self._number, self._block = -1, torch.empty(0)

    def at(self, step: int, count: int = 1) -> Tensor:
        """Give the noise of some steps; one step after the other is cheap."""
        if self._table is not None:
            rows = [self._stretches(self._table, each) for each in range(step, step + count)]
            return self._paired(rows[0].unsqueeze(0) if count == 1 else torch.stack(rows))
        number, index = divmod(step, self._steps)
        if number != self._number:
            half = self._half(number).to(**self._to).unflatten(0, (self._steps, self._pairs))
            self._block = self._paired(half)
            self._number = number
        part = self._block[index : index + count]
        return part if len(part) == count else torch.cat([part, self.at(step + len(part), count - len(part))])

    def _paired(self, half: Tensor) -> Tensor:
        return half if self._particles == 1 else torch.cat([half, -half], dim=1)[:, : self._particles]

    def _stretches(self, table: Tensor, step: int) -> Tensor:
        """One of each pair; views of the table, where one is enough."""
        random = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, step, 1]))
        starts = random.integers(len(table) - self._size, size=self._pairs)
        rows = [table[start : start + self._size] for start in starts.tolist()]
        return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)

    def _half(self, number: int) -> Tensor:
        """One of each pair, for the steps of a block, one after the other."""
        rows = self._steps * self._pairs
        if self._sequence is None:
            return torch.empty(rows, 0)
        ahead = number * rows - self._sequence.num_generated
        if ahead < 0:
            self._sequence.reset()
            ahead = number * rows
        if ahead:
            self._sequence.fast_forward(ahead)
        uniform = self._sequence.draw(rows, dtype=torch.float64)
        # The sequence has 30 bits: the middle of each cell, which is never 0 or 1.
        return torch.special.ndtri(uniform + 2.0**-31)


def stream(*key: int) -> torch.Generator:
    """Make a generator of its own for each purpose."""
    return torch.Generator().manual_seed(_word(*key))


def _word(*key: int) -> int:
    """A seed for torch's generators from several whole numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1  # 63 bits and a sign


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Run a block under torch's global generator seeded by ``key``; the caller's state comes back."""
    # For random code that only knows the global generator: dropout, sampling inside Pyro programs.
    if any(isinstance(word, bool) or not isinstance(word, int) or word < 0 for word in key):
        raise DataError(f"a seed must be a whole number, 0 or more; received {key[0]!r}")
    with torch.random.fork_rng():
        torch.manual_seed(_word(*key))
        yield
