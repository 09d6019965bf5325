"""ELBO estimates with common random numbers, so that differences between stages have low variance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..estimators import Estimator
from ..guides import Guide
from ..guides.prior_density import log_prior
from ..handlers import LogLikelihood
from ..model import BayesianModel, log_likelihood
from ..network import Inputs, evaluating, take_rows
from ..noise import PairedNoise, standard_normal
from ..predicting.plan import RowWidth
from .budget import BLOCK, NUMBERS, SETS, EvaluationPlan
from .data.batches import Batch, Batches
from .rows_seen import RowsSeen
from .set_rows import SetRows

_MANY = 8  # draws; fewer gain nothing from a sequence
_SOBOL = 256  # numbers of a draw; above it, scrambling a sequence takes longer than the evaluation
_ENTRIES = 2**20  # whose means and standard deviations are kept, evenly spaced
_ROWS_AT_ONCE = 2**16  # rows x draws


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
    # Means and standard deviations of the guide's entries, (2, P), at most _ENTRIES of them; (2, 0) if not known.
    marginals: Tensor

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
        plan: EvaluationPlan,
        *,
        seed: int,
        multiple: int = 1,  # the draws of a block are a multiple of it
        by_rows: Estimator | None = None,  # estimates the expected log likelihood in place of whole draws
    ) -> None:
        self.plan = plan
        self._by_rows = by_rows
        self._model = model
        self._kl_weight = kl_weight
        self._seed = seed
        self._multiple = multiple
        self._rows = SetRows(batches, plan.sets, plan.rows, seed)
        self._sets = range(plan.sets)
        self._kept: list[Tensor] = []  # noise of all sets, if it is small
        self._width: RowWidth | None = None

    @torch.no_grad()
    def __call__(self, guide: Guide) -> Evaluation:
        """Evaluate a guide."""
        kl, weighted = (self._kl(guide, weight) for weight in (1.0, self._kl_weight))
        if self._by_rows is None:
            log_p, seen = self._log_likelihoods(guide, self._sets)
        else:
            seen = self._log_likelihoods(guide, self._sets[:1])[1]
            values = torch.tensor(self._sets_by_rows(self._by_rows, guide), dtype=torch.float64)
            log_p = seen.correction * values.to(guide.loc.device).unsqueeze(1)
        facts = (torch.tensor([each]).double() for each in (seen.rows, seen.stderr, seen.total_weight))
        return Evaluation(log_p, kl, weighted, *facts, marginals=_marginals(guide))

    @torch.no_grad()
    def log_weights(self, guide: Guide, last: Evaluation) -> Tensor:
        r"""Compute :math:`\log p(y, w_s) - \log q(w_s)`, for importance weights; none if sets see other rows."""
        if self.plan.rows is not None:
            return torch.empty(0, dtype=torch.float64)
        log_p = last.log_likelihoods if self._by_rows is None else self._log_likelihoods(guide, self._sets)[0]
        ratios = []
        for noise in self._blocks(guide, self._sets):
            flat = guide.unconstrained(noise)
            prior = log_prior(self._model.sites(), guide.layout, flat, guide.points(len(flat)))
            ratios.append((prior - guide.log_density(flat)).double())
        return log_p.flatten() + torch.cat(ratios)

    def noise(self, guide: Guide, number: int) -> Tensor:
        """Return the noise of one set, ``(draws, size)``."""
        if self._kept:
            return self._kept[number]
        size, draws = guide.noise_size, self.plan.draws
        if len(self._sets) * draws * size > NUMBERS:
            return self._new_noise(guide, number)
        self._kept = [self._new_noise(guide, i) for i in self._sets]
        return self._kept[number]

    def _new_noise(self, guide: Guide, number: int) -> Tensor:
        size, draws = guide.noise_size, self.plan.draws
        to: dict[str, Any] = {"dtype": guide.loc.dtype, "device": guide.loc.device}
        seed = self._seed * SETS + number + 2**32  # differs from every seed of the steps' noise
        if size <= _SOBOL and draws >= _MANY:
            return PairedNoise(size, seed, draws, block=1, **to).at(0)[0]
        half = standard_normal(seed, (draws + 1) // 2, size, **to)
        return torch.cat([half, -half])[:draws]

    def _blocks(self, guide: Guide, sets: range, most: int = BLOCK) -> Iterator[Tensor]:
        """Yield the noise of sets in blocks of at most so many draws that fit into memory."""
        most = min(most, BLOCK // max(1, guide.noise_size))
        most = max(1, most // self._multiple) * self._multiple
        if len(sets) * self.plan.draws <= most:
            yield torch.cat([self.noise(guide, i) for i in sets])
            return
        for i in sets:
            yield from self.noise(guide, i).split(most)

    def _kl(self, guide: Guide, weight: float | Mapping[str, float]) -> Tensor:
        priors = guide.flat_priors(self._model, weight)
        if not guide.estimates_kl(priors):
            return guide.kl_to(priors).double().repeat(len(self._sets))
        kls = [guide.kl_estimate(priors, self.noise(guide, i)).double() for i in self._sets]
        return torch.stack(kls)

    def _log_likelihoods(self, guide: Guide, sets: range) -> tuple[Tensor, RowsSeen]:
        """Return the log likelihood of all rows under each draw of some sets, ``(sets, draws)``, and the rows."""
        total = torch.zeros(len(sets), self.plan.draws, dtype=torch.float64, device=guide.loc.device)
        seen = self._rows.seen()
        for numbers, batch in self._rows.pieces(sets):
            by_draw, by_row = self._sums(guide, numbers, batch)
            first = numbers.start - sets.start
            total[first : first + len(numbers)] += batch.scale * by_draw.view(len(numbers), -1)
            seen.add(batch, by_row / by_draw.numel())
        return seen.correction * total, seen

    def _sums(self, guide: Guide, sets: range, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sums of the (weighted) log likelihoods over rows, per draw, and over draws, per row."""
        model = self._model
        if self._width is None:
            free = guide.loc.new_zeros(()).expand(max(2, self._multiple), guide.noise_size)
            self._width = RowWidth.of(model.network, guide.transform(free), batch.x)
        by_draw, by_row = [], torch.zeros(len(batch.y), dtype=torch.float64, device=batch.y.device)
        with evaluating(model.network):
            most = self._width.draws(len(batch.y))
            for noise in self._blocks(guide, sets, most):
                draws, sums = guide.transform(noise), []
                for chunk in self._width.slices(len(noise), len(batch.y)):
                    log_p = _by_rows(model, draws, take_rows(batch.x, chunk), batch.y[chunk]).double()
                    log_p = log_p if batch.weight is None else log_p * batch.weight[chunk]
                    by_row[chunk] += log_p.sum(0)
                    sums.append(log_p.sum(1))
                by_draw.append(torch.stack(sums).sum(0))
        return torch.cat(by_draw), by_row

    def _sets_by_rows(self, estimator: Estimator, guide: Guide) -> list[float]:
        """Return the mean log likelihood over each set of draws by rows; each call uses the same noise."""
        like, totals = guide.loc, [0.0] * len(self._sets)
        generators = [
            torch.Generator(like.device).manual_seed(self._seed * SETS + i + 2**32) for i in self._sets
        ]
        for numbers, batch in self._rows.pieces(self._sets):
            for rows in _slices(len(batch.y), _ROWS_AT_ONCE // 2):
                x, y, size = take_rows(batch.x, rows), batch.y[rows], len(batch.y[rows])
                weight = None if batch.weight is None else batch.weight[rows]
                for i in numbers:
                    for part in _slices(self.plan.draws, _ROWS_AT_ONCE // size):
                        draws = part.stop - part.start
                        free = like.new_zeros(()).expand(draws, guide.noise_size)
                        noise = estimator.row_noise(draws, size, generators[i])
                        value = estimator(guide, free, noise, x, y, scale=batch.scale, weight=weight)
                        totals[i] += float(value) * (draws / self.plan.draws)
        return totals


def _marginals(guide: Guide) -> Tensor:
    found = guide.marginals()
    if found is None:
        return guide.loc.new_empty(2, 0).detach()
    every = math.ceil(max(guide.loc.numel(), 1) / _ENTRIES)
    return torch.stack([part.detach().flatten()[::every] for part in found])


def _slices(number: int, most: int) -> Iterator[slice]:
    for start in range(0, number, max(1, most)):
        yield slice(start, min(start + max(1, most), number))


class _LogLikelihoodPerRow(LogLikelihood):
    """Keeps the log likelihood per draw and row."""

    def _reduced(self, log_prob: Tensor) -> Tensor:
        return log_prob


def _by_rows(model: BayesianModel, draws: Mapping[str, Tensor], x: Inputs, y: Tensor) -> Tensor:
    """Return the log likelihood of each row under each draw, ``(S, N)``, from the model's own program."""
    number = len(next(iter(draws.values())))
    # One draw needs no axis of draws, and so no vmap. For more, the axis of size 1 is that of the data plate.
    values = {name: value.squeeze(0) if number == 1 else value.unsqueeze(1) for name, value in draws.items()}
    with _LogLikelihoodPerRow(values) as likelihood:
        model(x, y)
    return likelihood.log_prob.expand(number, -1)


@torch.no_grad()
def estimate_elbo(
    model: BayesianModel, guide: Guide, x: Inputs, y: Tensor, *, num_draws: int, seed: int
) -> tuple[float, float]:
    r"""Estimate :math:`E_q[\log p(y \mid x, w)] - \sum_j \mathrm{KL}_j` on fresh draws, with its standard error."""
    log_p = log_likelihood(model, guide.draw(num_draws, seed), x, y).double().sum(1)
    kls = guide.kl_replicates(model).double()
    stderr = math.hypot(float(log_p.std()) / num_draws**0.5, float(kls.std()) / math.sqrt(len(kls)))
    return float(log_p.mean()) - float(kls.mean()), stderr
