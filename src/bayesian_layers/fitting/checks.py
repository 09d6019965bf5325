"""What is checked before a fit: structure and values of the data, and their scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..network import Inputs, rows

_LARGE, _SMALL, _OFFSET = 30.0, 0.03, 10.0


def check_data(x: Inputs, y: Tensor | None) -> Tensor:
    """Refuse data that no model could be fitted to.

    Args:
        x: Inputs with N rows in front, or a tuple of inputs.
        y: Targets.

    Returns:
        ``y``, now surely a tensor.

    Raises:
        TypeError: If ``x`` or ``y`` is not a tensor (or tuple of tensors).
        ShapeError: If ``x`` and ``y`` differ in rows.
        DataError: If ``x`` holds values that are not finite.
    """
    parts = x if isinstance(x, tuple) else (x,)
    for name, part in [
        *((f"x[{i}]" if len(parts) > 1 else "x", part) for i, part in enumerate(parts)),
        ("y", y),
    ]:
        if not isinstance(part, Tensor):
            raise TypeError(
                f"`{name}` must be a torch tensor; received {type(part).__name__}. Use torch.as_tensor."
            )
        if name != "y" and part.is_floating_point() and not torch.isfinite(part).all():
            count = int((~torch.isfinite(part)).sum())
            raise DataError(
                f"`{name}` has {count} values that are NaN or infinite; remove or impute these rows"
            )
    n = rows(x)
    if not isinstance(y, Tensor) or y.dim() == 0 or len(y) != n:
        raise ShapeError("y", (n, "..."), getattr(y, "shape", ()), f"`x` has {n} rows.")
    return y


def scale_warnings(x: Inputs, y: Tensor) -> list[str]:
    """Say where data are far from the unit scale that priors of unit scale expect.

    Args:
        x: Inputs.
        y: Targets; whole numbers are labels and pass.

    Returns:
        A sentence for each array that is off.
    """
    parts = x if isinstance(x, tuple) else (x,)
    named = [(f"x[{i}]" if len(parts) > 1 else "x", part) for i, part in enumerate(parts)]
    return [
        f"`{name}` is far from unit scale ({what}); standardize it, or the priors say something else than you think"
        for name, part in [*named, ("y", y)]
        if part.is_floating_point() and len(part) > 1 and (what := _off_scale(part.detach().float()))
    ]


def _off_scale(values: Tensor) -> str:
    columns = values.reshape(len(values), -1)
    largest = columns.abs().amax(0)
    spread, mean = columns.std(0), columns.mean(0).abs()
    if (largest > _LARGE).any():
        return f"values up to {float(largest.max()):.3g}"
    if ((largest < _SMALL) & (largest > 0)).any():
        return f"a column within {float(largest[largest > 0].min()):.3g} of 0"
    if ((mean > _OFFSET * spread) & (spread > 1e-6 * mean)).any():
        return "a column's mean is over ten times its deviation"
    return ""


def fresh_normalisation(network: nn.Module) -> list[str]:
    """Say which normalisation layers have seen no data: a fit uses their running statistics as they are.

    Args:
        network: The network.

    Returns:
        A sentence, or nothing.
    """
    fresh = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.num_batches_tracked is not None
        and int(module.num_batches_tracked) == 0
    ]
    if not fresh:
        return []
    return [
        f"the running statistics of {fresh} are still those of a new layer (mean 0, variance 1), and a fit does "
        "not change them; pass data through the network in training mode first, or pretrain it"
    ]
