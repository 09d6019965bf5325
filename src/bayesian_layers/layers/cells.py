"""Recurrent cells, for loops of one's own: one draw of the weights for all of a forward pass."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..priors import Prior
from ..saving.schema import Integer, String
from .base import BiasPrior, Twin, remember_weight_and_bias

ARGUMENTS = {
    **dict.fromkeys(("input_size", "hidden_size"), Integer(1, 2**31 - 1)),
    "nonlinearity": String(("tanh", "relu")),
}


class LSTMCell(Twin, nn.LSTMCell):
    r"""``torch.nn.LSTMCell`` with priors on its weights and biases: one time step of an :class:`LSTM`.

    Args:
        input_size: Entries of the input, D.
        hidden_size: Entries of the state, H.
        bias: Whether there are biases.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weights; ``None`` is the library's default prior.
        bias_prior: Prior of the biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        Input ``(N, D)`` and states ``(N, H)`` twice, ``h`` and ``c``, or none for zeros; output the new states.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

    Example:
        >>> import torch
        >>> h, c = LSTMCell(2, 3)(torch.ones(5, 2))
        >>> h.shape, c.shape
        (torch.Size([5, 3]), torch.Size([5, 3]))
    """

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
        remember_weight_and_bias(self, prior, bias_prior)


class GRUCell(Twin, nn.GRUCell):
    r"""``torch.nn.GRUCell`` with priors on its weights and biases: one time step of a :class:`GRU`.

    Args:
        input_size: Entries of the input, D.
        hidden_size: Entries of the state, H.
        bias: Whether there are biases.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weights; ``None`` is the library's default prior.
        bias_prior: Prior of the biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        Input ``(N, D)`` and state ``(N, H)``, or none for zeros; output the new state.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

    Example:
        >>> import torch
        >>> GRUCell(2, 3)(torch.ones(5, 2)).shape
        torch.Size([5, 3])
    """

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
        remember_weight_and_bias(self, prior, bias_prior)


class RNNCell(Twin, nn.RNNCell):
    r"""``torch.nn.RNNCell`` with priors on its weights and biases: one time step of an :class:`RNN`.

    Args:
        input_size: Entries of the input, D.
        hidden_size: Entries of the state, H.
        bias: Whether there are biases.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weights; ``None`` is the library's default prior.
        bias_prior: Prior of the biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        Input ``(N, D)`` and state ``(N, H)``, or none for zeros; output the new state.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

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
        remember_weight_and_bias(self, prior, bias_prior)
