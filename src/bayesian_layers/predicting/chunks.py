"""Calls of a network on many rows under many draws of its weights, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..network import (
    Inputs,
    call,
    check_inputs,
    check_output_rows,
    evaluating,
    explain_errors,
    num_rows,
    parameter_sites,
    take_rows,
)
from ..noise import seeded
from .dense_stack import DenseStack
from .inputs import Rows, blocks_of
from .plan import Plan
from .weight_draws import Draws, WeightDraws


class Chunk(NamedTuple):
    """Outputs of a network for some rows of a block under some draws."""

    start: int  # number of the first draw
    rows: slice
    f: Tensor  # (s, rows, *axes)
    draws: Draws  # of all sites, each (s, *shape)


class Job(NamedTuple):
    """A network's calls on rows that come in blocks."""

    plan: Plan
    weights: WeightDraws  # all in memory if there is room for them
    blocks: Iterator[Inputs]  # checked


@contextmanager
def forward_only(network: nn.Module) -> Iterator[None]:
    """Call a network in ``eval`` mode, without gradients, in its own dtype; the random state stays the caller's."""
    # Autocast would round the outputs to half precision.
    device = next((each.device.type for each in network.parameters()), "cpu")
    with evaluating(network), torch.no_grad(), torch.autocast(device, enabled=False), seeded(0):
        yield


def start(network: nn.Module, weights: WeightDraws, x: Rows, max_memory: int) -> Job:
    """Measure the network on the first rows, and plan its calls."""
    blocks = blocks_of(x)
    first = next(blocks)
    with forward_only(network):
        few = check_inputs(take_rows(first, slice(2)), network)
        with explain_errors(network, first):
            plan = Plan.of(network, weights, few, max_memory)
        if plan.weights >= weights.num_draws:
            weights = WeightDraws.of(weights.draw(weights.num_draws, 0))
    return Job(plan, weights, chain([first], blocks))


def chunks(network: nn.Module, weights: WeightDraws, x: Inputs, plan: Plan) -> Iterator[Chunk]:
    """Yield the outputs for a block of rows; the outer loop is over draws, so that each is made once."""
    n = num_rows(x)
    outputs = _caller(network, x)
    parts = [slice(start, min(start + plan.rows, n)) for start in range(0, n, plan.rows)]
    size = plan.draws(min(plan.rows, n))
    for first, held in weights.pieces(plan.weights):
        for second, draws in WeightDraws.of(held).pieces(size):
            for part in parts:
                yield Chunk(first + second, part, outputs(draws, take_rows(x, part)), draws)


def _caller(network: nn.Module, x: Inputs) -> Callable[[Mapping[str, Tensor], Inputs], Tensor]:
    """Return a function that calls the network under many draws: as a stack of dense layers, or by vmap."""
    names = list(parameter_sites(network))
    stack = DenseStack(network) if DenseStack.fits(network, x) else None

    def outputs(draws: Mapping[str, Tensor], x: Inputs) -> Tensor:
        size, n = len(next(iter(draws.values()))), num_rows(x)
        values = {name: draws[name] for name in names}
        with explain_errors(network, x):
            if stack is not None and isinstance(x, Tensor):
                f = stack(values, x)
                f = f.expand(size, *f.shape[-2:])
            else:  # the axis of size 1 is the place of the rows
                f = call(network, {name: value.unsqueeze(1) for name, value in values.items()}, x)
                f = f if values else f.expand(size, *f.shape)
        check_output_rows(x, f.shape[1:], n)
        return f

    return outputs
