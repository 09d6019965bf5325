"""A posterior from the folder that it wrote."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..data_schema import DataSchema
from ..draw_sources import from_stored
from ..errors import SiteError, StorageError
from ..handlers import check_kl_weight
from ..model import BayesianModel
from ..network import dtype_and_device
from ..network.stored_network import fill_state
from ..refinement import Refinement
from ..saving import ArraySpec, read_folder
from ..saving.architecture import check_runs
from ..saving.posterior_document import check_posterior
from .posterior import Posterior
from .writing import arrays

MAX_BYTES = 4 * 2**30


def load(folder: str | Path, network: nn.Module | None = None, *, max_bytes: int = MAX_BYTES) -> Posterior:
    """Read a posterior that ``save`` wrote. Files are data: nothing in them decides what code runs.

    Args:
        folder: The folder.
        network: Needed where the network contains modules other than torch's and the library's own: one of
            the same architecture, whose parameters' names and shapes are checked; it is only read.
        max_bytes: The most bytes that the folder may ask for: its files, and what its documents, its network and
            its guide take once they are built. It is checked before memory is taken; loading may take twice as much.

    Returns:
        The posterior, on the CPU, or with ``network`` on its device.

    Raises:
        StorageError: If anything is damaged, unknown, too large, or not of this network.
        DataError: If ``max_bytes`` is not an integer above 0.
        TypeError: If ``network`` is not a network.
    """
    if network is not None and (not isinstance(network, nn.Module) or isinstance(network, BayesianModel)):
        hint = " Pass model.network." if isinstance(network, BayesianModel) else ""
        raise TypeError(
            f"`network` must be a network, a torch module; received {type(network).__name__}.{hint}"
        )
    stored = read_folder(folder, max_bytes)
    document = check_posterior(stored.documents.get("posterior"))
    refinement, data = document["refinement"], document["data"]
    facts = {name: document[name] for name in ("elbo", "kl_weight", "converged")}
    refined = None if refinement is None else Refinement.from_spec(refinement)
    data_schema = None if data is None else DataSchema.from_spec(data)
    # Built first, as the arrays must be those of the model and the draws; filled when all of them are known.
    model = BayesianModel.from_spec(document["model"], stored, network)
    source = from_stored(document["source"], model, stored)
    _check_kl_weight(facts["kl_weight"], model)
    expected = {name: ArraySpec.of(value) for name, value in arrays(model, source).items()}
    loaded = stored.load_arrays(expected)
    model.fill(loaded, keep_tensors=network is not None)
    fill_state(source, loaded, "source.", keep_tensors=False)
    source.check_loaded(model)
    model.eval()
    if network is None and data_schema is not None:
        check_runs(model.network, _row(data_schema, model))
    return Posterior(model, source, **facts, refinement=refined, data_schema=data_schema)


def _check_kl_weight(kl_weight: float | dict[str, float], model: BayesianModel) -> None:
    try:
        check_kl_weight(kl_weight, set(model.sites()))
    except SiteError as error:
        raise StorageError(f"the stored posterior does not belong to its model: {error}") from error


def _row(data_schema: DataSchema, model: BayesianModel) -> list[ArraySpec]:
    """What one row of the inputs is in the network, whose dtype floating inputs take."""
    dtype, _ = dtype_and_device(model.network)
    kinds = [getattr(torch, each.dtype) for each in data_schema.inputs]
    return [
        ArraySpec(dtype if kind.is_floating_point else kind, each.shape)
        for kind, each in zip(kinds, data_schema.inputs, strict=True)
    ]
