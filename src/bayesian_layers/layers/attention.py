"""Attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ..priors import Prior
from ..saving.schema import AnyOf, Bool, Integer, Number, String, optional
from .base import BiasPrior, Twin, remember_weight_and_bias

_SIZE = Integer(1, 2**31 - 1)
ARGUMENTS = {
    **dict.fromkeys(("embed_dim", "num_heads", "d_model", "nhead", "dim_feedforward"), _SIZE),
    **dict.fromkeys(("kdim", "vdim"), optional(_SIZE)),
    **dict.fromkeys(("add_bias_kv", "add_zero_attn", "batch_first", "norm_first"), Bool()),
    **dict.fromkeys(("dropout", "layer_norm_eps"), Number(0)),
    "activation": AnyOf((String(("relu", "gelu")),), "one of torch's names of an activation"),
}
_ACTIVATIONS: dict[Any, str] = {functional.relu: "relu", functional.gelu: "gelu"}


def _bias(module: Any) -> bool:
    return (module.linear1.bias if hasattr(module, "linear1") else module.in_proj_bias) is not None


def _of_attention(name: str) -> Callable[[Any], Any]:
    """An argument that the layer hands on to the attention inside it."""
    return lambda module: getattr(getattr(module, "self_attn", module), name)


READ: dict[str, Callable[[Any], Any]] = {
    "bias": _bias,
    "add_bias_kv": lambda module: module.bias_k is not None,
    "batch_first": _of_attention("batch_first"),
    "dropout": _of_attention("dropout"),
    "d_model": _of_attention("embed_dim"),
    "nhead": _of_attention("num_heads"),
    "dim_feedforward": lambda module: module.linear1.out_features,
    "activation": lambda module: _ACTIVATIONS.get(module.activation),
    "layer_norm_eps": lambda module: module.norm1.eps,
}
MODULES = {"MultiheadAttention": lambda _: 2, "TransformerEncoderLayer": lambda _: 10}


class MultiheadAttention(Twin, nn.MultiheadAttention):
    r"""``torch.nn.MultiheadAttention`` with priors on its weights and biases, those of its output too.

    Returns what torch's layer returns, a tuple, and takes its masks; :class:`SelfAttention` makes it a layer of one
    input and one output. The keys and values that ``add_bias_kv`` appends count as biases.

    Args:
        embed_dim: Entries of a query and of the output, E.
        num_heads: As in torch.
        dropout: As in torch.
        bias: Whether there are biases.
        add_bias_kv: As in torch.
        add_zero_attn: As in torch.
        kdim: As in torch.
        vdim: As in torch.
        batch_first: Whether the rows stand in front, as this library needs them at a network's input.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weights; ``None`` is the library's default prior.
        bias_prior: Prior of the biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        With ``batch_first`` inputs ``(N, T, E)``; output ``(N, T, E)`` and the attention's weights, as in torch.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

    Example:
        >>> import torch
        >>> x = torch.ones(5, 7, 4)
        >>> output, weights = MultiheadAttention(4, num_heads=2, batch_first=True)(x, x, x)
        >>> output.shape, weights.shape
        (torch.Size([5, 7, 4]), torch.Size([5, 7, 7]))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(
            embed_dim,
            num_heads,
            dropout,
            bias,
            add_bias_kv,
            add_zero_attn,
            kdim,
            vdim,
            batch_first,
            device,
            dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)


class TransformerEncoderLayer(Twin, nn.TransformerEncoderLayer):
    r"""``torch.nn.TransformerEncoderLayer`` with priors on its weights and biases.

    Those of its two layer normalisations are point estimates; ``bayesianize`` can give them priors. Masks are taken as
    in torch.

    Args:
        d_model: Entries of the input at each position, E.
        nhead: As in torch.
        dim_feedforward: As in torch.
        dropout: As in torch.
        activation: As in torch.
        layer_norm_eps: As in torch.
        batch_first: Whether the rows stand in front, as this library needs them at a network's input.
        norm_first: As in torch.
        bias: Whether there are biases.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weights; ``None`` is the library's default prior.
        bias_prior: Prior of the biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        With ``batch_first`` input and output ``(N, T, E)``.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

    Example:
        >>> import torch
        >>> TransformerEncoderLayer(4, nhead=2, dim_feedforward=8, batch_first=True)(torch.ones(5, 7, 4)).shape
        torch.Size([5, 7, 4])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = functional.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
            bias,
            device,
            dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)
