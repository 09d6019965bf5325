"""Functions of torch that vmap has no rule for, rewritten in operations that it has rules for."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from . import recurrence


def _bilinear(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    f = torch.einsum("...i,kij,...j->...k", x1, weight, x2)
    return f if bias is None else f + bias


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (part.repeat_interleave(groups, -3) for part in (key, value))
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        above = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(above, -torch.inf)
    elif attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return functional.dropout(scores.softmax(-1), dropout_p) @ value


def _attention_layer(*args: Any, need_weights: bool = True, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    # The mode does not see the calls inside this function. With `need_weights` they are products and a softmax.
    f, weights = functional.multi_head_attention_forward(*args, need_weights=True, **kwargs)
    return f, weights if need_weights else None


_RULES: dict[Any, Any] = {
    functional.bilinear: _bilinear,
    functional.scaled_dot_product_attention: _attention,
    functional.multi_head_attention_forward: _attention_layer,
    **recurrence.RULES,
}
_WITHOUT_RULE = (nn.Bilinear, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.RNNBase, nn.RNNCellBase)
_KNOWN_MODULES = ("torch.nn.modules.", "bayesian_layers.layers.")


def vmap_rules(network: nn.Module) -> AbstractContextManager[Any]:
    """Return a context for vmap over a network's weights; it does nothing if vmap has rules for all of the layers."""
    plain = all(
        type(module).__module__.startswith(_KNOWN_MODULES) and not isinstance(module, _WITHOUT_RULE)
        for module in network.modules()
    )
    return nullcontext() if plain else _WithVmapRules()


class _WithVmapRules(TorchFunctionMode):
    """Replaces functions without a rule, which vmap would loop over with a warning."""

    # While a function mode is on, torch's transformer layers do not use their fused kernel, which has no rule either.
    # Torch's switch for that kernel acts on the whole process; a mode acts on this thread and this block only.

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _RULES.get(func, func)(*args, **(kwargs or {}))
