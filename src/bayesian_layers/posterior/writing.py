"""A posterior to a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data_schema import DataSchema
from ..draw_sources import DrawSource
from ..model import BayesianModel
from ..refinement import Refinement
from ..saving import model_card, write_folder
from ..saving.posterior_document import VERSION, check_posterior
from ..saving.versions import versions


def write(
    folder: str | Path,
    model: BayesianModel,
    source: DrawSource,
    *,
    facts: Mapping[str, Any],
    refinement: Refinement | None,
    data_schema: DataSchema | None,
    extra_documents: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write a posterior; see :meth:`Posterior.save`."""
    document = {
        "version": VERSION,
        "model": model.spec(),
        "source": source.spec(),
        "data": None if data_schema is None else data_schema.spec(),
        "refinement": None if refinement is None else refinement.spec(),
        "versions": versions(),
        **facts,
    }
    check_posterior(document)  # what could not be read back is not written
    shapes = {name: value.shape for name, value in model.network.named_parameters()}
    card = model_card.write(document, shapes, others=list(extra_documents))
    documents = {"posterior": document, **extra_documents}
    write_folder(folder, arrays(model, source), documents, {"MODEL_CARD": card})


def arrays(model: BayesianModel, source: DrawSource) -> dict[str, Tensor]:
    """Return all arrays of a posterior, under the names that they have in its folder."""
    return {**model.arrays(), **{f"source.{name}": value for name, value in source.state_dict().items()}}
