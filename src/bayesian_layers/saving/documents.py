"""A model in JSON's types and back: network, priors and likelihood, but for the arrays."""

from __future__ import annotations

import copy
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from .. import likelihoods, priors
from ..data_schema import DataSchema
from ..errors import DataError, SiteError, StorageError
from ..layers.flows import Reversible
from ..likelihoods import Flow, Likelihood
from ..model import BayesianModel
from ..network import priors_by_id
from . import AGAIN, ArraySpec, architecture
from .document_schema import MODEL, POSTERIOR, VERSION
from .schema import show

_PACKAGES = ("bayesian-layers", "torch", "pyro-ppl", "numpy", "arviz", "safetensors")


def versions() -> dict[str, str]:
    """Tell which versions of Python and of the core packages run."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_model(model: BayesianModel) -> dict[str, Any]:
    """Describe a model, but for its arrays."""
    return {
        "network": architecture.describe(model.network),
        "parameters": architecture.describe_parameters(model.network, priors_by_id(model.network)),
        "likelihood": _describe_likelihood(model.likelihood),
    }


def _describe_likelihood(likelihood: Likelihood | None) -> dict[str, Any] | None:
    if not isinstance(likelihood, Flow):
        return likelihoods.to_document(likelihood)
    flow = likelihood.flow
    described = architecture.describe(flow)
    if described is None:
        raise StorageError(
            f"the flow {type(flow).__name__} is no layer of the library, so it cannot be saved"
        )
    parameters = architecture.describe_parameters(flow, priors_by_id(flow))
    return {"name": "Flow", "flow": described, "parameters": parameters}


def _build_likelihood(document: Any, header: Mapping[str, ArraySpec]) -> Likelihood | None:
    if document is None or document["name"] != "Flow":
        return likelihoods.from_document(document)
    flow = architecture.build(document["flow"])
    if not isinstance(flow, Reversible):
        raise StorageError(f"a flow must be a reversible layer; stored is a {type(flow).__name__}. {AGAIN}")
    likelihood = Flow(flow)
    _allocate(likelihood.program, header, "likelihood.")
    architecture.apply_parameters(flow, document["parameters"])
    return likelihood


def likelihood_module(model: BayesianModel) -> nn.Module:
    """Find the module that a likelihood has, whose arrays are stored under ``likelihood.``."""
    return model.likelihood.program if isinstance(model.likelihood, Flow) else nn.Module()


def check_posterior(document: Any) -> dict[str, Any]:
    """Check a posterior's document against its schema, but for the modules of the network."""
    if not isinstance(document, dict):
        raise StorageError("the folder must hold a posterior; it holds something else. Check the path.")
    version = document.get("version", 1)
    if type(version) is not int or version not in POSTERIOR:
        raise StorageError(
            f"the posterior must have a version from 1 to {VERSION}; received {show(version)}. Read it with the "
            "version of bayesian-layers that wrote it, or a later one."
        )
    POSTERIOR[version].check(document, "posterior")
    return {"version": 1, "data": None, **document}


def data_schema(document: Any) -> DataSchema | None:
    """Build the data schema of a posterior's document."""
    try:
        return None if document is None else DataSchema.from_document(document)
    except DataError as error:
        raise StorageError(f"the stored data schema does not hold together: {error}") from error


def build_model(document: Any, network: nn.Module | None, header: Mapping[str, ArraySpec]) -> BayesianModel:
    """Build the model that :func:`describe_model` described; its arrays are filled later."""
    MODEL.check(document, "model")
    if network is None and document["network"] is None:
        raise StorageError(
            "the network is not made of known modules alone, so the file does not describe it: pass one of the "
            "same architecture, bl.load(folder, network=...)"
        )
    twin = copy.deepcopy(network) if network is not None else architecture.build(document["network"])
    if network is None:
        _allocate(twin, header, "network.")
    architecture.apply_parameters(twin, document["parameters"])
    return _model(twin, _build_likelihood(document["likelihood"], header))


def _model(network: nn.Module, likelihood: Likelihood | None) -> BayesianModel:
    try:
        return BayesianModel(network, likelihood)
    except (DataError, SiteError) as error:
        raise StorageError(f"the stored model does not hold together: {show(str(error), 300)}") from error


def check_model(model: BayesianModel) -> None:
    """Refuse a model whose loaded arrays are finite, but such as no model has."""
    _model(model.network, model.likelihood)
    for name, value in model.network.named_buffers():
        if name.rpartition(".")[2] == "running_var" and bool((value < 0).any()):
            raise StorageError(f"{show(name)} must hold variances, 0 or more; it has some below 0. {AGAIN}")


def _allocate(network: nn.Module, header: Mapping[str, ArraySpec], prefix: str) -> None:
    """Give a described network stand-ins of the stored types, where the stored arrays have its shapes."""
    # By hand, since torch's functions on ``meta`` tensors import its compiler.
    for path, module in network.named_modules():
        for tensors in (module._parameters, module._buffers):
            for name, value in tensors.items():
                if value is not None:
                    tensors[name] = _empty(prefix + f"{path}.{name}".lstrip("."), value, header)


def _empty(name: str, like: Tensor, header: Mapping[str, ArraySpec]) -> Any:
    stored = header.get(name)
    if (
        stored is None
        or stored.shape != like.shape
        or stored.dtype.is_floating_point != like.is_floating_point()
    ):
        raise StorageError(
            f"the described network has {show(name)} of shape {tuple(like.shape)}; stored is {stored}"
        )
    # One number, seen everywhere: memory comes with the values. Priors on positive numbers take 1 as a start.
    value = torch.ones((), dtype=stored.dtype).expand(stored.shape)
    return nn.Parameter(value, like.requires_grad) if isinstance(like, nn.Parameter) else value


def prior_arrays(network: nn.Module) -> dict[str, Tensor]:
    """Gather the arrays of priors that have a mean and a deviation for each entry."""
    remembered = priors_by_id(network)
    return {
        f"prior.{name}.{field}": value
        for name, parameter in network.named_parameters()
        for field, value in priors.arrays(remembered.get(id(parameter)), parameter).items()
    }


def fill_priors(network: nn.Module, arrays: Mapping[str, Tensor]) -> None:
    """Give a network's priors the arrays that :func:`prior_arrays` gathered."""
    found = {}
    for name, parameter in network.named_parameters():
        fields = {field: arrays.get(f"prior.{name}.{field}") for field in ("loc", "scale")}
        own = {field: value.to(parameter.device) for field, value in fields.items() if value is not None}
        if own:
            found[id(parameter)] = priors.with_arrays(own)
    priors.set_priors_by_id(network, found)


def fill(module: nn.Module, arrays: Mapping[str, Tensor], prefix: str, *, keep_tensors: bool) -> None:
    """Put loaded arrays into a module."""
    own = {
        name: arrays[f"{prefix}{name}"].to(like.device)
        for name, like in module.state_dict(keep_vars=True).items()
    }
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    module.load_state_dict(own, assign=not keep_tensors)
    for name in frozen:
        module.get_parameter(name).requires_grad_(False)
