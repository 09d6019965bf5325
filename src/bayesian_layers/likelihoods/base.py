"""What every likelihood offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..priors import Site
from ..saving import StoredFolder
from ..saving.storable import Storable


class Likelihood(Storable, ABC):
    """What the network's output means for the targets.

    Attributes:
        unit_scale: Whether priors of unit scale expect targets of unit scale, so that a fit says when they are not.
        output_axis: Which axis of a row's outputs the outputs of a target are on: ``"last"`` or ``"first"``.
    """

    FAMILY: ClassVar = "bl.likelihoods"
    unit_scale: ClassVar[bool] = True
    output_axis: Literal["last", "first"] = "last"

    @property
    def outputs_per_target(self) -> int | Literal["classes"]:
        """How many outputs of the network a target takes: a number, or one for each of its classes."""
        return 1

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, stored: StoredFolder | None = None) -> Self:
        """Build a stored likelihood; those with parameters of their own take them from the folder."""
        return cls(**arguments)

    @property
    def program(self) -> nn.Module:
        """A module with the likelihood's own parameters; without parameters for most."""
        return nn.Module()

    def sites(self, like: Tensor) -> dict[str, Site]:
        """List the latent sites that the likelihood adds.

        Args:
            like: A tensor with the dtype and device to use.

        Returns:
            Site name to site; empty for most likelihoods.
        """
        return {}

    @abstractmethod
    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets.

        Args:
            f: Network output, ``(*batch, N, *axes)``.
            output_axes: How many of its last axes belong to one row.
            **latents: Values of :meth:`sites`, each ``(*batch, 1)``, or ``()`` where there is one draw.

        Returns:
            A Pyro distribution with batch shape ``(*batch, N)``; its event is all targets of a row.
        """

    def moments(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and variance of the targets for each draw.

        Args:
            f: Network output, ``(*batch, N, *axes)``.
            output_axes: How many of its last axes belong to one row.
            **latents: Values of :meth:`sites`, as :meth:`distribution` takes them.

        Returns:
            Mean and variance, each of shape ``(*batch, *shape of y)``.
        """
        y = self.distribution(f, output_axes=output_axes, **latents)
        return y.mean, y.variance

    def target_shape(self, outputs: Sequence[int]) -> tuple[int, ...]:
        """Tell the shape of a row's targets.

        Args:
            outputs: Shape of a row's outputs.

        Returns:
            The same, with the outputs of each target taken together, without a last axis of size 1; without the
            axis of classes, where there is one.
        """
        each = self.outputs_per_target
        if each == "classes":
            return tuple(outputs[:-1])
        whole = list(outputs)
        whole[self._axis] //= each
        return tuple(whole[:-1] if whole[-1] == 1 else whole)

    @property
    def _axis(self) -> int:
        """The axis of the outputs of a target, in the shape of a row's outputs."""
        return 0 if self.output_axis == "first" else -1

    def _shown(self) -> str:
        """What messages call the likelihood."""
        return type(self).__name__

    def num_classes(self, outputs: Sequence[int]) -> int:
        """Tell how many outputs are on the axis that :meth:`check_values` is about.

        Args:
            outputs: Shape of a row's outputs.

        Returns:
            The size of the last axis; for classes of the axis that they are on.
        """
        return outputs[-1]

    def check(self, y: Tensor, rows: int, outputs: Sequence[int]) -> None:
        """Refuse targets that the likelihood cannot have produced from outputs of some shape.

        Args:
            y: Targets.
            rows: Rows N of the inputs.
            outputs: Shape of a row's outputs.

        Raises:
            ShapeError: As in :meth:`check_shapes`.
            DataError: As in :meth:`check_values`.
        """
        self.check_shapes(torch.empty(rows, *outputs, device="meta"), y, output_axes=len(outputs))
        self.check_values(y, self.num_classes(outputs))

    def check_shapes(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> None:
        """Refuse outputs and targets that do not belong together; nothing is broadcast away.

        Args:
            f: Network output, ``(*batch, N, *axes)``.
            y: Targets, or ``None``.
            output_axes: How many of the last axes of ``f`` belong to one row.

        Raises:
            ShapeError: If ``f`` has no axes behind the rows, its outputs are not a whole number for each target, or
                ``y`` is not ``(N, *target_shape(axes))``.
        """
        if output_axes < 1 or f.dim() < output_axes + 1:
            raise ShapeError(
                "network(x)", ("N", "outputs"), f.shape, "Keep the axis of outputs, even for one."
            )
        n, *outputs = f.shape[-1 - output_axes :]
        self._check_outputs(f, outputs)
        if y is None:
            return
        expected = torch.Size((n, *self.target_shape(outputs)))
        if y.shape != expected:
            hint = _hint(y, expected) or self._outputs_hint(y, n, outputs)
            raise ShapeError("y", expected, y.shape, hint)

    def _check_outputs(self, f: Tensor, outputs: Sequence[int]) -> None:
        each, size = self.outputs_per_target, outputs[self._axis]
        if each in (1, "classes") or (size and size % each == 0):
            return
        axes = [str(size) for size in outputs]
        axes[self._axis] = f"{each} K"
        hint = f"{self._shown()} needs {each} outputs a target: {each} for one, {2 * each} for two."
        raise ShapeError(
            "network(x)", (f.shape[-1 - len(outputs)], *axes), f.shape[-1 - len(outputs) :], hint
        )

    def _outputs_hint(self, y: Tensor, n: int, outputs: Sequence[int]) -> str:
        """What to do about targets that would fit if the outputs were others, or elsewhere."""
        each, size = self.outputs_per_target, outputs[self._axis]
        if not isinstance(each, int) or each == 1:
            return ""
        said = f"{self._shown()} needs {each} outputs a target, so {size} outputs are for {size // each} targets."
        if len(outputs) == 1:
            return said
        other = "last" if self.output_axis == "first" else "first"
        return f'{said} If they are on the {other} axis of {tuple(outputs)}, say output_axis="{other}".'

    def observed(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> Tensor | None:
        """Check targets against the output, and give them the type that the distribution takes.

        Args:
            f: Network output, ``(*batch, N, *axes)``.
            y: Targets of any dtype, or ``None``.
            output_axes: How many of the last axes of ``f`` belong to one row.

        Returns:
            The targets, or ``None``.

        Raises:
            ShapeError: As in :meth:`check_shapes`.
        """
        self.check_shapes(f, y, output_axes=output_axes)
        return None if y is None else y.to(f.dtype)

    @abstractmethod
    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse targets that the likelihood cannot have produced.

        Args:
            y: Targets.
            outputs: Outputs of the network on the axis of classes, or the last; see :meth:`num_classes`.

        Raises:
            DataError: If a target is out of range or not finite.
        """


def _hint(y: Tensor, expected: torch.Size) -> str:
    if y.shape == (*expected, 1):
        return "Use y.squeeze(-1)."
    if len(expected) == 2 and y.shape == expected[:1]:
        return f"The network gives {expected[1]} targets a row; `y` has one."
    return ""


def check_finite(y: Tensor) -> None:
    """Refuse real targets that are not finite."""
    bad = int((~torch.isfinite(y)).sum()) if y.is_floating_point() else 0
    if bad:
        raise DataError(f"`y` has {bad} values that are NaN or infinite; remove or impute these rows")


def one_a_target(f: Tensor, output_axes: int) -> tuple[Tensor, int]:
    """Drop a last axis of size 1, as targets have none; the axes of a row that remain are its event's."""
    return (f.squeeze(-1), output_axes - 1) if f.shape[-1] == 1 else (f, output_axes)
