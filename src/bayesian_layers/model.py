"""The joint model p(y, w | x): a network, priors on its parameters, and a likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import Predictive
from torch import Tensor, nn

from .arguments import check_draws
from .errors import DataError, SiteError, StorageError
from .layers import check_embeddings
from .likelihoods import Likelihood, Prediction
from .network import (
    Inputs,
    dtype_and_device,
    evaluating,
    hyperparameter_sites,
    num_rows,
    output_shape,
    outputs,
    parameter_sites,
    stored_network,
    take_rows,
)
from .noise import seeded
from .predicting import WeightDraws, predict
from .predicting.plan import slices_of_rows
from .priors import Site
from .saving import AGAIN, StoredFolder
from .saving.schema import MapOf, Record, optional, show

SPEC = Record({"network": MapOf(), "likelihood": optional(MapOf())})
_RESERVED = ("data", "f", "y")


class BayesianModel(nn.Module):
    r"""A network as a Pyro program: :math:`p(y, w \mid x) = p(w) \prod_n p(y_n \mid f_w(x_n))`.

    Sites: one for each trainable parameter under its own name, before these ``<name>.prior_scale`` for each
    whose prior has a scale that is learned or has a prior, the likelihood's own (such as ``noise_scale``), ``f``
    (deterministic, the network's output) and ``y`` inside the plate ``data``. A parameter without a prior is a site
    with its value and log density 0; the guide learns it. The network is never written to.

    Args:
        network: Any module that maps N rows to ``(N, outputs)``; sequences ``(N, T, outputs)``, images and so on
            work, too: all axes after the rows belong to one row.
        likelihood: What the outputs mean. ``None`` for use inside a larger Pyro program, which then works
            with the returned ``f`` itself.

    Shape:
        Call with ``x`` ``(N, ...)`` (or a tuple of such tensors) and ``y`` in the shape of the outputs without a last
        axis of size 1 (see ``bl.likelihoods``); returns ``f`` ``(N, *axes)``, with leading axes for particles.

    Raises:
        SiteError: If a parameter of the network has the name of one of the model's own sites.
        DataError: If a parameter with a prior on the positive numbers is not positive, or an embedding writes to
            its weight (``max_norm``) or gives another gradient than the ELBO's.
        TypeError: If ``network`` is not a module or ``likelihood`` not one of ``bl.likelihoods``.

    Example:
        >>> import bayesian_layers as bl
        >>> model = BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
        >>> list(model.sites())
        ['weight', 'bias']
    """

    def __init__(self, network: nn.Module, likelihood: Likelihood | None = None) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"`network` must be a torch module; received {network!r}")
        if not isinstance(likelihood, Likelihood | None):
            raise TypeError(f"`likelihood` must be one of bl.likelihoods; received {likelihood!r}")
        self.network = network
        self.likelihood = likelihood
        sites, own = parameter_sites(network), self._own_sites()
        clash = [name for name in sites if name in (*_RESERVED, *own)]
        if likelihood is not None and clash:
            raise SiteError(
                f"parameters of the network are named {clash}, as sites of the model are; rename them"
            )
        hyperparameter_sites({**sites, **own})  # refuses a clash of names
        _check_positive({**sites, **own})
        check_embeddings(network)

    def sites(self) -> dict[str, Site]:
        """List the latent sites in the order of the program: prior scales, the network's, the likelihood's.

        A guide that keeps this order passes Pyro's check of the mean-field condition.

        Returns:
            Site name to initial value, prior and support.
        """
        network, own = parameter_sites(self.network), self._own_sites()
        return {**hyperparameter_sites({**network, **own}), **network, **own}

    def _own_sites(self) -> dict[str, Site]:
        if self.likelihood is None:
            return {}
        dtype, device = dtype_and_device(self.network)
        return self.likelihood.sites(torch.empty((), dtype=dtype, device=device))

    def spec(self) -> dict[str, Any]:
        """Describe the model in JSON's types, without its arrays; raise StorageError if files cannot hold it."""
        likelihood = None if self.likelihood is None else self.likelihood.spec()
        return {"network": stored_network.spec(self.network), "likelihood": likelihood}

    @classmethod
    def from_spec(cls, spec: Any, stored: StoredFolder, network: nn.Module | None = None) -> BayesianModel:
        """Build what :meth:`spec` described, or give a copy of ``network`` its priors; :meth:`fill` adds the arrays."""
        # Nothing in the spec is trusted. Without `network` parameters have the stored shapes and no values yet.
        SPEC.check(spec, "model")
        built = stored_network.build(spec["network"], stored, "network.", network)
        described = spec["likelihood"]
        likelihood = None if described is None else Likelihood.from_spec(described, stored=stored)
        return _checked(built, likelihood)

    def arrays(self) -> dict[str, Tensor]:
        """Return all arrays of the model, under the names that they have in a folder."""
        program = nn.Module() if self.likelihood is None else self.likelihood.program
        network = stored_network.arrays(self.network, "network.")
        return {**network, **stored_network.arrays(program, "likelihood.")}

    def fill(self, loaded: Mapping[str, Tensor], *, keep_tensors: bool) -> None:
        """Put the arrays of a folder into a model that :meth:`from_spec` built, and check what only arrays show."""
        # `keep_tensors` copies into the network's own tensors, with their ties, rather than take the loaded ones.
        stored_network.fill(self.network, loaded, "network.", keep_tensors=keep_tensors)
        if self.likelihood is not None:
            stored_network.fill(self.likelihood.program, loaded, "likelihood.", keep_tensors=False)
        _checked(self.network, self.likelihood)
        for name, value in self.network.named_buffers():
            if name.rpartition(".")[2] == "running_var" and bool((value < 0).any()):
                raise StorageError(f"{show(name)} must hold variances, 0 or more; some are below 0. {AGAIN}")

    def forward(self, x: Inputs, y: Tensor | None = None, *, num_data: int | None = None) -> Tensor:
        """Run the Pyro program.

        Args:
            x: Inputs with N rows in front, or a tuple of inputs.
            y: Targets, or ``None`` to draw them.
            num_data: Rows of the whole data set where ``x`` is a batch of it: scales the likelihood by
                ``num_data / N``.

        Returns:
            The network's output ``f``, ``(N, *axes)``, with leading axes for particles.

        Raises:
            ShapeError: If ``f`` and ``y`` do not belong together.
            DataError: If ``num_data`` is below the number of rows.
        """
        network, own = parameter_sites(self.network), self._own_sites()
        values = _draw({**hyperparameter_sites({**network, **own}), **network, **own}, pyro.sample)
        called = outputs(self.network, {name: values[name] for name in network}, x)
        f, axes = called.f, called.output_axes
        if self.likelihood is None:
            return f
        y = self.likelihood.observed(f, y, output_axes=axes)
        n = f.shape[called.batch_axes]
        if not network:  # nothing of the network is drawn, but sites of the likelihood may be, many times
            f = f.expand(*_particles(own, values), *f.shape)
        if num_data is not None and num_data < n:
            raise DataError(
                f"`num_data` must be the size of the whole data set, {n} or more; received {num_data}"
            )
        with pyro.plate("data", n, dim=-1), poutine.scale(scale=(num_data or n) / n):
            pyro.deterministic("f", f, event_dim=axes)
            latents = {name: values[name] for name in own}
            pyro.sample("y", self.likelihood.distribution(f, output_axes=axes, **latents), obs=y)
        return f

    def prior_draws(self, num_draws: int, seed: int) -> dict[str, Tensor]:
        """Draw the latent sites from their priors, scales of priors first; point estimates stay at their values.

        Args:
            num_draws: Number of draws S.
            seed: Draw ``i`` depends on ``(seed, i)`` alone.

        Returns:
            Site name to draws, ``(S, *shape)``.

        Raises:
            SiteError: If a prior is improper.
        """
        num_draws, seed = check_draws(num_draws, seed, least=1)
        sites = self.sites()
        draws: dict[str, list[Tensor]] = {name: [] for name in sites}
        for i in range(num_draws):
            with seeded(seed, i):
                for name, value in _draw(sites, lambda _, prior: prior()).items():
                    draws[name].append(value)
        return {
            name: values[0].expand(num_draws, *values[0].shape)
            if sites[name].prior is None
            else torch.stack(values)
            for name, values in draws.items()
        }

    def prior_predict(self, x: Inputs, num_draws: int = 1000, seed: int = 0) -> Prediction:
        """Predict from the prior alone, before any fit: what the model believes without data.

        Args:
            x: Inputs with N rows in front, or a tuple of inputs.
            num_draws: Draws of the weights, at least 2.
            seed: Draw ``i`` depends on ``(seed, i)`` alone.

        Returns:
            Moments with the shape of ``y``.
        """
        draws = WeightDraws.of(self.prior_draws(num_draws, seed))
        return predict(self.network, self.likelihood, draws, x)


def _checked(network: nn.Module, likelihood: Likelihood | None) -> BayesianModel:
    try:
        return BayesianModel(network, likelihood)
    except (DataError, SiteError) as error:
        raise StorageError(f"the stored model is not valid: {show(str(error), 300)}") from error


def _particles(sites: Mapping[str, Site], values: Mapping[str, Tensor]) -> torch.Size:
    """The leading axes of draws that values have, without the place of the rows."""
    batches = [values[name].shape[: values[name].dim() - site.initial.dim()] for name, site in sites.items()]
    return torch.broadcast_shapes(*(batch[:-1] if batch[-1:] == (1,) else batch for batch in batches))


def _check_positive(sites: Mapping[str, Site]) -> None:
    for name, site in sites.items():
        if site.positive and not site.initial.is_meta and not (site.initial > 0).all():
            raise DataError(
                f"`{name}` has the prior {site.prior}, so its initial values must be positive; some are not. "
                "Give it positive values or another prior."
            )


def _draw(sites: Mapping[str, Site], sample_one: Callable[[str, Any], Tensor]) -> dict[str, Tensor]:
    """Draw sites in their order, so that the scale of a prior is known before what depends on it."""
    values: dict[str, Tensor] = {}
    for name, site in sites.items():
        values[name] = sample_one(name, site.distribution(site.scale(values)))
    return values


def check_is_model(model: object) -> None:
    """Raise TypeError if a bare network is passed where a model is needed."""
    if not isinstance(model, BayesianModel):
        raise TypeError(
            f"`model` must be a BayesianModel; received {type(model).__name__}. "
            "Wrap the network: bl.BayesianModel(network, likelihood)."
        )


def sample(model: BayesianModel, draws: Mapping[str, Tensor], x: Inputs, site: str, seed: int = 0) -> Tensor:
    """Return values of a site of the model under given draws, all draws at once."""
    # The axis of size 1 is that of the data plate, where the rows go.
    given = {name: value.unsqueeze(1) for name, value in draws.items()}
    predictive = Predictive(model, given, parallel=True, return_sites=(site,))
    with evaluating(model.network), seeded(seed):
        return predictive(x)[site]


def log_likelihood(model: BayesianModel, draws: Mapping[str, Tensor], x: Inputs, y: Tensor) -> Tensor:
    """Return the log likelihood of each row under each draw, ``(S, N)``, from the model's own program."""
    given, parts = {name: value.unsqueeze(1) for name, value in draws.items()}, []
    size = len(next(iter(draws.values())))
    with evaluating(model.network), torch.no_grad():
        _check_targets(
            model, x, y
        )  # all rows at once: surplus targets would be cut off in silence by the chunks
        for chunk in slices_of_rows(model.network, draws, x):
            program = poutine.condition(pyro.plate("draws", size, dim=-2)(model), given)
            site: Any = poutine.trace(program).get_trace(take_rows(x, chunk), y[chunk]).nodes["y"]
            parts.append(site["fn"].log_prob(site["value"]).expand(size, -1))
    return torch.cat(parts, dim=1)


def _check_targets(model: BayesianModel, x: Inputs, y: Tensor) -> None:
    if model.likelihood is None:
        raise DataError(
            "the model has no likelihood, so targets have no density: BayesianModel(network, likelihood)"
        )
    outputs = output_shape(model.network, x, seed=0)
    f = torch.empty(num_rows(x), *outputs, device="meta")
    model.likelihood.check_shapes(f, y, output_axes=len(outputs))
