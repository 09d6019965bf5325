"""Likelihoods of classes and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
from torch import Tensor

from ..errors import DataError
from ..saving.schema import String
from .base import Likelihood, one_a_target


class Bernoulli(Likelihood):
    r"""Two classes, or several independent labels: :math:`P(y_k = 1 \mid x, w) = \sigma(f_k(x))`.

    One output (a logit) a target; ``y`` holds 0 and 1, of any dtype, in the shape of the outputs without a last axis
    of size 1: ``(N,)`` for one output, ``(N, K)`` for K, ``(N, T)`` or ``(N, 1, H, W)`` for sequences and images.

    Example:
        >>> import torch
        >>> Bernoulli().moments(torch.zeros(1, 5, 1))[0].shape
        torch.Size([1, 5])
    """

    ARGUMENTS: ClassVar = {}
    unit_scale: ClassVar[bool] = False

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the labels; see :meth:`Likelihood.distribution`."""
        logits, event_dim = one_a_target(f, output_axes)
        # float labels, as losses take them; the values are checked once, before a fit, not at every step
        return dist.Bernoulli(logits=logits, validate_args=False).to_event(event_dim)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse labels other than 0 and 1."""
        bad = int(((y != 0) & (y != 1)).sum())
        if bad:
            raise DataError(f"`y` must hold 0 and 1; {bad} of its {y.numel()} values are something else")


@dataclass(frozen=True)
class Categorical(Likelihood):
    r"""K classes: :math:`P(y = k \mid x, w) = \operatorname{softmax}(f(x))_k`.

    K outputs (logits) a target; ``y`` holds whole numbers from 0 to K - 1 in the shape of the outputs without the axis
    of classes: ``(N,)``, ``(N, T)`` for sequences ``(N, T, K)``, ``(N, H, W)`` for images. Moments are those of
    the K indicators, which are always on the last axis, ``(*shape of y, K)``: the mean is the probability.

    Attributes:
        class_axis: Which axis of a row's outputs the classes are on: ``"last"``, or ``"first"``, where torch's
            convolutions put their channels, ``(N, K, H, W)``.

    Raises:
        DataError: If ``class_axis`` is something else.

    Example:
        >>> import torch
        >>> Categorical().moments(torch.zeros(1, 5, 4))[0].shape
        torch.Size([1, 5, 4])
        >>> Categorical(class_axis="first").moments(torch.zeros(1, 5, 4, 8, 9), output_axes=3)[0].shape
        torch.Size([1, 5, 8, 9, 4])
    """

    ARGUMENTS: ClassVar = {"class_axis": String(("last", "first"))}
    unit_scale: ClassVar[bool] = False
    class_axis: Literal["last", "first"] = "last"

    def __post_init__(self) -> None:
        if self.class_axis not in ("last", "first"):
            raise DataError(f"`class_axis` must be 'last' or 'first'; received {self.class_axis!r}")

    @property
    def outputs_per_target(self) -> int | Literal["classes"]:
        """One for each class."""
        return "classes"

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the classes; see :meth:`Likelihood.distribution`."""
        logits = self._classes_last(f, output_axes)
        return dist.Categorical(logits=logits, validate_args=False).to_event(output_axes - 1)

    def moments(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> tuple[Tensor, Tensor]:
        """Give probability and variance of each class's indicator."""
        probabilities = self._classes_last(f, output_axes).softmax(-1)
        return probabilities, probabilities * (1 - probabilities)

    def _classes_last(self, f: Tensor, output_axes: int) -> Tensor:
        return f.movedim(-output_axes, -1) if self.class_axis == "first" and output_axes > 1 else f

    def target_shape(self, outputs: Sequence[int]) -> tuple[int, ...]:
        """Tell the shape of a row's targets."""
        return tuple(outputs[1:] if self.class_axis == "first" else outputs[:-1])

    def num_classes(self, outputs: Sequence[int]) -> int:
        """Tell the number of classes."""
        return outputs[0 if self.class_axis == "first" else -1]

    def _outputs_hint(self, y: Tensor, n: int, outputs: Sequence[int]) -> str:
        other = "last" if self.class_axis == "first" else "first"
        if len(outputs) == 1 or y.shape != (n, *Categorical(other).target_shape(outputs)):
            return ""
        return (
            f"The classes are taken to be on the {self.class_axis} axis of a row's outputs {tuple(outputs)}; "
            f'if they are on the {other}, say Categorical(class_axis="{other}").'
        )

    def observed(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> Tensor | None:
        """Check classes against the output, and make them whole numbers."""
        self.check_shapes(f, y, output_axes=output_axes)
        return None if y is None else y.long()

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse classes out of range."""
        if outputs < 2:
            raise DataError(
                "Categorical needs a network with one output a class, at least 2; for two classes "
                "and one output there is Bernoulli"
            )
        bad = int(((y < 0) | (y >= outputs) | (y != y.long())).sum())
        if bad:
            raise DataError(
                f"`y` must hold whole numbers from 0 to {outputs - 1}; {bad} of its {y.numel()} values are not"
            )
