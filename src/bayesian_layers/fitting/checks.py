"""Checks of a fit's data before the first step: shapes, values, and their scale."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..data_schema import DataSchema
from ..errors import DataError, SiteError
from ..guides import Guide
from ..guides.base import check_is_guide
from ..guides.layout import Layout, flatten
from ..handlers import check_kl_weight
from ..model import BayesianModel
from ..network import (
    Inputs,
    draws_random_numbers,
    evaluating,
    explain_errors,
    named_parts,
    num_rows,
    output_shape,
    take_rows,
    treats_rows_alone,
)
from ..private_apis import BATCH_NORM
from .buffers import keep_buffers

# Values above _LARGE or below _SMALL, and means above _OFFSET standard deviations, are far from unit scale.
_LARGE, _SMALL, _OFFSET = 30.0, 0.03, 10.0
_ROWS = 5  # on which the network is run


def check_guide(guide: Guide, model: BayesianModel, kl_weight: float | Mapping[str, float]) -> None:
    """Raise if the guide cannot be trained, or if guide or KL weights do not fit the model."""
    check_is_guide(guide)
    if any(parameter.is_inference() for parameter in guide.parameters()):
        raise DataError("`guide` cannot be trained: make it outside of torch.inference_mode()")
    guide.check_made_for(model)
    check_kl_weight(kl_weight, set(guide.shapes))


def no_priors(model: BayesianModel) -> list[str]:
    """Return a warning if no parameter has a prior."""
    if any(site.prior is not None for site in model.sites().values()):
        return []
    return [
        "no parameter has a prior, so this is maximum likelihood and every epistemic standard deviation is 0; "
        "use bl.bayesianize on the network, or build it from the library's layers"
    ]


def scale_warnings(x: Inputs, targets: Mapping[str, Tensor]) -> list[str]:
    """Return warnings if data are far from the unit scale that the default priors assume."""
    return [
        f"`{name}` is far from unit scale ({what}); standardize it: the default priors assume unit scale"
        for name, part in [*named_parts(x), *targets.items()]
        if part.is_floating_point() and part[1:].numel() and (what := _off_scale(part.detach().float()))
    ]


def _off_scale(values: Tensor) -> str:
    # Images and sequences are judged as a whole: a single pixel may be almost constant.
    columns = values.reshape(-1, 1) if values.dim() > 2 else values.reshape(len(values), -1)
    largest = columns.abs().amax(0)
    spread, mean = columns.std(0), columns.mean(0).abs()
    if (largest > _LARGE).any():
        return f"values up to {float(largest.max()):.3g}"
    if ((largest < _SMALL) & (largest > 0)).any():
        return f"a column within {float(largest[largest > 0].min()):.3g} of 0"
    if ((mean > _OFFSET * spread) & (spread > 1e-6 * mean)).any():
        return "a column's mean is over ten times its standard deviation"
    return ""


def coupled_rows(network: nn.Module, x: Inputs) -> list[str]:
    """Return a warning if, in evaluation mode, the output on a row depends on the other rows of its batch."""

    def f(x: Inputs) -> Tensor:
        return network(*(x if isinstance(x, tuple) else (x,)))

    with evaluating(network):
        if treats_rows_alone(f, x) or draws_random_numbers(f, x):
            return []
    return [
        "the network's output on a row depends on the other rows of the batch, so predictions depend on which rows are "
        "predicted together; make it depend on that row alone: batch_first=True for recurrent and attention layers, "
        "running statistics for batch normalization, no operation along the first axis"
    ]


def fresh_normalisation(network: nn.Module) -> list[str]:
    """Return a warning if normalisation layers have seen no data: a fit does not change their running statistics."""
    fresh = [
        name
        for name, module in network.named_modules()
        if isinstance(module, BATCH_NORM)
        and module.num_batches_tracked is not None
        and int(module.num_batches_tracked) == 0
    ]
    if not fresh:
        return []
    return [
        f"the running statistics of {fresh} are those of a new layer (mean 0, variance 1), and a fit does not "
        "change them; pass data through the network in training mode first, or pretrain it"
    ]


def _start(model: BayesianModel) -> dict[str, Tensor]:
    """Return two draws of a guide at its start, without noise."""
    sites = model.sites()
    layout = Layout.of(sites)
    random, points, drawn = (flatten(sites, names) for names in (layout.random, layout.points, layout.drawn))
    return layout.values(random.repeat(2, 1), points.repeat(2, 1), drawn.repeat(2, 1))


class DataCheck:
    """Checks that a fit's copy of a model can take data; keeps warnings about model and first batch, and its schema."""

    def __init__(self, model: BayesianModel, seed: int) -> None:
        if model.likelihood is None:
            raise SiteError(
                "the model has no likelihood to fit; pass one to BayesianModel(network, likelihood)"
            )
        self._model = model
        self._likelihood = model.likelihood
        self._seed = seed  # of a network that draws random numbers
        self.warnings: list[str] = []
        self.schema: DataSchema | None = None

    def __call__(self, x: Inputs, y: Tensor) -> None:
        """Check a batch."""
        likelihood = self._likelihood
        outputs = output_shape(self._model.network, x, self._seed, lambda: _start(self._model))
        likelihood.check(y, num_rows(x), outputs)
        if self.schema is None:
            self.warnings = [*no_priors(self._model), *scale_warnings(x, likelihood.scaled_targets(y))]
            self.warnings += self._network_warnings(x)
            self.schema = DataSchema.of(x, y)

    def _network_warnings(self, x: Inputs) -> list[str]:
        """Run the network on a few rows; what writes to buffers is put into evaluation mode."""
        network = self._model.network
        few = take_rows(x, torch.linspace(0, num_rows(x) - 1, _ROWS).round().long().unique())
        with explain_errors(network, x):
            return [*fresh_normalisation(network), *keep_buffers(network, few), *coupled_rows(network, few)]
