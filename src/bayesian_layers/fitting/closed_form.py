r"""The exact optimum if the log likelihood is quadratic in all that is learned: Bayesian linear regression.

On an ill-conditioned regression a stochastic optimizer makes such slow progress that it looks converged. But where the
log likelihood is a quadratic form with matrix :math:`-H`, the best mean-field Normal is known:

.. math:: (-H + W\Lambda)\, (\text{loc} - w) = \nabla_w \log p(y \mid w) - W\Lambda (w - m), \qquad
          \text{scale}_j^2 = \frac{W_j}{-H_{jj} + W_j \Lambda_j}

from any point :math:`w`, with the prior's means :math:`m` and precisions :math:`\Lambda` and the weights :math:`W` of
the KL. Whether the log likelihood is quadratic is tested on the model's own program, not read off its type.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ..estimators.base import total_log_likelihood
from ..guides import Guide
from ..guides.kl import FlatPriors
from ..model import BayesianModel
from ..network import output_shape
from ..noise import stream
from .convergence import Convergence
from .data.batches import Batch, Batches

_MAX_ENTRIES = 1000
_MAX_WORK = 2**33  # multiplications: entries^2 x rows x places per row
_MAX_BEND = 1e-7  # third differences of a quadratic function, relative to second ones
_REFINEMENTS = 3
_TOLERANCE = 1e-3  # nats


def solve(
    model: BayesianModel, guide: Guide, batches: Batches, priors: FlatPriors, seed: int
) -> Convergence | None:
    """Set a mean-field guide to its optimum if the log likelihood is quadratic; return None otherwise."""
    if not guide.is_mean_field or batches.num_batches != 1:
        return None
    if not batches.exact_order and batches.batch_rows < batches.num_data:
        return None  # the next epoch may have other rows
    trained = all(parameter.requires_grad for parameter in guide.parameters())
    if guide.layout.positive or guide.layout.drawn or not priors.are_normal or not trained:
        return None
    if not _small(guide, batches.batch_rows * _places(model, batches, seed)):
        return None
    try:
        problem = _Problem(model, guide, batches.next(), priors)
        return problem.solve(guide) if problem.is_quadratic(seed) else None
    except (RuntimeError, TypeError):
        # The network does not run in double precision, or the matrix is not positive definite.
        return None


def _small(guide: Guide, uses: int) -> bool:
    size = len(guide.loc) + len(guide.point)
    return len(guide.loc) > 0 and size <= _MAX_ENTRIES and size**2 * uses <= _MAX_WORK


def _places(model: BayesianModel, batches: Batches, seed: int) -> int:
    """Return how often a row uses the weights: once, or at each step of a sequence."""
    first = next(iter(batches.once()))
    return output_shape(model.network, first.x, seed)[:-1].numel()


class _Problem:
    """The negative log likelihood in double precision, as a function of all entries: random, then point-estimated."""

    def __init__(self, model: BayesianModel, guide: Guide, batch: Batch, priors: FlatPriors) -> None:
        self._model = copy.deepcopy(model).double()
        self._batch = Batch(
            tuple(_double(part) for part in batch.x) if isinstance(batch.x, tuple) else _double(batch.x),
            _double(batch.y),
            None if batch.weight is None else batch.weight.double(),
            batch.scale,
        )
        self._layout = guide.layout
        self._random = len(guide.loc)
        self.start = torch.cat([guide.loc, guide.point]).detach().double()
        like = self.start[: self._random]
        weight = priors.weight
        if isinstance(weight, Tensor):
            weight = weight.repeat_interleave(torch.tensor(priors.sizes, device=weight.device))
        self._weight, self._mean, half = (
            torch.zeros_like(like) + value for value in (weight, priors.loc, priors.half_precision)
        )
        self._precision = self._pad(2 * half * self._weight)

    def _pad(self, random: Tensor) -> Tensor:
        return torch.cat([random, random.new_zeros(len(self.start) - self._random)])

    def _gradients(self, at: Tensor) -> Tensor:
        """Return the gradient of the negative log likelihood at many points, ``(S, P + Q)``."""
        points = at.clone().requires_grad_()
        random, point = points.split([self._random, len(self.start) - self._random], dim=1)
        values = {name: value.unsqueeze(1) for name, value in self._layout.values(random, point).items()}
        batch = self._batch
        total = batch.scale * total_log_likelihood(self._model, values, batch.x, batch.y, batch.weight)
        (gradient,) = torch.autograd.grad(-total, points)
        return gradient

    def is_quadratic(self, seed: int) -> bool:
        """Return whether third differences vanish along random lines, at distances of about a prior scale."""
        lines = torch.randn(3, len(self.start), generator=stream(seed), dtype=torch.float64).to(self.start)
        before, here, after, far = (self._gradients(self.start + k * lines) for k in (-1.0, 0.0, 1.0, 2.5))
        size = (after - before).norm()
        bends = (after - 2 * here + before).norm(), (far - here - 2.5 * (after - here)).norm()
        return bool(size > 0) and all(bool(bend < _MAX_BEND * size) for bend in bends)

    def solve(self, guide: Guide) -> Convergence | None:
        """Set the guide to the optimum."""
        size = len(self.start)
        here = self._gradients(self.start[None])
        steps = torch.eye(size, dtype=self.start.dtype, device=self.start.device)
        hessian = torch.cat([self._gradients(self.start + part) - here for part in steps.split(64)])
        matrix = 0.5 * (hessian + hessian.T) + self._precision.diag()
        curvature = matrix.diagonal()
        if bool((curvature <= 0).any()) or bool((self._weight <= 0).any()):
            return None
        unit = curvature.rsqrt()
        factor = torch.linalg.cholesky(unit[:, None] * matrix * unit)
        loc = self.start
        for _ in range(_REFINEMENTS):
            loc = loc - self._newton(self._slope(loc), factor, unit)
        variance = self._weight / curvature[: self._random]
        with torch.no_grad():
            guide.loc.copy_(loc[: self._random])
            guide.point.copy_(loc[self._random :])
            guide.log_scale.copy_(0.5 * variance.log())
        gap = self._gap(guide, factor, unit, variance)
        test = "closed form: the log likelihood is quadratic"
        return Convergence(gap, 0.0, _TOLERANCE, test, gap <= _TOLERANCE)

    def _slope(self, loc: Tensor) -> Tensor:
        return self._gradients(loc[None])[0] + self._precision * (loc - self._pad(self._mean))

    @staticmethod
    def _newton(slope: Tensor, factor: Tensor, unit: Tensor) -> Tensor:
        return unit * torch.cholesky_solve((unit * slope)[:, None], factor).squeeze(1)

    def _gap(self, guide: Guide, factor: Tensor, unit: Tensor, variance: Tensor) -> float:
        """Return the nats lost by rounding to the guide's dtype and by incomplete refinement."""
        loc = torch.cat([guide.loc, guide.point]).detach().double()
        slope = self._slope(loc)
        ratio = (2 * guide.log_scale.detach().double()).exp() / variance
        scales = 0.5 * (self._weight * (ratio - 1 - ratio.log())).sum()
        return float(0.5 * slope @ self._newton(slope, factor, unit) + scales)


def _double(values: Tensor) -> Tensor:
    return values.double() if values.is_floating_point() else values
