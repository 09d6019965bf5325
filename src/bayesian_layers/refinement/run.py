"""Refining draws: many short chains of HMC, one from each draw."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..draw_sources import DrawSource, StoredDraws
from ..errors import DataError, ShapeError, SiteError
from ..guides import Ensemble, MeanFieldNormal
from ..guides.joint import JointNormal
from ..guides.layout import Layout
from ..model import BayesianModel
from ..network import Inputs, check_inputs, evaluating, num_rows
from ..noise import seeded, stream
from .chains import effective_sample_size, nested_rhat
from .hmc import State, StepSize, transition
from .record import Refinement
from .target import Target

ITERATIONS = 60
_STREAM = 17  # tells this stream from others of the same seed
_MASS_DRAWS = 1000
_KEPT = 200  # iterations whose states count for the effective sample size: 13 MB for 1000 chains
_ENTRIES = 4096


@dataclass(frozen=True)
class Settings:
    """What a refinement was asked for.

    Attributes:
        seconds: Wall-clock seconds it may take, or ``None``.
        iterations: Transitions a chain, or ``None``.
        num_chains: Chains, at least 2.
        seed: Of the starts and of the chains' randomness.
        leapfrog_steps: Gradients a transition.

    Raises:
        DataError: If not exactly one of ``seconds`` and ``iterations`` is given, or a number is out of range.
    """

    seconds: float | None
    iterations: int | None
    num_chains: int
    seed: int
    leapfrog_steps: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if (self.seconds is None) == (self.iterations is None):
            raise DataError(
                "a refinement ends after `seconds` or after `iterations`, one of them; received "
                f"{self.seconds} and {self.iterations}"
            )
        least = {"iterations": 1, "num_chains": 2, "seed": 0, "leapfrog_steps": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is None and name == "iterations":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise DataError(f"`{name}` must be a whole number, {smallest} or more; received {value!r}")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise DataError(f"`seconds` must be a finite number above 0; received {self.seconds!r}")

    def adapting(self, done: int, elapsed: float) -> bool:
        """Whether the next transition still belongs to the adaptation: the first half does."""
        if self.iterations is not None:
            return done < self.iterations // 2
        return self.seconds is not None and elapsed < self.seconds / 2

    def enough(self, done: int, elapsed: float, last: float) -> bool:
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
    begun = time.perf_counter()
    layout = Layout.of(model.sites())
    x, y = _check(model, layout, x, y)
    draws = source.draw(settings.num_chains, settings.seed)
    start, point = (_flatten(layout, draws, names) for names in (layout.random, layout.points))
    with seeded(settings.seed, _STREAM), evaluating(model.network), pyro.validation_enabled(False):
        target = Target(model, layout, point, x, y)
        _check_values(model, target, start, y)
        scale = _variances(source, layout, settings.seed).sqrt()
        run = _Chains(target, start, scale, settings, begun)
        with tqdm(total=settings.iterations, disable=not progress, desc="refine", unit="iteration") as bar:
            run.go(bar)
        record = run.record(notes)
    with torch.no_grad():
        moved = layout.values(run.state.position, point)
    return {name: draws[name] if name in layout.points else moved[name] for name in draws}, record


@dataclass
class _Chains:
    """Chains on their way."""

    target: Target
    start: Tensor
    scale: Tensor
    settings: Settings
    begun: float
    done: int = 0
    kept: list[Tensor] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    divergent: int = 0

    def __post_init__(self) -> None:
        # The step that a Normal takes shrinks so with the number of its dimensions; half of it, as weights correlate.
        self.step = StepSize(0.5 * self.start.shape[1] ** -0.25)
        self.state = State.at(self.target, self.start)

    def elapsed(self) -> float:
        return time.perf_counter() - self.begun

    def go(self, bar: tqdm[Any]) -> None:
        """Move until it is enough."""
        generator = stream(self.settings.seed, _STREAM)
        last, now = 0.0, self.elapsed()
        while not self.settings.enough(self.done, now, last):
            self._move(generator, adapting=self.settings.adapting(self.done, now))
            last, now = self.elapsed() - now, self.elapsed()
            bar.update()
            bar.set_postfix_str(f"acceptance {self.accepted[-1]:.2f}", refresh=False)

    def _move(self, generator: torch.Generator, *, adapting: bool) -> None:
        if not adapting and not self.kept:
            self.step.finalize()
            self.accepted, self.divergent = [], 0
        steps = self.settings.leapfrog_steps
        moved = transition(
            self.target, self.state, self.step.value, self.scale, leapfrog_steps=steps, generator=generator
        )
        self.state = moved.state
        self.accepted.append(float(moved.acceptance.mean()))
        self.divergent += moved.divergent
        self.done += 1
        if adapting:
            self.step.update(self.accepted[-1])
        else:
            self.kept = [*self.kept[1 - _KEPT :], self._watched()]

    def _watched(self) -> Tensor:
        f = self.target.function_values(self.state.position)
        return torch.cat([f, self.state.log_density.unsqueeze(1)], 1)

    def record(self, notes: Sequence[str]) -> Refinement:
        """Judge the chains."""
        watched = torch.stack(self.kept or [self._watched()])
        first, last = (self.target.function_values(each) for each in (self.start, self.state.position))
        entries = (
            torch.linspace(0, self.start.shape[1] - 1, min(self.start.shape[1], _ENTRIES)).round().long()
        )
        entries = entries.to(self.start.device)
        return Refinement.judged(
            notes,
            iterations=self.done,
            seconds=self.elapsed(),
            num_chains=len(self.start),
            leapfrog_steps=self.settings.leapfrog_steps,
            step_size=self.step.value,
            acceptance=sum(self.accepted) / len(self.accepted),
            rhat=_largest(nested_rhat(first, last)),
            weights_rhat=_largest(nested_rhat(self.start[:, entries], self.state.position[:, entries])),
            effective_sample_size=float(effective_sample_size(watched).min()),
            divergent=self.divergent / (len(self.accepted) * len(self.start)),
        )


def _largest(values: Tensor) -> float | None:
    return None if bool(values.isnan().any()) else float(values.max())


def _check(model: BayesianModel, layout: Layout, x: Inputs, y: Tensor) -> tuple[Inputs, Tensor]:
    if model.likelihood is None:
        raise SiteError("the model has no likelihood, so no posterior to refine; give one to BayesianModel")
    if not layout.random:
        raise SiteError("no parameter has a prior, so there is no posterior to refine, only point estimates")
    improper = [
        name for name, site in model.sites().items() if site.prior is not None and not site.prior.proper
    ]
    if improper:
        raise SiteError(
            f"{improper} have an improper prior, under which the posterior has no integral, so there is nothing for "
            "chains to converge to; use the guide, or a proper prior such as bl.priors.Horseshoe"
        )
    if layout.drawn:
        raise SiteError(
            f"{list(layout.drawn)} are drawn from their prior and belong to no posterior, so chains cannot move them; "
            "a network with a GaussianProcess is not refined. Use pyro.infer.NUTS, which moves all"
        )
    x = check_inputs(x, model.network)
    if not isinstance(y, Tensor):
        raise TypeError(f"`y` must be a torch tensor; received {type(y).__name__}. Use torch.as_tensor.")
    if y.dim() == 0 or len(y) != num_rows(x):
        raise ShapeError("y", (num_rows(x), "..."), y.shape, f"`x` has {num_rows(x)} rows.")
    return x, y.to((x[0] if isinstance(x, tuple) else x).device)


def _check_values(model: BayesianModel, target: Target, start: Tensor, y: Tensor) -> None:
    likelihood: Any = model.likelihood
    likelihood.check(y, len(y), target.outputs(start))


def _flatten(layout: Layout, draws: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    """The inverse of ``layout.values``: draws as rows of a flat vector, positive sites as logarithms."""
    size = len(next(iter(draws.values())))
    parts = [
        (draws[name].log() if name in layout.positive else draws[name]).reshape(size, -1) for name in names
    ]
    return torch.cat(parts, 1) if parts else next(iter(draws.values())).new_empty(size, 0)


@torch.no_grad()
def _variances(source: DrawSource, layout: Layout, seed: int) -> Tensor:
    """Inverse masses: the guide's own variances, else those of draws; inside a member, not between members."""
    if isinstance(source, MeanFieldNormal | JointNormal):
        found = source.variance()
    elif isinstance(source, Ensemble):
        found = source.log_weight.softmax(0) @ (2 * source.log_scale).exp()
    else:
        draws = source.samples if isinstance(source, StoredDraws) else source.draw(_MASS_DRAWS, seed)
        found = _flatten(layout, draws, layout.random).var(0)
    # An entry that is the same in all draws says nothing about its scale.
    known = found > 0
    usual = float(found[known].mean()) if bool(known.any()) else 1.0
    return torch.where(known, found, usual)
