"""A Bayesian network for a table: the schema of the table and the posterior."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from .. import likelihoods, saving
from ..arguments import check_integer
from ..errors import StorageError
from ..fitting.fit import fit
from ..fitting.result import FitResult
from ..layers import Linear
from ..model import BayesianModel
from ..noise import seeded
from ..posterior import Posterior, load
from ..priors import Normal
from ..saving import strict_json
from .schema import TableSchema

if TYPE_CHECKING:
    import pandas

_DOCUMENT = "table"
# Up to _FULL_BATCH rows every step sees all of them; with more rows it sees _BATCH of them.
_FULL_BATCH, _BATCH = 4096, 1024
_LIKELIHOODS = {
    "binary": likelihoods.Bernoulli,
    "multiclass": likelihoods.Categorical,
    "regression": likelihoods.Normal,
}


@dataclass(frozen=True)
class TableModel:
    """A fitted network whose inputs and predictions are tables."""

    schema: TableSchema
    posterior: Posterior

    def predict(self, frame: pandas.DataFrame, num_draws: int = 1000, seed: int = 0) -> pandas.DataFrame:
        """Predict the rows of a table; its columns may be in any order, and the target is ignored."""
        p = self.posterior.predict(self.schema.inputs(frame), num_draws, seed)
        return self.schema.predictions_frame(p.mean, p.epistemic_std, p.aleatoric_std, p.std)

    def save(self, folder: str | Path) -> None:
        """Write posterior and schema to one folder, as ``Posterior.save`` does."""
        self.posterior.save(folder, extra_documents={_DOCUMENT: self.schema.to_document()})

    @classmethod
    def load(cls, folder: str | Path) -> TableModel:
        """Read a folder that ``save`` wrote."""
        document = saving.read_folder(folder).documents.get(_DOCUMENT)
        if document is None:
            raise StorageError(f"{folder} contains a posterior that was not fitted to a table; use bl.load")
        schema, posterior = TableSchema.from_document(document), load(folder)
        first = next(posterior.model.network.parameters())
        if first.shape[-1] != len(schema.input_names):
            raise StorageError(
                f"{folder} contains a schema with {len(schema.input_names)} inputs, but its network has "
                f"{first.shape[-1]}"
            )
        return cls(schema, posterior)


def make_network(
    schema: TableSchema, hidden: Sequence[int] = (20,), prior_scale: float = 1.0
) -> nn.Sequential:
    """Build a dense network for a table, with tanh between the layers."""
    for units in hidden:
        check_integer("hidden", units, least=1, hint="Each hidden layer needs a unit.")
    outputs = len(schema.classes) if schema.task == "multiclass" else 1
    sizes = [len(schema.input_names), *hidden, outputs]
    prior = Normal(scale=prior_scale)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [Linear(before, after, prior=prior), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def fit_table(
    frame: pandas.DataFrame,
    schema: TableSchema,
    *,
    hidden: Sequence[int] = (20,),
    prior_scale: float = 1.0,
    seed: int = 0,
    batch_size: int | None = None,
    **fit_options: Any,
) -> tuple[TableModel, FitResult]:
    """Fit a Bayesian network to a table; other options are those of ``bl.fit``."""
    # What could not be saved is refused before the fit.
    strict_json.dump({"inputs": schema.input_names, **schema.to_document()}, "the schema of the table")
    x, y = schema.inputs(frame), schema.targets(frame)
    with seeded(seed):
        network = make_network(schema, hidden, prior_scale)
    model = BayesianModel(network, _LIKELIHOODS[schema.task]())
    if batch_size is None and len(y) > _FULL_BATCH:
        batch_size = _BATCH
    result = fit(model, x, y, seed=seed, batch_size=batch_size, **fit_options)
    result = replace(result, posterior=result.posterior.with_input_names(schema.input_names))
    return TableModel(schema, result.posterior), result
