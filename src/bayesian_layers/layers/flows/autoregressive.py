"""Autoregressive layers: each entry is scaled and shifted by a function of the entries before it."""

# Why not Pyro's `AutoRegressiveNN` and `AffineAutoregressive`: they draw an order from the caller's random state, need
# two features or more, read the values of tensors during the inverse (so that a step of a fit could not be recorded),
# and compute the inverse in torch's default type only.

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..base import BiasPrior
from .base import (
    FlowPrior,
    MakeLinear,
    Reversible,
    ReversibleStack,
    bounded,
    check_hidden,
    linear_layers,
    start_at_zero,
    with_context,
)


class MADE(Reversible):
    r"""An autoregressive bijection by one masked network.

    .. math:: z_i = x_i e^{s_i(x_{<i}, c)} + m_i(x_{<i}, c), \qquad
              \log\left|\det \tfrac{dz}{dx}\right| = \textstyle\sum_i s_i

    As a density it is a product of Normals, each conditional on the entries before it. Masks on the weights of a dense
    network, Bayesian by default, enforce the order: the forward pass is one pass through the network, the inverse takes
    K passes. The layer starts as the identity. Masked weights have no effect; in a fit their posterior equals their
    prior, and their KL is 0.

    Args:
        features: Entries K of a vector, 1 or more.
        reverse: Whether the order runs from the last entry to the first.

    The other arguments, the shapes and the exceptions are those of :class:`RealNVP`.

    References:
        Germain, Gregor, Murray & Larochelle (2015), "MADE: Masked autoencoder for distribution estimation", arXiv
        1502.03509; Papamakarios, Pavlakou & Murray (2017), arXiv 1705.07057, for the bijection.

    Example:
        >>> z, log_det = MADE(3, prior="point")(torch.ones(4, 3))
        >>> z.shape, log_det.detach()
        (torch.Size([4, 3]), tensor([0., 0., 0., 0.]))
    """

    rank: Tensor

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (32, 32),
        context: int = 0,
        reverse: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: FlowPrior = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(features, context)
        self.hidden = check_hidden(hidden)
        self.reverse = reverse
        linear = linear_layers(prior, bias_prior, device, dtype)
        rank = torch.arange(1, features + 1, device=device)
        self.register_buffer("rank", rank.flip(0) if reverse else rank)
        self.network = _masked_network(self.rank, self.hidden, context, linear)

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"{self.features}, hidden={self.hidden}, context={self.context}, reverse={self.reverse}"

    def _forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(x, context)
        return x * log_scale.exp() + shift, log_scale.sum(-1)

    def _inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x, log_scale = torch.zeros_like(z), torch.zeros_like(z)
        for known in range(1, self.features + 1):
            shift, log_scale = self._shift_and_log_scale(x, context)
            # Entries that depend on unknown ones stay 0: their values are not final, and might overflow.
            x = torch.where(self.rank <= known, (z - shift) * (-log_scale).exp(), 0)
        return x, -log_scale.sum(-1)

    def _shift_and_log_scale(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.network(with_context(x, context)).chunk(2, -1)
        return shift, bounded(log_scale)


class MAF(ReversibleStack):
    """Masked autoregressive flow: :class:`MADE` layers in sequence, with alternating orders.

    Its density is fast to evaluate, by one pass through each network, and slow to sample from, by K passes.

    Args:
        features: Entries K of a vector; with one, the density of x given the context is Normal.
        layers: Number of :class:`MADE` layers.

    The other arguments, the shapes and the exceptions are those of :class:`RealNVP`.

    References:
        Papamakarios, Pavlakou & Murray (2017), "Masked autoregressive flow for density estimation", arXiv 1705.07057.

    Example:
        >>> MAF(3, hidden=(8,), layers=2, context=1)(torch.ones(4, 3), torch.ones(4, 1))[0].shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (32, 32),
        layers: int = 4,
        context: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: FlowPrior = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        options: dict[str, Any] = {"device": device, "dtype": dtype, "prior": prior, "bias_prior": bias_prior}
        make = partial(MADE, features, hidden, context, **options)
        super().__init__(make, features, hidden, layers, context)


class _Masked(nn.Module):
    """A dense layer with a mask on its weight."""

    mask: Tensor

    def __init__(self, mask: Tensor, linear: MakeLinear) -> None:
        super().__init__()
        self.linear = linear(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.linear.weight * self.mask, self.linear.bias)


def _masked_network(rank: Tensor, hidden: Sequence[int], context: int, linear: MakeLinear) -> nn.Sequential:
    """Build MADE's network: units of degree d see entries of rank d or less, outputs see degrees below their rank."""
    features = len(rank)
    lowest = 0 if context or features == 1 else 1  # units of degree 0 see only the context
    degrees = [torch.cat([rank, rank.new_zeros(context)])]
    for width in hidden:  # degrees spread evenly over the units
        degrees.append(lowest + torch.arange(width, device=rank.device) * (features - lowest) // width)
    parts: list[nn.Module] = []
    for below, above in pairwise(degrees):
        parts += [_Masked(above.unsqueeze(1) >= below, linear), nn.SiLU()]
    last = _Masked(torch.cat([rank, rank]).unsqueeze(1) > degrees[-1], linear)
    start_at_zero(last.linear)
    return nn.Sequential(*parts, last)
