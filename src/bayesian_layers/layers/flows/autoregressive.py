"""Autoregressive layers: each entry is scaled and shifted by a function of those before it.

The masked networks are not Pyro's ``AutoRegressiveNN``, nor the layers its ``AffineAutoregressive``: those draw an
order from the caller's random state, want two features and more, read tensors' values while they invert (so a step of
a fit could not be recorded), and invert in torch's default type alone.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    check_sizes,
    joined,
    linear_layers,
    start_at_zero,
)


class MADE(Reversible):
    r"""An autoregressive bijection by one masked network.

    .. math:: z_i = x_i e^{s_i(x_{<i}, c)} + m_i(x_{<i}, c), \qquad
              \log\left|\det \tfrac{dz}{dx}\right| = \textstyle\sum_i s_i

    As a density it is a product of Normals, each given the entries before it. Masks on the dense layers' weights see to
    the order: forward is one pass through the network, inverse K of them. It begins as the identity. The weights under
    the masks have no use; in a fit their guide becomes their prior, and they cost nothing.

    The networks are Bayesian, or with ``prior="point"`` plain ones.

    Args:
        features: Entries K of a vector.
        hidden: Widths of the network's hidden layers.
        context: Entries C of the context, 0 for none.
        reverse: Whether the order is from the last entry to the first.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the network's weights; ``None`` is a Normal whose scale is learned; ``"point"`` makes
            weights and biases point estimates.
        bias_prior: Prior of its biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        As :class:`RealNVP`.

    Raises:
        DataError: If a size is no whole number or too small.
        TypeError: If a prior is not one of ``bl.priors``.

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
        self.hidden = check_sizes(hidden, 1)
        self.reverse = reverse
        linear = linear_layers(prior, bias_prior, device, dtype)
        rank = torch.arange(1, features + 1, device=device)
        rank = rank.flip(0) if reverse else rank
        self.register_buffer("rank", rank)
        self.network = _masked_network(rank, self.hidden, context, linear)

    def extra_repr(self) -> str:
        """Show the sizes.

        Returns:
            The inside of the layer's ``repr``.
        """
        return f"{self.features}, hidden={self.hidden}, context={self.context}, reverse={self.reverse}"

    def _forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(x, context)
        return x * log_scale.exp() + shift, log_scale.sum(-1)

    def _inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x, log_scale = torch.zeros_like(z), torch.zeros_like(z)
        for known in range(1, self.features + 1):
            shift, log_scale = self._shift_and_log_scale(x, context)
            # What the entries known so far do not decide yet stays 0: it might overflow.
            x = torch.where(self.rank <= known, (z - shift) * (-log_scale).exp(), 0)
        return x, -log_scale.sum(-1)

    def _shift_and_log_scale(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.network(joined(x, context)).chunk(2, -1)
        return shift, bounded(log_scale)


class MAF(ReversibleStack):
    r"""Masked autoregressive flow: :class:`MADE` layers, one after the other, in alternating orders.

    As a density quick to evaluate, by one pass through each network; slow to draw from, by K of them. It begins as the
    identity.

    Args:
        features: Entries K of a vector; with one, the density of x given the context is Normal.
        hidden: Widths of the hidden layers of each network.
        layers: Number of :class:`MADE` layers.
        context: Entries C of the context, 0 for none.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the networks' weights; ``None`` is a Normal whose scale is learned; ``"point"`` makes
            weights and biases point estimates.
        bias_prior: Prior of their biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        As :class:`RealNVP`.

    Raises:
        DataError: If a size is no whole number or too small.
        TypeError: If a prior is not one of ``bl.priors``.

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
        hidden = check_sizes(hidden, layers)
        steps = [
            MADE(features, hidden, context, i % 2 == 1, device, dtype, prior=prior, bias_prior=bias_prior)
            for i in range(layers)
        ]
        super().__init__(steps, features, context)
        self.hidden = hidden
        self.layers = layers

    def extra_repr(self) -> str:
        """Show the sizes.

        Returns:
            The inside of the layer's ``repr``.
        """
        return f"{self.features}, hidden={self.hidden}, layers={self.layers}, context={self.context}"


class _Masked(nn.Module):
    """A dense layer some of whose weights are not used."""

    mask: Tensor

    def __init__(self, mask: Tensor, linear: MakeLinear) -> None:
        super().__init__()
        self.linear = linear(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.linear.weight * self.mask, self.linear.bias)


def _masked_network(rank: Tensor, hidden: Sequence[int], context: int, linear: MakeLinear) -> nn.Sequential:
    """A unit of degree d sees entries of rank d and below; the output of an entry, degrees below its rank."""
    features = len(rank)
    lowest = 0 if context or features == 1 else 1  # degree 0 sees the context, and the biases
    degrees = [torch.cat([rank, rank.new_zeros(context)])]
    for width in hidden:  # evenly, however many units there are
        degrees.append(lowest + torch.arange(width, device=rank.device) * (features - lowest) // width)
    parts: list[nn.Module] = []
    for below, above in pairwise(degrees):
        parts += [_Masked(above.unsqueeze(1) >= below, linear), nn.SiLU()]
    last = _Masked(torch.cat([rank, rank]).unsqueeze(1) > degrees[-1], linear)
    start_at_zero(last.linear)
    return nn.Sequential(*parts, last)
