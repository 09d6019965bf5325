"""Whether a network treats each row of a batch by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..noise import seeded
from .inputs import Inputs, num_rows, take_rows

Function = Callable[[Inputs], Tensor]


def treats_rows_alone(f: Function, x: Inputs) -> bool:
    """Check whether each row has the same output without half of the rows, in another order, and one of them twice."""
    # The order finds what looks at earlier rows only (a recurrent network along the rows); rows that are left out or
    # come twice find what treats all alike (a mean, a softmax, a maximum). A network that draws a random number per
    # row does not pass either: see `draws_random_numbers`.
    halves = [reordered(half) for half in torch.arange(num_rows(x)).chunk(2)]
    try:
        outputs = _run(f, x, seed=0)
        other = torch.cat([_run(f, take_rows(x, half), seed=0) for half in halves])
    except (RuntimeError, ValueError, IndexError, AssertionError):  # another number of rows is refused
        return False
    index = torch.cat(halves).to(outputs.device)
    return len(other) == len(index) and close(other, outputs[index])


def draws_random_numbers(f: Function, x: Inputs) -> bool:
    """Check whether two calls with the same rows give different outputs."""
    return not close(*(_run(f, x, seed) for seed in (0, 1)))


def reordered(rows: Tensor) -> Tensor:
    """Return numbers of rows in reverse order, and the last one again."""
    return torch.cat([rows.flip(0), rows[-1:]])


def close(one: Tensor, other: Tensor) -> bool:
    """Check whether two results of the same arithmetic in a different order are equal."""
    if not other.numel():
        return True
    tolerance = torch.finfo(one.dtype).eps ** 0.5 * max(1e-30, float(other.detach().abs().max()))
    return bool(((one - other).abs() <= tolerance).all())  # and no NaN


def _run(f: Function, x: Inputs, seed: int) -> Tensor:
    with seeded(seed), torch.no_grad():
        return f(x)
