"""What is checked before a fit: structure and values of the data, and their scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..data_schema import DataSchema
from ..errors import ShapeError
from ..model import BayesianModel, output_shape
from ..network import Inputs, named_parts, num_rows
from ..private_apis import BATCH_NORM

_LARGE, _SMALL, _OFFSET = 30.0, 0.03, 10.0


def check_targets(y: Tensor | None, n: int) -> Tensor:
    """Refuse targets that are no tensor, or of other rows than the inputs."""
    if not isinstance(y, Tensor):
        raise TypeError(f"`y` must be a torch tensor; received {type(y).__name__}. Use torch.as_tensor.")
    if y.dim() == 0 or len(y) != n:
        raise ShapeError("y", (n, "..."), y.shape, f"`x` has {n} rows.")
    return y


def no_priors(model: BayesianModel) -> list[str]:
    """Say so where nothing has a prior: such a fit is maximum likelihood, and is sure of everything."""
    if any(site.prior is not None for site in model.sites().values()):
        return []
    return [
        "no parameter has a prior, so this is maximum likelihood and every epistemic standard deviation is 0; "
        "use bl.bayesianize on the network, or build it from the library's layers"
    ]


def scale_warnings(x: Inputs, targets: Mapping[str, Tensor]) -> list[str]:
    """Say where data are far from the unit scale that priors of unit scale expect."""
    return [
        f"`{name}` is far from unit scale ({what}); standardize it, or the priors say something else than you think"
        for name, part in [*named_parts(x), *targets.items()]
        if part.is_floating_point() and part[1:].numel() and (what := _off_scale(part.detach().float()))
    ]


def _off_scale(values: Tensor) -> str:
    # Images and sequences as a whole: one pixel may be as good as constant.
    columns = values.reshape(-1, 1) if values.dim() > 2 else values.reshape(len(values), -1)
    largest = columns.abs().amax(0)
    spread, mean = columns.std(0), columns.mean(0).abs()
    if (largest > _LARGE).any():
        return f"values up to {float(largest.max()):.3g}"
    if ((largest < _SMALL) & (largest > 0)).any():
        return f"a column within {float(largest[largest > 0].min()):.3g} of 0"
    if ((mean > _OFFSET * spread) & (spread > 1e-6 * mean)).any():
        return "a column's mean is over ten times its deviation"
    return ""


def fresh_normalisation(network: nn.Module) -> list[str]:
    """Say which normalisation layers have seen no data: a fit uses their running statistics as they are."""
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
        f"the running statistics of {fresh} are still those of a new layer (mean 0, variance 1), and a fit does "
        "not change them; pass data through the network in training mode first, or pretrain it"
    ]


class DataCheck:
    """Refuses data that the model cannot take; of the first data that it sees it says what is odd.

    Args:
        model: The model, with a likelihood.
        seed: Of what is random in a network that is tried.

    Attributes:
        warnings: Sentences about the first data.
        schema: What they looked like; ``None`` before there were some.
    """

    def __init__(self, model: BayesianModel, seed: int) -> None:
        self._model = model
        self._seed = seed
        self.warnings: list[str] = []
        self.schema: DataSchema | None = None

    def __call__(self, x: Inputs, y: Tensor) -> None:
        """Check a batch."""
        likelihood: Any = self._model.likelihood
        likelihood.check(y, num_rows(x), output_shape(self._model, x, self._seed))
        if self.schema is None:
            self.warnings = scale_warnings(x, likelihood.scaled_targets(y))
            self.schema = DataSchema.of(x, y)
