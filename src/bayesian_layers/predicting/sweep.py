"""Rows through a network under many draws of its weights, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ShapeError
from ..network import Inputs, call, check_inputs, evaluating, num_rows, parameter_sites, take_rows
from ..noise import seeded
from .dense import Stack
from .inputs import Rows, blocks_of
from .plan import Plan
from .weights import Draws, Weights


class Chunk(NamedTuple):
    """What the network says of some rows under some draws.

    Attributes:
        start: Number of the first draw.
        rows: Which rows of the block.
        f: Outputs, ``(s, rows, *axes)``.
        draws: The draws of all sites, each ``(s, *shape)``.
    """

    start: int
    rows: slice
    f: Tensor
    draws: Draws


@contextmanager
def quietly(network: nn.Module) -> Iterator[None]:
    """Run a network for its outputs alone: in ``eval`` mode, without gradients."""
    # The caller's random state untouched.
    with evaluating(network), torch.no_grad(), seeded(0):
        yield


class Task(NamedTuple):
    """A network to be called on rows that come in blocks.

    Attributes:
        plan: Sizes of the pieces.
        weights: All draws; in memory, if there is room for them.
        blocks: The rows, checked.
    """

    plan: Plan
    weights: Weights
    blocks: Iterator[Inputs]


def begin(network: nn.Module, weights: Weights, x: Rows, max_memory: int) -> Task:
    """Look at the first rows, and plan."""
    blocks = blocks_of(x)
    first = next(blocks)
    with quietly(network):
        plan = Plan.of(network, weights, check_inputs(take_rows(first, slice(2)), network), max_memory)
        if plan.weights >= weights.num_draws:
            weights = Weights.of(weights.draw(weights.num_draws, 0))
    return Task(plan, weights, chain([first], blocks))


def sweep(network: nn.Module, weights: Weights, x: Inputs, plan: Plan) -> Iterator[Chunk]:
    """Call the network on a block of rows under all draws: the draws outside, so that each is made once."""
    n = num_rows(x)
    outputs = caller(network, x)
    parts = [slice(start, min(start + plan.rows, n)) for start in range(0, n, plan.rows)]
    size = plan.draws(min(plan.rows, n))
    for first, held in weights.pieces(plan.weights):
        for second, draws in Weights.of(held).pieces(size):
            for part in parts:
                yield Chunk(first + second, part, outputs(draws, take_rows(x, part)), draws)


def caller(network: nn.Module, x: Inputs) -> Callable[[Mapping[str, Tensor], Inputs], Tensor]:
    """Choose how to call a network under many draws: as a stack of dense layers where it is one."""
    # Else vectorized.
    names = list(parameter_sites(network))
    stack = Stack(network) if Stack.fits(network, x) else None

    def outputs(draws: Mapping[str, Tensor], x: Inputs) -> Tensor:
        size, n = len(next(iter(draws.values()))), num_rows(x)
        values = {name: draws[name] for name in names}
        if stack is not None and isinstance(x, Tensor):
            f = stack(values, x)
        else:  # the axis of size 1 is the rows' place
            f = call(network, {name: value.unsqueeze(1) for name, value in values.items()}, x)
        f = f if values else f.expand(size, *f.shape)
        if f.dim() < 2 or f.shape[1] != n:
            raise ShapeError("network(x)", (n, "..."), f.shape[1:], "Keep one output, or several, a row.")
        return f

    return outputs
