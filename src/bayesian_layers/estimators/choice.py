"""Resolve an estimator by name, and explain why one does not apply."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import torch
from torch import Tensor, nn

from ..arguments import check_choice
from ..layers import GaussianProcess
from ..model import BayesianModel
from ..network import Inputs, close, num_rows, parameter_sites
from ..noise import seeded
from ..private_apis import BATCH_NORM
from ..protocols import Guide
from .base import Estimator, Reparameterization
from .flipout import Flipout
from .local import Local
from .per_row import PerRow
from .tracing import Call, Trace, trace

NAMES = ("reparameterization", "local", "flipout")
# The cheapest step for any network: on 784-400-400-10 ReLU, batch 128, one particle, it takes 1.5 times the
# deterministic Adam step, local 2.2 to 2.5 times. Local's gradient there has a lower variance, so it is worth a try for
# large networks; on full batches antithetic particles on a Sobol sequence reduce the variance as much.
DEFAULT = "reparameterization"
_KINDS: dict[str, type[PerRow]] = {"local": Local, "flipout": Flipout}
_SHOWN = 3  # names of sites in a note, before "and so many more"


def default(model: BayesianModel, guide: Guide, x: Inputs, y: Tensor, *, prefer_local: bool) -> Estimator:
    """Make the estimator of a fit that is given none."""
    # A Gaussian process is local if nothing else is random. Draws of functions have a noise that a Gaussian likelihood
    # with small noise multiplies by a hundred; without them a fit is ten times shorter (`reports/decisions/010`).
    if any(isinstance(module, GaussianProcess) for module in model.network.modules()):
        local = make("local", model, guide, x, y)
        return make(DEFAULT, model, guide, x, y) if local.uses_noise else local
    if prefer_local:
        local = make("local", model, guide, x, y)
        matrices = {name for name, (loc, _) in (guide.moments() or {}).items() if loc.dim() > 1}
        if matrices and matrices <= set(local.supported):
            return local
    return make(DEFAULT, model, guide, x, y)


def make(name: str, model: BayesianModel, guide: Guide, x: Inputs, y: Tensor) -> Estimator:
    """Make an estimator for a model, a guide, and inputs like these few rows."""
    # The network is run a few times on these rows, to find the layers that are supported: those whose weight is passed
    # to their function unchanged, once, on the data's own rows. If rows are coupled (batch normalisation that uses the
    # batch's statistics), if the guide's entries are not independent Normals, or if nothing is supported, the result is
    # the plain estimator with a `note` that tells why.
    check_choice("estimator", name, NAMES)
    if name == "reparameterization":
        return Reparameterization(model)

    def plain(obstacle: str) -> Estimator:
        return Reparameterization(model, f"{name} is plain reparameterization here: {obstacle}")

    obstacle = _uses_batch_statistics(model.network) or _without_moments(guide)
    if obstacle:
        return plain(obstacle)
    traced = trace(model, guide.mean(), x, y)
    if traced.coupled:
        return plain("the network's output on a row depends on the other rows, or on chance in eval mode")
    estimator = _supporting(_KINDS[name], model, guide, traced)
    if not estimator.supported:
        return Reparameterization(model, estimator.note)
    obstacle = _disagrees(estimator, model, guide, x, y)
    return plain(obstacle) if obstacle else estimator


def _uses_batch_statistics(network: nn.Module) -> str:
    for name, module in network.named_modules():
        if isinstance(module, BATCH_NORM) and (module.training or module.running_mean is None):
            return f"the batch normalisation `{name}` uses the batch's own statistics, which couples its rows"
    return ""


def _without_moments(guide: Guide) -> str:
    if guide.moments() is not None:
        return ""
    return f"the entries of {type(guide).__name__} are not independent Normals"


def _supporting(kind: type[PerRow], model: BayesianModel, guide: Guide, traced: Trace) -> PerRow:
    """Choose the sites that are used once, by a call that the estimator treats."""
    random = (guide.moments() or {}).keys() | guide.blocks().keys()
    treated: dict[Call, list[str]] = {}
    for call in traced.calls:
        sites = [site for site in kind.supports(call) if site and site in random and traced.uses[site] == 1]
        if sites:
            treated[call] = sites
    supported = {site for sites in treated.values() for site in sites}
    note = _note(kind, model, traced, supported)
    return kind(model, tuple(treated), tuple(name for name in guide.shapes if name in supported), note)


def _note(kind: type[PerRow], model: BayesianModel, traced: Trace, supported: set[str]) -> str:
    """Name the random sites that are not supported, by reason."""
    network = parameter_sites(model.network)
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, site in model.sites().items():
        if site.prior is not None and not site.prior.drawn and name not in supported:
            reasons[_reason(kind, name, network, traced)].append(name)
    if not reasons:
        return ""
    parts = [f"{_listed(names)} ({reason})" for reason, names in reasons.items()]
    return f"plain reparameterization instead of {kind.name} for {'; '.join(parts)}"


def _reason(kind: type[PerRow], name: str, network: Collection[str], traced: Trace) -> str:
    if name not in network:
        return "not a parameter of the network"
    if traced.uses[name] != 1:
        return f"used {traced.uses[name]} times" if traced.uses[name] else "not used in the trace"
    calls = [call for call in traced.calls if name in (call.weight, call.bias)]
    if not calls:
        return "not passed unchanged to a layer whose rows are the data's"
    return kind.obstacle(calls[0], name)


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _disagrees(estimator: PerRow, model: BayesianModel, guide: Guide, x: Inputs, y: Tensor) -> str:
    """Compare with the plain estimator at zero noise, where both are the network at the guide's means."""
    # This finds what a trace does not show: weights that go through code without torch functions, a forward pass
    # that is run again inside the backward pass.
    noise = torch.zeros(1, guide.noise_size, dtype=guide.loc.dtype, device=guide.loc.device)
    plain = _value_and_gradient(Reparameterization(model), guide, noise, (), x, y)
    row_noise = estimator.row_noise(1, num_rows(x), torch.Generator(guide.loc.device).manual_seed(0))
    row_noise = tuple(torch.zeros_like(part) for part in row_noise)
    try:
        ours = _value_and_gradient(estimator, guide, noise, row_noise, x, y)
    except (RuntimeError, ValueError) as error:
        return f"rewriting the layers failed ({str(error).splitlines()[0]})"
    if all(close(*pair) for pair in zip(ours, plain, strict=True)):
        return ""
    return "with its layers rewritten the network gave a different result: tracing missed a use of a weight"


def _value_and_gradient(
    estimator: Estimator, guide: Guide, noise: Tensor, row_noise: tuple[Tensor, ...], x: Inputs, y: Tensor
) -> tuple[Tensor, Tensor]:
    with seeded(0), torch.enable_grad():
        value = estimator(guide, noise, row_noise, x, y, scale=1.0)
        parameters = [guide.loc, guide.point]
        gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return value.detach(), torch.cat(gradients)
