"""Local reparameterization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..protocols import Moments
from .operations import Op
from .per_row import Layer, PerRow, paired
from .tracing import Call

Normal = tuple[Tensor, Tensor]  # mean, and standard deviation or Cholesky factors of the covariance
# Standard deviation of the outputs, from that of the weight, the variance of the bias and the inputs.
OutputStd = Callable[..., Tensor]


class Local(PerRow):
    r"""Local reparameterization: :math:`f = x \, \text{loc}^\top + (x^2 \, (\text{scale}^2)^\top)^{1/2} \epsilon`."""

    # Noise on the outputs of a linear layer, not on its weights: the marginal distribution of each output, if each
    # row uses the weight once. Supported are weight and bias of F.linear on (N, D), of F.bilinear (whose inputs are
    # products of entries), the slopes of F.prelu, and Gaussian processes, whose value at a row is drawn from its
    # marginal distribution (so no function is drawn). The gradient of a minibatch has independent noise per row, so
    # its variance falls with the batch size. Kingma, Salimans & Welling (2015), arXiv 1506.02557; for processes
    # Hensman, Fusi & Lawrence (2013), arXiv 1309.6835, and Salimbeni & Deisenroth (2017), arXiv 1705.08933.
    name = "local"

    @classmethod
    def supports(cls, call: Call) -> tuple[str | None, ...]:
        """Return weight and bias of a layer whose input is one vector per row."""
        vectors = len(call.input_shapes[0]) == 2
        # Each output has its own entries of the weight.
        separate = vectors and call.weight_shape[0] == call.output_shape[1]
        return (call.weight, call.bias) if separate and call.op in _OUTPUT_STD else ()

    def row_noise(self, particles: int, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw standard normal numbers, ``(S * N, K)`` for a layer with K outputs."""
        sizes = [call.output_shape[-1] for call in self._calls]
        flat = self._empty(particles, rows, sizes, generator).normal_(generator=generator)
        halves = self._cut(flat, particles, rows, sizes)
        return tuple(paired(half, -half, particles * rows) for half in halves)

    def _layers(
        self, moments: Moments, epsilon: Mapping[str, Tensor], row_noise: tuple[Tensor, ...]
    ) -> list[Layer]:
        chosen = {name: moments[name] for name in self.supported}
        return [
            _layer(_OUTPUT_STD[call.op], chosen.get(call.weight or ""), chosen.get(call.bias or ""), noise)
            for call, noise in zip(self._calls, row_noise, strict=True)
        ]


def _layer(output_std: OutputStd, weight: Normal | None, bias: Normal | None, noise: Tensor) -> Layer:
    """Make the replacement of a layer whose weight, bias or both are Normal."""

    def layer(op: Op, inputs: tuple[Tensor, ...], w: Tensor, b: Tensor | None) -> Tensor:
        mean = op(inputs, weight[0] if weight else w, bias[0] if bias else b)
        # For an input of zeros the variance is 0, where the square root has no finite slope.
        floor = mean.new_full(mean.shape[-1:], torch.finfo(mean.dtype).tiny)
        variance = floor + bias[1].square() if bias else floor
        std = output_std(weight[1], variance, *inputs) if weight else variance.sqrt()
        return torch.addcmul(mean, std, noise.to(mean.dtype))

    return layer


class _LinearStd(torch.autograd.Function):
    r"""Standard deviation of a linear layer's outputs, :math:`(\sum_d x_{nd}^2 \, \text{scale}_{kd}^2 + v_k)^{1/2}`."""

    # Its backward pass has one product of the weight's shape. Torch's, for squares and root separately, has three
    # passes over that memory, a tenth of a step of a wide layer.
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale: Tensor, variance: Tensor) -> Tensor:
        return functional.linear(x.square(), scale.square(), variance).sqrt()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2], output)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, scale, std = ctx.saved_tensors
        each = slopes[0] / std  # twice the slope of the variance: the factor 2 of the squares is in it
        return (
            (each @ scale.square()) * x if ctx.needs_input_grad[0] else None,
            (each.t() @ x.square()) * scale if ctx.needs_input_grad[1] else None,
            0.5 * each.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _bilinear(scale: Tensor, variance: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
    return functional.bilinear(x1.square(), x2.square(), scale.square(), variance).sqrt()


def _prelu(scale: Tensor, variance: Tensor, x: Tensor) -> Tensor:
    return (x.clamp(max=0).square() * scale.square() + variance).sqrt()


def _process(spread: Tensor, variance: Tensor, features: Tensor) -> Tensor:
    # Inducing values with independent entries, (K, M), or with a covariance each, (K, M, M); the rest of the variance
    # is that of the process given these values.
    spread, squares = spread.to(features.dtype), features.square()
    if spread.dim() == 3:
        explained = (features @ spread).square().sum(2).mT
    else:
        explained = squares @ spread.square().mT
    return (explained + (1 - squares.sum(1, keepdim=True)).clamp(min=0) + variance).sqrt()


_OUTPUT_STD: Mapping[str, OutputStd] = {
    "linear": lambda scale, variance, x: _LinearStd.apply(x, scale, variance),
    "bilinear": _bilinear,
    "prelu": _prelu,
    "process": _process,
}
