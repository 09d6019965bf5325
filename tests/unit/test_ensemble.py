import copy
import math

import pyro
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.optim import Adam
from scipy import stats
from torch import nn

import bayesian_layers as bl
from bayesian_layers.draw_sources import DrawSource
from bayesian_layers.estimators.base import total_log_likelihood as summed
from bayesian_layers.fitting.evaluation import estimate_elbo
from bayesian_layers.guides import Ensemble, FullRankNormal, LowRankNormal, MeanFieldNormal
from bayesian_layers.model import log_likelihood
from bayesian_layers.noise import PairedNoise, seeded, standard_normal

X = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(12, 2)
Y = X[:, 0] - 0.5 * X[:, 1]


def perceptron(**options):
    return nn.Sequential(bl.Linear(2, 3, **options), nn.Tanh(), bl.Linear(3, 1, **options)).double()


LEARNED = bl.priors.Normal(scale="learned")
HIERARCHICAL = bl.priors.HierarchicalNormal(scale=bl.priors.LogNormal(0.0, 0.5))
MODELS = {
    "point biases": lambda: bl.BayesianModel(
        perceptron(bias_prior=None), bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.5))
    ),
    "learned scales": lambda: bl.BayesianModel(perceptron(prior=LEARNED), bl.likelihoods.Normal("learned")),
    "random scales": lambda: bl.BayesianModel(perceptron(prior=HIERARCHICAL), bl.likelihoods.Normal(0.3)),
}


@pytest.fixture(params=MODELS)
def any_model(request, build):
    return build(MODELS[request.param])


@pytest.fixture
def model(build):
    return build(MODELS["point biases"])


def moved(guide, seed=1):
    """Parameters away from their beginnings, deviations too."""
    with seeded(seed), torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return guide


def alone(guide, model, member):
    """The mean-field Normal that a member is."""
    single = MeanFieldNormal(model)
    with torch.no_grad():
        for name, parameter in single.named_parameters():
            parameter.copy_(getattr(guide, name)[member])
    return single


def expected_log_likelihood(model, q, noise, x=X, y=Y):
    """With gradients to the guide."""
    values = {name: value.unsqueeze(1) for name, value in q.transform(noise).items()}
    return summed(model, values, x, y) / len(noise)


def all_alike(model, members):
    guide = Ensemble(model, members=members)
    single = moved(MeanFieldNormal(model))
    with torch.no_grad():
        for name, parameter in single.named_parameters():
            getattr(guide, name).copy_(parameter.expand(members, -1))
    return guide, single


# --- where the members begin ---


def test_the_first_member_is_the_mean_field_normal_and_the_others_begin_elsewhere(model):
    before = copy.deepcopy(model.state_dict())
    guide, single = Ensemble(model, members=3, init_scale=0.3), MeanFieldNormal(model, init_scale=0.3)
    for name, parameter in single.named_parameters():
        assert torch.equal(getattr(guide, name)[0], parameter)
    assert guide.loc.shape == (3, 10) == guide.log_scale.shape
    assert guide.point.shape == (3, 4)
    assert torch.equal(guide.log_weight.exp(), torch.full((3,), 1 / 3, dtype=torch.float64))
    network, noise = guide.loc[:, :9], guide.loc[:, 9]
    assert (network[1:] != network[0]).all()
    assert (network[1] != network[2]).all()
    assert (guide.point[1] != guide.point[0]).all()
    assert torch.equal(noise, noise[:1].expand(3))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_fresh_members_are_initialised_as_torch_does_it(build):
    """Uniform within 1 / sqrt(inputs), by Kolmogorov and Smirnov."""
    model = bl.BayesianModel(build(lambda: bl.Linear(25, 40, bias_prior=None)), bl.likelihoods.Bernoulli())
    starts = Ensemble(model, members=4).loc.detach()
    for member in (1, 2, 3):
        assert stats.kstest((5 * starts[member]).numpy(), "uniform", (-1, 2)).pvalue > 1e-3
    assert abs(float(torch.corrcoef(starts)[1, 2])) < 5 / 1000**0.5


def test_a_member_depends_on_the_seed_and_its_number_alone(model):
    five, three = Ensemble(model, members=5, seed=7), Ensemble(model, members=3, seed=7)
    assert torch.equal(five.loc[:3], three.loc)
    other = Ensemble(model, members=3, seed=8)
    assert torch.equal(other.loc[0], three.loc[0])
    assert not torch.equal(other.loc[1], three.loc[1])


class Scaled(nn.Module):
    """A parameter that no module resets, beside ones that theirs does."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.full((50,), 7.0))
        self.attention = nn.MultiheadAttention(4, 2)
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        h = self.norm(self.attention(x[:, None], x[:, None], x[:, None])[0]).squeeze(1)
        return (h.sum(1) + self.shift.sum()).unsqueeze(-1)


def test_what_cannot_be_reset_begins_near_its_present_value(build):
    network = build(lambda: bl.bayesianize(Scaled()))
    with torch.no_grad():
        network.norm.weight.fill_(3.0)
    model = bl.BayesianModel(network, bl.likelihoods.Normal(0.1))
    guide = Ensemble(model, members=2, init_scale=0.05)
    sites = guide.layout.values(guide.loc.detach(), guide.point.detach())
    off = sites["shift"][1] - 7.0
    assert (off != 0).all()
    assert 0.03 < float(off.std()) < 0.08
    first, other = sites["attention.in_proj_weight"]
    assert float((first - other).std()) > 0.3
    assert torch.equal(sites["norm.weight"][1], torch.ones(4))  # its own fresh beginning
    assert torch.equal(sites["norm.weight"][0], torch.full((4,), 3.0))


def test_positive_parameters_keep_their_values(build):
    class Exponent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = nn.Parameter(torch.tensor([2.0]))

        def reset_parameters(self):
            nn.init.constant_(self.rate, -1.0)

        def forward(self, x):
            return x[:, :1] * self.rate

    network = build(lambda: bl.bayesianize(Exponent(), prior=bl.priors.LogNormal(0.0, 1.0)))
    guide = Ensemble(bl.BayesianModel(network, bl.likelihoods.Normal(0.1)), members=3)
    torch.testing.assert_close(guide.loc.detach(), torch.full((3, 1), math.log(2.0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "`members` must be an integer"),
        ({"members": True}, "`members` must be an integer"),
        ({"members": 2.0}, "`members` must be an integer"),
        ({"weights": "best"}, "`weights` must be one of"),
        (
            {"init_scale": 0.0},
            "`init_scale` must be a finite number above 0; received 0.0. It is a standard deviation",
        ),
        ({"seed": -1}, "`seed` must be an integer"),
    ],
)
def test_settings_are_checked(model, options, message):
    with pytest.raises(bl.errors.DataError, match=message):
        Ensemble(model, **options)


# --- alike members are one mean-field Normal ---


@pytest.mark.parametrize("kl_weight", [1.0, 0.3, {"0.weight": 0.2}])
def test_members_that_are_alike_are_one_mean_field_normal(any_model, kl_weight):
    guide, single = all_alike(any_model, 3)
    noise = standard_normal(0, 12, guide.noise_size, dtype=torch.float64)
    ours, theirs = guide.transform(noise), single.transform(noise)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(
        guide.weighted_kl(any_model, kl_weight), single.weighted_kl(any_model, kl_weight), **close
    )
    flat = single.unconstrained(noise)
    torch.testing.assert_close(guide.log_density(flat), single.log_density(flat), **close)
    drawn = single.draw(50, 3)
    assert all(torch.equal(value, drawn[name]) for name, value in guide.draw(50, 3).items())
    mean = single.mean()
    assert all(torch.equal(value, mean[name]) for name, value in guide.mean().items())


# --- what a fit minimises ---


def test_a_draw_belongs_to_the_member_of_its_row(model):
    guide = moved(Ensemble(model, members=3))
    noise = standard_normal(0, 9, guide.noise_size, dtype=torch.float64)
    drawn = guide.transform(noise)
    for member in range(3):
        theirs = alone(guide, model, member).transform(noise[member::3])
        assert all(torch.equal(drawn[name][member::3], value) for name, value in theirs.items())


def test_antithetic_partners_have_one_member(model):
    guide = moved(Ensemble(model, members=3))
    assert guide.particle_multiple == 6
    noise = PairedNoise(guide.noise_size, 0, 12, dtype=torch.float64).at(0)[0]
    flat = guide.unconstrained(noise)
    centers = (0.5 * (flat[:6] + flat[6:])).detach()
    torch.testing.assert_close(centers, guide.loc.detach().repeat(2, 1), rtol=1e-12, atol=1e-12)


def test_draws_that_are_no_multiple_are_refused(model):
    guide = Ensemble(model, members=3)
    with pytest.raises(bl.errors.DataError, match=r"must be a multiple of 3.*received 7\. Use 12"):
        guide.transform(torch.zeros(7, guide.noise_size, dtype=torch.float64))
    with pytest.raises(bl.errors.DataError, match="received 1"):
        guide.points(1)
    with pytest.raises(bl.errors.ShapeError):
        guide.transform(torch.zeros(3, guide.noise_size + 1, dtype=torch.float64))


@pytest.mark.parametrize("kl_weight", [1.0, {"0.weight": 0.2}])
def test_the_kl_is_the_mean_of_the_members(any_model, kl_weight):
    guide = moved(Ensemble(any_model, members=4))
    singles = [alone(guide, any_model, member) for member in range(4)]
    expected = torch.stack([single.weighted_kl(any_model, kl_weight) for single in singles])
    priors = guide.flat_priors(any_model, kl_weight)
    torch.testing.assert_close(guide.member_kls(priors), expected)
    torch.testing.assert_close(guide.kl_to(priors), expected.mean())


def test_every_member_is_trained_as_if_alone(any_model):
    """The gradient of each is a K-th of what it would be alone, on its own draws."""
    guide = moved(Ensemble(any_model, members=3))
    noise = standard_normal(0, 12, guide.noise_size, dtype=torch.float64)

    def gradients(q, noise):
        (q.weighted_kl(any_model) - expected_log_likelihood(any_model, q, noise)).backward()
        return {name: parameter.grad for name, parameter in q.named_parameters()}

    ours = gradients(guide, noise)
    for member in range(3):
        for name, theirs in gradients(alone(guide, any_model, member), noise[member::3]).items():
            torch.testing.assert_close(ours[name][member], theirs / 3, rtol=1e-9, atol=1e-12)


def test_the_objective_bounds_the_mixtures_elbo(model):
    """Members apart: exactly log K below; alike: exactly as good. By log densities on the same draws."""
    guide, _ = all_alike(model, 3)
    noise = standard_normal(0, 3 * 4000, guide.noise_size, dtype=torch.float64)

    def excess():
        """Mean entropy of the mixture over the mean of the members' entropies."""
        with torch.no_grad():
            flat = guide.unconstrained(noise)
            own = stats.norm.logpdf(noise.numpy()).sum(1)
            own -= guide.log_scale.sum(1).repeat(4000).numpy()
            return float((torch.from_numpy(own) - guide.log_density(flat)).mean())

    assert abs(excess()) < 1e-9
    with torch.no_grad():
        guide.loc += 100.0 * torch.arange(3.0).unsqueeze(1)
    assert abs(excess() - math.log(3)) < 1e-9


# --- weights ---


def log_likelihoods(model, guide, rounds=8):
    noise = standard_normal(5, rounds * guide.members, guide.noise_size, dtype=torch.float64)
    with torch.no_grad():
        return log_likelihood(model, guide.transform(noise), X, Y).sum(1)


def test_weights_are_the_softmax_of_the_members_elbos(any_model):
    guide = moved(Ensemble(any_model, members=3))
    log_p = log_likelihoods(any_model, guide)
    guide.finalize(log_p, any_model)
    elbos = [
        float(log_p[member::3].mean() - alone(guide, any_model, member).weighted_kl(any_model).detach())
        for member in range(3)
    ]
    expected = torch.tensor(elbos, dtype=torch.float64)
    torch.testing.assert_close(guide.log_weight, expected - expected.logsumexp(0))
    assert float(guide.log_weight.exp().std()) > 0.01  # else the test shows nothing


def test_equal_weights_stay_equal(model):
    guide = moved(Ensemble(model, members=3, weights="equal"))
    guide.finalize(log_likelihoods(model, guide), model)
    torch.testing.assert_close(guide.log_weight.exp(), torch.full((3,), 1 / 3, dtype=torch.float64))


def test_training_takes_no_notice_of_the_weights(model):
    guide = moved(Ensemble(model, members=3))
    noise = standard_normal(0, 6, guide.noise_size, dtype=torch.float64)
    priors = guide.flat_priors(model)
    before = guide.transform(noise), guide.kl_to(priors)
    guide.finalize(log_likelihoods(model, guide), model)
    after = guide.transform(noise), guide.kl_to(priors)
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    assert torch.equal(before[1], after[1])


def test_estimated_elbo_is_of_the_settled_weights(model):
    guide = moved(Ensemble(model, members=3))
    guide.finalize(log_likelihoods(model, guide), model)
    weights = guide.log_weight.exp()
    assert float(weights.max()) - float(weights.min()) > 0.02
    elbo, error = estimate_elbo(model, guide, X, Y, num_draws=40_000, seed=5)
    expected = 0.0
    for member, weight in enumerate(weights):
        one, _ = estimate_elbo(model, alone(guide, model, member), X, Y, num_draws=40_000, seed=6)
        expected += float(weight) * one
    assert abs(elbo - expected) < 5 * error


def test_a_hopeless_member_loses_its_weight_and_can_be_saved(model, tmp_path):
    guide = moved(Ensemble(model, members=2))
    log_p = log_likelihoods(model, guide)
    log_p[1::2] = -math.inf
    guide.finalize(log_p, model)
    assert guide.log_weight.exp().tolist() == [1.0, 0.0]
    assert torch.equal(guide.draw(200, 0)["2.weight"], alone(guide, model, 0).draw(200, 0)["2.weight"])
    bl.Posterior.from_guide(model, guide).save(tmp_path / "posterior")


def test_finalizing_is_checked(model):
    guide = Ensemble(model, members=3)
    good = log_likelihoods(model, guide)
    for bad in (torch.full_like(good, math.nan), torch.full_like(good, -math.inf)):
        with pytest.raises(bl.errors.DataError, match="finite ELBOs of its members"):
            guide.finalize(bad, model)
    with pytest.raises(bl.errors.DataError, match="multiple of 3"):
        guide.finalize(good[:-1], model)
    with pytest.raises(bl.errors.ShapeError):
        guide.finalize(good.unsqueeze(1), model)
    torch.testing.assert_close(guide.log_weight.exp(), torch.full((3,), 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize("family", [MeanFieldNormal, LowRankNormal, FullRankNormal])
def test_other_guides_have_nothing_to_settle(model, family):
    guide = family(model)
    before = copy.deepcopy(guide.state_dict())
    guide.finalize(torch.zeros(5), model)
    assert guide.particle_multiple == 1
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())


# --- the mixture ---


@pytest.fixture
def mixture(model):
    guide = moved(Ensemble(model, members=3, init_scale=0.01))
    guide.log_weight.copy_(torch.tensor([0.2, 0.7, 0.1]).log())
    return guide


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_draws_are_the_start_of_more(mixture, dtype):
    mixture.to(dtype)
    many = mixture.draw(1000, 5)
    for size in (1, 2, 10, 17, 500):
        few = mixture.draw(size, 5)
        assert all(torch.equal(value, many[name][:size]) for name, value in few.items())
        assert all(value.dtype == dtype and not value.requires_grad for value in few.values())


def test_members_are_drawn_by_their_weights(mixture):
    """Their point estimates tell which; chi-square over 20,000 draws, and the members' own laws."""
    drawn = mixture.draw(20_000, 0)
    members = [(drawn["0.bias"] == point[:3]).all(1) for point in mixture.point]
    counts = [int(found.sum()) for found in members]
    assert sum(counts) == 20_000
    assert stats.chisquare(counts, [4000, 14_000, 2000]).pvalue > 1e-3
    for member, found in enumerate(members):
        loc, scale = mixture.loc[member, 0].item(), mixture.log_scale[member, 0].exp().item()
        entry = drawn["0.weight"][found][:, 0, 0].numpy()
        assert stats.kstest(entry, "norm", (loc, scale)).pvalue > 1e-3


def test_the_density_is_the_mixtures(mixture):
    weights = torch.distributions.Categorical(logits=mixture.log_weight)
    parts = torch.distributions.Independent(
        torch.distributions.Normal(mixture.loc, mixture.log_scale.exp()), 1
    )
    flat = mixture.unconstrained(standard_normal(0, 30, mixture.noise_size, dtype=torch.float64))
    theirs = torch.distributions.MixtureSameFamily(weights, parts).log_prob(flat)
    torch.testing.assert_close(mixture.log_density(flat), theirs)


def test_the_variance_within_modes_is_the_mean_of_the_members(mixture, model):
    expected = sum(
        weight * alone(mixture, model, member).variance()
        for member, weight in enumerate(mixture.log_weight.exp())
    )
    torch.testing.assert_close(mixture.variance_within_modes(), expected)
    assert mixture.variance() is None


def test_the_mean_is_the_heaviest_members(mixture, model):
    mean = alone(mixture, model, 1).mean()
    ours = mixture.mean()
    assert all(torch.equal(value, mean[name]) for name, value in ours.items())
    assert not any(value.requires_grad for value in ours.values())


def test_estimators_that_need_moments_say_so(model):
    guide = Ensemble(model, members=2)
    assert guide.moments() is None
    estimator = bl.estimators.make("local", model, guide, X, Y)
    assert estimator.name == "reparameterization"
    assert "Ensemble are not independent Normals" in estimator.note


# --- the Pyro program ---


@pytest.mark.slow
@pytest.mark.parametrize("loss", [TraceMeanField_ELBO, Trace_ELBO])
def test_pyros_elbo_is_the_weighted_mean_of_the_members(mixture, model, loss):
    """Values and gradients, with unequal weights: against the members alone, z-tests."""
    weights = mixture.log_weight.exp()
    singles = [alone(mixture, model, member) for member in range(3)]
    noise = PairedNoise(mixture.noise_size, 0, 4096, dtype=torch.float64).at(0)[0]
    expected = []
    for weight, single in zip(weights, singles, strict=True):
        part = weight * (single.weighted_kl(model) - expected_log_likelihood(model, single, noise))
        part.backward()
        expected.append(part.detach())
    elbo = loss(num_particles=200, vectorize_particles=True, max_plate_nesting=1)(model, mixture)
    values, gradients = [], []
    with seeded(2):
        for _ in range(100):
            mixture.zero_grad()
            value = elbo(X, Y)
            value.backward()
            values.append(value.detach())
            gradients.append(torch.cat([p.grad.flatten() for p in mixture.parameters()]))
    for seen, exact in (
        (torch.stack(values), torch.stack(expected).sum()),
        (
            torch.stack(gradients),
            torch.cat(
                [
                    torch.stack([getattr(single, name).grad for single in singles]).flatten()
                    for name, _ in mixture.named_parameters()
                ]
            ),
        ),
    ):
        error = seen.std(0) / 10
        assert ((seen.mean(0) - exact).abs() < 4.5 * error + 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("loss", [TraceMeanField_ELBO, Trace_ELBO, TraceGraph_ELBO])
def test_svi_trains_all_members(model, loss):
    guide = Ensemble(model, members=2)
    before = {name: value.detach().clone() for name, value in guide.named_parameters()}
    with seeded(0):
        svi = SVI(model, guide, Adam({"lr": 0.02}), loss(num_particles=2))
        losses = [svi.step(X, Y) for _ in range(60)]
    pyro.clear_param_store()
    assert sum(losses[-20:]) < sum(losses[:20])
    for name, value in guide.named_parameters():
        assert (value != before[name]).all()


def test_trace_replay_and_copies(mixture):
    with seeded(0):
        trace = pyro.poutine.trace(mixture).get_trace(X, Y)
        again = pyro.poutine.trace(pyro.poutine.replay(mixture, trace)).get_trace()
    assert trace.nodes["_member"]["infer"]["is_auxiliary"]
    assert list(trace.stochastic_nodes) == ["_member", *mixture.shapes]
    for name in mixture.shapes:
        assert trace.nodes[name]["value"].shape == mixture.shapes[name]
        assert torch.equal(trace.nodes[name]["value"], again.nodes[name]["value"])
    assert float(trace.log_prob_sum().detach()) == pytest.approx(float(again.log_prob_sum().detach()))
    twin = copy.deepcopy(mixture)
    assert twin._store_name != mixture._store_name
    assert torch.equal(twin.draw(5, 0)["2.weight"], mixture.draw(5, 0)["2.weight"])


def test_predictive_draws_members_by_their_weights(mixture, model):
    with seeded(0):
        drawn = Predictive(model, guide=mixture, num_samples=5000, parallel=True)(X)
    counts = [int((drawn["0.bias"].reshape(5000, 3) == point[:3]).all(1).sum()) for point in mixture.point]
    assert stats.chisquare(counts, [1000, 3500, 500]).pvalue > 1e-3


# --- files ---


@pytest.mark.parametrize("weights", ["elbo", "equal"])
def test_a_saved_ensemble_comes_back_bit_identical(mixture, model, tmp_path, weights):
    mixture.weights = weights
    posterior = bl.Posterior.from_guide(model, mixture)
    posterior.save(tmp_path / "posterior")
    loaded = bl.load(tmp_path / "posterior")
    with_network = bl.load(tmp_path / "posterior", network=model.network)
    for other in (loaded, with_network):
        assert isinstance(other.source, Ensemble)
        assert other.source.weights == weights
        for name, value in posterior.sample(40, 2).items():
            assert torch.equal(value, other.sample(40, 2)[name])
        other.source.finalize(log_likelihoods(model, mixture), model)  # its arrays are its own


@pytest.mark.parametrize(
    "document",
    [
        {"name": "Ensemble", "members": 0, "weights": "elbo"},
        {"name": "Ensemble", "members": True, "weights": "elbo"},
        {"name": "Ensemble", "members": 2**40, "weights": "elbo"},
        {"name": "Ensemble", "members": 2.0, "weights": "elbo"},
        {"name": "Ensemble", "members": 3, "weights": "best"},
        {"name": "Ensemble", "members": 3},
        {"name": "Ensemble", "members": 3, "weights": "elbo", "seed": 0},
    ],
)
def test_descriptions_are_checked(model, document):
    with pytest.raises(bl.errors.StorageError):
        DrawSource.from_spec(document, model=model)


def test_building_takes_no_memory(build):
    large = bl.BayesianModel(build(lambda: bl.Linear(1000, 1000)), bl.likelihoods.Categorical())
    guide = DrawSource.from_spec(
        {"name": "Ensemble", "members": 10**6, "weights": "elbo"}, model=large
    )  # 4 TB
    assert guide.loc.shape == (10**6, 1_001_000)
    assert guide.log_weight.shape == (10**6,)
    assert guide.loc.untyped_storage().nbytes() < 10**7


# --- two modes ---


class Square(nn.Module):
    """f = w^2 x: w and -w are one function."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.empty(1, dtype=torch.float64))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.normal_(self.w)

    def forward(self, x):
        return self.w.square() * x


@pytest.fixture
def square(build):
    x = torch.linspace(0.5, 1.5, 20, dtype=torch.float64).unsqueeze(1)
    model = bl.BayesianModel(bl.bayesianize(build(Square)), bl.likelihoods.Normal(0.3))
    return model, x, 2.25 * x.squeeze(1)


def minimise(model, guide, x, y, particles, steps=400):
    optimizer = torch.optim.Adam(guide.parameters(), lr=0.03)
    noise = PairedNoise(guide.noise_size, 0, particles, dtype=torch.float64)
    for step in range(steps):
        optimizer.zero_grad()
        log_p = expected_log_likelihood(model, guide, noise.at(step)[0], x, y)
        (guide.weighted_kl(model) - log_p).backward()
        optimizer.step()


def check_finds_both_modes(model, guide, x, y):
    ends = guide.loc.detach().flatten()
    assert sorted(ends.tolist()) == pytest.approx([-1.5, 1.5], abs=0.05)
    assert guide.log_weight.exp().tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    w = guide.draw(10_000, 0)["w"]
    assert abs(float(w.mean())) < 5 * 1.5 / 100 + 2 * 0.03 * 1.5
    assert float(w.std()) == pytest.approx(1.5, abs=0.05)


@pytest.mark.slow
def test_two_members_find_two_modes(square):
    model, x, y = square
    guide, single = Ensemble(model, members=2, seed=1), MeanFieldNormal(model)
    assert float(guide.loc.detach().prod()) < 0  # the seed was chosen so: else both find one mode
    minimise(model, guide, x, y, 8)
    minimise(model, single, x, y, 8)
    noise = PairedNoise(1, 1, 1024, dtype=torch.float64).at(0)[0]
    with torch.no_grad():
        guide.finalize(log_likelihood(model, guide.transform(noise), x, y).sum(1), model)
    check_finds_both_modes(model, guide, x, y)
    assert abs(float(single.draw(1000, 0)["w"].mean())) > 1.4


# --- fit ---


def test_fit_finds_both_modes_and_sets_the_weights(square):
    model, x, y = square
    guide = Ensemble(model, members=2, seed=1)
    result = bl.fit(model, x, y, guide=guide, seed=0, progress=False)
    assert result.converged
    check_finds_both_modes(model, guide, x, y)
    assert not torch.equal(guide.log_weight[0], guide.log_weight[1])
    assert torch.equal(result.posterior.source.log_weight, guide.log_weight)


@pytest.mark.slow
@pytest.mark.parametrize("compile", ["eager", "captured"])
def test_fit_improves_every_member(any_model, compile):
    """Three members, point estimates, learned scales; the ELBO is the mean of the members'."""
    guide = Ensemble(any_model, members=3)
    starts = guide.loc.detach().clone()
    result = bl.fit(
        any_model, X, Y, guide=guide, seed=0, max_steps=150, particles=6, compile=compile, progress=False
    )
    assert result.step_mode == compile
    assert all((end != start).all() for end, start in zip(guide.loc, starts, strict=True))
    elbos = torch.stack(
        [
            log_likelihood(any_model, single.draw(4000, 1), X, Y).sum(1).mean()
            - single.weighted_kl(any_model).detach()
            for single in (alone(guide, any_model, member) for member in range(3))
        ]
    )
    assert abs(result.elbo - float(elbos.mean())) < 0.5
    expected = (elbos - elbos.logsumexp(0)).exp()
    torch.testing.assert_close(guide.log_weight.exp(), expected, rtol=0, atol=0.2)


def test_fit_refuses_particles_that_are_no_multiple(model):
    with pytest.raises(bl.errors.DataError, match="multiple of 3"):
        bl.fit(model, X, Y, guide=Ensemble(model, members=3), particles=4, max_steps=5, progress=False)
