"""Torch's recurrent functions in operations that vmap has rules for: all draws take each time step together.

The arguments are those with which ``nn.RNN``, ``nn.LSTM``, ``nn.GRU`` and their cells call these functions. The
equations are those of torch's documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..private_apis import PACK_SEQUENCE, PAD_SEQUENCE

State = tuple[Tensor, ...]  # h, or h and c, with the rows first
# One time step: a function of the input's projection at that time, the state, and the weights of h.
Step = Callable[..., State]
Split = Callable[[Tensor], Sequence[Tensor]]  # a sequence into its time steps
Join = Callable[[list[Tensor]], Tensor]  # the inverse


def _rnn(activation: Callable[[Tensor], Tensor]) -> Step:
    def step(projected: Tensor, state: State, w: Tensor, b: Tensor | None = None) -> State:
        return (activation(projected + functional.linear(state[0], w, b)),)

    return step


def _lstm(projected: Tensor, state: State, w: Tensor, *more: Any) -> State:
    bias, projection = (more[0] if more else None), more[1:]
    i, f, g, o = (projected + functional.linear(state[0], w, bias)).chunk(4, -1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    h = o.sigmoid() * cell.tanh()
    return (functional.linear(h, *projection) if projection else h), cell


def _gru(projected: Tensor, state: State, w: Tensor, b: Tensor | None = None) -> State:
    (h,) = state
    r, z, n = projected.chunk(3, -1)
    s, y, m = functional.linear(h, w, b).chunk(3, -1)
    z = (z + y).sigmoid()
    return ((1 - z) * (n + (r + s).sigmoid() * m).tanh() + z * h,)


def _through_time(step: Step, inputs: Sequence[Tensor], state: State, weights: Sequence[Any]) -> Any:
    """Return the outputs of all steps and the last state; in packed sequences later steps have only the first rows."""
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


def _through_layers(
    step: Step, split: Split, join: Join, x: Tensor, hx: Any, flat: Any, *options: Any
) -> tuple[Tensor, ...]:
    """Return the outputs at all times, and the last states, ``(layers * directions, N, ...)`` each."""
    biases, layers, dropout, training, both = options
    directions = (1, -1) if both else (1,)
    each = len(flat) // (layers * len(directions))
    weights = [_grouped(flat[i : i + each], biases) for i in range(0, len(flat), each)]
    firsts = zip(*_states(hx), strict=True)
    last = []
    for layer in range(layers):
        outputs_per_direction = []
        for order in directions:
            (w, b), rest = weights[len(last)]
            projected = [functional.linear(part, w, b) for part in split(x)]
            outputs, state = _through_time(step, projected[::order], next(firsts), rest)
            outputs_per_direction.append(join(outputs[::order]))
            last.append(state)
        x = torch.cat(outputs_per_direction, -1)
        if dropout and training and layer < layers - 1:
            x = functional.dropout(x, dropout)
    return x, *(torch.stack(parts) for parts in zip(*last, strict=True))


def _grouped(weights: Sequence[Tensor], biases: bool) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
    """Split the weights of one layer and direction, in torch's order, into those of the input and those of h."""
    w, v, *more = weights
    b, c = more[:2] if biases else (None, None)
    return (w, b), (v, c, *more[2 if biases else 0 :])


def _recurrent(step: Step) -> Callable[..., tuple[Tensor, ...]]:
    def sequences(x: Tensor, hx: Any, flat: Any, *rest: Any) -> tuple[Tensor, ...]:
        *options, batch_first = rest
        time = 1 if batch_first else 0
        join = partial(torch.stack, dim=time)
        return _through_layers(step, lambda x: x.unbind(time), join, x, hx, flat, *options)

    def packed(x: Tensor, sizes: Tensor, hx: Any, flat: Any, *options: Any) -> tuple[Tensor, ...]:
        return _through_layers(step, lambda x: x.split(sizes.tolist()), torch.cat, x, hx, flat, *options)

    return lambda *args: (sequences if isinstance(args[3], bool) else packed)(*args)


def _states(hx: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return (hx,) if isinstance(hx, Tensor) else hx


def _cell(step: Step) -> Callable[..., Any]:
    def cell(
        x: Tensor, hx: Any, w: Tensor, v: Tensor, b: Tensor | None = None, c: Tensor | None = None
    ) -> Any:
        state = step(functional.linear(x, w, b), _states(hx), v, c)
        return state[0] if isinstance(hx, Tensor) else state

    return cell


def _pack(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    x = x.transpose(0, 1) if batch_first else x
    taken = torch.arange(int(lengths.max()))[:, None] < lengths  # lengths are sorted, longest first
    return x[tuple(taken.nonzero().to(x.device).unbind(1))], taken.sum(1)


def _pad(
    data: Tensor, sizes: Tensor, batch_first: bool, padding: float, total: int = -1
) -> tuple[Tensor, Tensor]:
    present = torch.arange(int(sizes[0])) < sizes[:, None]
    number = (sizes.cumsum(0) - sizes)[:, None] + torch.arange(int(sizes[0]))
    values = data[number.where(present, 0).to(data.device)]
    absent = ~present.to(data.device).reshape(*present.shape, *[1] * (data.dim() - 1))
    padded = values.masked_fill(absent, padding)
    if total > len(padded):
        padded = torch.cat([padded, padded.new_full((total - len(padded), *padded.shape[1:]), padding)])
    return padded.transpose(0, 1) if batch_first else padded, present.sum(0)


_STEPS: dict[str, Step] = {
    "rnn_tanh": _rnn(torch.tanh),
    "rnn_relu": _rnn(torch.relu),
    "lstm": _lstm,
    "gru": _gru,
}
RULES: dict[Any, Callable[..., Any]] = {
    **{getattr(torch, name): _recurrent(step) for name, step in _STEPS.items()},
    **{getattr(torch, f"{name}_cell"): _cell(step) for name, step in _STEPS.items()},
    PACK_SEQUENCE: _pack,
    PAD_SEQUENCE: _pad,
}
