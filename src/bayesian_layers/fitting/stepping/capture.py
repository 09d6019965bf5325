"""Capture of a function of tensors: its operations are recorded once, and then run without its Python code.

Python's part of a step on a small network (modules, handlers, distributions, autograd) takes several times as long as
the arithmetic. A captured step is the bare list of operations: forward, backward and optimizer.

``make_fx`` would do the same, but its import takes a second of every process and changes the caller's warnings
filters (``reports/decisions/004-captured-step.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...private_apis import DispatchMode, kernel, tree_map
from .graph import Graph, Node, Value, is_value, simplify

_ATEN = torch.ops.aten
# If such an operation returns its input unchanged, later operations take the input itself.
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
    """Records every operation that reaches torch's kernels, below autograd and vmap."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.constants: set[int] = set()
        self.tensors: list[Tensor] = []  # kept alive, so that their ids stay unique
        self._indices: dict[int, int] = {}
        for tensor in inputs:
            self._add(tensor)

    def _add(self, tensor: Tensor, index: int | None = None) -> int:
        self.tensors.append(tensor)
        self._indices[id(tensor)] = len(self.tensors) - 1 if index is None else index
        return self._indices[id(tensor)]

    def value(self, leaf: Any) -> Any:
        """Return the value of a tensor, and anything else as it is; an unknown tensor is a constant."""
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) not in self._indices:
            self.constants.add(self._add(leaf))
        return Value(self._indices[id(leaf)])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READS_VALUES:
            raise CaptureError(f"it reads the values of a tensor ({func})")
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _VIEWS and _same_layout(result, args[0]):
            self._add(result, self.value(args[0]).index)
            return result
        args, kwargs = tree_map(self.value, (args, kwargs))
        single = isinstance(result, Tensor)
        results = tuple(self._result(part) for part in ((result,) if single else result or ()))
        self.nodes.append(Node(func, args, kwargs, results, single))
        return result

    def _result(self, tensor: Any) -> int:
        # An operation in place returns its argument, which stays the same value: later nodes read what was written.
        if isinstance(tensor, Tensor) and id(tensor) in self._indices:
            return self._indices[id(tensor)]
        return self._add(tensor) if isinstance(tensor, Tensor) else self._add(torch.empty(0))


@dataclass(frozen=True)
class Captured:
    """A captured function: the same operations on other tensors of the same shapes, dtypes and devices."""

    # Tensors that were not inputs (data, frozen parameters) are constants. Inputs that the function wrote to in place
    # are written to again.
    run: Function
    operations: int
    source: str  # as Python


def capture(function: Function, inputs: Sequence[Tensor], *, overloads: bool = False) -> Captured:
    """Capture a function by running it once; inputs that it writes to in place are changed."""
    with _Recorder(inputs) as recorder:
        outputs = function(*inputs)
    if not all(isinstance(output, Tensor) for output in outputs):
        raise CaptureError("it returns something other than tensors")
    indices = tuple(recorder.value(output).index for output in outputs)
    graph = Graph(recorder.nodes, set(recorder.constants), indices, recorder.tensors)
    return _write(simplify(graph), len(inputs), overloads)


def _same_layout(result: Tensor, argument: Tensor) -> bool:
    return result.shape == argument.shape and result.stride() == argument.stride()


def _write(graph: Graph, inputs: int, overloads: bool) -> Captured:
    """Write the graph as a Python function, which deletes every tensor after its last use."""
    scope: dict[str, Any] = {f"t{index}": graph.tensors[index].detach() for index in graph.constants}
    last = {index: i for i, node in enumerate(graph.nodes) for index in (*node.arguments(), *node.results)}
    keep = {*graph.outputs, *graph.constants}
    parameters = [*(f"t{i}" for i in range(inputs)), *(f"t{index}=t{index}" for index in graph.constants)]
    lines = [f"def captured({', '.join(parameters)}):"]
    dead: dict[int, list[str]] = {}
    for index, i in last.items():
        if index not in keep:
            dead.setdefault(i, []).append(f"t{index}")
    for i, node in enumerate(graph.nodes):
        lines.append(f"    {_targets(node)}{_call(node, scope, overloads)}")
        if i in dead:
            lines.append(f"    del {', '.join(dead[i])}")
    lines.append(f"    return ({''.join(f't{index}, ' for index in graph.outputs)})")
    source = "\n".join(lines)
    exec(compile(source, "<captured step>", "exec"), scope)  # only names and numbers from above
    return Captured(scope["captured"], len(graph.nodes), source)


def _targets(node: Node) -> str:
    if not node.results:
        return ""
    names = ", ".join(f"t{index}" for index in node.results)
    return f"{names} = " if node.single else f"{names}, = "


def _call(node: Node, scope: dict[str, Any], overloads: bool) -> str:
    function = node.function if overloads else kernel(node.function)
    name = _bind(str(node.function).replace(".", "_"), function, scope)
    arguments = [_argument(leaf, scope) for leaf in node.args]
    named = [f"{key}={_argument(leaf, scope)}" for key, leaf in node.kwargs.items()]
    return f"{name}({', '.join([*arguments, *named])})"


def _argument(leaf: Any, scope: dict[str, Any]) -> str:
    if is_value(leaf):
        return f"t{leaf.index}"
    if isinstance(leaf, list | tuple):
        return f"[{', '.join(_argument(part, scope) for part in leaf)}]"
    if leaf is None or type(leaf) in (bool, int):
        return repr(leaf)
    return _bind("k", leaf, scope)


def _bind(stem: str, constant: Any, scope: dict[str, Any]) -> str:
    """Return the name of an object that has no literal; the same object has one name."""
    for name, known in scope.items():
        if known is constant:
            return name
    name = f"{stem}_{len(scope)}"
    scope[name] = constant
    return name
