"""A network as a set of sites: which parameters are latent, and calling it with one draw or many."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor, nn
from torch.func import functional_call, vmap

from . import priors
from .errors import DataError, ShapeError, SiteError
from .priors import Prior, Site

Inputs = Tensor | tuple[Tensor, ...]
_NO_VMAP = ("Batching rule not implemented", "vmap:")


def parameter_sites(network: nn.Module) -> dict[str, Site]:
    """List the latent sites of a network: its trainable parameters, under their names.

    Tied parameters are one site, under the name that ``named_parameters`` gives first. Frozen parameters
    (``requires_grad`` false) are constants, not sites.

    Args:
        network: Any module.

    Returns:
        Parameter name to site, in the order of ``network.named_parameters()``.

    Raises:
        SiteError: If the owners of a tied parameter remember different priors, or a lazy parameter has
            no shape yet.
    """
    sites = {}
    for name, parameter in network.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise SiteError(f"`{name}` has no shape yet: call the network once on a batch of inputs first")
        if parameter.requires_grad:
            sites[name] = parameter
    remembered = remembered_priors(network)
    return {name: _site(name, value.detach(), remembered.get(id(value))) for name, value in sites.items()}


def _site(name: str, value: Tensor, prior: Prior | None) -> Site:
    if prior is None:
        return Site(value, None)
    scale_site = None if prior.hyper(value) is None else f"{name}.prior_scale"
    return Site(value, prior, prior.positive, scale_site)


def hyper_sites(sites: Mapping[str, Site]) -> dict[str, Site]:
    """List the sites that the scales of priors are: learned ones, and ones with a prior of their own.

    Args:
        sites: Sites of parameters, as :func:`parameter_sites` lists them.

    Returns:
        ``<name>.prior_scale`` to site, in the order of ``sites``; empty where all scales are given.

    Raises:
        SiteError: If a parameter has the name of such a site.
    """
    found = {}
    for name, site in sites.items():
        hyper = None if site.prior is None else site.prior.hyper(site.initial)
        if site.scale_site is None or hyper is None:
            continue
        if site.scale_site in sites:
            raise SiteError(
                f"`{site.scale_site}` is a parameter of the network and the prior scale of `{name}`; rename it"
            )
        found[site.scale_site] = hyper
    return found


def remembered_priors(network: nn.Module) -> dict[int, Prior | None]:
    """Collect what the modules of a network remember, so that all owners of a tied parameter are heard.

    Args:
        network: Any module.

    Returns:
        ``id`` of a parameter to its prior, ``None`` for a point estimate; parameters that no module
        remembers are absent.

    Raises:
        SiteError: If the owners of a tied parameter remember different priors.
    """
    found: dict[int, dict[str, Prior | None]] = defaultdict(dict)
    for module_name, module in network.named_modules(remove_duplicate=False):
        own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
        for name, prior in priors.recall(module).items():
            if name in own:
                found[id(own[name])][f"{module_name}.{name}".lstrip(".")] = prior
    for owners in found.values():
        if len(set(owners.values())) > 1:
            raise SiteError(f"a tied parameter has different priors under its names: {owners}")
    return {key: next(iter(owners.values())) for key, owners in found.items()}


def call(network: nn.Module, values: Mapping[str, Tensor], x: Inputs) -> Tensor:
    """Call a network with given parameters: one draw of them, or many at once.

    Args:
        network: Any module; it is not written to.
        values: Parameter name to value, ``(*batch, *shape)``. One trailing axis of size 1 in ``batch`` is
            the place of the data plate and is taken by the rows.
        x: Input with N rows in front, or a tuple of inputs.

    Returns:
        Output with shape ``(*batch, N, ...)``: row ``i`` of every draw sees the same parameters.
    """
    return outputs(network, values, x).f


class Outputs(NamedTuple):
    """What a network says under many draws.

    Attributes:
        f: The outputs, ``(*batch, N, *axes)``.
        batch_axes: How many axes ``batch`` has; ``f`` alone does not tell them from the others.
    """

    f: Tensor
    batch_axes: int

    @property
    def output_axes(self) -> int:
        """How many axes belong to one row; less than 1 where a row has no axis of outputs."""
        return self.f.dim() - self.batch_axes - 1


def outputs(network: nn.Module, values: Mapping[str, Tensor], x: Inputs) -> Outputs:
    """Call a network as :func:`call` does, and count the axes of the draws.

    Args:
        network: Any module; it is not written to.
        values: Parameter name to value, ``(*batch, *shape)``, as :func:`call` takes them.
        x: Input with N rows in front, or a tuple of inputs.

    Returns:
        Output with shape ``(*batch, N, ...)``, and the number of axes of ``batch``.

    Raises:
        ShapeError: If a value does not end in its parameter's shape.
    """
    inputs = x if isinstance(x, tuple) else (x,)
    values = _everywhere(network, values)
    shapes = {name: network.get_parameter(name).shape for name in values}
    batches = {name: _batch_shape(name, value, shapes[name]) for name, value in values.items()}
    batch = broadcast_shape(*batches.values())
    flat = {
        name: value.reshape(*batches[name], *shapes[name])
        .expand(*batch, *shapes[name])
        .flatten(0, len(batch) - 1)
        if batches[name]
        else value.reshape(shapes[name])
        for name, value in values.items()
    }
    if not batch:
        return Outputs(_functional_call(network, flat, inputs), 0)
    axes = {name: 0 if batches[name] else None for name in flat}
    f = _call_many(network, flat, axes, inputs, math.prod(batch))
    return Outputs(f.unflatten(0, batch), len(batch))


def _batch_shape(name: str, value: Tensor, shape: torch.Size) -> torch.Size:
    axes = value.dim() - len(shape)
    if axes < 0 or value.shape[axes:] != shape:
        raise ShapeError(name, ("...", *shape), value.shape)
    batch = value.shape[:axes]
    return batch[:-1] if batch and batch[-1] == 1 else batch


def _call_many(
    network: nn.Module,
    values: dict[str, Tensor],
    axes: dict[str, int | None],
    inputs: tuple[Tensor, ...],
    size: int,
) -> Tensor:
    """Vectorize over draws; loop where vmap has no rule (LSTM, control flow that looks at data)."""
    try:
        return vmap(
            lambda draw: _functional_call(network, draw, inputs), in_dims=(axes,), randomness="different"
        )(values)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _NO_VMAP):
            raise
    draws = (
        {name: value if axes[name] is None else value[i] for name, value in values.items()}
        for i in range(size)
    )
    return torch.stack([_functional_call(network, draw, inputs) for draw in draws])


def _everywhere(network: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Torch ties names itself, but puts a draw in place of the parameter for good where one module stands at
    # two places of the network: so each module once, under each of its parameters that has a value.
    first = {id(network.get_parameter(name)): value for name, value in values.items()}
    return {
        f"{path}.{name}".lstrip("."): first[id(parameter)]
        for path, module in network.named_modules()
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if id(parameter) in first
    }


def _functional_call(network: nn.Module, values: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
    return functional_call(network, values, inputs, tie_weights=False)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into ``eval`` mode for a block; every module gets its own mode back.

    Args:
        network: The network.

    Yields:
        Nothing.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def dtype_and_device(network: nn.Module) -> tuple[torch.dtype, torch.device]:
    """Tell where a network computes: at its first floating parameter, else buffer, else torch's default.

    Args:
        network: Any module.

    Returns:
        Its dtype and device.
    """
    for tensors in (network.parameters(), network.buffers()):
        for tensor in tensors:
            if tensor.is_floating_point():
                return tensor.dtype, tensor.device
    return torch.get_default_dtype(), torch.get_default_device()


def place(x: Inputs, network: nn.Module) -> Inputs:
    """Check inputs, and move them to the network's device, floating ones to its dtype.

    Args:
        x: A tensor or a tuple of tensors.
        network: The network that will see them.

    Returns:
        The same structure.

    Raises:
        TypeError: If an input is not a tensor.
        DataError: If an input holds values that are NaN or infinite.
        ShapeError: If there are no rows, or the parts of a tuple differ in theirs.
    """
    dtype, device = dtype_and_device(network)
    placed = []
    for name, part in named_parts(x):
        if not isinstance(part, Tensor):
            raise TypeError(
                f"`{name}` must be a torch tensor; received {type(part).__name__}. Use torch.as_tensor."
            )
        if part.is_floating_point() and not torch.isfinite(part).all():
            count = int((~torch.isfinite(part)).sum())
            raise DataError(
                f"`{name}` has {count} values that are NaN or infinite; remove or impute these rows"
            )
        placed.append(part.to(device=device, dtype=dtype if part.is_floating_point() else part.dtype))
    rows(x)
    return tuple(placed) if isinstance(x, tuple) else placed[0]


def named_parts(x: Inputs) -> list[tuple[str, Tensor]]:
    """Name the parts of inputs as an error message names them.

    Args:
        x: A tensor or a tuple of tensors.

    Returns:
        ``("x", x)``, or ``("x[0]", x[0])`` and so on.
    """
    return [(f"x[{i}]", part) for i, part in enumerate(x)] if isinstance(x, tuple) else [("x", x)]


def rows(x: Inputs) -> int:
    """Count the rows of inputs.

    Args:
        x: A tensor, or a tuple of tensors with equally many rows.

    Returns:
        N.

    Raises:
        ShapeError: If there are no rows, or the parts of a tuple differ in theirs.
    """
    parts = x if isinstance(x, tuple) else (x,)
    for name, part in named_parts(x):
        if part.dim() == 0 or len(part) == 0:
            raise ShapeError(name, ("N", "..."), part.shape, "There must be at least one row.")
        if len(part) != len(parts[0]):
            raise ShapeError(name, (len(parts[0]), "..."), part.shape, "All inputs have the same rows.")
    return len(parts[0])


def take(x: Inputs, index: slice | Tensor) -> Inputs:
    """Take rows of inputs.

    Args:
        x: A tensor or a tuple of tensors.
        index: Which rows.

    Returns:
        The same structure with these rows.
    """
    return tuple(part[index] for part in x) if isinstance(x, tuple) else x[index]
