"""Priors and frozen parameters of a network, in JSON's types."""

from __future__ import annotations

from typing import Any

from torch import nn

from ... import priors
from ...errors import StorageError
from ..document_schema import PARAMETERS
from ..schema import show


def describe_parameters(network: nn.Module, remembered: dict[int, Any]) -> dict[str, Any]:
    """Say of each parameter which prior it has and whether it is frozen."""
    return {
        name: {"prior": priors.to_document(remembered.get(id(value))), "frozen": not value.requires_grad}
        for name, value in network.named_parameters()
    }


def apply_parameters(network: nn.Module, document: Any) -> None:
    """Give a network the priors and frozen parameters that :func:`describe_parameters` described."""
    names = [name for name, _ in network.named_parameters()]
    PARAMETERS.check(document, "model.parameters")
    if document.keys() != set(names):
        raise StorageError(
            f"the file is of a network with the parameters {show(sorted(document), 300)}; "
            f"this one has {show(sorted(names), 300)}"
        )
    found = {}
    for name, parameter in network.named_parameters():
        found[id(parameter)] = priors.from_document(document[name]["prior"], parameter)
        parameter.requires_grad_(not document[name]["frozen"])
    priors.set_priors_by_id(network, found)
