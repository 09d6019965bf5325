"""Coupling layers: half of the entries stay, and steer what becomes of the others."""

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
    check_sizes,
    dense,
    joined,
    linear_layers,
)


class RealNVP(ReversibleStack):
    r"""Affine couplings with alternating halves: a bijection that is as cheap to undo as to do.

    .. math:: z_a = x_a, \qquad z_b = x_b \odot e^{s(x_a, c)} + m(x_a, c), \qquad
              \log\left|\det \tfrac{dz}{dx}\right| = \textstyle\sum s(x_a, c)

    The halves change their roles from layer to layer; m and s are dense networks, s is bounded by 3 in size. It
    begins as the identity. Each layer is Pyro's ``AffineCoupling``.

    The coupling networks are Bayesian, or with ``prior="point"`` plain ones.

    Args:
        features: Entries K of a vector, 2 or more.
        hidden: Widths of the hidden layers of each coupling's network.
        layers: Number of couplings.
        context: Entries C of the context, 0 for none.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the networks' weights; ``None`` is a Normal whose scale is learned; ``"point"`` makes
            weights and biases point estimates.
        bias_prior: Prior of their biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        Input ``(*batch, K)`` and context ``(*batch, C)``; returns ``z`` of shape ``(*batch, K)`` and the log
        determinant, ``(*batch,)``; :meth:`inverse` alike.

    Raises:
        DataError: If a size is no whole number or too small.
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
        hidden = check_sizes(hidden, layers)
        linear = linear_layers(prior, bias_prior, device, dtype)
        steps = [_AffineCoupling(features, hidden, context, i % 2 == 1, linear) for i in range(layers)]
        super().__init__(steps, features, context)
        self.hidden = hidden
        self.layers = layers

    def extra_repr(self) -> str:
        """Show the sizes.

        Returns:
            The inside of the layer's ``repr``.
        """
        return f"{self.features}, hidden={self.hidden}, layers={self.layers}, context={self.context}"


class _AffineCoupling(Reversible):
    """One coupling: the first half of the entries steers the others, or the last where it is flipped."""

    def __init__(
        self, features: int, hidden: Sequence[int], context: int, flipped: bool, linear: MakeLinear
    ) -> None:
        super().__init__(features, context)
        if features < 2:
            raise DataError(
                f"a RealNVP splits its features in two, so it needs 2 or more; received {features}. For one there "
                "are MAF and NeuralSpline."
            )
        self._kept = features // 2
        self._flipped = flipped
        self.network = dense(self._kept + context, hidden, 2 * (features - self._kept), linear)

    def _forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x, coupling = self._turned(x), self._coupling(context)
        z = coupling(x)
        return self._turned(z), coupling.log_abs_det_jacobian(x, z)

    def _inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, coupling = self._turned(z), self._coupling(context)
        x = coupling.inv(z)
        return self._turned(x), -coupling.log_abs_det_jacobian(x, z)

    def _coupling(self, context: Tensor) -> Any:
        # Made anew each time: Pyro's transforms keep their last input and output, which must not outlive a call
        # inside vmap, nor be copied with the module.
        return AffineCoupling(self._kept, partial(self._shift_and_log_scale, context=context))

    def _shift_and_log_scale(self, kept: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.network(joined(kept, context)).chunk(2, -1)
        return shift, bounded(log_scale)

    def _turned(self, x: Tensor) -> Tensor:
        return x.flip(-1) if self._flipped else x
