"""A recorded function as a list of operations, and what can be left out of it without changing a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...private_apis import changes_arguments, tree_leaves, tree_map

_ATEN = torch.ops.aten
# With all elements in memory in their order, any chain of these is one `view`.
_RESHAPES = {
    _ATEN.view.default,
    _ATEN._unsafe_view.default,
    _ATEN.unsqueeze.default,
    _ATEN.squeeze.dim,
    _ATEN.squeeze.default,
}
_PRODUCTS = {_ATEN.mul.Tensor, _ATEN.mul.Scalar}
# What these give depends on the shape of their argument only.
_OF_SHAPES = {
    _ATEN.ones_like.default,
    _ATEN.zeros_like.default,
    _ATEN.full_like.default,
    _ATEN.new_zeros.default,
    _ATEN.new_ones.default,
    _ATEN.new_full.default,
}


@dataclass(frozen=True)
class Slot:
    """The place of a tensor among the inputs, constants and results of a recording."""

    index: int


@dataclass(frozen=True)
class Operation:
    """One call of one of torch's kernels.

    Attributes:
        function: The overload that was called.
        args: Arguments, with slots in place of tensors.
        kwargs: The same by name.
        results: Slots of the results.
        single: Whether the result is one tensor rather than a list.
    """

    function: Any
    args: Any
    kwargs: Mapping[str, Any]
    results: tuple[int, ...]
    single: bool

    def slots(self) -> list[int]:
        """Give the slots of all tensors among the arguments."""
        leaves = tree_leaves((self.args, dict(self.kwargs)), is_leaf=is_slot)
        return [leaf.index for leaf in leaves if isinstance(leaf, Slot)]

    def writes(self) -> bool:
        """Whether an argument is changed in place."""
        return changes_arguments(self.function)

    def random(self) -> bool:
        """Whether the result depends on a generator."""
        return torch.Tag.nondeterministic_seeded in self.function.tags

    def renamed(self, names: Mapping[int, int]) -> Operation:
        """Give the operation on other slots."""

        def other(leaf: Any) -> Any:
            return Slot(names.get(leaf.index, leaf.index)) if isinstance(leaf, Slot) else leaf

        args, kwargs = tree_map(other, (self.args, dict(self.kwargs)), is_leaf=is_slot)
        return replace(self, args=args, kwargs=kwargs)


@dataclass
class Tape:
    """A recording.

    Attributes:
        operations: In order.
        constants: Slots of tensors that are neither inputs nor results.
        outputs: Slots of what is returned.
        values: Each slot's tensor as it was when recorded; its memory holds that value where nobody wrote to it.
    """

    operations: list[Operation]
    constants: set[int]
    outputs: tuple[int, ...]
    values: list[Tensor]


def simplify(tape: Tape) -> Tape:
    """Leave out what changes no number: repetitions, products with 1, chains of views."""
    # What is always the same.
    # Memory that any operation writes to is left as it is.
    passes: list[Callable[[Tape, set[int]], Tape]] = [_fold, _rename_views, _rename_repeated]
    written = _written(tape)
    for one in passes:
        tape = _live(one(tape, written))
    return tape


def is_slot(value: Any) -> bool:
    """Whether a leaf of arguments stands for a tensor."""
    return isinstance(value, Slot)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _written(tape: Tape) -> set[int]:
    """Addresses of memory that is written to in place."""
    return {
        _memory(tape.values[slot])
        for operation in tape.operations
        if operation.writes()
        for slot in operation.slots()
    }


def _live(tape: Tape) -> Tape:
    """Drop what nobody needs, as distributions that were built and never asked."""
    needed, kept = set(tape.outputs), []
    for operation in reversed(tape.operations):
        if operation.writes() or needed.intersection(operation.results):
            kept.append(operation)
            needed.update(operation.slots())
    return Tape(kept[::-1], tape.constants & needed, tape.outputs, tape.values)


def _fold(tape: Tape, written: set[int]) -> Tape:
    """Make constants of what is computed from constants and shapes alone."""
    constants, kept = set(tape.constants), []
    for operation in tape.operations:
        fixed = operation.function in _OF_SHAPES or constants.issuperset(operation.slots())
        free = not operation.writes() and not operation.random()
        touched = [] if operation.function in _OF_SHAPES else operation.slots()
        if (
            fixed
            and free
            and not any(_memory(tape.values[s]) in written for s in (*touched, *operation.results))
        ):
            constants.update(operation.results)
        else:
            kept.append(operation)
    return Tape(kept, constants, tape.outputs, tape.values)


def _rename_views(tape: Tape, written: set[int]) -> Tape:
    """Take the origin itself in place of its product with 1, and one view in place of views of views."""
    names: dict[int, int] = {}
    origins: dict[int, int] = {}
    kept = []
    for old in tape.operations:
        operation = old.renamed(names)
        if operation.function in _PRODUCTS and _is_times_one(operation, tape.values, written):
            names[operation.results[0]] = operation.args[0].index
            continue
        if operation.function in _RESHAPES:
            result: int = operation.results[0]
            origin: int = operation.args[0].index
            origin = origins.get(origin, origin)
            value, source = tape.values[result], tape.values[origin]
            if value.is_contiguous() and source.is_contiguous():
                origins[result] = origin
                if value.shape == source.shape:
                    names[result] = origin
                    continue
                operation = Operation(
                    _ATEN.view.default, [Slot(origin), list(value.shape)], {}, (result,), True
                )
        kept.append(operation)
    return Tape(kept, tape.constants, _other(tape.outputs, names), tape.values)


def _is_times_one(operation: Operation, values: list[Tensor], written: set[int]) -> bool:
    origin, factor = operation.args
    if is_slot(factor) or factor != 1 or not is_slot(origin):
        return False
    source, result = values[origin.index], values[operation.results[0]]
    same = (
        source.dtype == result.dtype and source.shape == result.shape and source.stride() == result.stride()
    )
    return same and not written & {_memory(source), _memory(result)}


def _rename_repeated(tape: Tape, written: set[int]) -> Tape:
    """Take the first result of the same operation on the same tensors, as long as nothing was written in between."""
    names: dict[int, int] = {}
    seen: dict[str, Operation] = {}
    kept = []
    for old in tape.operations:
        operation = old.renamed(names)
        if operation.writes():
            seen.clear()
        elif not operation.random() and not any(
            _memory(tape.values[s]) in written for s in operation.results
        ):
            text = repr((operation.function, operation.args, sorted(operation.kwargs.items())))
            first = seen.setdefault(text, operation)
            if first is not operation:
                names.update(zip(operation.results, first.results, strict=True))
                continue
        kept.append(operation)
    return Tape(kept, tape.constants, _other(tape.outputs, names), tape.values)


def _other(slots: tuple[int, ...], names: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(names.get(slot, slot) for slot in slots)
