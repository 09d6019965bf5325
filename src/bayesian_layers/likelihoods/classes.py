"""Likelihoods of classes and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
from torch import Tensor

from ..arguments import check_choice
from ..errors import DataError
from ..saving.schema import String
from .base import Likelihood, check_targets
from .one_output import OneOutput
from .several import AXES


class Bernoulli(OneOutput):
    r"""Two classes, or several independent labels: :math:`P(y_k = 1 \mid x, w) = \sigma(f_k(x))`.

    It needs one output per target, the logit. ``y`` holds 0 and 1, of any dtype; shapes are those of :class:`Normal`.

    Example:
        >>> import torch
        >>> Bernoulli().moments(torch.zeros(1, 5, 1))[0].shape
        torch.Size([1, 5])
    """

    ARGUMENTS: ClassVar = {}
    unit_scale: ClassVar[bool] = False

    def _per_target(self, f: Tensor) -> Any:
        # Labels are floats, as in losses. Their values are checked once, before a fit, not at every step.
        return dist.Bernoulli(logits=f, validate_args=False)

    def check_values(self, y: Tensor, outputs: Sequence[int]) -> None:
        """Validate that labels are 0 or 1."""
        check_targets(y, (y == 0) | (y == 1), "0 or 1")


@dataclass(frozen=True)
class Categorical(Likelihood):
    r"""K classes: :math:`P(y = k \mid x, w) = \operatorname{softmax}(f(x))_k`.

    It needs K outputs per target, the logits. ``y`` holds integers from 0 to K - 1 in the shape of the outputs without
    the axis of classes: ``(N,)``, ``(N, T)`` for sequences ``(N, T, K)``, ``(N, H, W)`` for images. Moments are those
    of the K indicators, which are always on the last axis, ``(*shape of y, K)``: the mean is the probability.

    Attributes:
        class_axis: The axis of a row's outputs that holds the classes: ``"last"``, or ``"first"`` as in torch's
            convolutions, ``(N, K, H, W)``.

    Example:
        >>> import torch
        >>> Categorical().moments(torch.zeros(1, 5, 4))[0].shape
        torch.Size([1, 5, 4])
        >>> Categorical(class_axis="first").moments(torch.zeros(1, 5, 4, 8, 9), output_axes=3)[0].shape
        torch.Size([1, 5, 8, 9, 4])
    """

    ARGUMENTS: ClassVar = {"class_axis": String(AXES)}
    unit_scale: ClassVar[bool] = False
    class_axis: Literal["last", "first"] = "last"

    def __post_init__(self) -> None:
        check_choice("class_axis", self.class_axis, AXES)

    @property
    def outputs_per_target(self) -> int | Literal["classes"]:
        """One per class."""
        return "classes"

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the classes; see :meth:`Likelihood.distribution`."""
        logits = self._classes_last(f, output_axes)
        return dist.Categorical(logits=logits, validate_args=False).to_event(output_axes - 1)

    def moments(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and variance of the indicator of each class."""
        probabilities = self._classes_last(f, output_axes).softmax(-1)
        return probabilities, probabilities * (1 - probabilities)

    def _classes_last(self, f: Tensor, output_axes: int) -> Tensor:
        return f.movedim(-output_axes, -1) if self.class_axis == "first" and output_axes > 1 else f

    def target_shape(self, outputs: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of a row's targets; see :meth:`Likelihood.target_shape`."""
        return tuple(outputs[1:] if self.class_axis == "first" else outputs[:-1])

    def _outputs_hint(self, y: Tensor, n: int, outputs: Sequence[int]) -> str:
        other = "last" if self.class_axis == "first" else "first"
        if len(outputs) == 1 or y.shape != (n, *Categorical(other).target_shape(outputs)):
            return ""
        return (
            f"The classes are expected on the {self.class_axis} axis of a row's outputs {tuple(outputs)}. "
            f'If they are on the {other} one, use Categorical(class_axis="{other}").'
        )

    def observed(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> Tensor | None:
        """Validate the shape of classes, and convert them to integers; see :meth:`Likelihood.observed`."""
        self.check_shapes(f, y, output_axes=output_axes)
        return None if y is None else y.long()

    def check_values(self, y: Tensor, outputs: Sequence[int]) -> None:
        """Validate that classes are integers in range."""
        size = outputs[0 if self.class_axis == "first" else -1]
        if size < 2:
            raise DataError(
                f"Categorical needs one output per class, at least 2; the network has {size}. For two classes and one "
                "output use bl.likelihoods.Bernoulli"
            )
        check_targets(y, (y >= 0) & (y < size) & (y == y.long()), f"integers from 0 to {size - 1}")
