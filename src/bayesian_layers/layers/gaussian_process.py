"""Gaussian processes as a layer: sparse and variational, with draws that are functions."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from .. import priors
from ..arguments import check_choice, check_finite_tensor, check_integer
from ..errors import ShapeError
from ..priors import LogNormal, Noise, Prior, Whitened
from ..saving.schema import Integer, Null, String, optional
from .base import show_priors
from .inducing import farthest_rows, initial_inputs, sparse_process
from .kernels import DEGREES, KERNELS, Kernel, log_parameter, normal_on_log, random_functions, unit_kernel

Mean = Literal["zero", "linear"]
_JITTER = 1e-6  # on the diagonal of K_ZZ, as a share of the variance
_MOVE_UNIT = 0.1  # of a lengthscale: the unit of `inducing_moves`, which scales the optimizer's steps

_INITIAL = "inducing", "lengthscale", "variance"  # learned values are in the arrays of a file
ARGUMENTS = {
    **dict.fromkeys(("num_inducing", "num_frequencies"), Integer(1, 2**31 - 1)),
    "kernel": String(KERNELS),
    "mean": String(get_args(Mean)),
    **dict.fromkeys(_INITIAL, optional(Null())),
}
READ = dict.fromkeys(_INITIAL, lambda _: None)


class GaussianProcess(nn.Module):
    r"""K functions of D inputs from a sparse variational Gaussian process; each draw is a function.

    .. math:: f(x) = m(x) + g(x) + K_{xZ} (K_{ZZ} + \epsilon I)^{-1} (L v - g(Z)), \qquad
              g(x) = \sqrt{\tfrac{\sigma^2}{F}} \sum_{j=1}^F a_j \cos(\omega_j^\top x) + b_j \sin(\omega_j^\top x)

    **The posterior is over v**, the whitened values of the functions at M inducing inputs Z: the values there are
    :math:`u = L v` with :math:`L L^\top = K_{ZZ} + \epsilon I`, and :math:`v \sim N(0, I)`. By default ``bl.fit`` uses
    :class:`bayesian_layers.guides.BlockNormal`, with a full covariance of each function's values. Z, the lengthscales
    and the variance are point estimates unless they have a prior; ``requires_grad_(False)`` freezes a parameter.

    **g is a function drawn from the prior**: its frequencies :math:`\omega` come from the kernel's spectral density
    (Normal, or Student t with :math:`2 \nu` degrees of freedom for a Matern kernel), its weights a, b are Normal.
    :math:`E[g(x) g(x')] = k(x, x')` for every F, since each draw has its own frequencies, so draws have exactly the
    mean and covariance of the sparse process. F only affects how close to Gaussian they are. The K functions of a draw
    share their frequencies. The same input twice gives the same value (pathwise conditioning).

    Called as a plain module, the layer is its mean function. A deep GP is
    ``nn.Sequential(bl.GaussianProcess(1, 2, mean="linear"), bl.GaussianProcess(2, 1))``, a deep kernel
    ``nn.Sequential(nn.Linear(8, 2), bl.GaussianProcess(2, 1))``. ``bl.fit`` draws the values at single rows from their
    Gaussian marginals (``estimator="local"``) and no functions, unless a hyperparameter has a prior.

    Standardize inputs and targets. If the data are available, :meth:`from_data` starts from better inducing inputs and
    lengthscales. A step costs :math:`M^2 (M + N)`. The computation is in double precision, whatever the dtype, because
    :math:`K_{ZZ}` has condition numbers up to :math:`M / \epsilon` with :math:`\epsilon = 10^{-6} \sigma^2`; so the
    device must support it, which Apple's Metal does not.

    Args:
        in_features: Inputs D.
        out_features: Functions K.
        num_inducing: Inducing inputs M.
        kernel: ``"rbf"``, ``"matern12"``, ``"matern32"`` or ``"matern52"``.
        mean: ``"zero"``, or ``"linear"`` for :math:`m(x) = W x` with a point estimate W that starts as the identity
            (cut or padded with zeros), for the inner layers of a deep GP, which would otherwise lose their inputs.
        num_frequencies: Frequencies F.
        inducing: Initial inducing inputs, ``(M, D)``; ``None`` for a Sobol design in the box :math:`[-2, 2]^D`.
        lengthscale: Initial lengthscale, one for all inputs or one per input; ``None`` for :math:`\sqrt{D}`, about the
            distance between rows of standardized inputs.
        variance: Initial variance of each function; ``None`` for 1.
        device: Device of the parameters.
        dtype: Floating type of the parameters.
        lengthscale_prior: Log-normal prior of each lengthscale; ``None`` makes them point estimates.
        variance_prior: Log-normal prior of the variance; ``None`` makes it a point estimate.

    Shape:
        Input ``(..., D)``, output ``(..., K)``.

    Attributes:
        inducing_moves: How far the inducing inputs have moved, in tenths of the initial lengthscales, ``(M, D)``: in
            this unit one learning rate suits all parameters.
        inducing_values: v, ``(K, M)``, with the prior N(0, I).
        log_lengthscale: Logarithms of the lengthscales, ``(D,)``.
        log_variance: Logarithm of the variance, ``()``.
        mean_weight: W, ``(K, D)``, for a linear mean.
        noise_weights: a and b, ``(K, 2 F)``, with the prior ``bl.priors.Noise``.
        noise_frequencies: The noise behind the frequencies, ``(F, D)``, for Matern kernels ``(F, D + 2 nu)``, with the
            prior ``bl.priors.Noise``.

    Raises:
        DataError: If a number is out of range, or a name unknown.
        ShapeError: If ``inducing`` or ``lengthscale`` has the wrong shape.
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
        self.in_features = check_integer("in_features", in_features, least=1)
        self.out_features = check_integer("out_features", out_features, least=1)
        self.num_inducing = check_integer("num_inducing", num_inducing, least=1)
        self.num_frequencies = check_integer("num_frequencies", num_frequencies, least=1)
        self.kernel = check_choice("kernel", kernel, KERNELS)
        self.mean = check_choice("mean", mean, get_args(Mean))
        self._unit_kernel = unit_kernel(kernel)
        like = torch.empty((), device=device, dtype=dtype)
        start = math.sqrt(in_features) if lengthscale is None else lengthscale
        self.log_lengthscale = nn.Parameter(log_parameter("lengthscale", start, (in_features,), like))
        self.register_buffer("inducing_start", initial_inputs(inducing, num_inducing, in_features, like))
        self.register_buffer("inducing_unit", _MOVE_UNIT * self.log_lengthscale.detach().exp())
        self.inducing_moves = nn.Parameter(like.new_zeros(num_inducing, in_features))
        start = 1.0 if variance is None else variance
        self.log_variance = nn.Parameter(log_parameter("variance", start, (), like))
        if mean == "linear":
            self.mean_weight = nn.Parameter(nn.init.eye_(like.new_empty(out_features, in_features)))
        self.inducing_values = nn.Parameter(like.new_zeros(out_features, num_inducing))
        self.noise_weights = nn.Parameter(like.new_zeros(out_features, 2 * num_frequencies))
        self.noise_frequencies = nn.Parameter(like.new_zeros(num_frequencies, in_features + DEGREES[kernel]))
        own: dict[str, Prior | None] = {
            "inducing_values": Whitened(),
            **dict.fromkeys(("noise_weights", "noise_frequencies"), Noise()),
            "log_lengthscale": normal_on_log("lengthscale_prior", lengthscale_prior),
            "log_variance": normal_on_log("variance_prior", variance_prior),
        }
        priors.set_priors(self, {name: own.get(name) for name, _ in self.named_parameters()})

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
        r"""Make a layer for data: its inducing inputs are rows of the data, its lengthscales follow their spread.

        The first row is the farthest from the mean, each further one the farthest from the rows chosen so far, in
        lengthscales: the largest distance from a row to its inducing input is at most twice the smallest possible.

        Args:
            x: Inputs of the layer, ``(N, D)``, which also determine device and dtype by default.
            out_features: Functions K.
            num_inducing: Largest number M; rows that are equal are chosen once.
            lengthscale: As for the class; ``None`` for the standard deviation of each input times :math:`\sqrt{D}`.
            **options: Other arguments of the class.

        Returns:
            A layer.

        Raises:
            DataError: If a number is out of range, or ``x`` has values that are NaN or infinite.
            ShapeError: If ``x`` is not a matrix with at least one row.

        References:
            Gonzalez (1985), "Clustering to minimize the maximum intercluster distance".
        """
        if x.dim() != 2 or not x.numel():
            raise ShapeError("x", ("N", "D"), x.shape)
        x, features = check_finite_tensor("x", x).detach(), x.shape[1]
        check_integer("num_inducing", num_inducing, least=1)
        if lengthscale is None:
            spread = x.std(0, correction=0) * math.sqrt(features)
            lengthscale = torch.where(spread > 0, spread, torch.ones_like(spread))
        options = {"device": x.device, "dtype": x.dtype} | options
        chosen = farthest_rows(x.double() / torch.as_tensor(lengthscale).to(x.device), num_inducing)
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
        """The prior variance of each function, ``()``."""
        return self.log_variance.exp()

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the functions that the parameters define, ``(..., K)``."""
        rows = self._rows(x)
        scaled, inducing, cholesky = self._in_lengthscales(rows)
        features = self._features(scaled, inducing, cholesky)
        noise = self.noise_weights, self.noise_frequencies

        def residual() -> Tensor:
            g = random_functions(self.kernel, torch.cat([scaled, inducing]), *noise)
            at_x, at_inducing = g.split([len(scaled), len(inducing)], dim=1)
            return at_x.mT - features @ torch.linalg.solve_triangular(cholesky, at_inducing.mT, upper=False)

        unit = sparse_process(features, self.inducing_values, noise, residual)
        f = self._with_mean(rows, (0.5 * self.log_variance.double()).exp() * unit)
        return f.to(x.dtype).reshape(*x.shape[:-1], self.out_features)

    def marginals(self, x: Tensor, loc: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return mean and variance of each function at each input, under a Gaussian over the whitened values.

        .. math:: E f = m(x) + B^\top \text{loc}, \quad
                  \operatorname{Var} f = k(x, x) - |B|^2 + |\text{scale\_tril}^\top B|^2, \quad B = L^{-1} K_{Zx}

        They are exactly the moments of the layer's draws if its inputs are the data, as in the first layer of a
        network: ``posterior.mean_function().marginals(x, *posterior.source.blocks()["inducing_values"])``.

        Args:
            x: Inputs, ``(N, D)``.
            loc: Means of the whitened inducing values, ``(K, M)``.
            scale_tril: Cholesky factors of their covariances, ``(K, M, M)``.

        Returns:
            Means and variances of the noise-free functions, ``(N, K)`` each.

        Raises:
            ShapeError: If an argument has the wrong shape.
        """
        k, m = self.inducing_values.shape
        for name, value, shape in (("loc", loc, (k, m)), ("scale_tril", scale_tril, (k, m, m))):
            if value.shape != shape:
                raise ShapeError(name, shape, value.shape)
        rows = self._rows(x)
        features = self._features(*self._in_lengthscales(rows))
        scale, loc, scale_tril = (0.5 * self.log_variance.double()).exp(), loc.double(), scale_tril.double()
        mean = self._with_mean(rows, scale * (features @ loc.mT))
        before, after = features.square().sum(1, keepdim=True), (features @ scale_tril).square().sum(2).mT
        variance = scale.square() * (1 - before + after).clamp(min=0)
        return mean.to(x.dtype), variance.to(x.dtype)

    def extra_repr(self) -> str:
        """Show sizes, kernel and priors."""
        shown = ("in_features", "out_features", "num_inducing", "kernel", "mean")
        return ", ".join([*(f"{name}={getattr(self, name)}" for name in shown), show_priors(self)])

    def _rows(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError("x", ("...", self.in_features), x.shape)
        return x.reshape(-1, self.in_features).double()

    def _in_lengthscales(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs and inducing inputs in lengthscales, and L of the unit kernel, ``(M, M)``."""
        lengthscale = self.log_lengthscale.double().exp()
        scaled, inducing = rows / lengthscale, self.inducing_inputs.double() / lengthscale
        jitter = _JITTER * torch.eye(len(inducing), dtype=inducing.dtype, device=inducing.device)
        # Not `cholesky`, which reads values to check for success.
        cholesky = torch.linalg.cholesky_ex(self._unit_kernel(inducing, inducing) + jitter).L
        return scaled, inducing, cholesky

    def _features(self, scaled: Tensor, inducing: Tensor, cholesky: Tensor) -> Tensor:
        """Return the factors of the whitened values, ``(N, M)``; draws with the same Z and kernel share them."""
        return torch.linalg.solve_triangular(cholesky, self._unit_kernel(inducing, scaled), upper=False).mT

    def _with_mean(self, rows: Tensor, values: Tensor) -> Tensor:
        return values + rows @ self.mean_weight.double().mT if self.mean == "linear" else values
