"""Refine draws: many short chains of HMC, one from each draw."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..arguments import check_gradients, check_integer, check_positive, check_seed
from ..draw_sources import DrawSource, StoredDraws
from ..errors import DataError, SiteError
from ..guides import Guide
from ..guides.layout import Layout
from ..likelihoods import Likelihood
from ..model import BayesianModel
from ..network import Inputs, check_inputs, check_targets, evaluating, for_gradients, num_rows, output_shape
from ..noise import seeded, stream
from .chains import effective_sample_size, nested_rhat
from .hmc import State, StepSize, transition
from .record import Refinement
from .target import Target

ITERATIONS = 60
_STREAM = 17  # separates this random stream from others of the same seed
_MASS_DRAWS = 1000
_MAX_RECORDED = 200  # iterations whose states count for the effective sample size: 13 MB for 1000 chains
_ENTRIES = 4096


@dataclass(frozen=True)
class Settings:
    """Arguments of ``Posterior.refine``; exactly one of ``seconds`` and ``iterations`` is given."""

    seconds: float | None
    iterations: int | None
    num_chains: int
    seed: int
    leapfrog_steps: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if (self.seconds is None) == (self.iterations is None):
            received = f"{self.seconds} and {self.iterations}"
            raise DataError(f"exactly one of `seconds` and `iterations` must be given; received {received}")
        if self.iterations is not None:
            check_integer("iterations", self.iterations, least=1)
        if self.seconds is not None:
            check_positive("seconds", self.seconds)
        check_integer("num_chains", self.num_chains, least=2)
        check_seed(self.seed)
        check_integer("leapfrog_steps", self.leapfrog_steps, least=1)

    def adapting(self, done: int, elapsed: float) -> bool:
        """Whether the next transition is part of the adaptation: those of the first half are."""
        if self.iterations is not None:
            return done < self.iterations // 2
        return self.seconds is not None and elapsed < self.seconds / 2

    def finished(self, done: int, elapsed: float, last: float) -> bool:
        """Whether there is no time for another transition; the first is always made."""
        if self.iterations is not None:
            return done >= self.iterations
        return done > 0 and self.seconds is not None and elapsed + last > self.seconds


def refine(
    model: BayesianModel,
    source: DrawSource,
    x: Inputs,
    y: Tensor,
    settings: Settings,
    *,
    notes: Sequence[str] = (),
    progress: bool = False,
) -> tuple[dict[str, Tensor], Refinement]:
    """Move draws of a source to the posterior of a model."""
    started = time.perf_counter()
    check_gradients("refine")
    layout = Layout.of(model.sites())
    likelihood, x, y = _check(model, layout, x, y)
    draws = source.draw(settings.num_chains, settings.seed)
    start, point = (layout.flat(draws, names) for names in (layout.random, layout.points))
    with seeded(settings.seed, _STREAM), evaluating(model.network), pyro.validation_enabled(False):
        first = {name: value[:2] for name, value in draws.items()}
        likelihood.check(y, len(y), output_shape(model.network, x, settings.seed, lambda: first))
        target = Target(model, layout, point, x, y)
        scale = _variances(source, layout, settings.seed).sqrt()
        chains = _Chains(target, start, scale, settings, started)
        with tqdm(total=settings.iterations, disable=not progress, desc="refine", unit="iteration") as bar:
            chains.run(bar)
        record = chains.record(notes)
    with torch.no_grad():
        refined = layout.values(chains.state.position, point)
    return {name: draws[name] if name in layout.points else refined[name] for name in draws}, record


@dataclass
class _Chains:
    """The chains of a refinement, their step size, and what is recorded of them."""

    target: Target
    start: Tensor
    scale: Tensor
    settings: Settings
    started: float
    done: int = 0
    recorded: list[Tensor] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    divergent: int = 0

    def __post_init__(self) -> None:
        # For a Normal the best step size is proportional to this power of its dimension; half of it, as weights
        # correlate.
        self.step = StepSize(0.5 * self.start.shape[1] ** -0.25)
        self.state = State.at(self.target, self.start)

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def run(self, bar: tqdm[Any]) -> None:
        """Move the chains until the iterations or seconds are over."""
        generator = stream(self.settings.seed, _STREAM)
        last, now = 0.0, self.elapsed()
        while not self.settings.finished(self.done, now, last):
            self._move(generator, adapting=self.settings.adapting(self.done, now))
            last, now = self.elapsed() - now, self.elapsed()
            bar.update()
            bar.set_postfix_str(f"acceptance {self.accepted[-1]:.2f}", refresh=False)

    def _move(self, generator: torch.Generator, *, adapting: bool) -> None:
        if not adapting and not self.recorded:
            self.step.finalize()
            self.accepted, self.divergent = [], 0
        steps = self.settings.leapfrog_steps
        result = transition(
            self.target, self.state, self.step.value, self.scale, leapfrog_steps=steps, generator=generator
        )
        self.state = result.state
        self.accepted.append(float(result.acceptance.mean()))
        self.divergent += result.divergent
        self.done += 1
        if adapting:
            self.step.update(self.accepted[-1])
        else:
            self.recorded = [*self.recorded[1 - _MAX_RECORDED :], self._monitored()]

    def _monitored(self) -> Tensor:
        f = self.target.function_values(self.state.position)
        return torch.cat([f, self.state.log_density.unsqueeze(1)], 1)

    def record(self, notes: Sequence[str]) -> Refinement:
        """Compute the diagnostics."""
        monitored = torch.stack(self.recorded or [self._monitored()])
        first, last = (self.target.function_values(each) for each in (self.start, self.state.position))
        size = self.start.shape[1]
        entries = torch.linspace(0, size - 1, min(size, _ENTRIES)).round().long().to(self.start.device)
        return Refinement.with_warnings(
            notes,
            iterations=self.done,
            seconds=self.elapsed(),
            num_chains=len(self.start),
            leapfrog_steps=self.settings.leapfrog_steps,
            step_size=self.step.value,
            acceptance=sum(self.accepted) / len(self.accepted),
            rhat=_largest(nested_rhat(first, last)),
            weights_rhat=_largest(nested_rhat(self.start[:, entries], self.state.position[:, entries])),
            effective_sample_size=float(effective_sample_size(monitored).min()),
            divergent=self.divergent / (len(self.accepted) * len(self.start)),
        )


def _largest(values: Tensor) -> float | None:
    return None if bool(values.isnan().any()) else float(values.max())


def _check(model: BayesianModel, layout: Layout, x: Inputs, y: Tensor) -> tuple[Likelihood, Inputs, Tensor]:
    if model.likelihood is None:
        raise SiteError(
            "the model has no likelihood, so it has no posterior. Use BayesianModel(network, likelihood)."
        )
    if not layout.random:
        raise SiteError("no parameter has a prior, so there is no posterior to refine, only point estimates")
    priors = {name: site.prior for name, site in model.sites().items()}
    if improper := [name for name, prior in priors.items() if prior is not None and not prior.proper]:
        raise SiteError(
            f"{improper} have an improper prior, so the posterior has no integral and chains cannot converge to it. "
            "Use the guide's draws, or a proper prior such as bl.priors.Horseshoe."
        )
    if layout.drawn:
        raise SiteError(
            f"{list(layout.drawn)} are drawn from their prior, not from the posterior, so a network with a "
            "GaussianProcess cannot be refined. Use pyro.infer.NUTS, which moves all sites."
        )
    x = check_inputs(x, model.network)
    y = for_gradients(check_targets(y, num_rows(x), model.network))
    x = tuple(map(for_gradients, x)) if isinstance(x, tuple) else for_gradients(x)
    return model.likelihood, x, y


@torch.no_grad()
def _variances(source: DrawSource, layout: Layout, seed: int) -> Tensor:
    """Return the inverse masses: variances within the modes of the guide, or those of draws."""
    found = source.variance_within_modes() if isinstance(source, Guide) else None
    if found is None:
        draws = source.samples if isinstance(source, StoredDraws) else source.draw(_MASS_DRAWS, seed)
        found = layout.flat(draws, layout.random).var(0)
    # The scale of an entry that is the same in all draws is not known.
    known = found > 0
    usual = float(found[known].mean()) if bool(known.any()) else 1.0
    return torch.where(known, found, usual)
