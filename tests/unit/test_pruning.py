"""Variational dropout: which weights are noise, and posteriors without them."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded

X = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(12, 2)
Y = X[:, 0] - 0.5 * X[:, 1]


def two_layers(build, prior=None):
    prior = bl.priors.LogUniform() if prior is None else prior
    network = build(
        lambda: nn.Sequential(
            bl.Linear(2, 4, prior=prior), nn.Tanh(), bl.Linear(4, 1, bias_prior=None)
        ).double()
    )
    return bl.BayesianModel(network, bl.likelihoods.Normal("learned"))


def noisy(guide):
    """With standard deviations such that every second entry has log alpha 5, the others -5."""
    with torch.no_grad():
        loc = guide.loc.abs().clamp(min=0.1)
        guide.loc.copy_(loc)
        sign = torch.where(torch.arange(guide.loc.shape[-1]) % 2 == 0, 1.0, -1.0)
        guide.log_scale.copy_(loc.log() + 2.5 * sign)
    return guide


FAMILIES = [
    bl.guides.MeanFieldNormal,
    bl.guides.FullRankNormal,
    lambda model: bl.guides.Ensemble(model, members=2),
]


@pytest.fixture(params=[*FAMILIES, "draws"], ids=["MeanField", "FullRank", "Ensemble", "draws"])
def posterior(request, build):
    model = two_layers(build)
    if request.param == "draws":
        made = bl.Posterior.from_guide(model, noisy(bl.guides.MeanFieldNormal(model)))
        return bl.Posterior.from_samples(model, made.sample(2000))
    return bl.Posterior.from_guide(model, noisy(request.param(model)))


def test_sparsity_counts_by_site(posterior):
    found = posterior.sparsity()
    assert found.names == ("0.weight", "0.bias", "2.weight")
    assert found.entries.tolist() == [8, 4, 4]
    assert found.pruned.tolist() == [4, 2, 2]
    assert found.share.tolist() == [0.5, 0.5, 0.5]
    assert found.total == 0.5
    assert (
        posterior.sparsity(threshold=9.0).total == 0
        if isinstance(posterior.source, bl.guides.Guide)
        else True
    )
    lines = str(found).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["site", "weights", "log", "alpha", ">", "3", "share"]
    assert lines[-1].split() == ["all", "16", "8", "50.0%"]


def test_pruned_weights_are_zero_everywhere_and_the_others_unchanged(posterior):
    pruned = posterior.prune()
    kept = pruned.source.kept
    before, after = posterior.sample(20, seed=3), pruned.sample(20, seed=3)
    for name, value in after.items():
        expected = torch.where(kept[name], before[name], 0.0) if name in kept else before[name]
        assert torch.equal(value, expected)
    assert sum(int((after[name] == 0).all(0).sum()) for name in kept) == 8
    for network in (pruned.mean_function(), pruned.function(seed=1)):
        weights = dict(network.named_buffers()) | dict(network.named_parameters())
        assert all(bool((weights[name][~keep] == 0).all()) for name, keep in kept.items())
    functions = pruned.functions(5)(X)
    torch.testing.assert_close(functions[0], pruned.function()(X))
    assert "PRUNED: 8 of 16 weights are 0" in repr(pruned)
    assert "PRUNED" not in repr(posterior)


def test_predictions_are_those_of_the_networks_with_zeros(posterior):
    pruned = posterior.prune()
    predicted = pruned.predict(X, num_draws=64)
    f = pruned.functions(64)(X).squeeze(-1)
    torch.testing.assert_close(predicted.mean, f.mean(0))
    torch.testing.assert_close(predicted.epistemic_std, f.std(0, correction=0), rtol=0.02, atol=1e-12)


def test_pruned_posteriors_are_saved_and_loaded(posterior, tmp_path):
    pruned = posterior.prune()
    pruned.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p")
    ours, theirs = pruned.sample(5), loaded.sample(5)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert loaded.describe_fit() == pruned.describe_fit()
    assert "Pruned" in (tmp_path / "p" / "MODEL_CARD.md").read_text()
    assert np.array_equal(loaded.sparsity(num_draws=200).pruned, pruned.sparsity(num_draws=200).pruned)


def test_a_file_that_prunes_what_is_already_pruned_is_refused(build, tmp_path):
    model = two_layers(build)
    bl.Posterior.from_guide(model, noisy(bl.guides.MeanFieldNormal(model))).prune().save(tmp_path / "p")
    path = tmp_path / "p" / "posterior.json"
    document = json.loads(path.read_text())
    document["source"] = {"kind": "Pruned", "source": document["source"]}
    path.write_text(json.dumps(document))
    with pytest.raises(bl.errors.StorageError):
        bl.load(tmp_path / "p")


def test_pruning_again_keeps_what_is_pruned(build):
    model = two_layers(build)
    posterior = bl.Posterior.from_guide(model, noisy(bl.guides.MeanFieldNormal(model)))
    once = posterior.prune()
    assert once.sparsity().pruned.tolist() == [4, 2, 2]
    twice, all_gone = once.prune(), once.prune(threshold=-6.0)
    assert not isinstance(twice.source.source, type(twice.source))
    assert all(torch.equal(value, once.sample(3)[name]) for name, value in twice.sample(3).items())
    assert all_gone.sparsity(threshold=-6.0).total == 1
    assert (all_gone.weight_table().kl == 0)[: len(all_gone.source.kept)].all()
    # and it is a copy
    assert all(torch.equal(value, posterior.sample(3)[name]) for name, value in posterior.sample(3).items())
    assert posterior.sparsity().total == 0.5


def test_any_prior_is_pruned_by_signal_to_noise(build):
    model = two_layers(build, bl.priors.Normal())
    posterior = bl.Posterior.from_guide(model, noisy(bl.guides.MeanFieldNormal(model)))
    ratios = posterior.signal_to_noise()
    found = posterior.sparsity(threshold=3.0)
    expected = [int((ratios[name] < np.exp(-1.5)).sum()) for name in found.names]
    assert found.pruned.tolist() == expected == [4, 2, 2]


def test_what_cannot_be_asked_is_refused(build):
    model = two_layers(build)
    posterior = bl.Posterior.from_guide(model, noisy(bl.guides.MeanFieldNormal(model)))
    pruned = posterior.prune()
    for attempt in (pruned.loo, pruned.k_hat, pruned.to_arviz):
        with pytest.raises(bl.errors.DataError, match="before `prune`"):
            attempt(X, Y)
    with pytest.raises(bl.errors.SiteError, match="before `prune`"):
        pruned.refine(X, Y, progress=False)
    for wrong in (float("nan"), "3", True):
        with pytest.raises(bl.errors.DataError, match="`threshold` must be a finite number"):
            posterior.prune(wrong)
    points = bl.BayesianModel(build(lambda: nn.Linear(2, 1)), bl.likelihoods.Normal(0.1))
    with pytest.raises(bl.errors.SiteError, match="no weight has a prior"):
        bl.Posterior.from_guide(points, bl.guides.MeanFieldNormal(points)).sparsity()


def test_an_empty_layer_has_no_share(build):
    with seeded(0):
        model = bl.BayesianModel(bl.Linear(2, 1, bias=False), bl.likelihoods.Normal(0.1))
    assert (
        bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=1e-4)).sparsity().total
        == 0
    )
