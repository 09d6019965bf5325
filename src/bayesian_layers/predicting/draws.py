"""Whole draws of predictions, and functions of them over any number of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ShapeError
from ..likelihoods import Likelihood
from ..network import Inputs, check_inputs, num_rows
from .inputs import Rows, count, gathered
from .plan import MAX_MEMORY
from .predict import checked, latents_of
from .sweep import Task, begin, quietly, sweep
from .weights import Weights

Result = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class PredictiveDraws:
    """The network's outputs under S draws of the weights: what the functions in ``bl.predictive`` take.

    Attributes:
        f: Outputs, ``(S, N, *axes)``.
        likelihood: What they mean for the targets.
        latents: Draws of the likelihood's own sites, ``(S, *shape)`` each; empty for most likelihoods.

    Raises:
        ShapeError: If there is no draw, or ``latents`` holds another number of them.
    """

    f: Tensor
    likelihood: Likelihood
    latents: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if self.f.dim() < 3 or self.f.shape[0] < 1:
            raise ShapeError("f", ("S >= 1", "N", "outputs"), self.f.shape)
        for name, value in self.latents.items():
            if value.dim() == 0 or len(value) != len(self.f):
                raise ShapeError(f"latents[{name!r}]", (len(self.f), "..."), value.shape)

    @property
    def num_draws(self) -> int:
        """Number of draws S."""
        return len(self.f)

    @property
    def num_rows(self) -> int:
        """Number of rows N."""
        return self.f.shape[1]

    def distribution(self) -> Any:
        """Give the distribution of the targets under each draw.

        Returns:
            A Pyro distribution whose batch shape begins with ``(S, N)``.
        """
        return self.likelihood.distribution(self.f, output_axes=self.f.dim() - 2, **self._with_rows())

    def moments(self) -> tuple[Tensor, Tensor]:
        """Give mean and variance of the targets under each draw.

        Returns:
            Two tensors, ``(S, *shape of y)``.
        """
        mean, variance = self.likelihood.moments(self.f, output_axes=self.f.dim() - 2, **self._with_rows())
        return mean, variance.expand_as(mean)

    def _with_rows(self) -> dict[str, Tensor]:
        return {name: value.unsqueeze(1) for name, value in self.latents.items()}


def draws(
    network: nn.Module,
    likelihood: Likelihood | None,
    weights: Weights,
    x: Inputs,
    max_memory: int = MAX_MEMORY,
) -> PredictiveDraws:
    """Compute the whole array of outputs."""
    likelihood = checked(likelihood)
    task = begin(network, weights, x, max_memory)
    (block,) = task.blocks
    return _block(network, likelihood, block, task)


def over_draws(
    network: nn.Module,
    likelihood: Likelihood | None,
    weights: Weights,
    function: Callable[..., Result],
    x: Rows,
    rowwise: tuple[Tensor, ...] = (),
    max_memory: int = MAX_MEMORY,
) -> Any:
    """Apply a function of draws to blocks of rows, so small that all their draws are within the memory."""
    likelihood = checked(likelihood)
    _check_rows(rowwise, count(x))
    task = begin(network, weights, x, max_memory)
    results: list[tuple[Tensor, ...]] = []
    start, several = 0, False
    for block in gathered(task.blocks, task.plan.whole):
        stop = start + num_rows(block)
        _check_rows(rowwise, stop, at_least=True)
        drawn = _block(network, likelihood, block, task)
        result = function(drawn, *(each[start:stop].to(drawn.f.device) for each in rowwise))
        several = isinstance(result, tuple)
        results.append(_checked_result(result, stop - start))
        start = stop
    _check_rows(rowwise, start)
    whole = tuple(map(torch.cat, zip(*results, strict=True)))
    return whole if several else whole[0]


def _block(network: nn.Module, likelihood: Likelihood, block: Inputs, task: Task) -> PredictiveDraws:
    f: Tensor | None = None
    latents: list[dict[str, Tensor]] = []
    with quietly(network):
        for chunk in sweep(network, task.weights, check_inputs(block, network), task.plan):
            if f is None:
                likelihood.check_shapes(chunk.f[0], None, output_axes=chunk.f.dim() - 2)
                f = chunk.f.new_empty(task.weights.num_draws, num_rows(block), *chunk.f.shape[2:])
            f[chunk.start : chunk.start + len(chunk.f), chunk.rows] = chunk.f
            if chunk.rows.start == 0:
                latents.append({name: chunk.draws[name] for name in latents_of(likelihood, chunk.draws)})
    assert f is not None  # there are rows and draws
    return PredictiveDraws(
        f, likelihood, {name: torch.cat([each[name] for each in latents]) for name in latents[0]}
    )


def _check_rows(rowwise: tuple[Tensor, ...], n: int | None, at_least: bool = False) -> None:
    for i, each in enumerate(rowwise):
        received = len(each) if each.dim() else 0
        if n is not None and (received < n if at_least else received != n):
            raise ShapeError(f"rowwise[{i}]", (n, "..."), each.shape, "It has the rows of `x`.")


def _checked_result(result: Result, n: int) -> tuple[Tensor, ...]:
    parts = result if isinstance(result, tuple) else (result,)
    for part in parts:
        if part.dim() == 0 or len(part) != n:
            raise ShapeError("function(draws)", (n, "..."), part.shape, "The rows come first.")
    return parts
