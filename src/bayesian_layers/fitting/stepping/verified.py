"""A captured or compiled step that was compared with the eager one before it is used."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.batches import Batch
from .capture import CaptureError, Function, capture
from .eager import EagerStep, StepInputs


def capture_step(
    eager: EagerStep, inputs: tuple[Tensor, ...], step_inputs: StepInputs, batch: Batch, *, compiled: bool
) -> Function:
    """Capture an eager step on copies of its inputs; raise CaptureError if it differs on other inputs."""
    other = _other_inputs(inputs, step_inputs, batch)
    # Capturing draws numbers for dropout. A resumed fit captures at another step, and must draw the same numbers.
    device = inputs[0].device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        captured = capture(eager, _copies(inputs), overloads=compiled).run
        run = _compile(captured, other) if compiled else captured
        one, two = _copies(other), _copies(other)
        state = torch.random.get_rng_state()
        first = eager(*one)
        torch.random.set_rng_state(state)
        with torch.no_grad():
            second = run(*two)
    if not all(_close(a, b) for a, b in zip((*first, *one[:3]), (*second, *two[:3]), strict=True)):
        raise CaptureError("the captured step gives other numbers than the network itself")
    return run


def _compile(captured: Function, inputs: tuple[Tensor, ...]) -> Function:
    # torch's compiler changes the warnings filters when it is first imported.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # A third of a small network's step are calls from Python between the kernels: these are compiled, too.
        function = torch.compile(captured, options={"cpp_wrapper": True})
        function(*_copies(inputs))
    return function


def _other_inputs(inputs: tuple[Tensor, ...], step_inputs: StepInputs, batch: Batch) -> tuple[Tensor, ...]:
    """Return the same inputs with other noise, and with targets that belong to other rows."""
    changed = list(inputs)
    for i in range(5, 6 + len(step_inputs.row_noise)):
        changed[i] = 0.7 * changed[i].roll(1, -1)
    y = len(changed) - (1 if batch.weight is None else 2)
    changed[y] = changed[y].roll(1, 0)
    return tuple(changed)


def _copies(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.clone() for tensor in tensors)


def _close(one: Tensor, other: Tensor) -> bool:
    tolerance = 1e4 * torch.finfo(one.dtype).eps
    return bool(torch.isclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True).all())
