"""ELBO estimates with common random numbers, so that differences between stages have low variance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..estimators import Estimator
from ..guides import Guide
from ..guides.prior_density import log_prior
from ..model import BayesianModel, log_likelihood
from ..network import Inputs
from ..noise import PairedNoise
from .data.batches import Batches
from .rows_seen import RowsSeen

REPLICATES = 16
# The draws per replicate are between _MIN_DRAWS and _MAX_DRAWS, and as many as these bounds on one evaluation allow:
_FORWARD_PASSES = 2**23  # rows x draws
_WORK = 2**31  # multiplications
_NUMBERS = 2**24  # draws x size: 64 MiB in float32
_MIN_DRAWS, _MAX_DRAWS = 4, 256
# Where rows have their own noise, only k-hat needs whole draws.
_MAX_DRAWS_OF_FUNCTIONS = 64
_ROWS_AT_ONCE = 2**16  # rows x draws
_VALIDATION_DRAWS = 64


@dataclass(frozen=True)
class Evaluation:
    """ELBO estimates from R independent sets of draws; all evaluations of a fit use the same sets."""

    # In nats of the whole data set. `log_likelihoods` has one row per set and one column per draw, (R, S / R); where
    # rows have their own noise, the mean over each set, (R, 1).
    log_likelihoods: Tensor
    kl: Tensor  # at weight 1, (R,); the same for all sets if it has a closed form
    weighted_kl: Tensor  # with the weights of the fit, (R,)
    rows: Tensor  # the number of rows seen, (1,)
    row_stderr: Tensor  # standard error due to which rows were seen, 0 if all were, (1,)
    total_weight: Tensor  # sum of the sample weights of the whole data set, NaN if rows have none, (1,)

    @property
    def replicates(self) -> Tensor:
        """The ELBO at KL weight 1 from each set of draws, ``(R,)``."""
        return self.log_likelihoods.mean(1) - self.kl

    @property
    def elbo(self) -> float:
        """The ELBO at KL weight 1."""
        return float(self.replicates.mean())

    @property
    def elbo_stderr(self) -> float:
        """Standard error of :attr:`elbo`: Monte Carlo, from the spread over the sets, and from the rows seen."""
        return math.hypot(
            float(self.replicates.std()) / math.sqrt(len(self.replicates)), float(self.row_stderr)
        )

    @property
    def objective(self) -> float:
        """The negative ELBO with the KL weights of the fit, which the fit minimises."""
        return float((self.weighted_kl - self.kl).mean()) - self.elbo

    def gain_over(self, earlier: Evaluation) -> tuple[float, float]:
        """Return by how much the objective improved on the same draws, and the standard error."""
        one, two = (e.replicates + e.kl - e.weighted_kl for e in (earlier, self))
        gains = two - one
        return float(gains.mean()), float(gains.std()) / math.sqrt(len(gains))


class Evaluator:
    """Evaluates guides of one model on one data set, always with the same draws; the network is in eval mode."""

    def __init__(
        self,
        model: BayesianModel,
        batches: Batches,
        kl_weight: float | Mapping[str, float],
        *,
        size: int,  # of the noise of one draw
        work: int,  # multiplications of one row under one draw
        seed: int,
        multiple: int = 1,  # the draws of a set are a multiple of it
        by_rows: Estimator | None = None,  # estimates the expected log likelihood in place of whole draws
    ) -> None:
        self._by_rows = by_rows
        self._model = model
        self._batches = batches
        self._kl_weight = kl_weight
        self._seed = seed
        self._noise: Tensor | None = None
        rows = batches.batch_rows * batches.num_batches
        bounds = _FORWARD_PASSES // rows, _WORK // (rows * max(size, work, 1)), _NUMBERS // max(size, 1)
        affordable = min(bounds) // REPLICATES if size else 0  # without noise all draws are equal
        draws = max(_MIN_DRAWS, min(_MAX_DRAWS, 2 ** int(math.log2(max(affordable, 1)))))
        self._draws_by_rows = draws
        if by_rows is not None:
            draws = min(draws, _MAX_DRAWS_OF_FUNCTIONS)
        self._draws = math.ceil(draws / multiple) * multiple

    @torch.no_grad()
    def __call__(self, guide: Guide) -> Evaluation:
        """Evaluate a guide."""
        kl, weighted = (self._kl(guide, weight) for weight in (1.0, self._kl_weight))
        noise = self.noise(guide)
        if self._by_rows is None:
            log_p, seen = self._log_likelihoods(guide, noise)
            log_p = log_p.unflatten(0, (REPLICATES, self._draws))
        else:
            seen = self._log_likelihoods(guide, noise[: self._draws])[1]
            sets = [self._set_by_rows(self._by_rows, guide, i) for i in range(REPLICATES)]
            log_p = seen.correction * torch.stack(sets)
        facts = (torch.tensor([each]).double() for each in (seen.rows, seen.stderr, seen.total_weight))
        return Evaluation(log_p, kl, weighted, *facts)

    def _kl(self, guide: Guide, weight: float | Mapping[str, float]) -> Tensor:
        priors = guide.flat_priors(self._model, weight)
        if not guide.estimates_kl(priors):
            return guide.kl_to(priors).double().repeat(REPLICATES)
        sets = self.noise(guide).split(self._draws)
        return torch.stack([guide.kl_estimate(priors, noise).double() for noise in sets])

    def noise(self, guide: Guide) -> Tensor:
        """Return the noise of all sets, concatenated."""
        if self._noise is not None:
            return self._noise
        like = guide.loc
        sets = (
            PairedNoise(
                guide.noise_size,
                self._seed * REPLICATES + i + 2**32,  # differs from every seed of the steps' noise
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
        log_p = (
            last.log_likelihoods.flatten()
            if self._by_rows is None
            else self._log_likelihoods(guide, self.noise(guide))[0]
        )
        flat = guide.unconstrained(self.noise(guide))
        prior = log_prior(self._model.sites(), guide.layout, flat, guide.points(len(flat)))
        return log_p + (prior - guide.log_density(flat)).double()

    def _set_by_rows(self, estimator: Estimator, guide: Guide, number: int) -> Tensor:
        """Return the mean log likelihood over one set of draws by rows, ``(1,)``; each call uses the same noise."""
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

    def _log_likelihoods(self, guide: Guide, noise: Tensor) -> tuple[Tensor, RowsSeen]:
        draws = {name: value.detach() for name, value in guide.transform(noise).items()}
        total, seen = 0.0, RowsSeen(self._batches)
        for batch in self._batches.once():
            log_p = log_likelihood(self._model, draws, batch.x, batch.y).double()
            log_p = log_p if batch.weight is None else log_p * batch.weight
            total = total + batch.scale * log_p.sum(1)
            seen.add(batch, log_p.mean(0))
        return seen.correction * torch.as_tensor(total), seen


class Validation:
    """Estimates the mean over the rows of held-out data of the log of the mean likelihood over draws."""

    def __init__(self, model: BayesianModel, x: Inputs, y: Tensor, *, every: int, seed: int) -> None:
        self.every = every  # steps from one evaluation to the next
        self._model = model
        self._x, self._y = x, y
        self._seed = seed

    def __call__(self, guide: Guide) -> float:
        """Evaluate a guide."""
        log_p = log_likelihood(self._model, guide.draw(_VALIDATION_DRAWS, self._seed), self._x, self._y)
        return float((log_p.double().logsumexp(0) - math.log(_VALIDATION_DRAWS)).mean())


@torch.no_grad()
def estimate_elbo(
    model: BayesianModel, guide: Guide, x: Inputs, y: Tensor, *, num_draws: int, seed: int
) -> tuple[float, float]:
    r"""Estimate :math:`E_q[\log p(y \mid x, w)] - \sum_j \mathrm{KL}_j` on fresh draws, with its standard error."""
    log_p = log_likelihood(model, guide.draw(num_draws, seed), x, y).double().sum(1)
    kls = guide.kl_replicates(model).double()
    stderr = math.hypot(float(log_p.std()) / num_draws**0.5, float(kls.std()) / math.sqrt(len(kls)))
    return float(log_p.mean()) - float(kls.mean()), stderr
