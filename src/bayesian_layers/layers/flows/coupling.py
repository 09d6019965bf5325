"""Affine coupling layers: half of the entries are kept, and determine how the other half is mapped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pyro.distributions.transforms import AffineCoupling
from torch import Tensor

from ...errors import DataError
from ..base import BiasPrior
from .base import (
    FlowPrior,
    MakeLinear,
    Reversible,
    ReversibleStack,
    bounded,
    dense,
    linear_layers,
    with_context,
)


class RealNVP(ReversibleStack):
    r"""Affine couplings with alternating halves: a bijection whose inverse costs as much as the forward pass.

    .. math:: z_a = x_a, \qquad z_b = x_b \odot e^{s(x_a, c)} + m(x_a, c), \qquad
              \log\left|\det \tfrac{dz}{dx}\right| = \textstyle\sum s(x_a, c)

    The halves swap roles from layer to layer; m and s are dense networks, Bayesian by default, with
    :math:`|s| < 3`. The layer starts as the identity. Each coupling is Pyro's ``AffineCoupling``.

    Args:
        features: Entries K of a vector, 2 or more.
        hidden: Widths of the hidden layers of each coupling's network.
        layers: Number of couplings.
        context: Entries C of the context, 0 for none.
        device: Device of the parameters.
        dtype: Floating type of the parameters.
        prior: Prior of the networks' weights; ``None`` is a Normal with a learned scale; ``"point"`` makes
            weights and biases point estimates.
        bias_prior: Prior of the networks' biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        Input ``(*batch, K)`` and context ``(*batch, C)``; output ``z`` of shape ``(*batch, K)`` and the log
        determinant, ``(*batch,)``. The same holds for :meth:`inverse`.

    Raises:
        DataError: If a size is not an integer or out of range.
        TypeError: If a prior is not one of ``bl.priors``.

    References:
        Dinh, Sohl-Dickstein & Bengio (2017), "Density estimation using Real NVP", arXiv 1605.08803.

    Example:
        >>> import torch
        >>> flow = RealNVP(2)
        >>> x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
        >>> z, log_det = flow(x)
        >>> z.shape, log_det.shape, torch.allclose(flow.inverse(z)[0], x)
        (torch.Size([5, 2]), torch.Size([5]), True)
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (32, 32),
        layers: int = 6,
        context: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: FlowPrior = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        linear = linear_layers(prior, bias_prior, device, dtype)
        make = partial(_AffineCoupling, features, hidden, context, linear)
        super().__init__(make, features, hidden, layers, context)


class _AffineCoupling(Reversible):
    """One coupling: the first half of the entries is kept, or with ``flipped`` the last half."""

    def __init__(
        self, features: int, hidden: Sequence[int], context: int, linear: MakeLinear, flipped: bool
    ) -> None:
        super().__init__(features, context)
        if features < 2:
            raise DataError(
                f"`features` of a RealNVP must be 2 or more, as it splits them in two; received {features}. Use MAF or "
                "NeuralSpline for one feature."
            )
        self._kept = features // 2
        self._flipped = flipped
        self.network = dense(self._kept + context, hidden, 2 * (features - self._kept), linear)

    def _forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x, coupling = self._oriented(x), self._coupling(context)
        z = coupling(x)
        return self._oriented(z), coupling.log_abs_det_jacobian(x, z)

    def _inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, coupling = self._oriented(z), self._coupling(context)
        x = coupling.inv(z)
        return self._oriented(x), -coupling.log_abs_det_jacobian(x, z)

    def _coupling(self, context: Tensor) -> Any:
        # A new one per call: Pyro's transforms cache their last input and output, which must not outlive a call
        # inside vmap, nor be copied with the module.
        return AffineCoupling(self._kept, partial(self._shift_and_log_scale, context=context))

    def _shift_and_log_scale(self, kept: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.network(with_context(kept, context)).chunk(2, -1)
        return shift, bounded(log_scale)

    def _oriented(self, x: Tensor) -> Tensor:
        return x.flip(-1) if self._flipped else x
