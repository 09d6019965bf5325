"""A posterior from the files that it wrote."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from .. import saving
from ..draw_sources import sources
from ..refinement import Refinement
from ..saving import architecture, documents
from .posterior import Posterior

MAX_BYTES = 4 * 2**30


def load(folder: str | Path, network: nn.Module | None = None, *, max_bytes: int = MAX_BYTES) -> Posterior:
    """Read a posterior that ``save`` wrote. Files are data: nothing in them decides what code runs.

    Args:
        folder: The folder.
        network: Needed where the network is not made of torch's and the library's own modules alone: one of
            the same architecture, whose parameters' names and shapes are checked; it is only read.
        max_bytes: The most that the folder may ask for, in bytes: its files, and what its documents, its network and
            its guide take once they are built. It is judged before memory is taken; loading may take twice as much.

    Returns:
        The posterior, on the CPU, or with ``network`` on its device.

    Raises:
        StorageError: If anything is damaged, unknown, too large, or not of this network.
        DataError: If ``max_bytes`` is no whole number above 0.
    """
    stored = saving.read_folder(folder, max_bytes)
    document = documents.check_posterior(stored.documents.get("posterior"))
    refinement = Refinement.from_document(document.get("refinement"))
    data_schema = documents.data_schema(document["data"])
    described = [document["model"]["network"]] if network is None else []
    described += [(document["model"]["likelihood"] or {}).get("flow")]
    stored.reserve(sum(map(architecture.most_memory, described)), f"the network of {folder}")
    model = documents.build_model(document["model"], network, stored.header)
    needed = sources.check_size(document["source"], model, stored.header)
    stored.reserve(needed, f"the guide or the draws of {folder}")
    source = sources.build(document["source"], model)
    own = documents.likelihood_module(model)
    state = {
        **{f"network.{name}": value for name, value in model.network.state_dict().items()},
        **{f"likelihood.{name}": value for name, value in own.state_dict().items()},
        **{f"source.{name}": value for name, value in source.state_dict().items()},
        **documents.prior_arrays(model.network),
    }
    arrays = stored.load_arrays({name: saving.ArraySpec.of(value) for name, value in state.items()})
    documents.fill(model.network, arrays, "network.", keep_tensors=network is not None)
    documents.fill(own, arrays, "likelihood.", keep_tensors=False)
    documents.fill(source, arrays, "source.", keep_tensors=False)
    documents.fill_priors(model.network, arrays)
    documents.check_model(model)
    sources.check(source, model)
    facts = {name: document[name] for name in ("elbo", "kl_weight", "converged")}
    return Posterior(model, source, **facts, refinement=refinement, data_schema=data_schema)
