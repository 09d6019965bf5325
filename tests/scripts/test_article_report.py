"""The article's report is a pure function of a run, so the runs here are made by hand."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

import bayesian_layers as bl
from article import (
    article_recipe,
    build_article_report,
    methods,
    pictures,
    scores_as_text,
    square_figures,
    text,
)
from article.article_results import ArticleRun, BayesShown, KerasShown, MethodRun
from bayesian_layers.reporting import figures
from bayesian_layers.reporting.page import to_json_types
from bayesian_layers.reporting.provenance import provenance
from bayesian_layers.reporting.scores import estimate

PNG = figures.png(figures.curves({"a": np.arange(3.0)}, "t", "x", "y"))
RECORD = provenance([3, 4], {"the rows": "ab" * 32}, "scripts/some_command")
GOOD, FAIR, POOR = 0.0, 0.01, 0.05


def scores(level):
    return {"accuracy": 0.93 - level, "nll": 0.15 + level, "brier": 0.047 + level, "ece": 0.02 + level}


def shown(seed, kl_weight=1.0):
    random, points = np.random.default_rng(seed), methods.mesh()
    return BayesShown(
        history=np.linspace(200, 60 + seed, 70),
        train=random.uniform(0, 1, 200),
        mesh_mean=0.5 + 0.5 * points[:, 1],
        mesh_std=0.1 * (seed + 1) * np.exp(-(points[:, 0] ** 2)),
        separate=(0.1 + seed, 0.2, 0.3),
        together=(0.5, 0.5, 0.5),
        point=random.uniform(0, 1, 1000),
        summary={"0.weight[0, 0]": (1.25 + seed, 0.5, 0.25, 2.125)},
        summary_columns=("mean", "sd", "hdi_3%", "hdi_97%"),
        kl_weight=kl_weight,
    )


def article(levels=None, elbos=None, seeds=(3, 4)):
    """A run; `levels` says how much worse than the best each method is, `elbos` its ELBO."""
    levels = {"keras": FAIR, "recipe": GOOD, "default": POOR, "wide": FAIR} | (levels or {})
    elbos = {"recipe": -79.0, "default": -64.75, "wide": -56.125} | (elbos or {})
    runs = []
    for i, seed in enumerate(seeds):
        for method, level in levels.items():
            one = MethodRun(method, seed, scores(level + 0.001 * i * (1 + 10 * level)), seconds=12.5 + i)
            if method in elbos:
                facts = {
                    "elbo": elbos[method] + 0.1 * i,
                    "elbo_stderr": 0.1,
                    "near": 0.1 + level,
                    "far": 0.004,
                }
                one = dataclasses.replace(one, **facts)
            runs.append(one)
        runs.append(MethodRun("limit", seed, scores(-0.02 - 0.001 * i)))
    x, y = bl.datasets.parabola()
    random = np.random.default_rng(9)
    keras = KerasShown(
        np.linspace(0.7, 0.0625, 30), random.uniform(0, 1, 200), 0.5 + 0.5 * methods.mesh()[:, 0]
    )
    tempered = {"0.weight": 0.1, "2.weight": 0.2}
    bayes = {"recipe": shown(0, tempered), "default": shown(1), "wide": shown(2)}
    return ArticleRun(tuple(seeds), x.numpy(), y.numpy(), tuple(runs), keras, bayes, RECORD)


@pytest.fixture(scope="module")
def article_report():
    return build_article_report(article())


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes seconds; tests of words need none of it."""
    monkeypatch.setattr(figures, "png", lambda _: PNG)


def cells(page):
    return [text for text in re.findall(r"<td>(?:<strong>)?([^<]*)", page) if re.search(r"\d", text)]


@pytest.mark.slow
def test_every_score_on_the_page_comes_from_the_run(article_report, undrawn):
    other = article(levels={name: 0.021 + 0.001 * i for i, name in enumerate(("keras", *methods.BAYESIAN))})
    # All other numbers move as well.
    moved = [
        dataclasses.replace(
            run,
            scores={name: value * 0.87 for name, value in run.scores.items()},
            seconds=run.seconds and run.seconds * 3,
            elbo=run.elbo and run.elbo - 3 * i,
            near=run.near and run.near * 1.5,
            far=run.far and run.far * 1.25,
        )
        for i, run in enumerate(other.runs)
    ]
    summary = {"0.weight[0, 0]": (7.5, 0.75, 5.5, 9.5)}
    bayes = {name: dataclasses.replace(each, summary=summary) for name, each in other.bayes.items()}
    page = build_article_report(dataclasses.replace(other, runs=tuple(moved), bayes=bayes)).page
    before, after = cells(article_report.page), cells(page)
    assert len(before) == len(after) > 40
    assert [one for one, two in zip(before, after, strict=True) if one == two] == []


def test_the_scores_and_printed_values_are_there(article_report):
    run, page = article(), article_report.page
    for metric in text.METRICS:
        assert estimate(text.scores(run, "default", metric.key)).text() in page
    for shown_text in (
        "-64.70 ± 0.05",
        "13.0 ± 0.5",
        "0.1  0.2  0.3",
        "0.50000000000000000",
        "1.250",
        "scripts/some_command",
    ):
        assert shown_text in page, shown_text
    assert "ab" * 32 in page


def test_winners_flip_when_the_numbers_flip():
    def headlines(run):
        return dict(text.summary(run))

    ahead, behind = headlines(article()), headlines(article({"keras": GOOD, "recipe": FAIR}))
    question = "Keras or the article's recipe?"
    assert ahead[question].startswith("The article's recipe wins on accuracy")
    assert "Keras wins" not in ahead[question]
    assert behind[question].startswith("Keras wins on accuracy")
    assert "recipe wins" not in behind[question]
    assert headlines(article({"keras": GOOD}))["Keras or the default, N(0, 1)?"].startswith("Keras wins")
    same = headlines(article({"keras": GOOD, "recipe": GOOD}))
    assert same[question].startswith("There is no clear difference")


def test_what_the_elbo_prefers_follows_from_the_elbos():
    wide = text.summary(article())[3][1]
    default = text.summary(article(elbos={"default": -50.0}))[3][1]
    assert "prefers N(0, 2) to the default, N(0, 1) by 8.63 ± 0.00 nats" in wide
    assert "prefers the default, N(0, 1) to N(0, 2) by 6.12 ± 0.00 nats" in default
    assert "does not tell the two apart" in text.summary(article(elbos={"default": -56.125}))[3][1]


def test_tempering_is_said_where_there_is_some(article_report, undrawn):
    assert "is TEMPERED: KL weight 0.1 for 0.weight, 0.2 for 2.weight" in article_report.page
    run = article()
    plain_run = dataclasses.replace(
        run, bayes={name: dataclasses.replace(each, kl_weight=1.0) for name, each in run.bayes.items()}
    )
    assert "TEMPERED" not in build_article_report(plain_run).page
    hot = dataclasses.replace(run, bayes=dict(run.bayes) | {"recipe": shown(0, 3.0)})
    assert "counts for more" in text.tempering(hot)
    assert "counts for less" in text.tempering(run)


def test_one_draw_is_one_function_is_checked_not_claimed(undrawn):
    run = article()
    broken = dataclasses.replace(
        run.bayes["recipe"], separate=(0.1, 0.1, 0.1), together=(0.5, 0.5, 0.5000001)
    )
    right = pictures.printed(run)
    wrong = pictures.printed(dataclasses.replace(run, bayes=dict(run.bayes) | {"recipe": broken}))
    assert "The three differ" in right[0].caption
    assert "equal to the last digit" in right[1].caption
    assert "do NOT all differ" in wrong[0].caption
    assert "NOT equal" in wrong[1].caption


def test_one_seed_has_no_errors_and_says_so(undrawn):
    page = build_article_report(article(seeds=(3,))).page
    assert "There was only one run" in page
    assert "±" not in re.sub(r", mean ±[^<]*", "", page)


def test_all_pictures_of_the_article_are_there(article_report):
    both = ("loss", "data", "histogram", "mean", "deviation")
    expected = {"data", "keras_loss", "keras_data", "keras_map"}
    expected |= {f"{method}_{what}" for method in ("recipe", "default") for what in both}
    assert set(article_report.pictures) == expected
    assert article_report.page.count("data:image/png;base64,") == 14
    # three committed reports of such pictures, twice each, must stay under 3 MB
    assert max(map(len, article_report.pictures.values())) < 30_000


def test_maps_that_are_compared_have_one_colour_scale(monkeypatch, undrawn):
    seen = []
    draw = square_figures.heat_map

    def spy(values, title, label, largest=None):
        seen.append(largest)
        return draw(values, title, label, largest)

    monkeypatch.setattr(square_figures, "heat_map", spy)
    run = article()
    pictures.maps(run)
    largest = max(float(run.bayes[method].mesh_std.max()) for method in ("recipe", "default"))
    assert seen == [None, largest, None, largest]


def test_the_metrics_hold_every_score(article_report):
    metrics = json.loads(json.dumps(to_json_types(article_report.metrics), allow_nan=False))
    run = article()
    for one in run.runs:
        stored = next(each for each in metrics["methods"][one.method]["runs"] if each["seed"] == one.seed)
        assert {name: stored[name] for name in one.scores} == one.scores
        assert stored.get("elbo") == one.elbo
    assert metrics["better_than_keras_by"]["recipe"]["nll"]["outcome"] == "better"
    assert metrics["shown"]["recipe"]["one_call_with_three_equal_rows"]["values"] == [0.5, 0.5, 0.5]
    assert "0.700 to 0.062 nats" in metrics["captions"]["keras_loss"]
    assert {"seeds", "sha256", "versions", "command", "date"} == set(metrics["provenance"])


def test_the_table_for_the_terminal_has_the_scores():
    lines = scores_as_text(article()).splitlines()
    assert len(lines) == 6
    assert lines[2].split("  ")[:2] == ["the article's recipe", "0.9295 ± 0.0005"]


def test_the_limit_is_that_of_the_article():
    x, y = bl.datasets.parabola(20_000, seed=4243)
    p = methods.optimal_probability(x)
    assert bl.metrics.accuracy(y, p) == pytest.approx(0.9463, abs=6e-5)  # as printed, to four digits
    assert bl.metrics.nll(y, p) == pytest.approx(0.1187, abs=2e-4)
    random = np.random.default_rng(0)
    at, e = np.array([[0.5, 0.3]]), 0.1 * random.normal(size=(200_000, 2))
    share = np.mean((at[0, 0] + e[:, 0]) ** 2 < at[0, 1] + e[:, 1])
    assert methods.optimal_probability(at)[0] == pytest.approx(
        share, abs=5 / math.sqrt(4 * len(e))
    )  # five standard errors


def test_the_recipe_has_the_articles_loss():
    model, options = article_recipe(0)
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
    kl = {name: value.detach() for name, value in guide.kl_divergence(model).items()}
    weighed = sum(float(kl[name]) * weight for name, weight in options["kl_weight"].items())
    means = sum(float(kl[name]) / guide.shapes[name].numel() for name in ("0.weight", "2.weight"))
    assert weighed == pytest.approx(200 * 0.01 * means)
    assert [name for name, site in model.sites().items() if site.prior is None] == ["0.bias", "2.bias"]


def test_recipes_depend_on_their_seed_alone():
    one, same, other = (methods.build("default", seed)[0].network[0].weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert methods.build("wide", 0)[0].sites()["0.bias"].prior == bl.priors.Normal(scale=2.0)


def test_near_and_far():
    points = methods.mesh()
    assert points.shape == (2500, 2)
    assert tuple(points[0]) == (-1.0, 1.0)  # y downwards
    assert tuple(points[-1]) == (1.0, -1.0)
    distance = np.abs(points[:, 1] - points[:, 0] ** 2)
    near, far = methods.near_and_far(np.where(distance < 0.25, 0.5, 0.125))
    assert (near, far) == (0.5, 0.125)


def test_a_map_is_drawn_with_y_upwards():
    figure = square_figures.heat_map(methods.mesh()[:, 1] > 0, "t", "P")
    with Image.open(io.BytesIO(figures.png(figure))) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    height, width = picture.shape[:2]
    above, below = (picture[int(share * height), int(0.42 * width)] for share in (0.15, 0.65))
    assert above[0] > above[2] + 50  # red: probability 1
    assert below[2] > below[0] + 50  # blue: probability 0


def test_square_figures_have_titles_and_labels_and_the_articles_size():
    random = np.random.default_rng(0)
    for figure in (
        square_figures.scatter(random.uniform(-1, 1, (20, 2)), np.arange(20) % 2, "t"),
        square_figures.heat_map(random.uniform(size=2500), "t", "P (no unit)"),
        square_figures.heat_map(random.uniform(size=2500), "t", "standard deviation", 0.5),
    ):
        axes = figure.axes[0]
        assert axes.get_title()
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        assert tuple(figure.get_size_inches()) == (5, 5)


def test_nothing_is_fetched_by_the_page(article_report):
    page = article_report.page
    assert "<script" not in page
    assert all(each.startswith("data:") for each in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert not re.search(r"url\(|@import|https?:", page)
    assert page.count("<img") == len(re.findall(r'<img src="[^"]*" alt="[^"]+"', page)) > 0
