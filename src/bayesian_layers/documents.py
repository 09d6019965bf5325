"""A model in JSON's types and back: network, priors and likelihood, but for the arrays."""

from __future__ import annotations

import copy
import math
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from . import architecture, likelihoods, priors
from .errors import StorageError
from .model import BayesianModel
from .network import remembered_priors
from .storage import ArraySpec

_PACKAGES = ("bayesian-layers", "torch", "pyro-ppl", "numpy", "arviz", "safetensors")


def versions() -> dict[str, str]:
    """Tell which versions of Python and of the core packages run.

    Returns:
        Package to version; a package that is not installed is absent.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_model(model: BayesianModel) -> dict[str, Any]:
    """Describe a model, but for its arrays.

    Args:
        model: The model.

    Returns:
        Network (``None`` where it is not made of known modules alone), priors and likelihood.

    Raises:
        StorageError: If a prior or the likelihood is of a class that the library does not know.
    """
    return {
        "network": architecture.describe(model.network),
        "parameters": architecture.describe_parameters(model.network, remembered_priors(model.network)),
        "likelihood": likelihoods.to_document(model.likelihood),
    }


def check_posterior(document: Any) -> dict[str, Any]:
    """Check the outermost layer of a posterior's document.

    Args:
        document: What was read from a file; nothing in it is trusted.

    Returns:
        The document.

    Raises:
        StorageError: If a field is missing or of another type.
    """
    fields = {"model", "source", "elbo", "kl_weight", "converged", "versions"}
    if not isinstance(document, dict) or document.keys() != fields:
        raise StorageError(
            f"the folder must hold a posterior with the fields {sorted(fields)}; it holds something else"
        )
    weights = (
        document["kl_weight"].values() if isinstance(document["kl_weight"], dict) else [document["kl_weight"]]
    )
    if not all(_is_number(weight) and weight >= 0 for weight in weights):
        raise StorageError(f"`kl_weight` must be numbers, 0 or more; received {document['kl_weight']}")
    if document["elbo"] is not None and not _is_number(document["elbo"]):
        raise StorageError(f"`elbo` must be a number; received {document['elbo']}")
    if not isinstance(document["converged"], bool | None):
        raise StorageError(f"`converged` must be true, false or null; received {document['converged']}")
    return document


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def build_model(document: Any, network: nn.Module | None, header: Mapping[str, ArraySpec]) -> BayesianModel:
    """Build the model that :func:`describe_model` described; its arrays are filled later.

    Args:
        document: What was read from a file; nothing in it is trusted.
        network: The caller's own network, which is copied, or ``None`` to build the described one.
        header: Dtypes and shapes of the stored arrays, not loaded yet.

    Returns:
        A model; without ``network`` its parameters have the stored shapes and types, and no values yet.

    Raises:
        StorageError: If the description does not hold together, or there is none and no network.
    """
    if not isinstance(document, dict) or document.keys() != {"network", "parameters", "likelihood"}:
        raise StorageError("the file must describe a model by network, parameters and likelihood")
    if network is None and document["network"] is None:
        raise StorageError(
            "the network is not made of known modules alone, so the file does not describe it: pass one of the "
            "same architecture, bl.load(folder, network=...)"
        )
    twin = copy.deepcopy(network) if network is not None else architecture.build(document["network"])
    if network is None:
        _allocate(twin, header)
    architecture.apply_parameters(twin, document["parameters"])
    return BayesianModel(twin, likelihoods.from_document(document["likelihood"]))


def _allocate(network: nn.Module, header: Mapping[str, ArraySpec]) -> None:
    """Take memory for a described network, where the stored arrays really have these shapes.

    By hand, since torch's functions on ``meta`` tensors import its compiler.
    """
    for path, module in network.named_modules():
        for tensors in (module._parameters, module._buffers):
            for name, value in tensors.items():
                if value is not None:
                    tensors[name] = _empty(f"{path}.{name}".lstrip("."), value, header)


def _empty(name: str, like: Tensor, header: Mapping[str, ArraySpec]) -> Any:
    stored = header.get(f"network.{name}")
    if (
        stored is None
        or stored.shape != like.shape
        or stored.dtype.is_floating_point != like.is_floating_point()
    ):
        raise StorageError(
            f"the described network has `{name}` of shape {tuple(like.shape)}; stored is {stored}"
        )
    memory = torch.ones(stored.shape, dtype=stored.dtype)  # priors on positive numbers take this as a start
    return nn.Parameter(memory) if isinstance(like, nn.Parameter) else memory


def prior_arrays(network: nn.Module) -> dict[str, Tensor]:
    """Gather the arrays of priors that have a mean and a deviation for each entry.

    Args:
        network: Any module.

    Returns:
        ``prior.<parameter>.loc`` and ``prior.<parameter>.scale``, as the parameter in shape, dtype and device;
        empty for most networks.
    """
    remembered = remembered_priors(network)
    return {
        f"prior.{name}.{field}": value
        for name, parameter in network.named_parameters()
        for field, value in priors.arrays(remembered.get(id(parameter)), parameter).items()
    }


def fill_priors(network: nn.Module, arrays: Mapping[str, Tensor]) -> None:
    """Give a network's priors the arrays that :func:`prior_arrays` gathered.

    Args:
        network: Its priors are replaced; every owner of a tied parameter is told.
        arrays: Array name to values, names and shapes already checked.

    Raises:
        StorageError: If a stored deviation is not positive.
    """
    found = {}
    for name, parameter in network.named_parameters():
        fields = {field: arrays.get(f"prior.{name}.{field}") for field in ("loc", "scale")}
        own = {field: value.to(parameter.device) for field, value in fields.items() if value is not None}
        if own:
            found[id(parameter)] = priors.with_arrays(own)
    priors.remember_all(network, found)


def fill(module: nn.Module, arrays: Mapping[str, Tensor], prefix: str, *, keep_tensors: bool) -> None:
    """Put loaded arrays into a module.

    Args:
        module: Its state has exactly these names, shapes and dtypes.
        arrays: Array name to values.
        prefix: What the names of this module's arrays begin with.
        keep_tensors: Copy into the module's own tensors (on their device, with their ties), rather
            than take the loaded ones.
    """
    own = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    module.load_state_dict(own, assign=not keep_tensors)
    for name in frozen:
        module.get_parameter(name).requires_grad_(False)
