"""Flipout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..protocols import Moments
from .operations import Op
from .per_row import Layer, PerRow, paired
from .tracing import Call


class Flipout(PerRow):
    r"""Flipout: :math:`f_n = x_n * \text{loc} + ((x_n \circ r_n) * \Delta) \circ s_n`, r and s signs per row."""

    # Delta = scale * epsilon is one draw for all rows; there is one sign per feature or channel, in and out, shared
    # along time and space. Row n sees the weight loc + Delta * s_n r_n^T, which has the guide's distribution.
    # Supported are the weights of linear and bilinear layers (signs on the first input) and of convolutions, also
    # transposed ones, that a row uses once; biases are reparameterized. Wen, Vicol, Ba, Tran & Grosse (2018), arXiv
    # 1803.04386.
    name = "flipout"

    @classmethod
    def supports(cls, call: Call) -> tuple[str | None, ...]:
        """Return the weight of a call."""
        return (call.weight,) if call.op in _RULES else ()

    @classmethod
    def obstacle(cls, call: Call, site: str) -> str:
        """Describe why the estimator does not treat a site of a call."""
        return "a bias" if site == call.bias else super().obstacle(call, site)

    def row_noise(self, particles: int, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw signs, ``(S * N, inputs)`` and ``(S * N, outputs)`` per layer."""
        sizes = [size for call in self._calls for size in _RULES[call.op].signs(call)]
        halves = self._cut(
            _signs(self._empty(particles, rows, sizes, generator), generator), particles, rows, sizes
        )
        # The partner has the opposite signs on the outputs only, which is the opposite perturbation of the weight.
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
    """Draw fair, independent signs, one per random BIT: a random number for each costs five times as much."""
    words = torch.empty(-(-len(room) // 64), dtype=torch.int64, device=room.device)
    words.random_(-(2**63), None, generator=generator)
    bits = torch.arange(256, device=room.device).unsqueeze(1) >> torch.arange(8, device=room.device) & 1
    of_byte = (1 - 2 * bits).to(room.dtype)
    return of_byte.index_select(0, words.view(torch.uint8).int()).view(-1)[: len(room)]


@dataclass(frozen=True)
class _Rule:
    """How signs are applied to the perturbation of a weight."""

    signs: Callable[[Call], tuple[int, int]] = Call.channels  # number per row, on inputs and outputs
    # The first input and its signs, to the input of the perturbed layer.
    apply: Callable[[Tensor, Tensor], Tensor] = torch.mul


_CONVOLUTIONS = (f"conv{kind}{axes}d" for kind in ("", "_transpose") for axes in (1, 2, 3))
_RULES = {
    **dict.fromkeys(("linear", "bilinear", *_CONVOLUTIONS), _Rule()),
    # One sign per slope; slopes multiply the inputs below 0.
    "prelu": _Rule(lambda call: (0, call.weight_shape[0]), lambda x, _: x.clamp(max=0)),
}


def _layer(rule: _Rule, loc: Tensor, delta: Tensor, signs_in: Tensor, signs_out: Tensor) -> Layer:
    """Make the replacement of a function that is linear in its weight; the weight passed to it is the hidden one."""

    def layer(op: Op, inputs: tuple[Tensor, ...], _: Tensor, b: Tensor | None) -> Tensor:
        signed = (rule.apply(inputs[0], signs_in), *inputs[1:])
        return torch.addcmul(op(inputs, loc, b), op(signed, delta, None), signs_out)

    return layer
