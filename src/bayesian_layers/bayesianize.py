"""Lifting: priors on the parameters of any network, and a report of what was lifted and why."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from . import priors
from .errors import SiteError
from .layers import NORMALISATION
from .network import priors_by_id
from .priors import Prior

Selector = str | nn.Module | type[nn.Module]
Selectors = Selector | Iterable[Selector]

_NOTES = "parameter_notes"


@dataclass(frozen=True)
class LiftingRow:
    """What became of one parameter.

    Attributes:
        name: The parameter's name, which is its site's.
        shape: Its shape.
        status: ``"prior"``, ``"point estimate"`` or ``"frozen"``.
        prior: Its prior, or ``None``.
        reason: Why.
    """

    name: str
    shape: tuple[int, ...]
    status: str
    prior: Prior | None
    reason: str


@dataclass(frozen=True)
class LiftingReport:
    """One row a parameter; ``print`` it.

    Attributes:
        rows: In the order of ``named_parameters()``.
    """

    rows: tuple[LiftingRow, ...]

    def __str__(self) -> str:
        lines = [
            (row.name, "x".join(map(str, row.shape)) or "scalar", str(row.prior or row.status), row.reason)
            for row in self.rows
        ]
        widths = [max((len(line[i]) for line in lines), default=0) for i in range(3)]
        return "\n".join(
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]
            ).rstrip()
            for line in lines
        )


def bayesianize(
    network: nn.Module,
    prior: Prior | Mapping[str, Prior | None] | None = None,
    *,
    only: Selectors | None = None,
    skip: Selectors | None = None,
) -> nn.Module:
    """Put priors on the parameters of any network.

    The network given is not touched: the result is a deep copy of the same classes, whose modules hold
    the priors. Parameters keep their names, ties and values. Left without a prior, and so
    point-estimated: parameters of normalisation layers unless ``only`` or ``prior`` names them, and what
    ``only`` or ``skip`` leave out. Frozen parameters stay frozen, and layers that already have priors keep
    them. :func:`lifting_report` says what became of each.

    Args:
        network: Any module.
        prior: The prior of each lifted parameter; ``None`` is the library's default prior. Or a mapping from shell
            patterns, matched against names of parameters and of modules, to priors: the first that matches
            wins; ``None`` in it means point-estimated, and so does no match. ``"*"`` takes all but
            normalisation layers.
        only: Lift these alone. A selector is a shell pattern matched against names of parameters
            and of modules (``"2.*"``, ``"head"``, ``"*.bias"``), a module of ``network``, or a class of
            modules; or several of them.
        skip: Leave these out, even if ``only`` takes them.

    Returns:
        A copy of ``network`` with priors.

    Raises:
        SiteError: If a selector or a pattern matches nothing, or a parameter is lazy and has no shape yet.
        TypeError: If ``prior`` is not one of ``bl.priors``, or a mapping to such.

    Example:
        >>> import torch
        >>> plain = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
        >>> print(lifting_report(bayesianize(plain, skip="2.bias")))
        0.weight  3x2  Normal(loc=0.0, scale=1.0)  lifted
        0.bias    3    Normal(loc=0.0, scale=1.0)  lifted
        1.weight  3    point estimate              normalisation layer
        1.bias    3    point estimate              normalisation layer
        2.weight  1x3  Normal(loc=0.0, scale=1.0)  lifted
        2.bias    1    point estimate              in `skip`
        >>> prior = {"0.*": priors.Normal(scale=2.0), "*.bias": None, "*": priors.Normal()}
        >>> print(lifting_report(bayesianize(plain, prior)))
        0.weight  3x2  Normal(loc=0.0, scale=2.0)  lifted by '0.*'
        0.bias    3    Normal(loc=0.0, scale=2.0)  lifted by '0.*'
        1.weight  3    point estimate              normalisation layer
        1.bias    3    point estimate              None for '*.bias'
        2.weight  1x3  Normal(loc=0.0, scale=1.0)  lifted by '*'
        2.bias    1    point estimate              None for '*.bias'
    """
    chooses = _by_name(network, prior) if isinstance(prior, Mapping) else _the_same(prior)
    chosen = None if only is None else _matches(network, only, "only")
    left_out = set() if skip is None else _matches(network, skip, "skip")
    lifted = copy.deepcopy(network)
    for name, parameter in lifted.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise SiteError(f"`{name}` has no shape yet: call the network once on a batch of inputs first")
        owner, leaf = _owner(lifted, name)
        if leaf in priors.get_priors(owner) or not parameter.requires_grad:
            continue
        choice = chooses(name)
        reason = _reason_against(name, owner, chosen, left_out, named=choice.named)
        priors.set_priors(owner, {leaf: choice.prior if reason is None else None})
        setattr(owner, _NOTES, {**getattr(owner, _NOTES, {}), leaf: reason or choice.note})
    return lifted


def lifting_report(network: nn.Module) -> LiftingReport:
    """Tell for each parameter of a network whether it has a prior, and why.

    Args:
        network: Any module, lifted or built of the library's layers.

    Returns:
        A report that prints as a table.
    """
    rows = []
    remembered = priors_by_id(network)
    for name, parameter in network.named_parameters():
        owner, leaf = _owner(network, name)
        prior = remembered.get(id(parameter))
        note = getattr(owner, _NOTES, {}).get(leaf)
        if not parameter.requires_grad:
            rows.append(LiftingRow(name, tuple(parameter.shape), "frozen", None, "requires_grad is False"))
        elif prior is not None:
            rows.append(
                LiftingRow(name, tuple(parameter.shape), "prior", prior, note or "the layer's own prior")
            )
        else:
            own = "the layer's own choice" if id(parameter) in remembered else "no prior was given"
            rows.append(LiftingRow(name, tuple(parameter.shape), "point estimate", None, note or own))
    return LiftingReport(tuple(rows))


@dataclass(frozen=True)
class _Choice:
    """The prior that a parameter would have, why, and whether it was meant by name."""

    prior: Prior | None
    note: str
    named: bool = False


def _the_same(prior: Prior | None) -> Callable[[str], _Choice]:
    priors.check_is_prior(prior)
    choice = _Choice(priors.default() if prior is None else prior, "lifted")
    return lambda _: choice


def _by_name(network: nn.Module, chosen: Mapping[str, Prior | None]) -> Callable[[str], _Choice]:
    choices: dict[str, _Choice] = {}
    for pattern, prior in chosen.items():
        priors.check_is_prior(prior)
        note = f"None for {pattern!r}" if prior is None else f"lifted by {pattern!r}"
        for name in _matches(network, pattern, "prior"):
            choices.setdefault(name, _Choice(prior, note, named=pattern != "*"))
    none = _Choice(None, "no pattern of `prior` matches")
    return lambda name: choices.get(name, none)


def _reason_against(
    name: str, owner: nn.Module, chosen: set[str] | None, left_out: set[str], *, named: bool
) -> str | None:
    if name in left_out:
        return "in `skip`"
    if chosen is not None:
        return None if name in chosen else "not in `only`"
    return "normalisation layer" if isinstance(owner, NORMALISATION) and not named else None


def _owner(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return network.get_submodule(path), leaf


def _matches(network: nn.Module, selectors: Selectors, argument: str) -> set[str]:
    """Names of the parameters that any of the selectors takes."""
    several = [selectors] if isinstance(selectors, str | nn.Module | type) else list(selectors)
    found: set[str] = set()
    for selector in several:
        names = set(_selected(network, selector))
        if not names:
            raise SiteError(
                f"`{argument}` has {selector!r}, which matches no parameter of the network; "
                f"its parameters are {[name for name, _ in network.named_parameters()]}"
            )
        found |= names
    return found


def _selected(network: nn.Module, selector: Selector) -> Iterator[str]:
    first_names = {id(parameter): name for name, parameter in network.named_parameters()}
    for path, module in network.named_modules(remove_duplicate=False):
        taken = (
            fnmatch.fnmatchcase(path, selector)
            if isinstance(selector, str)
            else module is selector or (isinstance(selector, type) and isinstance(module, selector))
        )
        for name, parameter in module.named_parameters(path, remove_duplicate=False):
            if taken or (isinstance(selector, str) and fnmatch.fnmatchcase(name, selector)):
                yield first_names[id(parameter)]
