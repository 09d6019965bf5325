"""Draws of the weights as plain networks: one draw is one function, and S draws are S functions at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..network import call_many, with_padding


def fixed(network: nn.Module, values: Mapping[str, Tensor]) -> nn.Module:
    """Copy a network with given weights, fixed."""
    network = copy.deepcopy(network).eval()
    parameters = {name: each for name, each in network.named_parameters() if name in values}
    for name, parameter in parameters.items():
        if values[name].shape != parameter.shape:  # `copy_` would broadcast it
            raise ShapeError(f"values[{name!r}]", tuple(parameter.shape), values[name].shape)
    entering = {id(parameter): values[name] for name, parameter in parameters.items()}
    entering |= with_padding(network, entering)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.copy_(entering[id(parameter)])
    return network.requires_grad_(False)


class Functions(nn.Module):
    r"""S networks of one architecture, called at once: :math:`f_s = f(x; w_s)` for S draws of the weights.

    A plain module: the stacked weights are buffers under the names that they have in the network, so
    ``state_dict``, ``.to`` and ``copy.deepcopy`` take them along, and there is nothing for an optimizer to change. It
    works under autograd and ``torch.func`` with respect to ``x``, ``torch.export`` and ``torch.onnx.export``.

    What export cannot do, with torch 2.13. An exported file has S fixed; N may be dynamic, but behind batch norm,
    recurrent and transformer layers it is fixed as well. Control flow that looks at the data cannot be exported; a
    call works, by a loop over the draws. There export ``posterior.function(seed)``, one file a draw.

    Args:
        network: The architecture, and the weights and buffers that are not drawn; it is copied.
        draws: Site name to draws, ``(S, *shape)``. Sites that are no parameter of the network are passed over.

    Attributes:
        network: A copy of the network that has stacked weights and cannot be called by itself.
        num_draws: Number of draws S.

    Raises:
        DataError: If there are no draws.
        ShapeError: If draws do not have the shape ``(S, *shape)`` of their parameter with one and the same S.

    References:
        Horace He & Richard Zou (2021), "functorch: JAX-like composable function transforms for PyTorch", for
        ``vmap``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from bayesian_layers.posterior.fixed_networks import Functions
        >>> lines = Functions(nn.Linear(1, 1, bias=False), {"weight": torch.tensor([[[1.0]], [[2.0]], [[3.0]]])})
        >>> lines(torch.tensor([[1.0], [10.0]])).squeeze(-1)
        tensor([[ 1., 10.],
                [ 2., 20.],
                [ 3., 30.]])
    """

    def __init__(self, network: nn.Module, draws: Mapping[str, Tensor]) -> None:
        super().__init__()
        if not draws:
            raise DataError("`draws` must hold the draws of one site or more; received none")
        self.num_draws = len(next(iter(draws.values())))
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._drawn = tuple(self._stack(draws))
        self.eval()

    def _stack(self, draws: Mapping[str, Tensor]) -> Iterator[str]:
        """Put stacked buffers in the place of drawn parameters; a tied one at each of its places."""
        parameters = dict(self.network.named_parameters())  # they live on here, so that each has its own `id`
        buffers = {
            id(each): self._checked(name, each, draws[name])
            for name, each in parameters.items()
            if name in draws
        }
        buffers |= with_padding(self.network, buffers)
        for path, module in list(self.network.named_modules()):
            for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                if id(parameter) in buffers:
                    delattr(module, name)
                    module.register_buffer(name, buffers[id(parameter)])
                    yield f"{path}.{name}".lstrip(".")

    def _checked(self, name: str, parameter: Tensor, value: Tensor) -> Tensor:
        expected = (self.num_draws, *parameter.shape)
        if value.shape != expected:
            raise ShapeError(f"draws[{name!r}]", expected, value.shape)
        return value.detach().to(parameter, copy=True)

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """Call all S functions on the same rows.

        Args:
            x: Input with N rows in front, on the network's device and in its dtype.
            *more: Further inputs of a network that takes several.

        Returns:
            Outputs, ``(S, N, ...)``: entry ``s`` is function ``s`` at every row. For many rows times draws mind the
            memory; ``posterior.predict`` gives moments in little.
        """
        weights = {name: self.network.get_buffer(name) for name in self._drawn}
        if not weights:  # nothing of the network is latent: S times the same function
            f = self.network(x, *more)
            return f.expand(self.num_draws, *f.shape)
        return call_many(self.network, weights, dict.fromkeys(weights, 0), (x, *more), self.num_draws)
