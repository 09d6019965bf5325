"""Draws of the network's outputs, and functions of them over any number of rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import check_tensor
from ..errors import ShapeError
from ..likelihoods import Likelihood
from ..network import Inputs, check_inputs, num_rows
from .chunks import Job, chunks, forward_only, start
from .inputs import Rows, count, gathered
from .moments import check_likelihood, latents_of
from .plan import MAX_MEMORY
from .weight_draws import WeightDraws

Result = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class PredictiveDraws:
    """The network's outputs for N rows under S draws of the weights, for the functions in ``bl.predictive``.

    Attributes:
        f: Outputs, ``(S, N, *axes)``.
        likelihood: The distribution of the targets given the outputs.
        latents: Draws of the likelihood's own sites, ``(S, *shape)`` each; empty for most likelihoods.

    Raises:
        ShapeError: If there is no draw, or ``latents`` has another number of draws.
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
        """Return the distribution of the targets under each draw.

        Returns:
            A Pyro distribution whose batch shape starts with ``(S, N)``.
        """
        return self.likelihood.distribution(self.f, output_axes=self.f.dim() - 2, **self._with_rows())

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the targets under each draw.

        Returns:
            Two tensors, ``(S, *shape of y)``.
        """
        mean, variance = self.likelihood.moments(self.f, output_axes=self.f.dim() - 2, **self._with_rows())
        return mean, variance.expand_as(mean)

    def _with_rows(self) -> dict[str, Tensor]:
        return {name: value.unsqueeze(1) for name, value in self.latents.items()}


def draw_outputs(
    network: nn.Module,
    likelihood: Likelihood | None,
    weights: WeightDraws,
    x: Rows,
    max_memory: int = MAX_MEMORY,
) -> PredictiveDraws:
    """Compute the outputs of all rows under all draws."""
    likelihood = check_likelihood(likelihood)
    job = start(network, weights, x, max_memory)
    (block,) = gathered(job.blocks, sys.maxsize)
    return _block(network, likelihood, block, job)


def over_draws(
    network: nn.Module,
    likelihood: Likelihood | None,
    weights: WeightDraws,
    function: Callable[..., Result],
    x: Rows,
    per_row: tuple[Tensor, ...] = (),
    max_memory: int = MAX_MEMORY,
) -> Any:
    """Apply a function of draws to blocks of rows whose draws fit into the memory."""
    likelihood = check_likelihood(likelihood)
    _check_rows(per_row, count(x))
    job = start(network, weights, x, max_memory)
    results: list[tuple[Tensor, ...]] = []
    first, several = 0, False
    for block in gathered(job.blocks, job.plan.whole):
        stop = first + num_rows(block)
        _check_rows(per_row, stop, at_least=True)
        drawn = _block(network, likelihood, block, job)
        result = function(drawn, *(each[first:stop].to(drawn.f.device) for each in per_row))
        several = isinstance(result, tuple)
        results.append(_checked_result(result, stop - first))
        first = stop
    _check_rows(per_row, first)
    whole = tuple(map(torch.cat, zip(*results, strict=True)))
    return whole if several else whole[0]


def _block(network: nn.Module, likelihood: Likelihood, block: Inputs, job: Job) -> PredictiveDraws:
    f: Tensor | None = None
    latents: list[dict[str, Tensor]] = []
    with forward_only(network):
        for chunk in chunks(network, job.weights, check_inputs(block, network), job.plan):
            if f is None:
                likelihood.check_shapes(chunk.f[0], None, output_axes=chunk.f.dim() - 2)
                f = chunk.f.new_empty(job.weights.num_draws, num_rows(block), *chunk.f.shape[2:])
            f[chunk.start : chunk.start + len(chunk.f), chunk.rows] = chunk.f
            if chunk.rows.start == 0:
                latents.append({name: chunk.draws[name] for name in latents_of(likelihood, chunk.draws)})
    assert f is not None  # there are rows and draws
    return PredictiveDraws(
        f, likelihood, {name: torch.cat([each[name] for each in latents]) for name in latents[0]}
    )


def _check_rows(per_row: tuple[Tensor, ...], n: int | None, at_least: bool = False) -> None:
    for i, each in enumerate(per_row):
        received = len(each) if check_tensor(f"per_row[{i}]", each).dim() else 0
        if n is not None and (received < n if at_least else received != n):
            raise ShapeError(f"per_row[{i}]", (n, "..."), each.shape, "It must have the rows of `x`.")


def _checked_result(result: Result, n: int) -> tuple[Tensor, ...]:
    parts = result if isinstance(result, tuple) else (result,)
    for part in parts:
        if part.dim() == 0 or len(part) != n:
            raise ShapeError("function(draws)", (n, "..."), part.shape, "The rows must come first.")
    return parts
