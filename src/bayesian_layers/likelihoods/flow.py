"""Targets with any distribution: a reversible layer turns them into standard normal noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..errors import DataError, ShapeError, StorageError
from ..layers.flows import Reversible
from ..network import parameter_sites, stored_network
from ..priors import Site
from ..saving import StoredFolder
from .base import Likelihood
from .flow_distribution import FlowDistribution


class Flow(Likelihood):
    r"""Targets that a reversible layer makes of noise, given the network's output as context.

    .. math:: y = t_w^{-1}(z;\, f_w(x)), \quad z \sim N(0, I), \qquad
              \log p(y \mid x, w) = \log N(t_w(y; f); 0, I) + \log\left|\det \tfrac{\partial t_w}{\partial y}\right|

    So it is regression with noise of any shape, which may depend on x; a Normal likelihood is the flow
    that only scales. The network has as many outputs as the flow has ``context``; ``y`` has the flow's features on
    its last axis: ``(N, K)``, ``(N,)`` for one, ``(N, T, K)`` for sequences. For a density of y alone, without
    inputs, the network is ``bl.NoContext()`` and the flow has ``context=0``.

    The density of two moons, at other points g and in draws, is::

        model = bl.BayesianModel(bl.NoContext(), bl.likelihoods.Flow(bl.RealNVP(2, prior="point")))
        posterior = bl.fit(model, y, y, particles=1).posterior  # y stands for x, which is of no account
        posterior.over_draws(bl.predictive.log_prob, g, g), posterior.draws(g).distribution().sample()

    The flow's parameters are sites of the model: ``flow.<parameter>``, such as ``flow.steps.0.network.0.weight``. Those
    that remember a prior are Bayesian, the others point estimates (``bl.RealNVP(2, prior="point")`` is all of them).

    Mean and variance have no closed form: they are taken over 64 fixed points of noise (more above 16 features), whose
    mean is 0 and covariance the identity. So they are exact where the flow is affine in the noise, and otherwise good
    to some percent of a deviation. Densities, draws, and the quantiles of one feature are exact.

    Args:
        flow: A reversible layer, such as :class:`~bayesian_layers.RealNVP`. One feature needs
            :class:`~bayesian_layers.NeuralSpline` for noise that is not Normal.

    Attributes:
        program: A module whose one child is the flow: its parameters have the names of the sites.

    Raises:
        TypeError: If ``flow`` is no reversible layer.

    References:
        Rezende & Mohamed (2015), "Variational inference with normalizing flows", arXiv 1505.05770; Winkler et al.
        (2019), "Learning likelihoods with conditional normalizing flows", arXiv 1912.00042.

    Example:
        >>> import bayesian_layers as bl
        >>> density = Flow(bl.MAF(2, hidden=(8,), layers=1, prior="point"))
        >>> y = density.distribution(torch.empty(3, 0))
        >>> y.log_prob(torch.zeros(3, 2)).shape, y.sample().shape
        (torch.Size([3]), torch.Size([3, 2]))
    """

    def __init__(self, flow: Reversible) -> None:
        if not isinstance(flow, Reversible):
            raise TypeError(f"`flow` must be a reversible layer, such as bl.RealNVP; received {flow!r}")
        self._program = FlowProgram(flow)

    ARGUMENTS: ClassVar = {"flow": stored_network.SPEC}

    @property
    def program(self) -> FlowProgram:
        """A module whose one child is the flow: its parameters have the names of the sites."""
        return self._program

    @property
    def flow(self) -> Reversible:
        """The reversible layer, whose parameters are where a fit starts."""
        return self.program.flow

    def _argument(self, name: str) -> Any:
        described = stored_network.spec(self.flow)
        if described["modules"] is None:
            raise StorageError(
                f"the flow {type(self.flow).__name__} is not a layer of the library, so it cannot be saved"
            )
        return described

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, stored: StoredFolder | None = None) -> Self:
        """Build the flow with stand-ins for its arrays, which are in the folder."""
        assert stored is not None
        return cls(stored_network.build(arguments["flow"], stored, "likelihood.flow."))  # type: ignore

    def __repr__(self) -> str:
        return f"Flow({type(self.flow).__name__}({self.flow.extra_repr()}))"

    def sites(self, like: Tensor) -> dict[str, Site]:
        """List the flow's parameters."""
        return {
            name: Site(site.initial.to(like), site.prior, site.positive, site.scale_sites)
            for name, site in parameter_sites(self.program).items()
        }

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`."""
        return FlowDistribution(self.program, latents, f, output_axes).to_event(output_axes - 1)

    def moments(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and variance of the targets, over the fixed points of noise."""
        return FlowDistribution(self.program, latents, f, output_axes).moments()

    def target_shape(self, outputs: Sequence[int]) -> tuple[int, ...]:
        """Tell the shape of a row's targets."""
        features = self.flow.features
        return (*outputs[:-1], features) if features > 1 else tuple(outputs[:-1])

    def check_shapes(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> None:
        """Refuse outputs that are no context of the flow, and targets that do not belong to them."""
        if f.shape[-1] != self.flow.context:
            hint = f"The flow has context={self.flow.context}; a density without inputs has the network bl.NoContext()."
            raise ShapeError("network(x)", ("...", self.flow.context), f.shape, hint)
        super().check_shapes(f, y, output_axes=output_axes)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse targets that are not finite."""
        bad = int((~torch.isfinite(y)).sum()) if y.is_floating_point() else 0
        if bad:
            raise DataError(f"`y` has {bad} values that are NaN or infinite; remove or impute these rows")


class FlowProgram(nn.Module):
    """Both directions of a reversible layer as one module's forward, for ``torch.func.functional_call``.

    Args:
        flow: The layer.
    """

    def __init__(self, flow: Reversible) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, vectors: Tensor, context: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Map vectors."""
        return self.flow.inverse(vectors, context) if inverse else self.flow(vectors, context)
