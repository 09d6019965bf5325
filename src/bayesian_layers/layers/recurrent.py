"""Recurrent layers: one draw of the weights for the whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from ..priors import Prior
from ..saving.schema import Bool, Integer, Number, String
from .base import BiasPrior, Twin, remember_weight_and_bias

_SIZE = Integer(1, 2**31 - 1)
ARGUMENTS = {
    **dict.fromkeys(("input_size", "hidden_size"), _SIZE),
    **dict.fromkeys(("batch_first", "bidirectional"), Bool()),
    "num_layers": Integer(1, 1000),
    "nonlinearity": String(("tanh", "relu")),
    "dropout": Number(0),
    "proj_size": Integer(0, 2**31 - 1),
}


def _modules(arguments: Mapping[str, Any]) -> int:
    return 2 * arguments.get("num_layers", 1)  # each direction of each layer has up to five parameters


MODULES = dict.fromkeys(("RNN", "LSTM", "GRU"), _modules)


class LSTM(Twin, nn.LSTM):
    r"""``torch.nn.LSTM`` with priors on its weights and biases, drawn once for a sequence.

    Returns what torch's layer returns, a tuple; :class:`Take` takes one entry of it. Packed sequences are taken
    too. Several draws go through time side by side.

    Args:
        input_size: Entries of the input at each step, D.
        hidden_size: Entries of the state, H.
        num_layers: As in torch.
        bias: Whether there are biases.
        batch_first: Whether the rows stand in front, as this library needs them at a network's input.
        dropout: As in torch.
        bidirectional: As in torch.
        proj_size: As in torch.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weights; ``None`` is the library's default prior.
        bias_prior: Prior of the biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        With ``batch_first`` input ``(N, T, D)``; output ``(N, T, H)`` and the last states, as in torch.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

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
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)


class GRU(Twin, nn.GRU):
    r"""``torch.nn.GRU`` with priors on its weights and biases, drawn once for a sequence; see :class:`LSTM`.

    Args:
        input_size: Entries of the input at each step, D.
        hidden_size: Entries of the state, H.
        num_layers: As in torch.
        bias: Whether there are biases.
        batch_first: Whether the rows stand in front, as this library needs them at a network's input.
        dropout: As in torch.
        bidirectional: As in torch.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weights; ``None`` is the library's default prior.
        bias_prior: Prior of the biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        With ``batch_first`` input ``(N, T, D)``; output ``(N, T, H)`` and the last state, as in torch.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
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
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)


class RNN(Twin, nn.RNN):
    r"""``torch.nn.RNN`` with priors on its weights and biases, drawn once for a sequence; see :class:`LSTM`.

    Args:
        input_size: Entries of the input at each step, D.
        hidden_size: Entries of the state, H.
        num_layers: As in torch.
        nonlinearity: As in torch.
        bias: Whether there are biases.
        batch_first: Whether the rows stand in front, as this library needs them at a network's input.
        dropout: As in torch.
        bidirectional: As in torch.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weights; ``None`` is the library's default prior.
        bias_prior: Prior of the biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        With ``batch_first`` input ``(N, T, D)``; output ``(N, T, H)`` and the last state, as in torch.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
    """

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
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            nonlinearity,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)
