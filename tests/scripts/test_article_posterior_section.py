"""The section of the article's page about the exact posterior: Keras, mean field, refined, NUTS."""

import dataclasses

import numpy as np
import pytest
import torch

import bayesian_layers as bl
from article import build_article_report, methods, posterior_section, sampling
from article.article_results import ArticleRun, BayesShown, KerasShown, MethodRun, Sampled
from bayesian_layers.reporting import figures
from bayesian_layers.reporting.provenance import provenance

SCORES = {"accuracy": 0.9375, "nll": 0.1625, "brier": 0.0475, "ece": 0.0125}
MESH = methods.mesh()


def sampled(mean, std, nll):
    return Sampled(
        mean=np.full(2500, mean), std=np.full(2500, std), scores=SCORES | {"nll": nll}, seconds=4.25, draws=1000,
        chains="two lines of chains", warnings=("this is to be minded",),
    )  # fmt: skip


def shown(std, kl_weight=1.0):
    return BayesShown(
        history=np.linspace(200, 60, 70), train=np.full(200, 0.25), mesh_mean=np.full(2500, 0.5),
        mesh_std=np.full(2500, std), separate=(0.1, 0.2, 0.3), together=(0.5, 0.5, 0.5), point=np.full(1000, 0.5),
        summary={"0.weight[0, 0]": (1.25, 0.5)}, summary_columns=("mean", "sd"), kl_weight=kl_weight,
    )  # fmt: skip


def article(**draws):
    runs = [MethodRun(method, 3, SCORES) for method in ("keras", "limit")]
    runs += [
        MethodRun(method, 3, SCORES, 2.0, -60.0, 0.1, 0.1, 0.01) for method in ("recipe", "default", "wide")
    ]
    x, y = bl.datasets.parabola()
    keras = KerasShown(np.linspace(0.7, 0.1, 30), np.full(200, 0.25), np.full(2500, 0.75))
    bayes = {"recipe": shown(0.1, 0.5), "default": shown(0.18), "wide": shown(0.1)}
    record = provenance([3], {"the rows": "ab" * 32}, "scripts/some_command")
    return ArticleRun((3,), x.numpy(), y.numpy(), tuple(runs), keras, bayes, record, draws)


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without their pictures: drawing them takes most of a test's time."""
    tiny = figures.png(figures.curves({"a": np.arange(3.0)}, "t", "x", "y"))
    monkeypatch.setattr("bayesian_layers.reporting.figures.png", lambda _: tiny)


def column(table, name):
    at = table.header.index(name)
    return {row[0]: row[at] for row in table.rows}


def test_the_table_holds_the_refined_posterior_and_the_mean_field():
    table = posterior_section.table(article(refined=sampled(0.53, 0.11, 0.125)))
    assert [row[0] for row in table.rows] == ["Keras", "mean field", "refined"]
    assert column(table, "NLL")["refined"] == "0.1250"
    assert column(table, "NLL")["mean field"] == "0.1625"
    assert column(table, "mean standard deviation") == {
        "Keras": "-",
        "mean field": "0.1800",
        "refined": "0.1100",
    }
    assert column(table, "sampling (s)") == {"Keras": "-", "mean field": "-", "refined": "4.2"}
    assert not any("NUTS" in name for name in table.header)


def test_with_nuts_the_distances_from_it_are_there():
    run = article(refined=sampled(0.53, 0.11, 0.125), nuts=sampled(0.54, 0.10, 0.126))
    table = posterior_section.table(run)
    off = column(table, "distance from NUTS")
    assert off == {"Keras": "0.2100", "mean field": "0.0400", "refined": "0.0100", "NUTS": "-"}
    ratio = column(table, "standard deviation / NUTS")
    assert ratio == {"Keras": "-", "mean field": "1.8000", "refined": "1.1000", "NUTS": "-"}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_section_is_on_the_page_when_there_is_something_to_show():
    run = article(refined=sampled(0.53, 0.11, 0.125))
    report = build_article_report(run)
    assert {
        "panel_keras_mean",
        "panel_mean_field_mean",
        "panel_refined_mean",
        "panel_refined_deviation",
    } <= set(report.pictures)
    assert "panel_keras_deviation" not in report.pictures
    assert "1000 draws, two lines of chains. This is to be minded." in report.page
    assert "--nuts-draws" in report.page
    assert report.metrics["sampled"]["refined"]["scores"]["nll"] == 0.125
    both = build_article_report(article(refined=sampled(0.53, 0.11, 0.125), nuts=sampled(0.54, 0.10, 0.126)))
    assert "panel_nuts_deviation" in both.pictures
    assert "--nuts-draws" not in both.page
    without = build_article_report(dataclasses.replace(run, sampled={}))
    assert not any(name.startswith("panel_") for name in without.pictures)


@pytest.mark.slow
def test_maps_of_the_deviation_share_their_scale():
    gallery = posterior_section.section(article(refined=sampled(0.53, 0.11, 0.125))).blocks[2]
    wide, narrow = (each.png for each in gallery.pictures)
    alone = posterior_section._std_picture("refined", np.full(2500, 0.11), 0.11)
    shared = posterior_section._std_picture("refined", np.full(2500, 0.11), 0.18)
    assert narrow == shared.png != alone.png
    assert wide != narrow


def test_refined_and_nuts_draws_are_summed_up_alike():
    model, _ = methods.normal_prior(0)
    data = bl.datasets.Dataset(*(part[:20] for part in bl.datasets.parabola()))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    refined = sampling.refined(posterior, data, data, 0, iterations=2)
    nuts = sampling.nuts(model, data, data, draws=3, seed=0)
    assert refined.draws == 1000
    assert nuts.draws == 3 * sampling.NUTS_CHAINS
    assert nuts.chains == "2 chains of 3, after 1 of warm-up each"
    assert any("stay in the modes" in text for text in refined.warnings)
    for each in (refined, nuts):
        assert each.mean.shape == each.std.shape == (2500,)
        assert set(each.scores) == set(SCORES)
        assert (each.std > 0).all()
        assert each.seconds > 0
    one, two = (sampling._chain(model, data, 2, (0, 1), False) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
