"""Attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ..priors import Prior
from ..saving.schema import AnyOf, Bool, Integer, Number, String, optional
from .base import BayesianLayer, BiasPrior, set_layer_priors

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
    """Read an argument that a transformer layer passes to its attention."""
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


class MultiheadAttention(BayesianLayer, nn.MultiheadAttention):
    """``torch.nn.MultiheadAttention`` with priors on all its weights and biases, also of its output layer.

    Like torch's layer it returns a tuple and accepts masks; :class:`SelfAttention` makes it a layer with one input and
    one output. The keys and values that ``add_bias_kv`` appends count as biases. Use ``batch_first=True``, since the
    rows of ``x`` are the first axis.
    The arguments are those of ``torch.nn.MultiheadAttention``, and ``prior`` and ``bias_prior`` of :class:`Linear`.

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
        sizes, options = (embed_dim, num_heads), (add_bias_kv, add_zero_attn, kdim, vdim)
        super().__init__(*sizes, dropout, bias, *options, batch_first, device, dtype)
        set_layer_priors(self, prior, bias_prior)


class TransformerEncoderLayer(BayesianLayer, nn.TransformerEncoderLayer):
    """``torch.nn.TransformerEncoderLayer`` with priors on its weights and biases.

    Its two layer normalisations are point estimates; ``bayesianize`` can give them priors. Use ``batch_first=True``.
    The arguments are those of torch's layer, and ``prior`` and ``bias_prior`` of :class:`Linear`.

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
        sizes, options = (d_model, nhead, dim_feedforward), (batch_first, norm_first, bias)
        super().__init__(*sizes, dropout, activation, layer_norm_eps, *options, device, dtype)
        set_layer_priors(self, prior, bias_prior)
