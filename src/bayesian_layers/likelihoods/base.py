"""`Likelihood`: the base class of all likelihoods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ..arguments import check_finite_tensor, check_tensor
from ..errors import DataError, ShapeError
from ..priors import Site
from ..saving import StoredFolder
from ..saving.storable import Storable


class Likelihood(Storable, ABC):
    """Distribution of the targets given the network's output.

    Attributes:
        unit_scale: Whether priors of unit scale assume targets of unit scale; if so, a fit warns when they are not.
        output_axis: The axis of a row's outputs that holds the outputs of a target: ``"last"`` or ``"first"``.
    """

    FAMILY: ClassVar = "bl.likelihoods"
    unit_scale: ClassVar[bool] = True
    output_axis: Literal["last", "first"] = "last"

    @property
    def outputs_per_target(self) -> int | Literal["classes"]:
        """Number of network outputs per target, or ``"classes"`` for one per class."""
        return 1

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, stored: StoredFolder | None = None) -> Self:
        """Build a stored likelihood; those with a program take its arrays from the folder."""
        return cls(**arguments)

    @property
    def program(self) -> nn.Module:
        """Module with the parameters of the likelihood itself; empty for most likelihoods."""
        return nn.Module()

    def sites(self, like: Tensor) -> dict[str, Site]:
        """Return the latent sites that the likelihood adds to the model.

        Args:
            like: A tensor with the dtype and device to use.
        """
        return {}

    @abstractmethod
    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets.

        Args:
            f: Network output, ``(*batch, N, *axes)``.
            output_axes: Number of the last axes that belong to one row.
            **latents: Values of :meth:`sites`, each ``(*batch, 1)``, or ``()`` for one draw.

        Returns:
            A Pyro distribution with batch shape ``(*batch, N)``; one event is all targets of a row.
        """

    def moments(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of :meth:`distribution`, each ``(*batch, *shape of y)``."""
        y = self.distribution(f, output_axes=output_axes, **latents)
        return y.mean, y.variance

    def target_shape(self, outputs: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of a row's targets, given that of its outputs; see the layout of the package."""
        each = self.outputs_per_target
        if each == "classes":
            return tuple(outputs[:-1])
        shape = list(outputs)
        shape[self._axis] //= each
        return tuple(shape[:-1] if shape[-1] == 1 else shape)

    def scaled_targets(self, y: Tensor) -> dict[str, Tensor]:
        """Return the quantity that has unit scale if priors of unit scale suit the targets ``y``, by name, if any."""
        return {"y": y} if self.unit_scale else {}

    @property
    def _axis(self) -> int:
        """Index of the axis of outputs in the shape of a row's outputs."""
        return 0 if self.output_axis == "first" else -1

    def _label(self) -> str:
        """Name of the likelihood in messages."""
        return type(self).__name__

    def check(self, y: Tensor, rows: int, outputs: Sequence[int]) -> None:
        """Call :meth:`check_shapes` and :meth:`check_values` for a number of rows and the shape of a row's outputs."""
        self.check_shapes(torch.empty(rows, *outputs, device="meta"), y, output_axes=len(outputs))
        self.check_values(y, outputs)

    def check_shapes(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> None:
        """Validate that outputs and targets have matching shapes; nothing is broadcast.

        Args:
            f: Network output, ``(*batch, N, *axes)``.
            y: Targets, or ``None``.
            output_axes: Number of the last axes that belong to one row.

        Raises:
            ShapeError: If ``f`` has no axes after the rows, its number of outputs is not a multiple of
                :attr:`outputs_per_target`, or ``y`` does not have shape ``(N, *target_shape(axes))``.
        """
        if output_axes < 1 or f.dim() < output_axes + 1:
            raise ShapeError(
                "network(x)", ("N", "outputs"), f.shape, "Keep the axis of outputs, even for one."
            )
        n, *outputs = f.shape[-1 - output_axes :]
        self._check_outputs(n, outputs)
        if y is None:
            return
        check_tensor("y", y)
        expected = torch.Size((n, *self.target_shape(outputs)))
        if y.shape != expected:
            raise ShapeError("y", expected, y.shape, _hint(y, expected) or self._outputs_hint(y, n, outputs))

    def _check_outputs(self, n: int, outputs: Sequence[int]) -> None:
        each, size = self.outputs_per_target, outputs[self._axis]
        if each in (1, "classes") or (size and size % each == 0):
            return
        axes: list[int | str] = list(outputs)
        axes[self._axis] = f"{each} K"
        hint = f"{self._label()} needs {each} outputs per target: {each} for one, {2 * each} for two."
        raise ShapeError("network(x)", (n, *axes), (n, *outputs), hint)

    def _outputs_hint(self, y: Tensor, n: int, outputs: Sequence[int]) -> str:
        """Return advice for targets that would fit another number or another axis of outputs."""
        each, size = self.outputs_per_target, outputs[self._axis]
        if not isinstance(each, int) or each == 1:
            return ""
        needs = f"{self._label()} needs {each} outputs per target, so {size} outputs are for {size // each} targets."
        if len(outputs) == 1:
            return needs
        other = "last" if self.output_axis == "first" else "first"
        return f'{needs} If they are on the {other} axis of {tuple(outputs)}, pass output_axis="{other}".'

    def observed(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> Tensor | None:
        """Call :meth:`check_shapes`, and convert targets, if any, to the dtype that the distribution needs."""
        self.check_shapes(f, y, output_axes=output_axes)
        return None if y is None else y.to(f.dtype)

    def check_values(self, y: Tensor, outputs: Sequence[int]) -> None:
        """Raise DataError unless targets are in the support of the distribution; by default, unless they are finite."""
        check_finite_tensor("y", y)


def _hint(y: Tensor, expected: torch.Size) -> str:
    if y.shape == (*expected, 1):
        return "Use y.squeeze(-1)."
    if len(expected) == 2 and y.shape == expected[:1]:
        return f"The network has outputs for {expected[1]} targets per row; `y` has one."
    return ""


def check_targets(y: Tensor, valid: Tensor, needed: str, hint: str = "") -> None:
    """Raise DataError with the number of targets that are not valid, if there are any."""
    bad = int((~valid).sum())
    if bad:
        raise DataError(
            f"`y` must be {needed}; {bad} of its {y.numel()} values are not" + (hint and f". {hint}")
        )


def squeeze_last(f: Tensor, output_axes: int) -> tuple[Tensor, int]:
    """Remove a last axis of size 1, which targets do not have; return the number of axes of an event too."""
    return (f.squeeze(-1), output_axes - 1) if f.shape[-1] == 1 else (f, output_axes)
