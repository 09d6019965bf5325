"""Gaussian processes as a layer: sparse, variational, and each draw one function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function
from torch.quasirandom import SobolEngine

from .. import priors
from ..errors import DataError, ShapeError
from ..priors import LogNormal, Noise, Normal, Whitened
from ..saving.schema import Integer, Null, String, optional
from .base import show_priors

Kernel = Literal["rbf", "matern12", "matern32", "matern52"]
Mean = Literal["zero", "linear"]
KERNELS = get_args(Kernel)
_PYRO = {"rbf": "RBF", "matern12": "Exponential", "matern32": "Matern32", "matern52": "Matern52"}
_DEGREES = {
    "rbf": 0,
    "matern12": 1,
    "matern32": 3,
    "matern52": 5,
}  # 2 nu, of the Student t of the frequencies
_JITTER = 1e-6  # of the variance, on the diagonal of K_ZZ
_UNIT = 0.1  # of a lengthscale: in what the moves of inducing inputs are counted, and so how far a step takes them
_BOX = 2.0  # half the width of the design where there are no data, in units of standardized inputs

_COUNT, _INITIAL = Integer(1, 2**31 - 1), Null()  # the arrays of a file hold what has been learned since
ARGUMENTS = {
    "num_inducing": _COUNT,
    "num_frequencies": _COUNT,
    "kernel": String(KERNELS),
    "mean": String(get_args(Mean)),
    **dict.fromkeys(("inducing", "lengthscale", "variance"), optional(_INITIAL)),
}
READ = dict.fromkeys(("inducing", "lengthscale", "variance"), lambda _: None)


class GaussianProcess(nn.Module):
    r"""K functions of D inputs from one Gaussian process, sparse and variational; each draw is a function.

    .. math:: f(x) = m(x) + g(x) + K_{xZ} (K_{ZZ} + \epsilon I)^{-1} (L v - g(Z)), \qquad
              g(x) = \sqrt{\tfrac{\sigma^2}{F}} \sum_{j=1}^F a_j \cos(\omega_j^\top x) + b_j \sin(\omega_j^\top x)

    **What is sought** is the posterior of v, the whitened values at M inducing inputs Z: the values of the functions
    there are :math:`u = L v` with :math:`L L^\top = K_{ZZ} + \epsilon I`, and :math:`v \sim N(0, I)`. ``bl.fit`` takes
    :class:`bayesian_layers.guides.BlockNormal`, which gives each function's values a full covariance; with independent
    Normals the deviation of the function would be wrong by a factor. Z, the lengthscales (one an input) and the
    variance are learned as points, unless a prior is given; ``requires_grad_(False)`` on a parameter freezes it.

    **What is only drawn** is the rest: a function g of the prior, that is its frequencies :math:`\omega` (from the
    kernel's spectral density: Normal, or Student t with :math:`2 \nu` degrees of freedom for a Matern kernel) and its
    weights a, b. :math:`E[g(x) g(x')] = k(x, x')` whatever F, since each draw has frequencies of its own; so mean and
    covariance of the draws are exactly those of the sparse process. F decides only how nearly they are Gaussian. The K
    functions of a draw share their frequencies.
    Drawn or not, the same input twice gives the same value (pathwise conditioning).

    Called as a plain module the layer is its mean function: the noise stands at 0. A deep GP is
    ``nn.Sequential(bl.GaussianProcess(1, 2, mean="linear"), bl.GaussianProcess(2, 1))``, a deep kernel
    ``nn.Sequential(nn.Linear(8, 2), bl.GaussianProcess(2, 1))``.

    ``bl.fit`` needs the processes' values at single rows only, and takes them from their Gaussian marginals
    (``estimator="local"``): no function is drawn in its steps, unless a hyper-parameter has a prior.

    Inputs and targets should be standardized. Of data that are at hand, :meth:`from_data` makes better inducing inputs
    and lengthscales than the design in a box, which knows nothing; the M inputs cost :math:`M^2 (M + N)` a step.
    The inside is computed in double precision, whatever the dtype: :math:`K_{ZZ}` has condition numbers up to
    :math:`M / \epsilon`, with :math:`\epsilon = 10^{-6} \sigma^2`. So it needs a device that has it: not Apple's Metal.

    Args:
        in_features: Inputs D.
        out_features: Functions K.
        num_inducing: Inducing inputs M.
        kernel: ``"rbf"``, ``"matern12"``, ``"matern32"`` or ``"matern52"``.
        mean: ``"zero"``, or ``"linear"`` for :math:`m(x) = W x`, W learned as a point from the identity (cut or
            filled with zeros) on: in the inner layers of a deep GP, which would otherwise forget their inputs.
        num_frequencies: Frequencies F.
        inducing: Where the inducing inputs begin, ``(M, D)``; ``None`` for a Sobol design in the box
            :math:`[-2, 2]^D`.
        lengthscale: Where all lengthscales begin, or one an input; ``None`` for :math:`\sqrt{D}`, about the distance
            between rows of standardized inputs.
        variance: Where the variance of each function begins; ``None`` for 1.
        device: As in torch.
        dtype: As in torch.
        lengthscale_prior: Log-normal prior of each lengthscale; ``None`` makes them point estimates.
        variance_prior: Log-normal prior of the variance; ``None`` makes it a point estimate.

    Shape:
        Input ``(..., D)``, output ``(..., K)``.

    Attributes:
        inducing_moves: How far the inducing inputs have moved from where they began, in tenths of the first
            lengthscales, ``(M, D)``: so one learning rate fits all parameters. Two that pass each other change what
            their values mean, so they had better go slowly.
        inducing_values: v, ``(K, M)``, whitened, with the prior N(0, I).
        log_lengthscale: Logarithms of the lengthscales, ``(D,)``.
        log_variance: Logarithm of the variance, ``()``.
        mean_weight: W, ``(K, D)``, for a linear mean.
        noise_weights: a and b, ``(K, 2 F)``, with the prior ``bl.priors.Noise``.
        noise_frequencies: What frequencies are made of, ``(F, D)``, for Matern kernels ``(F, D + 2 nu)``, with the
            prior ``bl.priors.Noise``.

    Raises:
        DataError: If a number is out of range, or a name unknown.
        ShapeError: If ``inducing`` or ``lengthscale`` has another shape.
        TypeError: If a prior is not a ``bl.priors.LogNormal``.

    References:
        Wilson et al. (2020), "Efficiently sampling functions from Gaussian process posteriors", arXiv 2002.09309;
        Titsias (2009) and Hensman, Fusi & Lawrence (2013), arXiv 1309.6835, for the bound; Rahimi & Recht (2007),
        "Random features for large-scale kernel machines"; Salimbeni & Deisenroth (2017), arXiv 1705.08933, for the
        mean of deep GPs; kernels by ``pyro.contrib.gp``.

    Example:
        >>> import bayesian_layers as bl
        >>> x = torch.linspace(-1, 1, 20).unsqueeze(1)
        >>> layer = GaussianProcess.from_data(x, 1, num_inducing=6, kernel="matern52", num_frequencies=16)
        >>> model = bl.BayesianModel(layer, bl.likelihoods.Normal(0.1))
        >>> posterior = bl.fit(model, x, torch.sin(3 * x).squeeze(1), progress=False).posterior
        >>> function = posterior.function(seed=0)
        >>> torch.equal(function(x)[3:4], function(x[3:4]))
        True
    """

    inducing_start: Tensor
    inducing_unit: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_inducing: int = 32,
        kernel: Kernel = "rbf",
        mean: Mean = "zero",
        num_frequencies: int = 64,
        inducing: Tensor | None = None,
        lengthscale: float | Tensor | None = None,
        variance: float | None = None,
        device: Any = None,
        dtype: Any = None,
        lengthscale_prior: LogNormal | None = None,
        variance_prior: LogNormal | None = None,
    ) -> None:
        super().__init__()
        if inducing is not None:
            num_inducing = len(inducing)
        counts = {"in_features": in_features, "out_features": out_features, "num_inducing": num_inducing}
        _check_counts(counts | {"num_frequencies": num_frequencies})
        for name, value, known in (("kernel", kernel, Kernel), ("mean", mean, Mean)):
            if value not in get_args(known):
                raise DataError(f"`{name}` must be one of {get_args(known)}; received {value!r}")
        self.in_features, self.out_features = in_features, out_features
        self.num_inducing, self.num_frequencies = num_inducing, num_frequencies
        self.kernel, self.mean = kernel, mean
        self._unit_kernel = _unit_kernel(kernel)
        like = torch.empty((), device=device, dtype=dtype)
        start = math.sqrt(in_features) if lengthscale is None else lengthscale
        self.log_lengthscale = nn.Parameter(_log("lengthscale", start, (in_features,), like))
        self.register_buffer("inducing_start", _design(inducing, num_inducing, in_features, like))
        self.register_buffer("inducing_unit", _UNIT * self.log_lengthscale.detach().exp())
        self.inducing_moves = nn.Parameter(like.new_zeros(num_inducing, in_features))
        self.log_variance = nn.Parameter(_log("variance", 1.0 if variance is None else variance, (), like))
        if mean == "linear":
            self.mean_weight = nn.Parameter(nn.init.eye_(like.new_empty(out_features, in_features)))
        self.inducing_values = nn.Parameter(like.new_zeros(out_features, num_inducing))
        self.noise_weights = nn.Parameter(like.new_zeros(out_features, 2 * num_frequencies))
        self.noise_frequencies = nn.Parameter(like.new_zeros(num_frequencies, in_features + _DEGREES[kernel]))
        given = {"log_lengthscale": lengthscale_prior, "log_variance": variance_prior}
        priors.set_priors(self, {name: None for name, _ in self.named_parameters()})
        priors.set_priors(self, {name: _on_logarithm(name, prior) for name, prior in given.items()})
        priors.set_priors(
            self, {"inducing_values": Whitened(), "noise_weights": Noise(), "noise_frequencies": Noise()}
        )

    @classmethod
    def from_data(
        cls,
        x: Tensor,
        out_features: int,
        *,
        num_inducing: int = 32,
        lengthscale: float | Tensor | None = None,
        **options: Any,
    ) -> GaussianProcess:
        r"""Make a layer for data: inducing inputs among them, lengthscales by their spread.

        Rows are taken one by one, each the farthest in lengthscales from those taken before, so that none is farther
        from the nearest than twice what is possible; all, where no more than ``num_inducing`` are different.

        Args:
            x: Inputs of the layer, ``(N, D)``; device and dtype are theirs unless ``options`` name others.
            out_features: Functions K.
            num_inducing: Inducing inputs M, at most.
            lengthscale: As for the class; ``None`` for the deviation of each input times :math:`\sqrt{D}`.
            **options: Other arguments of the class.

        Returns:
            A layer.

        Raises:
            DataError: If a number is out of range, or ``x`` has values that are NaN or infinite.
            ShapeError: If ``x`` is no matrix with a row.

        References:
            Gonzalez (1985), "Clustering to minimize the maximum intercluster distance".
        """
        if x.dim() != 2 or not x.numel():
            raise ShapeError("x", ("N", "D"), x.shape)
        if not bool(torch.isfinite(x).all()):
            raise DataError("`x` has values that are NaN or infinite; remove or impute these rows")
        x, features = x.detach(), x.shape[1]
        if lengthscale is None:
            spread = x.std(0, correction=0) * math.sqrt(features)
            lengthscale = torch.where(spread > 0, spread, torch.ones_like(spread))
        _check_counts({"num_inducing": num_inducing})
        options = {"device": x.device, "dtype": x.dtype} | options
        chosen = _spread_out(x.double() / torch.as_tensor(lengthscale).to(x.device), num_inducing)
        return cls(features, out_features, lengthscale=lengthscale, inducing=x[chosen], **options)

    @property
    def inducing_inputs(self) -> Tensor:
        """The inducing inputs Z, ``(M, D)``."""
        return self.inducing_start + self.inducing_unit * self.inducing_moves

    @property
    def lengthscale(self) -> Tensor:
        """The lengthscales, ``(D,)``, in the units of the inputs."""
        return self.log_lengthscale.exp()

    @property
    def variance(self) -> Tensor:
        """The variance of each function before the data, ``()``."""
        return self.log_variance.exp()

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the functions that the parameters, noise included, say.

        Args:
            x: Inputs, ``(..., D)``.

        Returns:
            Values of K functions, ``(..., K)``.

        Raises:
            ShapeError: If ``x`` has another number of inputs.
        """
        rows = self._rows(x)
        ahead, at, cholesky = self._geometry(rows)
        features = self._features(ahead, at, cholesky)

        def rest() -> Tensor:
            early, late = self._prior_draw(torch.cat([ahead, at])).split([len(ahead), len(at)], dim=1)
            return early.mT - features @ torch.linalg.solve_triangular(cholesky, late.mT, upper=False)

        noise = self.noise_weights, self.noise_frequencies
        unit = sparse_process(features, self.inducing_values, noise, rest)
        f = self._with_mean(rows, (0.5 * self.log_variance.double()).exp() * unit)
        return f.to(x.dtype).reshape(*x.shape[:-1], self.out_features)

    def marginals(self, x: Tensor, loc: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor]:
        r"""Give mean and variance of each function at each input, under a Gaussian over the whitened values.

        .. math:: E f = m(x) + B^\top \text{loc}, \quad
                  \operatorname{Var} f = k(x, x) - |B|^2 + |\text{scale\_tril}^\top B|^2, \quad B = L^{-1} K_{Zx}

        They are those of the layer's draws, exactly, where x is the data: in the first layer of a network. With the
        fitted hyper-parameters, for a network that is one layer::

            posterior.mean_function().marginals(x, *posterior.source.blocks()["inducing_values"])

        Args:
            x: Inputs, ``(N, D)``.
            loc: Means of the whitened inducing values, ``(K, M)``.
            scale_tril: Cholesky factors of their covariances, ``(K, M, M)``.

        Returns:
            Means and variances of the noise-free functions, ``(N, K)`` each.

        Raises:
            ShapeError: If a shape is another.
        """
        expected = self.inducing_values.shape
        for name, value, shape in (
            ("loc", loc, expected),
            ("scale_tril", scale_tril, (*expected, expected[1])),
        ):
            if value.shape != shape:
                raise ShapeError(name, tuple(shape), value.shape)
        rows = self._rows(x)
        features = self._features(*self._geometry(rows))
        scale, loc, scale_tril = (0.5 * self.log_variance.double()).exp(), loc.double(), scale_tril.double()
        mean = self._with_mean(rows, scale * (features @ loc.mT))
        before, after = features.square().sum(1, keepdim=True), (features @ scale_tril).square().sum(2).mT
        variance = scale.square() * (1 - before + after).clamp(min=0)
        return mean.to(x.dtype), variance.to(x.dtype)

    def extra_repr(self) -> str:
        """Show sizes, kernel and priors.

        Returns:
            The inside of the layer's ``repr``.
        """
        shown = ("in_features", "out_features", "num_inducing", "kernel", "mean")
        return ", ".join([*(f"{name}={getattr(self, name)}" for name in shown), show_priors(self)])

    def _rows(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError("x", ("...", self.in_features), x.shape)
        return x.reshape(-1, self.in_features).double()

    def _geometry(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and inducing inputs in lengthscales, and L of the unit kernel, ``(M, M)``."""
        lengthscale = self.log_lengthscale.double().exp()
        ahead, at = rows / lengthscale, self.inducing_inputs.double() / lengthscale
        nugget = _JITTER * torch.eye(len(at), dtype=at.dtype, device=at.device)
        cholesky = torch.linalg.cholesky_ex(self._unit_kernel(at, at) + nugget).L  # looks at no value
        return ahead, at, cholesky

    def _features(self, ahead: Tensor, at: Tensor, cholesky: Tensor) -> Tensor:
        """What the whitened values are multiplied by, ``(N, M)``; shared by all draws that share Z and the kernel."""
        return torch.linalg.solve_triangular(cholesky, self._unit_kernel(at, ahead), upper=False).mT

    def _prior_draw(self, scaled: Tensor) -> Tensor:
        """The function g of unit variance at inputs in lengthscales, ``(K, rows)``."""
        noise, degrees = self.noise_frequencies.double(), _DEGREES[self.kernel]
        frequencies = noise[:, : self.in_features]
        if degrees:
            # A Normal over the root of a mean square is Student t; where all noise is 0, so is the frequency.
            square = noise[:, self.in_features :].square().mean(1, keepdim=True)
            frequencies = frequencies * square.clamp(min=torch.finfo(square.dtype).tiny).rsqrt()
        turns = (frequencies / (2 * math.pi)) @ scaled.mT
        # Integer turns are taken off in double precision; what is left suits any, and single costs a quarter.
        angles = (turns - turns.round()).to(self.noise_weights.dtype) * (2 * math.pi)
        a, b = self.noise_weights.split(self.num_frequencies, dim=1)
        return (a @ angles.cos() + b @ angles.sin()).double() / math.sqrt(self.num_frequencies)

    def _with_mean(self, rows: Tensor, values: Tensor) -> Tensor:
        return values + rows @ self.mean_weight.double().mT if self.mean == "linear" else values


def sparse_process(
    features: Tensor, values: Tensor, noise: tuple[Tensor, ...], rest: Callable[[], Tensor]
) -> Tensor:
    r"""Put a unit process together from what inducing values say of it and the rest, :math:`B v + r`."""
    # A function of its own, so that torch function modes see it: an estimator that has a distribution of
    # the values and needs no function, only its value at each row, knows that r has the variance :math:`1 -
    # |B_n|^2` there.
    tensors = (features, values, *noise)
    if has_torch_function(tensors):
        return handle_torch_function(sparse_process, tensors, features, values, noise, rest)
    return features @ values.to(features.dtype).mT + rest()


def _unit_kernel(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    # Pyro's kernel with lengthscale and variance 1, as a plain function: its parameters are none of the network's,
    # and `forward` does not enter them into Pyro's store, as a call of the module would.
    from pyro.contrib.gp import kernels  # on first use

    kernel = getattr(kernels, _PYRO[name])(1).requires_grad_(False)
    kernel.active_dims = slice(None)  # all inputs, of any number: a list of them could be longer than memory
    return kernel.forward


def _design(inducing: Tensor | None, num_inducing: int, features: int, like: Tensor) -> Tensor:
    if like.is_meta:  # whoever builds without memory fills it later
        return like.new_empty(num_inducing, features)
    if inducing is not None:
        if inducing.dim() != 2 or inducing.shape[1] != features:
            raise ShapeError("inducing", ("M", features), inducing.shape)
        return inducing.detach().to(like, copy=True)
    if features > SobolEngine.MAXDIM:
        raise DataError(
            f"there is no design for {features} inputs; give `inducing`, or use GaussianProcess.from_data"
        )
    points = SobolEngine(features).draw(num_inducing, dtype=torch.float64)
    cell = 2.0 ** -math.ceil(math.log2(max(num_inducing, 2)))  # the points stand at the corners of such cells
    return (2 * _BOX * (points + 0.5 * cell - 0.5)).to(like)


def _spread_out(scaled: Tensor, count: int) -> list[int]:
    """Rows, each the farthest from those before it; the first is the farthest from the middle."""
    chosen = [int((scaled - scaled.mean(0)).square().sum(1).argmax())]
    left = (scaled - scaled[chosen[0]]).square().sum(1)
    while len(chosen) < count and bool(left.max() > 0):
        chosen.append(int(left.argmax()))
        left = torch.minimum(left, (scaled - scaled[chosen[-1]]).square().sum(1))
    return chosen


def _log(name: str, value: float | Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    if like.is_meta:
        return like.new_empty(shape)
    value = torch.as_tensor(value, dtype=torch.float64).detach().to(like.device)
    if value.shape not in ((), shape):
        raise ShapeError(name, shape, value.shape, "Or one number for all.")
    if not bool((torch.isfinite(value) & (value > 0)).all()):
        raise DataError(f"`{name}` must be finite and above 0; received {value.tolist()}")
    return value.log().expand(shape).to(like, copy=True)


def _on_logarithm(name: str, prior: LogNormal | None) -> Normal | None:
    if prior is not None and not isinstance(prior, LogNormal):
        raise TypeError(f"the prior behind `{name}` must be a bl.priors.LogNormal; received {prior!r}")
    return None if prior is None else Normal(prior.loc, prior.scale)


def _check_counts(counts: dict[str, int]) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DataError(f"`{name}` must be a whole number, 1 or more; received {value!r}")
