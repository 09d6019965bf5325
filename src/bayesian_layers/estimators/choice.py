"""From a name to an estimator, with what it does not cover said."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError
from ..layers import GaussianProcess
from ..model import BayesianModel
from ..network import Inputs, num_rows, parameter_sites
from ..noise import seeded
from ..private_apis import BATCH_NORM
from .base import Estimator, Reparameterization
from .coverage import Call, Survey, close, survey
from .flipout import Flipout
from .local import Local
from .per_row import PerRow

NAMES = ("reparameterization", "local", "flipout")
# The cheapest step, whatever the network: on 784-400-400-10 ReLU, batch 128, one particle, 1.5 times the deterministic
# Adam step where local takes 2.2 to 2.5. Local's gradient there has a lower variance, so it is worth a try for large
# networks; on full batches antithetic particles on a Sobol sequence take away what it would.
DEFAULT = "reparameterization"
# A Gaussian process is local where nothing random is left over: without functions, whose noise a Gaussian likelihood of
# small noise multiplies by a hundred, a fit is shorter by an order of magnitude (`reports/decisions/010`).
_KINDS: dict[str, type[PerRow]] = {"local": Local, "flipout": Flipout}
_SHOWN = 3  # names of sites in a note, before "and so many more"


def default(model: BayesianModel, guide: Any, x: Inputs, y: Tensor) -> Estimator:
    """Make the estimator of a fit that asks for none."""
    if any(isinstance(module, GaussianProcess) for module in model.network.modules()):
        local = make("local", model, guide, x, y)
        if not local.uses_noise:
            return local
    return make(DEFAULT, model, guide, x, y)


def make(name: str, model: BayesianModel, guide: Any, x: Inputs, y: Tensor) -> Estimator:
    """Make an estimator for a model, a guide, and inputs of this kind.

    The network is run a few times on the rows given, to find out which layers are covered: those whose
    weight goes straight into their function, once, on the data's own rows. Where rows are coupled (batch
    normalisation that uses the batch's statistics), where the guide's entries are not independent
    Normals, or where nothing is covered, the plain estimator comes back, and its ``note`` says why.

    Args:
        name: ``"reparameterization"``, ``"local"`` or ``"flipout"``.
        model: The model; its network is run in its present mode.
        guide: The guide that will be trained.
        x: A few rows of inputs, 2 or more, or a tuple of such.
        y: Their targets.

    Returns:
        The estimator.

    Raises:
        DataError: If there is no such estimator.

    Example:
        >>> import bayesian_layers as bl
        >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
        >>> x, y = bl.datasets.parabola(4)
        >>> make("local", model, bl.guides.MeanFieldNormal(model), x, y).supported
        ('weight', 'bias')
    """
    if name not in NAMES:
        raise DataError(f"`estimator` must be one of {NAMES}; received {name!r}")
    if name == "reparameterization":
        return Reparameterization(model)
    obstacle = _uses_batch_statistics(model.network) or _without_moments(guide)
    if obstacle:
        return Reparameterization(model, f"{name} is plain reparameterization here: {obstacle}")
    seen = survey(model, guide.mean(), x, y)
    if seen.coupled:
        obstacle = "the network's output on a row depends on the other rows, or on chance in eval mode"
        return Reparameterization(model, f"{name} is plain reparameterization here: {obstacle}")
    estimator = _covering(_KINDS[name], model, guide, seen)
    if not estimator.supported:
        return Reparameterization(model, estimator.note)
    obstacle = _disagrees(estimator, model, guide, x, y)
    if obstacle:
        return Reparameterization(model, f"{name} is plain reparameterization here: {obstacle}")
    return estimator


def _uses_batch_statistics(network: nn.Module) -> str:
    for name, module in network.named_modules():
        if isinstance(module, BATCH_NORM) and (module.training or module.running_mean is None):
            return f"the batch normalisation `{name}` uses the batch's own statistics, which couples its rows"
    return ""


def _without_moments(guide: Any) -> str:
    if guide.moments() is not None:
        return ""
    return f"the entries of {type(guide).__name__} are not independent Normals"


def _covering(kind: type[PerRow], model: BayesianModel, guide: Any, seen: Survey) -> PerRow:
    """Choose the sites that are used once, by a call that the estimator treats."""
    random = guide.moments().keys() | guide.blocks().keys()
    treated: dict[Call, list[str]] = {}
    for call in seen.calls:
        sites = [site for site in kind.supports(call) if site and site in random and seen.uses[site] == 1]
        if sites:
            treated[call] = sites
    covered = {site for sites in treated.values() for site in sites}
    note = _note(kind, model, seen, covered)
    return kind(model, tuple(treated), tuple(name for name in guide.shapes if name in covered), note)


def _note(kind: type[PerRow], model: BayesianModel, seen: Survey, covered: set[str]) -> str:
    """One sentence that names the random sites that are left out, by reason."""
    network = parameter_sites(model.network)
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, site in model.sites().items():
        if site.prior is not None and not site.prior.drawn and name not in covered:
            reasons[_reason(kind, name, network, seen)].append(name)
    if not reasons:
        return ""
    parts = [f"{_listed(names)} ({reason})" for reason, names in reasons.items()]
    return f"plain reparameterization instead of {kind.name} for {'; '.join(parts)}"


def _reason(kind: type[PerRow], name: str, network: Any, seen: Survey) -> str:
    if name not in network:
        return "no weight of the network"
    if seen.uses[name] != 1:
        return f"used {seen.uses[name]} times" if seen.uses[name] else "not seen in use"
    calls = [call for call in seen.calls if name in (call.weight, call.bias)]
    if not calls:
        return "not straight into a layer whose rows are the data's"
    if kind is Flipout:
        return "a bias"
    return f"{calls[0].op} on {len(calls[0].input_shapes[0])} axes"


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _disagrees(estimator: PerRow, model: BayesianModel, guide: Any, x: Inputs, y: Tensor) -> str:
    """Compare with the plain estimator at zero noise, where all are the network at the guide's means."""
    # Finds what the survey cannot see: weights that go through code without torch functions, a forward pass
    # that is run again inside the backward pass.
    noise = torch.zeros(1, guide.noise_size, dtype=guide.loc.dtype, device=guide.loc.device)
    plain = _value_and_gradient(Reparameterization(model), guide, noise, (), x, y)
    signs = estimator.row_noise(1, num_rows(x), torch.Generator(guide.loc.device).manual_seed(0))
    row_noise = signs if isinstance(estimator, Flipout) else tuple(torch.zeros_like(part) for part in signs)
    try:
        ours = _value_and_gradient(estimator, guide, noise, row_noise, x, y)
    except (RuntimeError, ValueError) as error:
        return f"rewriting the layers failed ({str(error).splitlines()[0]})"
    if all(close(*pair) for pair in zip(ours, plain, strict=True)):
        return ""
    return "with its layers rewritten the network gave another result, so it uses a weight in a hidden way"


def _value_and_gradient(
    estimator: Estimator, guide: Any, noise: Tensor, row_noise: tuple[Tensor, ...], x: Inputs, y: Tensor
) -> tuple[Tensor, Tensor]:
    with seeded(0), torch.enable_grad():
        value = estimator(guide, noise, row_noise, x, y, scale=1.0)
        parameters = [guide.loc, guide.point]
        gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return value.detach(), torch.cat(gradients)
