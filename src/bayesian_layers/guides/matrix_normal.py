"""A Gaussian in which rows and columns of each weight matrix are correlated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import DataError
from ..model import BayesianModel
from .joint import JointNormal, Mapped
from .layout import Layout

LARGEST = 2**25  # numbers in all factors: 134 MB in single precision, and Adam keeps two more


class MatrixNormal(Mapped, JointNormal):
    r"""A Gaussian for each weight matrix, with correlations between its rows and between its columns.

    .. math:: W = M + D \circ (A E B^\top), \quad E_{ij} \sim N(0, 1), \qquad
              \operatorname{Cov}[W_{ij}, W_{kl}] = D_{ij} D_{kl} (A A^\top)_{ik} (B B^\top)_{jl}

    where A and B are lower triangular with ones on their diagonals; ``row_factor`` and ``column_factor`` have the
    entries below them. A weight of more axes is a matrix of its first axis (outputs) by all others (inputs); a vector
    (a bias) is one column. With D constant this is the matrix normal distribution; D gives each entry its own scale, so
    that the guide starts as the :class:`MeanFieldNormal` of the same arguments. For a layer with R outputs and C inputs
    it has about :math:`(R^2 + C^2) / 2` numbers more, where :class:`FullRankNormal` has :math:`(R C)^2`. Sites are
    independent.

    Args:
        model: The model that the guide is for; it is only read.
        init_scale: Standard deviation at which each entry starts, above 0; ``None`` for one over the inputs of
            the widest layer, between 0.02 and 0.1.

    Attributes:
        loc: Means of the P entries that have a prior, ``(P,)``, unconstrained.
        log_scale: Logarithms of D, ``(P,)``.
        row_factor: The entries of A below its diagonal, row by row, site by site.
        column_factor: The entries of B below its diagonal, row by row, site by site.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If ``init_scale`` is not positive, or the factors have more than 33,554,432 numbers.
        SiteError: If no site of the model has a prior.
        TypeError: If ``model`` is not a ``BayesianModel``.

    References:
        Louizos & Welling (2016), "Structured and efficient variational deep learning with matrix Gaussian
        posteriors", arXiv 1603.04733.

    Example:
        >>> import bayesian_layers as bl
        >>> guide = MatrixNormal(bl.BayesianModel(bl.Linear(3, 2), bl.likelihoods.Normal(1.0)))
        >>> guide.row_factor.shape, guide.column_factor.shape  # A of the weight and of the bias; B of the weight
        (torch.Size([2]), torch.Size([3]))
    """

    ARGUMENTS: ClassVar = {}

    def __init__(self, model: BayesianModel, *, init_scale: float | None = None) -> None:
        super().__init__(model, init_scale=init_scale)
        rows, columns = (sum(map(_below, sizes)) for sizes in zip(*_sizes(self.layout), strict=True))
        if rows + columns > LARGEST:
            raise DataError(
                f"the factors of a MatrixNormal must have at most {LARGEST} numbers; this model needs "
                f"{rows + columns}. Use LowRankNormal or MeanFieldNormal."
            )
        self.row_factor = nn.Parameter(self.loc.detach().new_zeros(rows))
        self.column_factor = nn.Parameter(self.loc.detach().new_zeros(columns))

    @classmethod
    def _further_entries(cls, layout: Layout, random: int, arguments: Mapping[str, Any]) -> int:
        return sum(_below(rows) + _below(columns) for rows, columns in _sizes(layout))

    def from_noise(self, noise: Tensor) -> Tensor:
        """Return draws of the flat vector."""
        mixed = [a @ part @ b.mT for a, b, part in zip(*self._factors(), self._matrices(noise), strict=True)]
        return self.loc + self.log_scale.exp() * _flat(mixed)

    def to_noise(self, flat: Tensor) -> Tensor:
        """Return the noise of draws."""
        parts = self._matrices((flat - self.loc) / self.log_scale.exp())
        return _flat(
            [_solve(b, _solve(a, part).mT).mT for a, b, part in zip(*self._factors(), parts, strict=True)]
        )

    def log_det(self, noise: Tensor) -> Tensor:
        """Return the logarithm of the determinant of the Jacobian: A and B have determinant 1."""
        return self.log_scale.sum().expand(noise.shape[:-1])

    def variance(self) -> Tensor:
        """Return the variances of the entries."""
        squares = [
            a.square().sum(1).unsqueeze(1) * b.square().sum(1) for a, b in zip(*self._factors(), strict=True)
        ]
        return (2 * self.log_scale).exp() * _flat(squares)

    def covariance_rows(self, index: Tensor) -> Tensor:
        """Return rows of the covariance."""
        identity = torch.eye(len(self.loc), dtype=self.loc.dtype, device=self.loc.device)[index]
        scale = self.log_scale.exp()
        parts = self._matrices(identity * scale)
        mixed = [a @ (a.mT @ part @ b) @ b.mT for a, b, part in zip(*self._factors(), parts, strict=True)]
        return scale * _flat(mixed)

    def half_log_det(self) -> Tensor:
        """Return half the logarithm of the covariance's determinant: A and B have determinant 1."""
        return self.log_scale.sum()

    def _factors(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the matrices A and B of each site."""
        sizes = _sizes(self.layout)
        return (
            _unit_triangular(self.row_factor, [rows for rows, _ in sizes]),
            _unit_triangular(self.column_factor, [columns for _, columns in sizes]),
        )

    def _matrices(self, flat: Tensor) -> list[Tensor]:
        """Split flat vectors ``(*batch, P)`` into the matrix of each site, ``(*batch, R, C)``."""
        sizes = _sizes(self.layout)
        parts = flat.split([rows * columns for rows, columns in sizes], dim=-1)
        return [part.unflatten(-1, size) for part, size in zip(parts, sizes, strict=True)]


def _sizes(layout: Layout) -> list[tuple[int, int]]:
    """Return rows and columns of each random site: its first axis, and all others; 1 and 1 for a single number."""
    shapes = [layout.shapes[name] for name in layout.random]
    return [(shape[0], shape[1:].numel()) if shape else (1, 1) for shape in shapes]


def _below(size: int) -> int:
    """Return the number of entries below the diagonal of a square matrix."""
    return size * (size - 1) // 2


def _unit_triangular(flat: Tensor, sizes: list[int]) -> list[Tensor]:
    """Build lower triangular matrices with ones on the diagonal and these entries below it."""
    found = []
    for size, part in zip(sizes, flat.split(list(map(_below, sizes))), strict=True):
        row, column = torch.tril_indices(size, size, -1, device=flat.device)
        found.append(torch.eye(size, dtype=flat.dtype, device=flat.device).index_put((row, column), part))
    return found


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, right, upper=False, unitriangular=True)


def _flat(matrices: list[Tensor]) -> Tensor:
    return torch.cat([matrix.flatten(-2) for matrix in matrices], dim=-1)
