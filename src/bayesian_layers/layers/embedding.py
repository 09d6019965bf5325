"""Embeddings."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import DataError
from ..priors import Prior
from ..saving.schema import SCALE, Bool, Integer, Null, optional
from .base import BayesianLayer, set_layer_priors

ARGUMENTS = {
    **dict.fromkeys(("num_embeddings", "embedding_dim"), Integer(1, 2**31 - 1)),
    "padding_idx": optional(Integer(0, 2**31 - 1)),
    **dict.fromkeys(("max_norm", "_weight"), Null()),
    "norm_type": SCALE,
    **dict.fromkeys(("scale_grad_by_freq", "sparse", "_freeze"), Bool()),
}
# Values and frozen parameters are stored with the parameters.
READ = {"_weight": lambda _: None, "_freeze": lambda _: False}

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_UNSUPPORTED = {
    "max_norm": "it writes to the weight in each call",
    "scale_grad_by_freq": "the gradient would not be that of the ELBO",
    "sparse": "the parameters of a guide need dense gradients",
}


class Embedding(BayesianLayer, nn.Embedding):
    """``torch.nn.Embedding`` with a prior on its weight.

    The row ``padding_idx`` is zero in every draw. Its site has entries for this row, which the network does not see and
    whose posterior is their prior. Priors with ``scale="fan_in"`` use the embedding's width as the fan-in.

    Args: as ``torch.nn.Embedding`` without ``max_norm``, ``scale_grad_by_freq`` and ``sparse``, and:
        prior: Prior of the weight; ``None`` is the library's default prior.

    Raises:
        DataError: If ``max_norm``, ``scale_grad_by_freq`` or ``sparse`` is set.
        TypeError: If the prior is not one of ``bl.priors``.

    Example:
        >>> import torch
        >>> Embedding(10, 3, padding_idx=0)(torch.tensor([[4, 0]])).shape
        torch.Size([1, 2, 3])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
    ) -> None:
        sizes, options = (num_embeddings, embedding_dim), (max_norm, norm_type, scale_grad_by_freq, sparse)
        super().__init__(*sizes, padding_idx, *options, _weight, _freeze, device, dtype)
        check_embeddings(self)
        set_layer_priors(self, prior, None)


def check_embeddings(network: nn.Module) -> None:
    """Raise DataError if an embedding anywhere in a network has an option that the library does not support."""
    for path, module in network.named_modules():
        if isinstance(module, _EMBEDDINGS):
            for option, why in _UNSUPPORTED.items():
                if value := getattr(module, option):
                    where = f" (`{path}`)" if path else ""
                    raise DataError(
                        f"an embedding{where} must be without `{option}`: {why}; received {option}={value!r}"
                    )


def padding_rows(network: nn.Module) -> dict[int, int]:
    """Return the padding row of each embedding in a network that has one, by the ``id`` of its weight."""
    return {
        id(module.weight): module.padding_idx
        for module in network.modules()
        if isinstance(module, _EMBEDDINGS) and module.padding_idx is not None
    }
