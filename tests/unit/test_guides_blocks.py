"""Sites that are only drawn, and sites whose entries belong together."""

import math

import pyro
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from scipy import stats
from torch import nn

import bayesian_layers as bl
from bayesian_layers import priors
from bayesian_layers.errors import DataError, SiteError
from bayesian_layers.fitting.convergence import check_convergence
from bayesian_layers.fitting.evaluation import estimate_elbo
from bayesian_layers.guides import BlockNormal, Ensemble, FullRankNormal, LowRankNormal, MeanFieldNormal
from bayesian_layers.guides.blocks import default_guide
from bayesian_layers.guides.layout import Layout
from bayesian_layers.guides.prior_density import log_prior
from bayesian_layers.noise import standard_normal


class Wiggle(nn.Module):
    """Sums of values that belong together, and of noise that is only drawn."""

    def __init__(self, size=3):
        super().__init__()
        self.values = nn.Parameter(torch.linspace(-1, 1, 2 * size).reshape(2, size))
        self.noise = nn.Parameter(torch.zeros(2, size))
        priors.set_priors(self, {"values": priors.Whitened(), "noise": priors.Noise()})

    def forward(self, x):
        return x @ (self.values + self.noise.sin()).T


def ensemble_of_two(model):
    return Ensemble(model, members=2)


X = torch.linspace(-1, 1, 30, dtype=torch.float64).reshape(10, 3)
Y = X[:, 0] - 0.5 * X[:, 2]
EVERY = (MeanFieldNormal, BlockNormal, FullRankNormal, LowRankNormal, ensemble_of_two)


@pytest.fixture
def model(build):
    network = build(lambda: nn.Sequential(Wiggle(), nn.Tanh(), bl.Linear(2, 1)).double())
    return bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.5)))


def tied(model, seed=0):
    """A BlockNormal with covariances."""
    guide = BlockNormal(model, init_scale=0.5)
    size = sum(parameter.numel() for parameter in guide.parameters())
    noise = 0.3 * standard_normal(seed, 1, size, dtype=torch.float64)[0]
    with torch.no_grad():
        for parameter, part in zip(
            guide.parameters(), noise.split([p.numel() for p in guide.parameters()]), strict=True
        ):
            parameter += part.view_as(parameter)
    return guide


def test_the_layout_tells_apart_what_is_sought_what_is_drawn_and_what_belongs_together(model):
    layout = Layout.of(model.sites())
    assert layout.random == ("0.values", "2.weight", "2.bias", "noise_scale")
    assert layout.drawn == ("0.noise",)
    assert layout.joint == ("0.values",)
    assert layout.drawn_size == 6
    assert layout.factor_size == 2 * 3 * 3
    assert layout.max_fan_in == 2  # of the dense layer: values of functions are no weights


def test_a_model_with_nothing_to_learn_but_the_noise_scale_can_still_have_a_guide(build):
    network = build(lambda: nn.Linear(1, 1, bias=False))
    priors.set_priors(network, {"weight": priors.Noise()})
    guide = default_guide(bl.BayesianModel(network, bl.likelihoods.Normal("learned")))
    assert (guide.loc.shape, guide.point.shape, guide.noise_size) == ((0,), (1,), 1)


@pytest.mark.parametrize("family", EVERY)
def test_drawn_sites_are_standard_normal_and_no_parameter_of_any_guide(model, family):
    guide = family(model)
    before = guide.draw(4000, seed=1)["0.noise"].reshape(-1)
    assert stats.kstest(before.numpy(), "norm").pvalue > 1e-3
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.mul_(0.5).add_(0.1)
    assert torch.equal(guide.draw(4000, seed=1)["0.noise"].reshape(-1), before)
    assert torch.equal(guide.mean()["0.noise"], torch.zeros(2, 3, dtype=torch.float64))
    noise = standard_normal(2, 4, guide.noise_size, dtype=torch.float64)
    assert torch.equal(guide.transform(noise)["0.noise"].reshape(4, 6), noise[:, -6:])


@pytest.mark.parametrize("family", EVERY)
def test_drawn_sites_are_in_no_density(model, family):
    guide = family(model)
    flat = guide.unconstrained(standard_normal(0, 4, guide.noise_size, dtype=torch.float64))
    assert flat.shape == (4, 6 + 3 + 1)
    assert guide.log_density(flat).shape == (4,)
    assert log_prior(model.sites(), guide.layout, flat, guide.points(4)).shape == (4,)


@pytest.mark.parametrize("family", EVERY)
def test_the_pyro_program_has_the_elbo_of_the_fast_path(model, family):
    guide = family(model)
    elbo = TraceMeanField_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=1)
    with torch.no_grad(), bl.noise.seeded(0):
        theirs = -elbo.loss(model, guide, X, Y)
    ours, stderr = estimate_elbo(model, guide, X, Y, num_draws=4000, seed=3)
    assert abs(ours - theirs) < 5 * math.sqrt(2) * stderr + 0.05  # theirs draws the KL of some guides too


def test_without_joint_sites_it_is_the_mean_field_normal(build):
    model = bl.BayesianModel(build(lambda: bl.Linear(3, 2)), bl.likelihoods.Normal(0.5))
    one, other = BlockNormal(model), MeanFieldNormal(model)
    assert one.factor.shape == (0,)
    assert all(torch.equal(a, other.draw(5, 0)[name]) for name, a in one.draw(5, 0).items())
    assert torch.equal(one.weighted_kl(model), other.weighted_kl(model))
    assert type(default_guide(model)) is MeanFieldNormal


def test_it_begins_as_the_mean_field_normal_does(model):
    one, other = BlockNormal(model, init_scale=0.3), MeanFieldNormal(model, init_scale=0.3)
    noise = standard_normal(0, 5, one.noise_size, dtype=torch.float64)
    assert torch.equal(one.unconstrained(noise), other.unconstrained(noise))
    assert torch.equal(one.variance(), other.variance())
    torch.testing.assert_close(one.weighted_kl(model), other.weighted_kl(model))


def test_density_kl_and_draws_are_those_of_the_gaussians_that_it_says(model):
    guide = tied(model)
    loc, scale_tril = guide.blocks()["0.values"]
    assert bool((scale_tril.tril(-1).abs() > 0.1).any())
    q = torch.distributions.MultivariateNormal(loc, scale_tril=scale_tril)
    single = [
        stats.norm(*(float(v) for v in pair))
        for pair in zip(guide.loc[6:].detach(), guide.log_scale[6:].detach().exp(), strict=True)
    ]
    flat = guide.unconstrained(standard_normal(0, 7, guide.noise_size, dtype=torch.float64)).detach()
    expected = q.log_prob(flat[:, :6].view(7, 2, 3)).sum(1).detach().numpy()
    expected = expected + sum(each.logpdf(flat[:, 6 + i].numpy()) for i, each in enumerate(single))
    torch.testing.assert_close(guide.log_density(flat).detach(), torch.as_tensor(expected))
    p = torch.distributions.MultivariateNormal(torch.zeros_like(loc), torch.eye(3, dtype=torch.float64))
    kl = torch.distributions.kl_divergence(q, p).sum()
    rest = torch.stack([v for name, v in guide.kl_divergence(model).items() if name != "0.values"]).sum()
    torch.testing.assert_close(guide.kl_divergence(model)["0.values"], kl)
    torch.testing.assert_close(guide.weighted_kl(model), kl + rest)
    torch.testing.assert_close(guide.variance()[:6].view(2, 3), q.covariance_matrix.diagonal(dim1=1, dim2=2))


def test_draws_have_the_covariance_of_each_row_and_none_between_rows(model):
    guide = tied(model)
    _, scale_tril = guide.blocks()["0.values"]
    draws = guide.draw(40_000, seed=0)["0.values"].flatten(1)
    expected = torch.block_diag(*(each @ each.T for each in scale_tril.detach()))
    spread = torch.outer(expected.diagonal(), expected.diagonal()).sqrt()
    # The standard error of a covariance of S draws is at most sqrt(2 / S) of the two deviations' product.
    assert float(((draws.T.cov() - expected) / spread).abs().max()) < 5 * math.sqrt(2 / 40_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_draws_are_the_start_of_more(build, dtype):
    network = build(lambda: nn.Sequential(Wiggle(9), bl.Linear(2, 1)).to(dtype))
    guide = BlockNormal(bl.BayesianModel(network, bl.likelihoods.Normal(0.1)))
    with torch.no_grad():
        guide.factor += 0.1
    many = guide.draw(300, 5)
    for size, start in ((1, 0), (10, 3), (17, 16), (100, 77)):
        few = guide.draw(size, 5, start)
        assert all(torch.equal(value, many[name][start : start + size]) for name, value in few.items())


def test_gradients_flow_to_all_parameters(model):
    guide = tied(model)
    noise = standard_normal(0, 4, guide.noise_size, dtype=torch.float64)
    loss = guide.weighted_kl(model) + guide.log_density(guide.unconstrained(noise).detach()).sum()
    (loss + guide.unconstrained(noise).square().sum()).backward()
    below = torch.ones(2, 3, 3).tril(-1).reshape(-1).bool()
    assert bool((guide.factor.grad[below] != 0).all())
    assert bool((guide.factor.grad[~below] == 0).all())
    assert bool((guide.loc.grad != 0).all())
    assert bool((guide.log_scale.grad != 0).all())


def test_the_pyro_program_draws_what_the_guide_draws(model):
    guide = tied(model)
    with bl.noise.seeded(0), pyro.plate("draws", 4000, dim=-2):
        theirs = guide()["0.values"].flatten(1)
    ours = guide.draw(4000, 0)["0.values"].flatten(1)
    for direction in standard_normal(1, 4, 6, dtype=torch.float64):
        one, other = (each.reshape(4000, 6).detach() @ direction for each in (theirs, ours))
        assert stats.ks_2samp(one.numpy(), other.numpy()).pvalue > 1e-3


def test_moments_are_of_the_independent_sites_alone(model):
    assert list(BlockNormal(model).moments()) == ["2.weight", "2.bias"]


@pytest.mark.parametrize("estimator", ["reparameterization", "local", "flipout"])
def test_estimators_cover_the_dense_layer_beside_joint_and_drawn_sites(model, estimator):
    from bayesian_layers import estimators

    made = estimators.make(estimator, model, tied(model), X, Y)
    assert ("2.weight" in made.supported) == (estimator != "reparameterization")
    assert "0.values" not in made.supported


@pytest.mark.parametrize("family", EVERY)
def test_saved_and_loaded_to_the_same_draws(model, family, tmp_path, build):
    posterior = bl.Posterior.from_guide(model, tied(model) if family is BlockNormal else family(model))
    posterior.save(tmp_path / "p")
    network = build(lambda: nn.Sequential(Wiggle(), nn.Tanh(), bl.Linear(2, 1)).double())
    loaded = bl.load(tmp_path / "p", network=network)
    assert type(loaded.source) is type(posterior.source)
    assert all(torch.equal(v, loaded.sample(3)[name]) for name, v in posterior.sample(3).items())
    assert loaded.model.sites()["0.values"].prior == priors.Whitened()
    assert loaded.model.sites()["0.noise"].prior == priors.Noise()


def test_stored_draws_keep_the_drawn_sites(model, tmp_path):
    posterior = bl.Posterior.from_samples(model, BlockNormal(model).draw(4, 0))
    assert posterior.source.spec() == {"name": "StoredDraws", "draws": 4}
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p", network=model.network)
    assert torch.equal(loaded.sample(4)["0.noise"], posterior.sample(4)["0.noise"])


def test_tables_leave_out_what_is_only_drawn(model):
    posterior = bl.Posterior.from_guide(model, tied(model))
    assert "0.noise" in posterior.sample(2)
    assert not [row for row in posterior.summary(num_draws=50).index if row.startswith("0.noise")]
    assert posterior.weight_table(num_draws=50).names == ("0.values", "2.weight", "2.bias", "noise_scale")
    assert list(posterior.signal_to_noise(num_draws=50)) == ["0.values", "2.weight", "2.bias"]
    data = posterior.to_arviz(X, Y, num_draws=20)
    assert "0.noise" not in data["posterior"]
    assert "0.values" in data["posterior"]
    assert "0.noise" not in data["prior"]
    assert "0.values" in data["prior"]
    assert data["sample_stats"]["log_weight"].shape == (1, 20)


def test_refinement_is_refused_in_words(model):
    posterior = bl.Posterior.from_guide(model, BlockNormal(model))
    with pytest.raises(SiteError, match=r"\['0.noise'\] are drawn from their prior"):
        posterior.refine(X, Y, iterations=2, num_chains=16, progress=False)


def test_yesterdays_posterior_keeps_the_noise_a_noise(model):
    posterior = bl.Posterior.from_guide(model, tied(model))
    network = priors.from_posterior(posterior)
    kept = network[0].parameter_priors
    assert kept["noise"] == priors.Noise()
    stderr = posterior.source.variance()[:6].view(2, 3).sqrt() / math.sqrt(1000)
    off = kept["values"].loc - posterior.source.loc[:6].view(2, 3)
    assert bool((off.abs() < 5 * stderr).all())


def test_too_large_blocks_are_refused(build):
    network = build(lambda: Wiggle(4000))
    with pytest.raises(DataError, match="this model needs 32000000"):
        BlockNormal(bl.BayesianModel(network, bl.likelihoods.Normal(0.1)))


def test_a_fit_takes_blocks_where_entries_belong_together(model):
    with pytest.warns(bl.errors.ConvergenceWarning):
        result = bl.fit(model, X, Y, max_steps=20, progress=False)
    assert type(result.posterior.source) is BlockNormal
    assert result.step_mode == "captured"


def test_a_step_in_moving_coordinates_multiplies_the_cholesky_factors(model):
    guide = tied(model)
    here = {name: value.detach().clone() for name, value in guide.named_parameters()}
    step = {name: 0.1 * torch.ones_like(value) for name, value in here.items()}
    loc, scale_tril = (part.detach().clone() for part in guide.blocks()["0.values"])
    after = guide.retract(here, step)
    with torch.no_grad():
        for name, value in guide.named_parameters():
            value.copy_(after[name])
    new_loc, new_tril = guide.blocks()["0.values"]
    change = 0.1 * torch.ones(3, 3, dtype=torch.float64).tril(-1) + math.exp(0.1) * torch.eye(3)
    torch.testing.assert_close(new_tril.detach(), scale_tril @ change)
    torch.testing.assert_close(new_loc.detach(), loc + 0.1 * scale_tril.sum(-1))
    for name in ("loc", "log_scale"):
        torch.testing.assert_close(after[name][6:], here[name][6:] + 0.1)  # the independent ones


def test_no_step_is_no_move(model):
    guide = tied(model)
    here = {name: value.detach() for name, value in guide.named_parameters()}
    blocks = guide.blocks()["0.values"]
    after = guide.retract(here, {name: torch.zeros_like(value) for name, value in here.items()})
    moved = torch.func.functional_call(
        Shown(guide), {f"guide.{name}": value for name, value in after.items()}, ()
    )
    torch.testing.assert_close(moved, blocks)


class Shown(nn.Module):
    def __init__(self, guide):
        super().__init__()
        self.guide = guide

    def forward(self):
        return self.guide.blocks()["0.values"]


def test_recorded_steps_are_the_eager_ones(model):
    found = []
    for mode in ("eager", "captured"):
        guide = tied(model)
        with pytest.warns(bl.errors.ConvergenceWarning):
            bl.fit(model, X, Y, guide=guide, max_steps=12, compile=mode, progress=False)
        found.append(list(guide.parameters()))
    torch.testing.assert_close(*found)


def test_an_optimizer_of_ones_own_moves_the_parameters_themselves(model):
    guide = tied(model)
    with pytest.warns(bl.errors.ConvergenceWarning):
        result = bl.fit(
            model,
            X,
            Y,
            guide=guide,
            max_steps=100,
            progress=False,
            optimizer=lambda p: torch.optim.SGD(p, lr=2e-3),
        )
    assert result.history[-20:].mean() < result.history[:20].mean()


def test_a_stage_that_lost_is_no_convergence():
    class Stage:
        def __init__(self, gain):
            self.gain = gain
            self.marginals = torch.empty(2, 0)

        def gain_over(self, _):
            return self.gain, 0.01

    for gain, converged in ((0.0, True), (0.2, False), (-0.01, True), (-90.0, False)):
        result = check_convergence([Stage(0.0), Stage(gain)], 0.05)
        assert result.converged == converged
        assert result.gap == pytest.approx(abs(gain), abs=0.02)


class KilledError(Exception):
    """As good as a kill."""


@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.ConvergenceWarning")
def test_a_killed_fit_goes_on_to_the_same_bits(model, tmp_path):
    def kill(progress):
        if progress.step == 13:
            raise KilledError

    whole, cut, again = (tied(model) for _ in range(3))
    options = {"max_steps": 30, "progress": False}
    checkpoint = bl.Checkpoint(tmp_path / "fit", every=0.0)
    bl.fit(model, X, Y, guide=whole, **options)
    with pytest.raises(KilledError):
        bl.fit(model, X, Y, guide=cut, checkpoint=checkpoint, callbacks=[kill], **options)
    bl.fit(model, X, Y, guide=again, checkpoint=checkpoint, **options)
    assert all(torch.equal(*pair) for pair in zip(whole.parameters(), again.parameters(), strict=True))
