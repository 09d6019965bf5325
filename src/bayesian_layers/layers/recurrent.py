"""Recurrent layers: one draw of the weights for the whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from ..priors import Prior
from ..saving.schema import Bool, Integer, Number, String
from .base import BayesianLayer, BiasPrior, set_layer_priors

ARGUMENTS = {
    **dict.fromkeys(("input_size", "hidden_size"), Integer(1, 2**31 - 1)),
    **dict.fromkeys(("batch_first", "bidirectional"), Bool()),
    "num_layers": Integer(1, 1000),
    "nonlinearity": String(("tanh", "relu")),
    "dropout": Number(0),
    "proj_size": Integer(0, 2**31 - 1),
}


def _modules(arguments: Mapping[str, Any]) -> int:
    return 2 * arguments.get("num_layers", 1)  # each direction of each layer has up to five parameters


MODULES = dict.fromkeys(("RNN", "LSTM", "GRU"), _modules)


class LSTM(BayesianLayer, nn.LSTM):
    """``torch.nn.LSTM`` with priors on its weights and biases, drawn once for a sequence.

    Like torch's layer it returns a tuple, of which :class:`Take` takes one entry, and accepts packed sequences. Many
    draws go through time together. Use ``batch_first=True``, since the rows of ``x`` are the first axis.
    The arguments are those of ``torch.nn.LSTM``, and ``prior`` and ``bias_prior`` of :class:`Linear`.

    References:
        Fortunato, Blundell & Vinyals (2017), "Bayesian recurrent neural networks", arXiv 1704.02798.

    Example:
        >>> import torch
        >>> output, (h, c) = LSTM(2, 3, batch_first=True)(torch.ones(5, 7, 2))
        >>> output.shape, h.shape
        (torch.Size([5, 7, 3]), torch.Size([1, 5, 3]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        super().__init__(*sizes, bias, batch_first, dropout, bidirectional, proj_size, device, dtype)
        set_layer_priors(self, prior, bias_prior)


class GRU(BayesianLayer, nn.GRU):
    """``torch.nn.GRU`` with priors on its weights and biases, drawn once for a sequence; see :class:`LSTM`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        super().__init__(*sizes, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype)
        set_layer_priors(self, prior, bias_prior)


class RNN(BayesianLayer, nn.RNN):
    """``torch.nn.RNN`` with priors on its weights and biases, drawn once for a sequence; see :class:`LSTM`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        sizes = input_size, hidden_size, num_layers, nonlinearity
        super().__init__(*sizes, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype)
        set_layer_priors(self, prior, bias_prior)
