"""Priors on the parameters of any network, and a report of which parameters have one and why."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from . import priors
from .errors import SiteError
from .layers import NORMALISATION_LAYERS
from .network import check_not_lazy, priors_by_id
from .priors import Prior

Selector = str | nn.Module | type[nn.Module]
Selectors = Selector | Iterable[Selector]

_NOTES = "parameter_notes"


@dataclass(frozen=True)
class BayesianizeRow:
    """How one parameter of a network is treated."""

    name: str  # of the parameter and of its site
    shape: tuple[int, ...]
    status: Literal["prior", "point estimate", "frozen"]
    prior: Prior | None
    reason: str  # why the parameter has this status


@dataclass(frozen=True)
class BayesianizeReport:
    """A table with one row per parameter, in the order of ``named_parameters()``, which ``print`` shows."""

    rows: tuple[BayesianizeRow, ...]

    def __str__(self) -> str:
        lines = [
            (row.name, "x".join(map(str, row.shape)) or "scalar", str(row.prior or row.status), row.reason)
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def bayesianize(
    network: nn.Module,
    prior: Prior | Mapping[str, Prior | None] | None = None,
    *,
    only: Selectors | None = None,
    skip: Selectors | None = None,
) -> nn.Module:
    """Put priors on the parameters of a deep copy of any network, with the same classes, names, ties and values.

    A parameter is a point estimate if ``only`` or ``skip`` exclude it, or if it belongs to a
    normalisation layer and neither ``only`` nor a pattern of ``prior`` names it. Frozen parameters stay frozen, and
    layers that already have priors keep them. :func:`bayesianize_report` shows the result for each parameter.

    Args:
        network: Any module.
        prior: The prior of each parameter; ``None`` is the library's default prior. Or a mapping from shell patterns,
            matched against names of parameters and of modules, to priors: the first pattern that matches decides.
            ``None`` in the mapping makes a parameter a point estimate, and so does no match. The pattern ``"*"``
            matches everything but normalisation layers.
        only: The parameters that get a prior: a shell pattern as in ``prior`` (``"2.*"``, ``"head"``, ``"*.bias"``), a
            module of ``network``, a class of modules, or a list of these.
        skip: Parameters that get no prior, even if ``only`` selects them.

    Returns:
        A copy of ``network`` with priors.

    Raises:
        SiteError: If a selector or a pattern matches nothing, or a parameter is lazy and has no shape yet.
        TypeError: If ``prior`` is not one of ``bl.priors``, or a mapping to such.

    Example:
        >>> import torch
        >>> plain = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
        >>> print(bayesianize_report(bayesianize(plain, skip="2.bias")))
        0.weight  3x2  Normal(loc=0.0, scale=1.0)  default prior
        0.bias    3    Normal(loc=0.0, scale=1.0)  default prior
        1.weight  3    point estimate              normalisation layer
        1.bias    3    point estimate              normalisation layer
        2.weight  1x3  Normal(loc=0.0, scale=1.0)  default prior
        2.bias    1    point estimate              in `skip`
        >>> prior = {"0.*": priors.Normal(scale=2.0), "*.bias": None, "*": priors.Normal()}
        >>> print(bayesianize_report(bayesianize(plain, prior)))
        0.weight  3x2  Normal(loc=0.0, scale=2.0)  matches '0.*'
        0.bias    3    Normal(loc=0.0, scale=2.0)  matches '0.*'
        1.weight  3    point estimate              normalisation layer
        1.bias    3    point estimate              None for '*.bias'
        2.weight  1x3  Normal(loc=0.0, scale=1.0)  matches '*'
        2.bias    1    point estimate              None for '*.bias'
    """
    check_not_lazy(network)
    choices = _choices(network, prior)
    selected = None if only is None else _matches(network, only, "only")
    skipped = set() if skip is None else _matches(network, skip, "skip")
    copied = copy.deepcopy(network)
    for name, parameter in copied.named_parameters():
        owner, leaf = _owner(copied, name)
        if leaf in priors.get_priors(owner) or not parameter.requires_grad:
            continue
        choice = choices[name]
        reason = _why_excluded(name, owner, selected, skipped, named=choice.named)
        priors.set_priors(owner, {leaf: choice.prior if reason is None else None})
        setattr(owner, _NOTES, {**getattr(owner, _NOTES, {}), leaf: reason or choice.note})
    return copied


def bayesianize_report(network: nn.Module) -> BayesianizeReport:
    """Report for each parameter of a network whether it has a prior, and why; the report prints as a table."""
    by_id = priors_by_id(network)
    rows = []
    for name, parameter in network.named_parameters():
        owner, leaf = _owner(network, name)
        prior = by_id.get(id(parameter))
        note = getattr(owner, _NOTES, {}).get(leaf)
        if not parameter.requires_grad:
            status, prior, reason = "frozen", None, "requires_grad is False"
        elif prior is not None:
            status, reason = "prior", note or "the layer's own prior"
        else:
            status = "point estimate"
            reason = note or ("the layer's own choice" if id(parameter) in by_id else "no prior was given")
        rows.append(BayesianizeRow(name, tuple(parameter.shape), status, prior, reason))
    return BayesianizeReport(tuple(rows))


@dataclass(frozen=True)
class _Choice:
    """The prior of a parameter, the reason for it, and whether a pattern other than ``"*"`` names the parameter."""

    prior: Prior | None
    note: str
    named: bool = False


def _choices(network: nn.Module, prior: Prior | Mapping[str, Prior | None] | None) -> dict[str, _Choice]:
    names = [name for name, _ in network.named_parameters()]
    if not isinstance(prior, Mapping):
        priors.check_is_prior(prior)
        note = "default prior" if prior is None else "given prior"
        return dict.fromkeys(names, _Choice(priors.default() if prior is None else prior, note))
    choices = dict.fromkeys(names, _Choice(None, "no pattern of `prior` matches"))
    for pattern, each in reversed(list(prior.items())):  # the first pattern that matches decides
        priors.check_is_prior(each)
        note = f"None for {pattern!r}" if each is None else f"matches {pattern!r}"
        choices |= dict.fromkeys(_matches(network, pattern, "prior"), _Choice(each, note, pattern != "*"))
    return choices


def _why_excluded(
    name: str, owner: nn.Module, selected: set[str] | None, skipped: set[str], *, named: bool
) -> str | None:
    if name in skipped:
        return "in `skip`"
    if selected is not None:
        return None if name in selected else "not in `only`"
    return "normalisation layer" if isinstance(owner, NORMALISATION_LAYERS) and not named else None


def _owner(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return network.get_submodule(path), leaf


def _matches(network: nn.Module, selectors: Selectors, argument: str) -> set[str]:
    """Return the names of the parameters that at least one selector matches."""
    found: set[str] = set()
    for selector in [selectors] if isinstance(selectors, str | nn.Module | type) else selectors:
        names = set(_matched_by(network, selector))
        if not names:
            raise SiteError(
                f"`{argument}` has {selector!r}, which matches no parameter of the network; "
                f"its parameters are {[name for name, _ in network.named_parameters()]}"
            )
        found |= names
    return found


def _matched_by(network: nn.Module, selector: Selector) -> Iterator[str]:
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
