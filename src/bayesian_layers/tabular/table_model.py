"""A Bayesian network for a table: the schema and the posterior, kept together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from .. import likelihoods, saving
from ..errors import DataError, StorageError
from ..fitting import FitResult, fit
from ..layers import Linear
from ..model import BayesianModel
from ..noise import seeded
from ..posterior import Posterior, load
from ..priors import Normal
from .schema import TableSchema

if TYPE_CHECKING:
    import pandas

_DOCUMENT = "table"
_FULL_BATCH, _BATCH = 4096, 1024  # rows up to which every step sees all of them, and else how many
_LIKELIHOODS = {
    "binary": likelihoods.Bernoulli,
    "multiclass": likelihoods.Categorical,
    "regression": likelihoods.Normal,
}


@dataclass(frozen=True)
class TableModel:
    """A fitted network that takes tables and answers in the table's own terms."""

    # How columns become inputs, and predictions the target's units or classes.
    schema: TableSchema
    # The posterior of the network.
    posterior: Posterior

    def predict(self, frame: pandas.DataFrame, num_draws: int = 1000, seed: int = 0) -> pandas.DataFrame:
        """Predict the rows of a table."""
        p = self.posterior.predict(self.schema.inputs(frame), num_draws, seed)
        return self.schema.predictions_frame(p.mean, p.epistemic_std, p.aleatoric_std, p.std)

    def save(self, folder: str | Path) -> None:
        """Write posterior and schema to one folder; see :meth:`Posterior.save`."""
        self.posterior.save(folder, extra_documents={_DOCUMENT: self.schema.to_document()})

    @classmethod
    def load(cls, folder: str | Path) -> TableModel:
        """Read what :meth:`save` wrote."""
        document = saving.read_folder(folder).documents.get(_DOCUMENT)
        if document is None:
            raise StorageError(f"{folder} holds a posterior that was not fitted to a table; use bl.load")
        schema, posterior = TableSchema.from_document(document), load(folder)
        first = next(posterior.model.network.parameters())
        if first.shape[-1] != len(schema.input_names):
            raise StorageError(
                f"{folder} holds a schema of {len(schema.input_names)} inputs for a network of "
                f"{first.shape[-1]}"
            )
        return cls(schema, posterior)


def make_network(
    schema: TableSchema, hidden: Sequence[int] = (20,), prior_scale: float = 1.0
) -> nn.Sequential:
    """Build a dense network of the sizes that a table needs, with tanh between the layers."""
    if any(units < 1 for units in hidden):
        raise DataError(f"each hidden layer needs at least one unit; received {list(hidden)}")
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
    """Fit a Bayesian network to a table."""
    # Numeric columns are standardized, categories one-hot; the likelihood follows the task (Bernoulli, Categorical,
    # Normal with a learned noise scale).
    x, y = schema.inputs(frame), schema.targets(frame)
    with seeded(seed):
        network = make_network(schema, hidden, prior_scale)
    model = BayesianModel(network, _LIKELIHOODS[schema.task]())
    if batch_size is None and len(y) > _FULL_BATCH:
        batch_size = _BATCH
    result = fit(model, x, y, seed=seed, batch_size=batch_size, **fit_options)
    known = result.posterior.data_schema
    result.posterior.data_schema = known and known.named(schema.input_names)
    return TableModel(schema, result.posterior), result
