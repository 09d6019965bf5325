"""Sizes of one row's activations, and the work that all draws share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..network import Inputs, check_output, num_rows, take_rows, vmap_rules
from ..private_apis import DispatchMode, WeakIdKeyDictionary, flops, tree_leaves


@dataclass(frozen=True)
class Size:
    """Sizes of one row: in layers below the first weight that is drawn, whose results all draws share, and above."""

    shared: int  # numbers of the widest activation that is the same under all draws
    drawn: int  # numbers of the widest activation that each draw has for itself
    shared_work: int  # multiplications below the first weight that is drawn
    outputs: int  # numbers of the output
    number_bytes: int
    input_bytes: int

    @classmethod
    def of(cls, network: nn.Module, x: Inputs, drawn: Collection[str]) -> Size:
        """Measure by one call of the network, on one or two rows; ``drawn`` are the parameters that draws differ in."""
        few = min(2, num_rows(x))
        x = take_rows(x, slice(few))
        inputs = x if isinstance(x, tuple) else (x,)
        measured = _Measured(parameter for name, parameter in network.named_parameters() if name in drawn)
        with vmap_rules(network), measured, torch.no_grad():
            f = check_output(network(*inputs))
        return cls(
            shared=max(1, -(-measured.shared // few)),
            drawn=max(1, -(-max(measured.drawn, f.numel()) // few)),
            shared_work=measured.shared_work // few,
            outputs=max(1, f.numel() // few),
            number_bytes=f.element_size(),
            input_bytes=sum(part.numel() * part.element_size() for part in inputs) // few,
        )


class _Measured(DispatchMode):
    """Measures the tensors that operations allocate (views allocate none), apart for those that depend on a draw."""

    def __init__(self, drawn: Iterable[Tensor]) -> None:
        super().__init__()
        self.shared = self.drawn = self.shared_work = 0
        self._depends = WeakIdKeyDictionary()  # keys are tensors
        self._add(drawn)

    def _add(self, tensors: Iterable[Tensor]) -> None:
        for each in tensors:
            self._depends[each] = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        taken = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        results = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        # A random operation has numbers of its own for each draw.
        depends = torch.Tag.nondeterministic_seeded in func.tags or any(
            each in self._depends for each in taken
        )
        memory = {each.untyped_storage().data_ptr() for each in taken}
        made = [each.numel() for each in results if each.untyped_storage().data_ptr() not in memory]
        if depends:
            self._add(results)
            self.drawn = max([self.drawn, *made])
        else:
            self.shared = max([self.shared, *made])
            self.shared_work += flops(func, args, kwargs, result) // 2
        return result
