"""A posterior from the files that it wrote."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from .. import documents, sources, storage
from .posterior import Posterior


def load(folder: str | Path, network: nn.Module | None = None) -> Posterior:
    """Read a posterior that ``save`` wrote. Files are data: nothing in them decides what code runs.

    Args:
        folder: The folder.
        network: Needed where the network is not made of torch's and the library's own modules alone: one of
            the same architecture, whose parameters' names and shapes are checked; it is only read.

    Returns:
        The posterior, on the CPU, or with ``network`` on its device.

    Raises:
        StorageError: If anything is damaged, unknown, or not of this network.
    """
    stored = storage.read_folder(folder)
    document = documents.check_posterior(stored.documents.get("posterior"))
    model = documents.build_model(document["model"], network, stored.header)
    source = sources.build(document["source"], model)
    state = {
        **{f"network.{name}": value for name, value in model.network.state_dict().items()},
        **{f"source.{name}": value for name, value in source.state_dict().items()},
        **documents.prior_arrays(model.network),
    }
    arrays = stored.load_arrays({name: storage.ArraySpec.of(value) for name, value in state.items()})
    documents.fill(model.network, arrays, "network.", keep_tensors=network is not None)
    documents.fill(source, arrays, "source.", keep_tensors=network is not None)
    documents.fill_priors(model.network, arrays)
    facts = {name: document[name] for name in ("elbo", "kl_weight", "converged")}
    return Posterior(model, source, **facts)
