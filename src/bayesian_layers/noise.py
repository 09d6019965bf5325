"""Random numbers from a seed and a counter: draw ``i`` depends only on ``(seed, i)``, never on earlier calls.

So ten draws are the first ten of a thousand, and chunks of any size give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from .arguments import check_integer

_NUMBERS_PER_BLOCK = 2**18
_TABLE_SIZE = 2**22


def standard_normal(
    seed: int,
    num_draws: int,
    size: int,
    start: int = 0,
    *,
    dtype: torch.dtype,
    device: torch.device | None = None,
) -> Tensor:
    """Return standard normal noise ``(num_draws, size)``: rows ``start``, ``start + 1``, ... of a seed's sequence."""
    # Row i depends on (seed, i) alone, by the counter-based generator Philox: Salmon et al. (2011), "Parallel random
    # numbers: as easy as 1, 2, 3". The numbers are the same on all devices; half precisions are rounded from float32.
    numpy_dtype: Any = np.float64 if dtype == torch.float64 else np.float32
    rows = np.empty((num_draws, size), dtype=numpy_dtype)
    bits = np.random.Philox(key=seed, counter=[0, 0, start, 0])
    numbers, state = np.random.Generator(bits), bits.state
    for i, row in enumerate(rows, start):
        # The same as a new generator with this counter; making one is slow, as it reads entropy from the system.
        state["state"]["counter"][2] = i
        bits.state = state
        numbers.standard_normal(out=row, dtype=numpy_dtype)
    return torch.from_numpy(rows).to(device=device, dtype=dtype)


class PairedNoise:
    """Standard normal noise for the steps of a fit: antithetic pairs on a scrambled Sobol sequence."""

    # Each row is standard normal by itself, so every average over rows is unbiased. Together the rows fill the space
    # evenly: within a step by their signs, over the steps by the sequence. Where a gradient is nearly quadratic in the
    # noise, as near an optimum, standard deviations converge ten times closer than with independent rows
    # (reports/decisions/002-default-fit.md). Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points"; Buchholz,
    # Wenzel & Mandt (2018), "Quasi-Monte Carlo variational inference", arXiv 1807.01604.
    #
    # The sequence has 21,201 dimensions. Longer rows are stretches of one long table of standard normal numbers, from
    # random offsets (Salimans et al., 2017, arXiv 1703.03864): half a million new numbers per step would cost as much
    # as the products of the network. The table has mean 0 and variance 1 exactly. It holds at least 4 million numbers
    # and at least four rows, so the overlap of stretches matters far less than the noise of a whole fit.
    #
    # The noise of a step depends on (seed, step) alone, so that another process can resume a fit.

    def __init__(
        self,
        size: int,
        seed: int,
        particles: int,  # rows per step; an odd number leaves one row without its partner
        *,
        dtype: torch.dtype,
        device: torch.device | None = None,
        block: int = 64,  # steps drawn at a time, at most: many cost little more than one
    ) -> None:
        self._size, self._seed, self._particles = size, seed, particles
        self._pairs = (particles + 1) // 2
        self._to: dict[str, Any] = {"dtype": dtype, "device": device}
        self._steps = max(1, min(block, _NUMBERS_PER_BLOCK // max(1, self._pairs * size)))
        self._sequence = self._table = None
        if 0 < size <= SobolEngine.MAXDIM:
            self._sequence = SobolEngine(size, scramble=True, seed=seed)
        elif size:
            table = torch.randn(max(_TABLE_SIZE, 4 * size), generator=stream(seed, _TABLE_SIZE))
            self._table = ((table - table.mean()) / table.std(correction=0)).to(**self._to)
        self._number, self._block = -1, torch.empty(0)

    def at(self, step: int, count: int = 1) -> Tensor:
        """Return the noise of ``count`` steps from ``step`` on, ``(count, particles, size)``; cheap in sequence."""
        if self._table is not None:
            rows = [self._stretches(self._table, each) for each in range(step, step + count)]
            return self._paired(rows[0].unsqueeze(0) if count == 1 else torch.stack(rows))
        number, index = divmod(step, self._steps)
        if number != self._number:
            half = self._half(number).to(**self._to).unflatten(0, (self._steps, self._pairs))
            self._block, self._number = self._paired(half), number
        part = self._block[index : index + count]
        return part if len(part) == count else torch.cat([part, self.at(step + len(part), count - len(part))])

    def _paired(self, half: Tensor) -> Tensor:
        return half if self._particles == 1 else torch.cat([half, -half], dim=1)[:, : self._particles]

    def _stretches(self, table: Tensor, step: int) -> Tensor:
        """Return one row of each pair for a step; a view of the table if there is one pair."""
        random = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, step, 1]))
        starts = random.integers(len(table) - self._size, size=self._pairs)
        rows = [table[start : start + self._size] for start in starts.tolist()]
        return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)

    def _half(self, number: int) -> Tensor:
        """Return one row of each pair for all steps of a block, step after step."""
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
        # The sequence has 30 bits. The middle of its cell is never 0 or 1.
        return torch.special.ndtri(uniform + 2.0**-31)


def stream(*key: int) -> torch.Generator:
    """Return a new generator, seeded by ``key``."""
    return torch.Generator().manual_seed(_combined(*key))


def _combined(*key: int) -> int:
    """Combine integers into one seed for torch's generators, which are signed: 63 bits."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed torch's global generator by ``key`` for a block, and restore the caller's state after it."""
    # For random code that only knows the global generator: dropout, sampling inside Pyro programs.
    key = tuple(check_integer("seed", part, least=0) for part in key)
    with torch.random.fork_rng():
        torch.manual_seed(_combined(*key))
        yield
