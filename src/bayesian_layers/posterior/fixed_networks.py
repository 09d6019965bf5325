"""Draws of the weights as plain networks: one draw is one function, S draws are S functions at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..network import call_many, check_output, is_shared, with_padding


def fixed(network: nn.Module, values: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a network with given, fixed weights."""
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

    A plain module without parameters: the weights are buffers under their names in the network, which ``state_dict``,
    ``.to`` and ``copy.deepcopy`` include. They are stacked, except for point estimates, which are the same in all
    functions: layers below the first weight that is drawn run once. It works under autograd and ``torch.func`` with
    respect to ``x``, ``torch.export`` and ``torch.onnx.export``.

    Limits of export with torch 2.13: S is fixed in an exported file; N may be dynamic, but not after batch norm,
    recurrent and transformer layers. Control flow that depends on data cannot be exported, although a call works, by a
    loop over the draws; export ``posterior.function(seed)`` instead, one file per draw.

    Args:
        network: The architecture, with the weights and buffers that are not drawn; it is copied.
        draws: Site name to draws, ``(S, *shape)``. Sites that are not parameters of the network are ignored.

    Attributes:
        network: A copy of the network with stacked weights, which cannot be called itself.
        num_draws: Number of draws S.

    Raises:
        DataError: If there are no draws.
        ShapeError: If draws do not have the shape ``(S, *shape)`` of their parameter, with one S for all.

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
        self._axes = dict(self._stack(draws))
        self.eval()

    def _stack(self, draws: Mapping[str, Tensor]) -> Iterator[tuple[str, int | None]]:
        """Replace drawn parameters by buffers, tied ones at each of their places; yield names and axes of the draws."""
        parameters = dict(self.network.named_parameters())  # kept alive, so that each `id` is unique
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
                    axis = None if buffers[id(parameter)].dim() == parameter.dim() else 0
                    yield f"{path}.{name}".lstrip("."), axis

    def _checked(self, name: str, parameter: Tensor, value: Tensor) -> Tensor:
        expected = (self.num_draws, *parameter.shape)
        if value.shape != expected:
            raise ShapeError(f"draws[{name!r}]", expected, value.shape)
        return (value[0] if is_shared(value) else value).detach().to(parameter, copy=True)

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """Call all S functions on the same rows.

        Args:
            x: Input ``(N, ...)``, on the network's device and in its dtype.
            *more: Further inputs, if the network takes several.

        Returns:
            Outputs, ``(S, N, ...)``: entry ``s`` is function ``s`` at every row. They take memory for all rows and
            draws; ``posterior.predict`` computes moments in bounded memory.
        """
        weights = {name: self.network.get_buffer(name) for name in self._axes}
        if not weights:  # no parameter of the network is drawn
            f = check_output(self.network(x, *more))
            return f.expand(self.num_draws, *f.shape)
        return call_many(self.network, weights, self._axes, (x, *more), self.num_draws)
