"""Torch's recurrent functions in operations for which vmap has rules: all draws take each time step together.

The arguments are those that ``nn.RNN``, ``nn.LSTM``, ``nn.GRU`` and their cells pass on; the equations are those of
torch's documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import _VF, Tensor
from torch.nn import functional

State = tuple[Tensor, ...]  # h, or h and c; rows in front
Step = Callable[..., State]  # of the input at one time, the state, and the weights of one layer and direction


def _rnn(activation: Callable[[Tensor], Tensor]) -> Step:
    def step(x: Tensor, state: State, w: Tensor, v: Tensor, *biases: Any) -> State:
        b, c = biases or (None, None)
        return (activation(functional.linear(x, w, b) + functional.linear(state[0], v, c)),)

    return step


def _lstm(x: Tensor, state: State, w: Tensor, v: Tensor, *more: Any) -> State:
    b, c = more[:2] if len(more) > 1 else (None, None)
    gates = functional.linear(x, w, b) + functional.linear(state[0], v, c)
    i, f, g, o = gates.chunk(4, -1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    h = o.sigmoid() * cell.tanh()
    return (functional.linear(h, *more[-1:]) if len(more) % 2 else h), cell  # an odd one projects


def _gru(x: Tensor, state: State, w: Tensor, v: Tensor, *biases: Any) -> State:
    b, c = biases or (None, None)
    (h,) = state
    r, z, n = functional.linear(x, w, b).chunk(3, -1)
    s, y, m = functional.linear(h, v, c).chunk(3, -1)
    z = (z + y).sigmoid()
    return ((1 - z) * (n + (r + s).sigmoid() * m).tanh() + z * h,)


def _through_time(step: Step, inputs: Sequence[Tensor], state: State, weights: Sequence[Tensor]) -> Any:
    """Outputs of each step, and the last state; in packed sequences later steps have fewer rows, the first ones."""
    outputs = []
    for x in inputs:
        n = len(x)
        new = step(x, tuple(part[:n] for part in state), *weights)
        outputs.append(new[0])
        state = tuple(
            torch.cat([now, before[n:]]) if n < len(before) else now
            for now, before in zip(new, state, strict=True)
        )
    return outputs, state


def _layers(
    step: Step,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
    flat: Sequence[Tensor],
    num_layers: int,
    dropout: float,
    bidirectional: bool,
) -> tuple[Sequence[Tensor], list[Tensor]]:
    """Outputs at each time, and the last states, ``(layers * directions, N, H)`` each."""
    directions = 2 if bidirectional else 1
    each = len(flat) // (num_layers * directions)
    last = []
    for layer in range(num_layers):
        found = []
        for direction in range(directions):
            number = layer * directions + direction
            order = -1 if direction else 1
            outputs, state = _through_time(
                step,
                inputs[::order],
                tuple(part[number] for part in states),
                flat[number * each : (number + 1) * each],
            )
            found.append(outputs[::order])
            last.append(state)
        inputs = [torch.cat(both, -1) if bidirectional else both[0] for both in zip(*found, strict=True)]
        if dropout and layer < num_layers - 1:
            inputs = [functional.dropout(x, dropout) for x in inputs]
    return inputs, [torch.stack(parts) for parts in zip(*last, strict=True)]


def _recurrent(step: Step) -> Callable[..., tuple[Tensor, ...]]:
    def sequences(x: Tensor, hx: Any, flat: Any, *rest: Any) -> tuple[Tensor, ...]:
        _, num_layers, dropout, training, bidirectional, batch_first = rest
        time = 1 if batch_first else 0
        outputs, last = _layers(
            step, x.unbind(time), _states(hx), flat, num_layers, dropout * training, bidirectional
        )
        return torch.stack(tuple(outputs), time), *last

    def packed(x: Tensor, sizes: Tensor, hx: Any, flat: Any, *rest: Any) -> tuple[Tensor, ...]:
        _, num_layers, dropout, training, bidirectional = rest
        outputs, last = _layers(
            step, x.split(sizes.tolist()), _states(hx), flat, num_layers, dropout * training, bidirectional
        )
        return torch.cat(tuple(outputs)), *last

    return lambda *args: (sequences if isinstance(args[3], bool) else packed)(*args)


def _states(hx: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return (hx,) if isinstance(hx, Tensor) else hx


def _cell(step: Step) -> Callable[..., Any]:
    def cell(
        x: Tensor, hx: Any, w: Tensor, v: Tensor, b: Tensor | None = None, c: Tensor | None = None
    ) -> Any:
        state = step(x, _states(hx), w, v, b, c)
        return state[0] if isinstance(hx, Tensor) else state

    return cell


def _pack(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    x = x.transpose(0, 1) if batch_first else x
    taken = torch.arange(int(lengths.max()))[:, None] < lengths  # lengths fall from row to row
    return x[tuple(taken.nonzero().to(x.device).unbind(1))], taken.sum(1)


def _pad(
    data: Tensor, sizes: Tensor, batch_first: bool, padding: float, total: int = -1
) -> tuple[Tensor, Tensor]:
    there = torch.arange(int(sizes[0])) < sizes[:, None]
    number = (sizes.cumsum(0) - sizes)[:, None] + torch.arange(int(sizes[0]))
    values = data[number.where(there, 0).to(data.device)]
    absent = ~there.to(data.device).reshape(*there.shape, *[1] * (data.dim() - 1))
    padded = values.masked_fill(absent, padding)
    if total > len(padded):
        padded = torch.cat([padded, padded.new_full((total - len(padded), *padded.shape[1:]), padding)])
    return padded.transpose(0, 1) if batch_first else padded, there.sum(0)


_STEPS: dict[str, Step] = {
    "rnn_tanh": _rnn(torch.tanh),
    "rnn_relu": _rnn(torch.relu),
    "lstm": _lstm,
    "gru": _gru,
}
RULES: dict[Any, Callable[..., Any]] = {
    **{getattr(torch, name): _recurrent(step) for name, step in _STEPS.items()},
    **{getattr(torch, f"{name}_cell"): _cell(step) for name, step in _STEPS.items()},
    _VF._pack_padded_sequence: _pack,
    _VF._pad_packed_sequence: _pad,
}
