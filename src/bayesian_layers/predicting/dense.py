"""A stack of dense layers under many draws at once: products with the rows on the last axis, activations in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ..layers import Linear
from ..network import Inputs
from ..private_apis import replaces_forward

_DENSE = (nn.Linear, Linear)
_IN_PLACE = {nn.Tanh: torch.tanh_, nn.ReLU: torch.relu_, nn.Sigmoid: torch.sigmoid_}
_ELEMENTWISE = (nn.Dropout, nn.ELU, nn.GELU, nn.Identity, nn.LeakyReLU, nn.SiLU, nn.Softplus, nn.Softsign)


class Stack:
    """A network that is nothing but dense layers and elementwise activations, one after the other.

    Calls it as ``network.call`` does, up to rounding, but in half its time where layers are narrow: the rows stand on
    the last axis, so that a product, its bias included, is one pass over the memory, and the next reads what the last
    wrote; activations need no memory of their own.

    Args:
        network: A network for which :meth:`fits` is true, in ``eval`` mode whenever the stack is called.
    """

    def __init__(self, network: nn.Module) -> None:
        self._modules = list(_in_order(network))
        self._names = {id(value): name for name, value in network.named_parameters()}

    @staticmethod
    def fits(network: nn.Module, x: Inputs) -> bool:
        """Tell whether a network is such a stack; subclasses, hooks and patched modules are not."""
        # As they may do more.
        modules = list(_in_order(network))
        known = (*_DENSE, *_IN_PLACE, *_ELEMENTWISE)
        return (
            isinstance(x, Tensor)
            and x.dim() == 2
            and bool(modules)
            and type(modules[0]) in _DENSE
            and all(type(module) in known and not replaces_forward(module) for module in modules)
            and not any(replaces_forward(module) for module in network.modules())
        )

    def __call__(self, values: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Call the network."""
        h = x.mT
        for module in self._modules:
            if isinstance(module, nn.Linear):
                h = self._product(module, values, h)
            else:
                h = _IN_PLACE.get(type(module), module)(h)  # h is always the product's own memory here
        return h.mT

    def _product(self, layer: nn.Linear, values: Mapping[str, Tensor], h: Tensor) -> Tensor:
        weight = values.get(self._names[id(layer.weight)], layer.weight)
        bias = None if layer.bias is None else values.get(self._names[id(layer.bias)], layer.bias)
        drawn = next((len(part) for part in (weight, h) if part.dim() == 3), None)
        if bias is None or drawn is None:
            product = weight @ h
            return product if bias is None else product + bias.unsqueeze(-1)
        weight, h = (part.expand(drawn, *part.shape[-2:]) for part in (weight, h))
        return torch.baddbmm(bias.unsqueeze(-1), weight, h)


def _in_order(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for child in module:
            yield from _in_order(child)
    else:
        yield module
