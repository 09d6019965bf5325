"""Recording a function of tensors once, and running only its operations ever after.

Python's part of a step on a small network (modules, handlers, distributions, autograd) costs several times the
arithmetic. A recorded step is the bare list of operations, forward, backward and optimizer.

Not ``make_fx``: its import takes a second of every process and changes the caller's warnings filters
(``reports/decisions/004-captured-step.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...private_apis import DispatchMode, kernel, tree_map
from .graph import Operation, Slot, Tape, is_slot, simplify

_ATEN = torch.ops.aten
# Where such an operation returns its input as it was, later operations take the input itself.
_VIEWS = {
    _ATEN.lift_fresh.default,
    _ATEN.detach.default,
    _ATEN.view.default,
    _ATEN.expand.default,
    _ATEN.alias.default,
    _ATEN._unsafe_view.default,
}
_READS_VALUES = {_ATEN._local_scalar_dense.default, _ATEN.equal.default, _ATEN.is_nonzero.default}

Function = Callable[..., tuple[Tensor, ...]]


class CaptureError(Exception):
    """The function does something that a list of operations cannot repeat; the text says what."""


class _Recorder(DispatchMode):
    """Notes every operation that reaches torch's kernels, below autograd and vmap."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.constants: set[int] = set()
        self._slots: dict[int, int] = {}
        self.values: list[Tensor] = []  # an id is only good while its tensor lives
        for tensor in inputs:
            self._new(tensor)

    def _new(self, tensor: Tensor, slot: int | None = None) -> int:
        self.values.append(tensor)
        self._slots[id(tensor)] = len(self.values) - 1 if slot is None else slot
        return self._slots[id(tensor)]

    def slot(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._slots:
            self.constants.add(self._new(value))
        return Slot(self._slots[id(value)])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READS_VALUES:
            raise CaptureError(f"it looks at values ({func})")
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _VIEWS and _same(result, args[0]):
            self._new(result, self.slot(args[0]).index)
            return result
        slots, named = tree_map(self.slot, (args, kwargs))
        single = isinstance(result, Tensor)
        results = tuple(self._result(part) for part in ((result,) if single else result or ()))
        self.operations.append(Operation(func, slots, named, results, single))
        return result

    def _result(self, value: Any) -> int:
        # An operation in place returns its argument, which keeps its slot: later uses see what was written.
        if isinstance(value, Tensor) and id(value) in self._slots:
            return self._slots[id(value)]
        return self._new(value) if isinstance(value, Tensor) else self._new(torch.empty(0))


@dataclass(frozen=True)
class Captured:
    """A recorded function: the same operations on other tensors of the same shapes, dtypes and devices.

    What was not an input when it was recorded (data, frozen parameters) is a constant. Inputs that the
    function wrote to in place are written to again.

    Attributes:
        run: Takes the inputs, gives the outputs.
        operations: Number of operations.
        source: The recording as Python.
    """

    run: Function
    operations: int
    source: str


def capture(function: Function, inputs: Sequence[Tensor], *, overloads: bool = False) -> Captured:
    """Record a function by running it once; it is run for real, so inputs that it writes to are changed."""
    with _Recorder(inputs) as recorder:
        outputs = function(*inputs)
    if not all(isinstance(output, Tensor) for output in outputs):
        raise CaptureError("it returns something else than tensors")
    places = tuple(recorder.slot(output).index for output in outputs)
    tape = Tape(recorder.operations, set(recorder.constants), places, recorder.values)
    return _write(simplify(tape), len(inputs), overloads)


def _same(result: Tensor, argument: Tensor) -> bool:
    return result.shape == argument.shape and result.stride() == argument.stride()


def _write(tape: Tape, inputs: int, overloads: bool) -> Captured:
    """Write the recording as a Python function, which drops every tensor after its last use."""
    scope: dict[str, Any] = {f"t{slot}": tape.values[slot].detach() for slot in tape.constants}
    last = {slot: i for i, each in enumerate(tape.operations) for slot in (*each.slots(), *each.results)}
    keep = {*tape.outputs, *tape.constants}
    parameters = [*(f"t{i}" for i in range(inputs)), *(f"t{slot}=t{slot}" for slot in tape.constants)]
    lines = [f"def recorded({', '.join(parameters)}):"]
    dead: dict[int, list[str]] = {}
    for slot, i in last.items():
        if slot not in keep:
            dead.setdefault(i, []).append(f"t{slot}")
    for i, operation in enumerate(tape.operations):
        lines.append(f"    {_targets(operation)}{_call(operation, scope, overloads)}")
        if i in dead:
            lines.append(f"    del {', '.join(dead[i])}")
    lines.append(f"    return ({''.join(f't{slot}, ' for slot in tape.outputs)})")
    source = "\n".join(lines)
    exec(compile(source, "<captured step>", "exec"), scope)  # our own text: names and numbers of slots
    return Captured(scope["recorded"], len(tape.operations), source)


def _targets(operation: Operation) -> str:
    if not operation.results:
        return ""
    names = ", ".join(f"t{slot}" for slot in operation.results)
    return f"{names} = " if operation.single else f"{names}, = "


def _call(operation: Operation, scope: dict[str, Any], overloads: bool) -> str:
    function = operation.function if overloads else kernel(operation.function)
    name = _bind(str(operation.function).replace(".", "_"), function, scope)
    arguments = [_argument(value, scope) for value in operation.args]
    named = [f"{key}={_argument(value, scope)}" for key, value in operation.kwargs.items()]
    return f"{name}({', '.join([*arguments, *named])})"


def _argument(value: Any, scope: dict[str, Any]) -> str:
    if is_slot(value):
        return f"t{value.index}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_argument(part, scope) for part in value)}]"
    if value is None or type(value) in (bool, int):
        return repr(value)
    return _bind("k", value, scope)


def _bind(stem: str, value: Any, scope: dict[str, Any]) -> str:
    """Name an object that has no literal; the same object keeps its name."""
    for name, known in scope.items():
        if known is value:
            return name
    name = f"{stem}_{len(scope)}"
    scope[name] = value
    return name
