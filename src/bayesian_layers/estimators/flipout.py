"""Flipout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .coverage import Call
from .operations import Op
from .per_row import Layer, Moments, PerRow, paired


class Flipout(PerRow):
    r"""Flipout: one draw of the weights, with signs of its own for each row.

    .. math:: f_n = x_n * \text{loc} + \big((x_n \circ r_n) * \Delta\big) \circ s_n, \qquad
              \Delta = \text{scale} \circ \epsilon, \quad r_n, s_n \in \{-1, 1\}

    with one sign for each feature or channel, in and out, shared along time and space: row n sees the weight
    :math:`\text{loc} + \Delta \circ s_n r_n^T`, distributed as the guide has it. Covers the weights of linear
    and bilinear layers (signs on the first input), and of convolutions, transposed ones too, that a row uses once;
    biases are plain.

    References:
        Wen, Vicol, Ba, Tran & Grosse (2018), arXiv 1803.04386.
    """

    name = "flipout"

    @classmethod
    def supports(cls, call: Call) -> tuple[str | None, ...]:
        """Take the weight of a call, whatever the layer."""
        return (call.weight,) if call.op in _RULES else ()

    def row_noise(self, particles: int, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw signs: for each layer ``(S * N, inputs)`` and ``(S * N, outputs)``."""
        sizes = [size for call in self._calls for size in _RULES[call.op].signs(call)]
        halves = self._cut(
            _signs(self._empty(particles, rows, sizes, generator), generator), particles, rows, sizes
        )
        # A partner has the other signs behind the layer alone: the weight's deviation, turned around.
        return tuple(
            paired(half, half if i % 2 == 0 else -half, particles * rows) for i, half in enumerate(halves)
        )

    def _layers(
        self, moments: Moments, epsilon: Mapping[str, Tensor], row_noise: tuple[Tensor, ...]
    ) -> list[Layer]:
        layers = []
        for i, call in enumerate(self._calls):
            site = str(call.weight)
            loc, scale = moments[site]
            signs = (call.along_rows(part) for part in row_noise[2 * i : 2 * i + 2])
            layers.append(_layer(_RULES[call.op], loc, scale * epsilon[site], *signs))
        return layers


def _signs(room: Tensor, generator: torch.Generator) -> Tensor:
    """Fair and independent signs, one a random BIT: a random number for each costs five times as much."""
    words = torch.empty(-(-len(room) // 64), dtype=torch.int64, device=room.device)
    words.random_(-(2**63), None, generator=generator)
    bits = torch.arange(256, device=room.device).unsqueeze(1) >> torch.arange(8, device=room.device) & 1
    of_byte = (1 - 2 * bits).to(room.dtype)
    return of_byte.index_select(0, words.view(torch.uint8).int()).view(-1)[: len(room)]


@dataclass(frozen=True)
class _Rule:
    """How signs turn the deviation of a weight.

    Attributes:
        signs: How many there are for a row, before the layer and behind it.
        turned: The first input, and the signs before the layer, to what the deviation works on.
    """

    signs: Callable[[Call], tuple[int, int]] = Call.channels
    turned: Callable[[Tensor, Tensor], Tensor] = torch.mul


_CONVOLUTIONS = (f"conv{kind}{axes}d" for kind in ("", "_transpose") for axes in (1, 2, 3))
_RULES = {
    **dict.fromkeys(("linear", "bilinear", *_CONVOLUTIONS), _Rule()),
    # A sign for each slope; they multiply what is below 0.
    "prelu": _Rule(lambda call: (0, call.weight_shape[0]), lambda x, _: x.clamp(max=0)),
}


def _layer(rule: _Rule, loc: Tensor, delta: Tensor, signs_in: Tensor, signs_out: Tensor) -> Layer:
    """Any function that is linear in its weight; the weight that it would take is the hidden one."""

    def layer(op: Op, inputs: tuple[Tensor, ...], _: Tensor, b: Tensor | None) -> Tensor:
        turned = (rule.turned(inputs[0], signs_in), *inputs[1:])
        return torch.addcmul(op(inputs, loc, b), op(turned, delta, None), signs_out)

    return layer
