"""A plain Adam loop on the ELBO of a guide, and a measurement of ELBOs, that share no code with `bl.fit`.

The log likelihood comes from the model's Pyro program, the draws and the KL from the guide. Several copies of a guide
are trained side by side, each with a learning rate of its own, which falls to zero on half a cosine.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

import bayesian_layers as bl
from bayesian_layers.model import log_likelihood as model_log_likelihood

Gradient = Callable[[Tensor, Tensor], Tensor]

REPLICATES = 32  # sets of draws of a measurement
_DRAWS = 256  # at once, in a measurement
BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's


def log_likelihood(model: bl.BayesianModel, draws: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Return the log likelihood of each row under each draw, ``(S, N)``; gradients flow to the draws."""
    given = {name: value.unsqueeze(1) for name, value in draws.items()}
    size = len(next(iter(draws.values())))
    with pyro.validation_enabled(False):
        program = poutine.condition(pyro.plate("draws", size, dim=-2)(model), given)
        site = poutine.trace(program).get_trace(x, y).nodes["y"]
        return site["fn"].log_prob(site["value"]).expand(size, -1)


class _Terms(nn.Module):
    """The draws of a guide and its KL, as a module that can be called with other parameters."""

    def __init__(self, model: bl.BayesianModel, guide: bl.guides.Guide) -> None:
        super().__init__()
        self.guide = guide
        self._priors = guide.flat_priors(model)

    def forward(self, noise: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        return self.guide.transform(noise), self.guide.kl_estimate(self._priors, noise)


class PlainLoop:
    """Trains copies of a guide side by side, on draws in antithetic pairs."""

    def __init__(
        self, model: bl.BayesianModel, guide: bl.guides.Guide, x: Tensor, y: Tensor, *, draws: int = 4
    ) -> None:
        self._model, self._guide, self._x, self._y, self._draws = model, guide, x, y, draws
        self._terms = _Terms(model, copy.deepcopy(guide))
        self._shapes = {name: value.shape for name, value in self._terms.named_parameters()}

    def run(self, rates: Sequence[float], steps: int, seed: int = 0) -> list[bl.guides.Guide]:
        """Return one trained copy of the guide per learning rate."""
        theta = torch.cat([value.detach().flatten() for value in self._terms.parameters()])
        theta = theta.repeat(len(rates), 1)
        peaks = torch.tensor(rates, dtype=theta.dtype).unsqueeze(1)
        first, second = torch.zeros_like(theta), torch.zeros_like(theta)
        generator = torch.Generator().manual_seed(seed)
        gradient = self.recorded_gradient(theta, self._noise(len(rates), generator))
        for step in range(steps):
            slope = gradient(theta, self._noise(len(rates), generator)).nan_to_num_(0.0, 0.0, 0.0)
            first.lerp_(slope, 1 - BETAS[0])
            second.lerp_(slope.square_(), 1 - BETAS[1])
            size = 0.5 * (1 + math.cos(math.pi * step / steps)) / (1 - BETAS[0] ** (step + 1))
            bottom = (second / (1 - BETAS[1] ** (step + 1))).sqrt_().add_(EPSILON)
            theta.sub_((first * size).div_(bottom).mul_(peaks))
        return [self._with(row) for row in theta]

    def recorded_gradient(self, theta: Tensor, noise: Tensor) -> Gradient:
        """Record the operations of :meth:`gradient`; running only them saves Python's part of a step."""
        with warnings.catch_warnings(), torch.enable_grad():  # the import changes the filters
            from torch.fx.experimental.proxy_tensor import make_fx

            recorded = make_fx(lambda theta, noise: self.gradient(theta, noise))(theta, noise)
        other_noise, other_theta = noise.flip(-1), theta + 1e-3
        expected, found = self.gradient(other_theta, other_noise), recorded(other_theta, other_noise)
        same = torch.allclose(expected, found, rtol=1e-3, atol=1e-3, equal_nan=True)
        return recorded if same else self.gradient

    def gradient(self, theta: Tensor, noise: Tensor) -> Tensor:
        """Estimate the gradient of the negative ELBO of each copy, ``(copies, parameters)``."""
        with torch.enable_grad():
            theta = theta.detach().requires_grad_()
            draws, kl = torch.func.vmap(self._call)(theta, noise)
            together = {name: value.flatten(0, 1) for name, value in draws.items()}
            log_p = log_likelihood(self._model, together, self._x, self._y).sum(1)
            loss = kl.sum() - log_p.sum() / noise.shape[1]
            return torch.autograd.grad(loss, theta)[0]

    def _call(self, theta: Tensor, noise: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        return torch.func.functional_call(self._terms, self._views(theta), (noise,))

    def _views(self, theta: Tensor) -> dict[str, Tensor]:
        parts = theta.split([shape.numel() for shape in self._shapes.values()])
        return {
            name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def _noise(self, copies: int, generator: torch.Generator) -> Tensor:
        size, like = (copies, self._draws // 2, self._guide.noise_size), self._guide.loc
        half = torch.randn(size, generator=generator, dtype=like.dtype)
        return torch.cat([half, -half], 1)

    @torch.no_grad()
    def _with(self, theta: Tensor) -> bl.guides.Guide:
        trained = copy.deepcopy(self._terms)
        values = self._views(theta)
        for name, parameter in trained.named_parameters():
            parameter.copy_(values[name])
        return trained.guide


@torch.no_grad()
def elbo_replicates(
    model: bl.BayesianModel,
    guide: bl.guides.Guide,
    x: Tensor,
    y: Tensor,
    *,
    draws: int,
    seed: int,
    blocks: int = 1,
) -> Tensor:
    """Estimate the ELBO on 32 sets of antithetic draws, ``(32,)``; the sets depend on the seed alone."""
    # The expectation of a sum over rows is the sum of expectations, so blocks of rows may have draws of their own.
    # What one draw does to many rows together is most of the variance.
    generator = torch.Generator().manual_seed(seed)
    terms, like, found = _Terms(model, guide), guide.loc, []
    size = max(1, draws // REPLICATES // 2), guide.noise_size
    for _ in range(REPLICATES):
        total = torch.zeros((), dtype=torch.float64)
        for rows in torch.arange(len(y)).tensor_split(min(blocks, len(y))):
            half = torch.randn(size, generator=generator, dtype=like.dtype)
            noise = torch.cat([half, -half])
            for part in noise.split(_DRAWS):
                log_p = model_log_likelihood(model, guide.transform(part), x[rows], y[rows])
                total += log_p.double().sum() / len(noise)
        found.append(total - terms(noise)[1].double())
    return torch.stack(found)


def mean_and_error(replicates: Tensor) -> tuple[float, float]:
    """Return the mean of independent estimates, and its standard error."""
    return float(replicates.mean()), float(replicates.std()) / math.sqrt(len(replicates))
