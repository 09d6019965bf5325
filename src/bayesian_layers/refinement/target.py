"""The joint density of a model, for many chains at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..guides.layout import Layout
from ..guides.prior_density import log_prior
from ..handlers import LogLikelihood
from ..model import BayesianModel
from ..network import Inputs, call, is_shared, num_rows, take_rows
from ..predicting.size import Size

_NUMBERS = 2**22  # in the largest activation of one pass: 16 MiB in float32, of which backward keeps several
MONITORED_ROWS = 16  # rows at which the network's outputs are monitored
_MONITORED_VALUES = 64


class Target:
    """The unnormalized log density of the posterior over the flat unconstrained vector, and its gradient."""

    # The log likelihood, by the model's own program on all rows, plus the densities of the priors on the
    # unconstrained axis, where positive sites (a noise scale, the scale of a prior) are logarithms. `point` has the
    # point-estimated entries of each chain, (S, Q), which stay as they are.

    def __init__(self, model: BayesianModel, layout: Layout, point: Tensor, x: Inputs, y: Tensor) -> None:
        self._model = model
        self._sites = model.sites()
        self._layout = layout
        self._point = point
        self._x, self._y = x, y
        index = torch.linspace(0, num_rows(x) - 1, min(num_rows(x), MONITORED_ROWS)).round().long()
        self._monitored = take_rows(x, index.to(y.device))
        differ = [name for name in layout.shapes if not (name in layout.points and is_shared(point))]
        width = Size.of(model.network, x, differ).drawn
        self._chains = max(1, _NUMBERS // (num_rows(x) * width))

    def __call__(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log density, ``(S,)``, and its gradient, ``(S, P)``."""
        pairs = zip(flat.split(self._chains), self._point.split(self._chains), strict=True)
        parts = [self._evaluate(each, point) for each, point in pairs]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([value for value, _ in parts]), torch.cat([gradient for _, gradient in parts])

    def _evaluate(self, flat: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = flat.detach().requires_grad_()
            with _LogLikelihoodPerDraw(_with_row_axis(self._layout.values(leaf, point))) as likelihood:
                self._model(self._x, self._y)
            value = likelihood.log_prob + log_prior(self._sites, self._layout, leaf, point)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    @torch.no_grad()
    def function_values(self, flat: Tensor) -> Tensor:
        """Evaluate the network at some of the rows, spread over the data."""
        f = self._outputs(flat, self._point).reshape(len(flat), -1)
        watched = f if f.shape[1] else flat  # a network without outputs is a density of its own
        return watched[:, :_MONITORED_VALUES]

    def _outputs(self, flat: Tensor, point: Tensor) -> Tensor:
        values = self._layout.values(flat, point)
        names = [name for name, _ in self._model.network.named_parameters() if name in values]
        f = call(self._model.network, _with_row_axis({name: values[name] for name in names}), self._monitored)
        return f if names else f.expand(len(flat), *f.shape)


def _with_row_axis(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the axis of the data plate, which becomes that of the network's rows."""
    return {name: value.unsqueeze(1) for name, value in values.items()}


class _LogLikelihoodPerDraw(LogLikelihood):
    """Keeps the log likelihood per draw, ``(S,)``."""

    def _reduced(self, log_prob: Tensor) -> Tensor:
        return log_prob.sum(-1)
