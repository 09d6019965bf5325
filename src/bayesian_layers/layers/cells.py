"""Recurrent cells, for a loop over time of your own: one draw of the weights for a whole forward pass."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..priors import Prior
from ..saving.schema import Integer, String
from .base import BayesianLayer, BiasPrior, set_layer_priors

ARGUMENTS = {
    **dict.fromkeys(("input_size", "hidden_size"), Integer(1, 2**31 - 1)),
    "nonlinearity": String(("tanh", "relu")),
}


class _GatedCell(BayesianLayer):
    """The constructor of cells without a choice of nonlinearity."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        set_layer_priors(self, prior, bias_prior)


class LSTMCell(_GatedCell, nn.LSTMCell):
    """``torch.nn.LSTMCell`` with priors on its weights and biases: one time step of an :class:`LSTM`.

    The arguments are those of ``torch.nn.LSTMCell``, and ``prior`` and ``bias_prior`` of :class:`Linear`.

    Example:
        >>> import torch
        >>> h, c = LSTMCell(2, 3)(torch.ones(5, 2))
        >>> h.shape, c.shape
        (torch.Size([5, 3]), torch.Size([5, 3]))
    """


class GRUCell(_GatedCell, nn.GRUCell):
    """``torch.nn.GRUCell`` with priors on its weights and biases: one time step of a :class:`GRU`.

    The arguments are those of ``torch.nn.GRUCell``, and ``prior`` and ``bias_prior`` of :class:`Linear`.

    Example:
        >>> import torch
        >>> GRUCell(2, 3)(torch.ones(5, 2)).shape
        torch.Size([5, 3])
    """


class RNNCell(BayesianLayer, nn.RNNCell):
    """``torch.nn.RNNCell`` with priors on its weights and biases: one time step of an :class:`RNN`.

    The arguments are those of ``torch.nn.RNNCell``, and ``prior`` and ``bias_prior`` of :class:`Linear`.

    Example:
        >>> import torch
        >>> RNNCell(2, 3)(torch.ones(5, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(input_size, hidden_size, bias, nonlinearity, device, dtype)
        set_layer_priors(self, prior, bias_prior)
