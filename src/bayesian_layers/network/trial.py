"""A network on the first two rows, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..errors import ShapeError
from ..noise import seeded
from .calling import call
from .explaining import explain_errors
from .inputs import Inputs, check_output_rows, evaluating, num_rows, take_rows, two_dtypes
from .sites import parameter_sites


def output_shape(
    network: nn.Module, x: Inputs, seed: int, draws: Callable[[], Mapping[str, Tensor]] | None = None
) -> torch.Size:
    """Return the shape of one row's outputs; raise an error that says what to change if a call fails."""
    # A network of two dtypes is called under draws, too: they may have other dtypes than its own values.
    few = take_rows(x, slice(2))
    with explain_errors(network, x), evaluating(network), seeded(seed), torch.no_grad():
        f = call(network, {}, few)
        if draws is not None and two_dtypes(network):
            values = draws()
            call(network, {name: values[name].unsqueeze(1) for name in parameter_sites(network)}, few)
    check_output_rows(x, f.shape, num_rows(few))
    if f.dim() < 2:
        hint = "This is its output for the first rows of x. Keep the axis of outputs, even for one output."
        raise ShapeError("network(x)", (num_rows(few), "outputs"), f.shape, hint)
    return f.shape[1:]
