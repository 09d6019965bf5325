"""Steps of a fit as a function of tensors alone, run operation by operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from ..data.batches import Batch
from .flat import FlatParameters
from .objective import Objective
from .optimizer import Adam, clipped


@dataclass(frozen=True)
class StepInputs:
    """Learning rates, step counts and noise of one or more steps, the steps in front."""

    rates: Tensor  # (count,)
    counts: Tensor  # the steps' numbers in their stage, from 1, (count,)
    noise: Tensor  # of the guide, (count, S, noise_size)
    row_noise: tuple[Tensor, ...] = ()  # of the estimator, (count, ...) each

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all tensors in order."""
        return (self.rates, self.counts, self.noise, *self.row_noise)


class EagerStep:
    """Steps on one batch; without an Adam they return the gradient and update nothing."""

    def __init__(
        self,
        objective: Objective,
        flat: FlatParameters,
        step_inputs: StepInputs,  # their values do not matter, only their number
        batch: Batch,
        adam: Adam | None,
    ) -> None:
        self._adam = adam
        self._objective = objective
        self._flat = flat
        self._count = len(step_inputs.rates)
        self._row_noises = len(step_inputs.row_noise)
        self._batch = batch
        self._natural = adam is not None and objective.guide.has_natural_coordinates

    def __call__(
        self,
        theta: Tensor,
        exp_avg: Tensor,
        exp_avg_sq: Tensor,
        rates: Tensor,
        counts: Tensor,
        noise: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        """Take the steps, and return the objective at each; the first three tensors are updated in place."""
        row_noise = rest[: self._row_noises]
        batch = batch_like(self._batch, rest[self._row_noises :])
        losses = []
        for i in range(self._count):
            loss, gradient = self._gradient(theta, noise[i], tuple(part[i] for part in row_noise), batch)
            if self._adam is None:
                return loss.unsqueeze(0), gradient
            with torch.no_grad():
                gradient = clipped(gradient, exp_avg_sq, counts[i])
                self._update(self._adam, theta, gradient, exp_avg, exp_avg_sq, counts[i], rates[i])
            losses.append(loss)
        return (torch.stack(losses),)

    def _gradient(
        self, theta: Tensor, noise: Tensor, row_noise: tuple[Tensor, ...], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        guide = self._objective.guide
        with torch.enable_grad():
            if self._natural:  # the gradient with respect to a step from theta
                leaf = torch.zeros_like(theta).requires_grad_()
                values = guide.retract(self._flat.views(theta.detach()), self._flat.views(leaf))
            else:
                leaf = theta.detach().requires_grad_()
                values = self._flat.views(leaf)
            views = {f"guide.{name}": view for name, view in values.items()}
            arguments = (noise, row_noise, batch.x, batch.y, batch.weight, batch.scale)
            loss = functional_call(self._objective, views, arguments)
            (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    def _update(self, adam: Adam, theta: Tensor, gradient: Tensor, *rest: Tensor) -> None:
        if not self._natural:
            adam(theta, gradient, *rest)
            return
        step = torch.zeros_like(theta)
        adam(step, gradient, *rest)
        after = self._objective.guide.retract(self._flat.views(theta), self._flat.views(step))
        theta.copy_(torch.cat([value.reshape(-1) for value in after.values()]))


def batch_tensors(batch: Batch) -> tuple[Tensor, ...]:
    """Return the tensors of a batch in order: inputs, targets, weights."""
    x = batch.x if isinstance(batch.x, tuple) else (batch.x,)
    return (*x, batch.y, *(() if batch.weight is None else (batch.weight,)))


def batch_like(batch: Batch, tensors: Sequence[Tensor]) -> Batch:
    """Return a batch of the same structure with other tensors, in the order of :func:`batch_tensors`."""
    parts = list(tensors)
    weight = None if batch.weight is None else parts.pop()
    y = parts.pop()
    return Batch(tuple(parts) if isinstance(batch.x, tuple) else parts[0], y, weight, batch.scale)
