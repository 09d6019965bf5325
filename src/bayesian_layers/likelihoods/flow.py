"""Likelihood of targets with any distribution: a reversible layer maps them to standard normal noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from ..errors import ShapeError, StorageError
from ..layers.flows import Reversible
from ..network import parameter_sites, stored_network
from ..priors import Site
from ..saving import StoredFolder
from .base import Likelihood
from .flow_distribution import FlowDistribution


class Flow(Likelihood):
    r"""Targets that a reversible layer computes from noise, with the network's output as context.

    .. math:: y = t_w^{-1}(z;\, f_w(x)), \quad z \sim N(0, I), \qquad
              \log p(y \mid x, w) = \log N(t_w(y; f); 0, I) + \log\left|\det \tfrac{\partial t_w}{\partial y}\right|

    It is regression with noise of any shape, which may depend on x. The network needs as many outputs as the
    ``context`` of the flow; ``y`` has the features of the flow on its last axis: ``(N, K)``, ``(N,)`` for one feature,
    ``(N, T, K)`` for sequences. For a density of y alone, without inputs, use the network ``bl.NoContext()`` and a flow
    with ``context=0``. For example, to fit such a density, evaluate it at points g and draw from it::

        model = bl.BayesianModel(bl.NoContext(), bl.likelihoods.Flow(bl.RealNVP(2, prior="point")))
        posterior = bl.fit(model, y, y, particles=1).posterior  # x is not used
        posterior.over_draws(bl.predictive.log_prob, g, g), posterior.draws(g).distribution().sample()

    The parameters of the flow are sites of the model: ``flow.<parameter>``, such as ``flow.steps.0.network.0.weight``.
    Those with a prior are Bayesian, the others are point estimates (all of them in ``bl.RealNVP(2, prior="point")``).

    Mean and variance are computed from 64 fixed points of noise (more above 16 features): exactly if the flow is
    affine in the noise, otherwise to a few percent of the standard deviation. Densities, draws, and the quantiles of
    one feature are exact.

    Args:
        flow: A reversible layer, such as :class:`~bayesian_layers.RealNVP`. One feature needs
            :class:`~bayesian_layers.NeuralSpline` for noise that is not Normal.

    Raises:
        TypeError: If ``flow`` is not a reversible layer.

    References:
        Rezende & Mohamed (2015), "Variational inference with normalizing flows", arXiv 1505.05770; Winkler et al.
        (2019), "Learning likelihoods with conditional normalizing flows", arXiv 1912.00042.

    Example:
        >>> import torch
        >>> import bayesian_layers as bl
        >>> density = Flow(bl.MAF(2, hidden=(8,), layers=1, prior="point"))
        >>> y = density.distribution(torch.empty(3, 0))
        >>> y.log_prob(torch.zeros(3, 2)).shape, y.sample().shape
        (torch.Size([3]), torch.Size([3, 2]))
    """

    ARGUMENTS: ClassVar = {"flow": stored_network.SPEC}

    def __init__(self, flow: Reversible) -> None:
        if not isinstance(flow, Reversible):
            raise TypeError(f"`flow` must be a reversible layer, such as bl.RealNVP; received {flow!r}")
        self._program = FlowProgram(flow)

    @property
    def program(self) -> FlowProgram:
        """A module whose only child is the flow, so that its parameters have the names of the sites."""
        return self._program

    @property
    def flow(self) -> Reversible:
        """The reversible layer; a fit starts at its parameters."""
        return self.program.flow

    def _argument(self, name: str) -> Any:
        described = stored_network.spec(self.flow)
        if described["modules"] is None:
            raise StorageError(
                f"the flow {type(self.flow).__name__} cannot be saved, because it is not a layer of bayesian_layers"
            )
        return described

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, stored: StoredFolder | None = None) -> Self:
        """Build the flow with placeholders for its arrays, which are in the folder."""
        assert stored is not None
        return cls(stored_network.build(arguments["flow"], stored, "likelihood.flow."))  # type: ignore

    def __repr__(self) -> str:
        return f"Flow({type(self.flow).__name__}({self.flow.extra_repr()}))"

    def sites(self, like: Tensor) -> dict[str, Site]:
        """Return a site per parameter of the flow."""
        return {
            name: Site(site.initial.to(like), site.prior, site.positive, site.scale_sites)
            for name, site in parameter_sites(self.program).items()
        }

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`."""
        return FlowDistribution(self.program, latents, f, output_axes).to_event(output_axes - 1)

    def target_shape(self, outputs: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of a row's targets; see :meth:`Likelihood.target_shape`."""
        features = self.flow.features
        return (*outputs[:-1], features) if features > 1 else tuple(outputs[:-1])

    def check_shapes(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> None:
        """Validate that outputs have the size of the flow's context, and that targets match them."""
        size = self.flow.context
        if f.shape[-1] != size:
            hint = f"The flow has context={size}; for a density without inputs use bl.NoContext()."
            raise ShapeError("network(x)", ("...", size), f.shape, hint)
        super().check_shapes(f, y, output_axes=output_axes)


class FlowProgram(nn.Module):
    """Both directions of a reversible layer in one ``forward``, for ``torch.func.functional_call``."""

    def __init__(self, flow: Reversible) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, vectors: Tensor, context: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Map vectors in the given direction."""
        return self.flow.inverse(vectors, context) if inverse else self.flow(vectors, context)
