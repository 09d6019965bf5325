"""Draws of the weights as plain networks: one draw is one function, and S draws are S functions at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..network import _call_many  # vectorizes over draws, and loops where vmap has no rule


def fixed(network: nn.Module, values: Mapping[str, Tensor]) -> nn.Module:
    """Copy a network with given weights, fixed.

    Args:
        network: Any module; it is not written to.
        values: Site name to value, ``(*shape)``. Sites that are no parameter of the network (a noise scale, a
            prior's scale) say nothing about ``f`` and are passed over.

    Returns:
        A copy in ``eval`` mode whose parameters ask for no gradient.

    Raises:
        ShapeError: If a value does not have its parameter's shape.
    """
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name not in values:
                continue
            if values[name].shape != parameter.shape:  # `copy_` would broadcast it
                raise ShapeError(f"values[{name!r}]", tuple(parameter.shape), values[name].shape)
            parameter.copy_(values[name])
    return network.requires_grad_(False)


class Functions(nn.Module):
    r"""S networks of one architecture, called at once: :math:`f_s = f(x; w_s)` for S draws of the weights.

    A plain module: the stacked weights are buffers under the names that they have in the network, so
    ``state_dict``, ``.to`` and ``copy.deepcopy`` take them along, and there is nothing for an optimizer to change. It
    works under autograd and ``torch.func`` with respect to ``x``, ``torch.export`` and ``torch.onnx.export``.

    What export cannot do, with torch 2.13. An exported file has S fixed; N may be dynamic. Where ``vmap`` has no rule
    of its own (LSTM, GRU, RNN, the transformer layers, control flow that looks at the data) a call works, by a
    loop over the draws or by torch's own slow path, but export fails; behind batch norm it succeeds with N
    fixed as well. There export ``posterior.function(seed)``, one file a draw.

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
        >>> from bayesian_layers.posterior.functions import Functions
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
        drawn = {id(parameter): name for name, parameter in self.network.named_parameters() if name in draws}
        kept = list(self.network.parameters())  # while they live, no other tensor has the `id` of one of them
        buffers: dict[int, Tensor] = {}
        for path, module in list(self.network.named_modules()):
            own = list(module.named_parameters(recurse=False, remove_duplicate=False))
            for name, parameter in own:
                if id(parameter) not in drawn:
                    continue
                if id(parameter) not in buffers:
                    value = draws[drawn[id(parameter)]]
                    expected = (self.num_draws, *parameter.shape)
                    if value.shape != expected:
                        raise ShapeError(f"draws[{drawn[id(parameter)]!r}]", expected, value.shape)
                    buffers[id(parameter)] = value.detach().to(parameter, copy=True)
                delattr(module, name)
                module.register_buffer(name, buffers[id(parameter)])
                yield f"{path}.{name}".lstrip(".")
        del kept

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
        return _call_many(self.network, weights, dict.fromkeys(weights, 0), (x, *more), self.num_draws)
