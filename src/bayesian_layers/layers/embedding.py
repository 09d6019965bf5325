"""Embeddings."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import DataError
from ..priors import Prior
from ..saving.schema import SCALE, Bool, Integer, Null, optional
from .base import Twin, remember_weight_and_bias

ARGUMENTS = {
    "num_embeddings": Integer(1, 2**31 - 1),
    "embedding_dim": Integer(1, 2**31 - 1),
    "padding_idx": optional(Integer(0, 2**31 - 1)),
    "max_norm": Null(),
    "norm_type": SCALE,
    "scale_grad_by_freq": Bool(),
    "sparse": Bool(),
    "_weight": Null(),
    "_freeze": Bool(),
}
# Values and frozen parameters are stored with the parameters.
READ = {"_weight": lambda _: None, "_freeze": lambda _: False}

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


class Embedding(Twin, nn.Embedding):
    r"""``torch.nn.Embedding`` with a prior on its weight.

    The row ``padding_idx`` is zero in every draw: its site has entries there, which the network does not see, and whose
    posterior is their prior. Priors with a scale by fan-in read the embedding's width as the fan-in.

    Args:
        num_embeddings: Rows of the table.
        embedding_dim: Width of the table.
        padding_idx: Row that stays zero, or ``None``.
        max_norm: ``None``: torch writes to the weight where it is given.
        norm_type: As in torch; of no effect without ``max_norm``.
        scale_grad_by_freq: ``False``: the gradient would be of something else than the ELBO.
        sparse: ``False``: the guide's parameters have dense gradients.
        _weight: As in torch.
        _freeze: As in torch.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weight; ``None`` is the library's default prior.

    Shape:
        Input of whole numbers ``(...)``, output ``(..., embedding_dim)``.

    Raises:
        DataError: If ``max_norm``, ``scale_grad_by_freq`` or ``sparse`` is given.
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
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            _freeze,
            device,
            dtype,
        )
        check_embeddings(self)
        remember_weight_and_bias(self, prior, None)


def check_embeddings(network: nn.Module) -> None:
    """Refuse what torch's embeddings do beside looking up, wherever they stand in a network."""
    for name, module in network.named_modules():
        if isinstance(module, _EMBEDDINGS):
            for argument, why in _REFUSED.items():
                if getattr(module, argument):
                    raise DataError(
                        f"an embedding{f' (`{name}`)' * bool(name)} must be without `{argument}`, which {why}; "
                        f"received {getattr(module, argument)!r}"
                    )


_REFUSED = {
    "max_norm": "writes to the weight in each call",
    "scale_grad_by_freq": "makes the gradient another than the ELBO's",
    "sparse": "gives gradients that flat parameters cannot take",
}


def padding_rows(network: nn.Module) -> dict[int, int]:
    """Find the rows of embeddings that are zero whatever is drawn."""
    return {
        id(module.weight): module.padding_idx
        for module in network.modules()
        if isinstance(module, _EMBEDDINGS) and module.padding_idx is not None
    }
