"""What a guide is worth: its ELBO on draws that stay the same during a fit, so that differences are exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..estimators import Estimator
from ..guides import Guide, log_prior
from ..model import BayesianModel, log_likelihood
from ..network import Inputs
from ..noise import PairedNoise
from .data.batches import Batches

REPLICATES = 16
_VALIDATION_DRAWS = 64
_FORWARD_PASSES = 2**23  # rows x draws of one evaluation
_WORK = 2**31  # multiplications; between these bounds of draws a replicate:
_FEWEST, _MOST = 4, 256
_NUMBERS = 2**24  # draws x size: 64 MiB in float32
_MOST_FUNCTIONS = 64  # draws a replicate where rows have noise of their own, and only k-hat needs whole draws
_ROWS_AT_ONCE = 2**16  # rows x draws, where rows have noise of their own


@dataclass(frozen=True)
class Evaluation:
    """Estimates of the ELBO by independent sets of draws, the same sets at every evaluation of a fit.

    Attributes:
        log_likelihoods: Log likelihood of the whole data set under each draw, nats, ``(R, S / R)``: a row a set; or its
            mean over the set, ``(R, 1)``, where rows have noise of their own.
        kl: KL at weight 1, nats, ``(R,)``; the same for all sets where it has a closed form.
        weighted_kl: KL with the weights of the fit, nats, ``(R,)``.
    """

    log_likelihoods: Tensor
    kl: Tensor
    weighted_kl: Tensor

    @property
    def replicates(self) -> Tensor:
        """The ELBO at KL weight 1 by each set of draws, nats of the whole data set, ``(R,)``."""
        return self.log_likelihoods.mean(1) - self.kl

    @property
    def elbo(self) -> float:
        """The ELBO at KL weight 1, in nats of the whole data set."""
        return float(self.replicates.mean())

    @property
    def elbo_stderr(self) -> float:
        """Its Monte Carlo standard error, from the spread of the independent sets."""
        return float(self.replicates.std()) / math.sqrt(len(self.replicates))

    @property
    def objective(self) -> float:
        """What is minimised: the negative ELBO with the weights of the fit."""
        return float((self.weighted_kl - self.kl).mean()) - self.elbo

    def gain_over(self, earlier: Evaluation) -> tuple[float, float]:
        """Tell by how much the objective is better than it was, on the same draws."""
        one, two = (e.replicates + e.kl - e.weighted_kl for e in (earlier, self))
        gains = two - one
        return float(gains.mean()), float(gains.std()) / math.sqrt(len(gains))


class Evaluator:
    """Evaluates guides of one model on one data set, on common draws.

    Args:
        model: The model; its network is in ``eval`` mode meanwhile.
        batches: The data.
        kl_weight: The weights of the fit's KL.
        size: Numbers a draw has.
        work: Multiplications of one row under one draw.
        seed: Seed of the draws.
        multiple: Of which number the draws of a set must be a multiple.
        by_rows: The estimator of the expected log likelihood that stands in for whole draws, or ``None``.
    """

    def __init__(
        self,
        model: BayesianModel,
        batches: Batches,
        kl_weight: float | Mapping[str, float],
        *,
        size: int,
        work: int,
        seed: int,
        multiple: int = 1,
        by_rows: Estimator | None = None,
    ) -> None:
        self._by_rows = by_rows
        self._model = model
        self._batches = batches
        self._kl_weight = kl_weight
        self._seed = seed
        self._noise: Tensor | None = None
        rows = batches.batch_rows * batches.num_batches
        bounds = _FORWARD_PASSES // rows, _WORK // (rows * max(size, work, 1)), _NUMBERS // max(size, 1)
        affordable = min(bounds) // REPLICATES if size else 0  # without noise all draws are the same
        draws = max(_FEWEST, min(_MOST, 2 ** int(math.log2(max(affordable, 1)))))
        self._draws_by_rows = draws
        if by_rows is not None:
            draws = min(draws, _MOST_FUNCTIONS)
        self._draws = math.ceil(draws / multiple) * multiple

    @torch.no_grad()
    def __call__(self, guide: Guide) -> Evaluation:
        """Evaluate a guide."""
        kl, weighted = (self._kl(guide, weight) for weight in (1.0, self._kl_weight))
        if self._by_rows is None:
            log_p = self._log_likelihoods(guide).unflatten(0, (REPLICATES, self._draws))
        else:
            log_p = torch.stack([self._set_by_rows(self._by_rows, guide, i) for i in range(REPLICATES)])
        return Evaluation(log_p, kl, weighted)

    def _kl(self, guide: Guide, weight: float | Mapping[str, float]) -> Tensor:
        priors = guide.flat_priors(self._model, weight)
        if not guide.estimates_kl(priors):
            return guide.kl_to(priors).double().repeat(REPLICATES)
        sets = self.noise(guide).split(self._draws)
        return torch.stack([guide.kl_estimate(priors, noise).double() for noise in sets])

    def noise(self, guide: Guide) -> Tensor:
        """Give the noise of all sets, one after the other."""
        if self._noise is not None:
            return self._noise
        like = guide.loc
        sets = (
            PairedNoise(
                guide.noise_size,
                self._seed * REPLICATES + i + 2**32,  # no seed of a fit's own noise
                self._draws,
                dtype=like.dtype,
                device=like.device,
                block=1,
            ).at(0)[0]
            for i in range(REPLICATES)
        )
        self._noise = torch.cat(list(sets))
        return self._noise

    @torch.no_grad()
    def log_weights(self, guide: Guide, last: Evaluation) -> Tensor:
        r"""Compute :math:`\log p(y, w_s) - \log q(w_s)`, for importance weights."""
        log_p = last.log_likelihoods.flatten() if self._by_rows is None else self._log_likelihoods(guide)
        flat = guide.unconstrained(self.noise(guide))
        prior = log_prior(self._model.sites(), guide.layout, flat, guide.points(len(flat)))
        return log_p + (prior - guide.log_density(flat)).double()

    def _set_by_rows(self, estimator: Estimator, guide: Guide, number: int) -> Tensor:
        """The mean log likelihood over a set of draws by rows, ``(1,)``; the same noise at each call."""
        like, total = guide.loc, 0.0
        generator = torch.Generator(like.device).manual_seed(self._seed * REPLICATES + number + 2**32)
        for batch in self._batches.once():
            x, y, size = batch.x, batch.y, len(batch.y)
            left = self._draws_by_rows
            while left:
                draws = min(left, max(2, _ROWS_AT_ONCE // size))
                free = like.new_zeros(()).expand(draws, guide.noise_size)
                noise = estimator.row_noise(draws, size, generator)
                value = estimator(guide, free, noise, x, y, scale=batch.scale, weight=batch.weight)
                total = total + value.double() * (draws / self._draws_by_rows)
                left -= draws
        return torch.as_tensor(total).reshape(1)

    def _log_likelihoods(self, guide: Guide) -> Tensor:
        draws = {name: value.detach() for name, value in guide.transform(self.noise(guide)).items()}
        total = 0.0
        for batch in self._batches.once():
            log_p = log_likelihood(self._model, draws, batch.x, batch.y).double()
            total = total + batch.scale * (log_p if batch.weight is None else log_p * batch.weight).sum(1)
        return torch.as_tensor(total)


class Validation:
    r"""The mean log likelihood of data that the fit does not see.

    .. math:: \tfrac1N \sum_n \log \tfrac1S \sum_s p(y_n \mid x_n, w_s)

    Args:
        model: The model; its network is in ``eval`` mode meanwhile.
        x: Inputs.
        y: Targets.
        every: Steps from one evaluation to the next.
        seed: Seed of the draws, the same at every evaluation.

    Attributes:
        every: Steps from one evaluation to the next.
    """

    def __init__(self, model: BayesianModel, x: Inputs, y: Tensor, *, every: int, seed: int) -> None:
        self.every = every
        self._model = model
        self._x, self._y = x, y
        self._seed = seed

    def __call__(self, guide: Guide) -> float:
        """Evaluate a guide."""
        log_p = log_likelihood(self._model, guide.draw(_VALIDATION_DRAWS, self._seed), self._x, self._y)
        return float((log_p.double().logsumexp(0) - math.log(_VALIDATION_DRAWS)).mean())


@torch.no_grad()
def expected_log_likelihood(
    model: BayesianModel,
    guide: Guide,
    x: Inputs,
    y: Tensor,
    *,
    num_draws: int,
    seed: int,
    num_data: int | None = None,
) -> tuple[float, float]:
    r"""Estimate :math:`E_q[\log p(y \mid x, w)]` on fresh draws."""
    scale = (num_data or len(y)) / len(y)
    log_p = scale * log_likelihood(model, guide.draw(num_draws, seed), x, y).double().sum(1)
    return float(log_p.mean()), float(log_p.std()) / num_draws**0.5


def estimate_elbo(
    model: BayesianModel, guide: Guide, x: Inputs, y: Tensor, *, num_draws: int, seed: int
) -> tuple[float, float]:
    r"""Estimate :math:`E_q[\log p(y \mid x, w)] - \sum_j \mathrm{KL}_j` on fresh draws."""
    log_p, stderr = expected_log_likelihood(model, guide, x, y, num_draws=num_draws, seed=seed)
    kls = guide.kl_replicates(model).detach().double()
    return log_p - float(kls.mean()), math.hypot(stderr, float(kls.std()) / math.sqrt(len(kls)))
