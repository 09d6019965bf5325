"""Private APIs of torch and Pyro that the library uses: what a new release may change is in this file only.

Each has a test in ``tests/unit/test_private_apis.py``.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine.runtime import _PYRO_STACK
from torch import _VF, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

__all__ = [
    "BATCH_NORM",
    "CONVOLUTION",
    "PACK_SEQUENCE",
    "PAD_SEQUENCE",
    "RUNNING_NORM",
    "TRANSPOSED_CONVOLUTION",
    "DispatchMode",
    "WeakIdKeyDictionary",
    "changes_arguments",
    "flops",
    "fused_adam_",
    "kernel",
    "own_tensors",
    "pyro_handlers",
    "replaces_forward",
    "tree_leaves",
    "tree_map",
]

# Base classes that torch does not export.
BATCH_NORM = _BatchNorm
RUNNING_NORM = _NormBase  # batch and instance normalization
CONVOLUTION = _ConvNd
TRANSPOSED_CONVOLUTION = _ConvTransposeNd

# The functions that `torch.nn.utils.rnn` calls, for which vmap has no rule.
PACK_SEQUENCE = _VF._pack_padded_sequence
PAD_SEQUENCE = _VF._pad_packed_sequence


class DispatchMode(TorchDispatchMode):
    """Sees every operation that reaches torch's kernels, below autograd and vmap."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise torch wraps the class in a guard of its compiler, whose import takes a second and 100 MiB.
        return False


def fused_adam_(
    theta: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    clock: Tensor,
    rate: Tensor,
    *,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Adam as one operation and one pass over the memory; ``torch.optim`` has it only with its own bookkeeping."""
    torch.ops.aten._fused_adam_(
        [theta],
        [gradient],
        [moments[0]],
        [moments[1]],
        [],
        [clock],
        lr=rate,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=0.0,
        eps=epsilon,
        amsgrad=False,
        maximize=False,
    )


def changes_arguments(operation: Any) -> bool:
    """Check whether an operation that a :class:`DispatchMode` sees writes to one of its arguments."""
    return operation._schema.is_mutable


def flops(operation: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Count the multiplications and additions of a product or convolution; any other operation counts as none."""
    count = flop_registry.get(operation.overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=result))


def kernel(operation: Any) -> Any:
    """Return the builtin function of an operation, which is faster to call than its Python wrapper."""
    return operation._op


def replaces_forward(module: nn.Module) -> bool:
    """Check whether a call of a module does more than its class defines: hooks, or a ``forward`` of its own."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def own_tensors(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the dictionaries of a module's own parameters and buffers, which may be written to."""
    return module._parameters, module._buffers


def pyro_handlers() -> list[Any]:
    """Return the effect handlers that are active now, the outermost first."""
    return _PYRO_STACK
