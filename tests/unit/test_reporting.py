"""Reports are pure functions of runs, so the runs here are made by hand."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import sys
import time

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import bayesian_layers as bl
from article import article_page, article_recipe, methods, scores_as_text, words
from article import pictures as article_pictures
from article.results import ArticleRun, BayesShown, KerasShown, MethodRun
from bayesian_layers.errors import DataError, MissingExtraError, ShapeError, StorageError, TableError
from bayesian_layers.reporting import check_report_folder, figures, write_report
from bayesian_layers.reporting.beside import one_at_a_time
from bayesian_layers.reporting.comparison import ComparisonRun, comparison_page
from bayesian_layers.reporting.comparison.page import in_short as comparison_in_short
from bayesian_layers.reporting.comparison.results import Answer, Rows, SplitRun
from bayesian_layers.reporting.comparison.run import score
from bayesian_layers.reporting.comparison.splits import split
from bayesian_layers.reporting.page import Gallery, Page, Picture, Points, Section, Table, Text, plain, render
from bayesian_layers.reporting.provenance import hash_of, hash_of_table, provenance
from bayesian_layers.reporting.scores import (
    Estimate,
    Metric,
    caveat,
    duel,
    estimate,
    number,
    outcome,
    verdict,
)
from bayesian_layers.tabular import TableSchema

ACCURACY, NLL = Metric("accuracy", "accuracy", "higher"), Metric("nll", "NLL", "lower")
COVERAGE = Metric("coverage", "coverage", "near", goal=0.9)
PNG = figures.png(figures.curves({"a": np.arange(3.0)}, "t", "x", "y"))
RECORD = provenance([3, 4], {"the rows": "ab" * 32}, "scripts/some_command")
GOOD, FAIR, POOR = 0.0, 0.01, 0.05


# Scores and words


@pytest.mark.parametrize(
    ("metric", "ours", "theirs", "gain"),
    [
        (ACCURACY, 0.9, 0.8, 0.1),
        (NLL, 0.3, 0.1, -0.2),
        (COVERAGE, 0.85, 0.99, 0.04),
        (COVERAGE, 0.8, 0.9, -0.1),
    ],
)
def test_a_gain_is_positive_where_ours_is_better(metric, ours, theirs, gain):
    assert metric.gain([ours], [theirs]) == pytest.approx([gain])


def test_a_gain_needs_the_same_runs():
    with pytest.raises(ShapeError):
        NLL.gain([1.0], [1.0, 2.0])


def test_standard_errors():
    values = [1.0, 2.0, 3.0]
    assert estimate(values).error == pytest.approx(1 / math.sqrt(3))
    # Nadeau and Bengio: the variance of a mean over splits does not fall below n_test / n_train
    assert estimate(values, 1 / 3).error == pytest.approx(math.sqrt(1 / 3 + 1 / 3))
    assert estimate([5.0]) == Estimate(5.0, None, 1)


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (Estimate(0.3, 0.1, 5), "better"),
        (Estimate(-0.3, 0.1, 5), "worse"),
        (Estimate(0.2, 0.1, 5), "unclear"),
        (Estimate(0.0, 0.0, 5), "unclear"),
        (Estimate(0.1, 0.0, 5), "better"),
        (Estimate(0.1, None, 1), "ahead"),
        (Estimate(-0.1, None, 1), "behind"),
        (Estimate(math.inf, math.nan, 5), "better"),
        (Estimate(math.nan, math.nan, 5), "unclear"),
    ],
)
def test_outcomes(gain, expected):
    assert outcome(gain) == expected


def test_the_verdict_flips_with_the_numbers():
    high, low = [0.9, 0.91, 0.92], [0.8, 0.81, 0.82]
    assert verdict([duel(ACCURACY, high, low)], "A", "B") == "A wins on accuracy (by 0.1000 ± 0.0000)."
    assert verdict([duel(ACCURACY, low, high)], "A", "B") == "B wins on accuracy (by 0.1000 ± 0.0000)."
    assert verdict([duel(ACCURACY, high, high)], "A", "B").startswith("No clear difference on accuracy")
    assert verdict([duel(ACCURACY, [0.9], [0.8])], "A", "B") == "A is ahead on accuracy (by 0.1000)."
    mixed = [duel(ACCURACY, high, low), duel(NLL, high, low)]
    assert verdict(mixed, "A", "B").startswith("B wins on NLL (by 0.1000 ± 0.0000). A wins on accuracy")


def test_one_run_is_called_one_run():
    assert "one run" in caveat(1)
    assert caveat(2) == ""


def test_infinite_scores_are_shown_and_judged():
    fought = duel(NLL, [0.1, 0.2], [0.1, math.inf])
    assert fought.outcome == "better"
    assert fought.theirs.text().startswith("∞")
    assert duel(NLL, [math.inf, 1.0], [math.inf, 1.0]).outcome == "unclear"
    assert [number(each) for each in (math.inf, -math.inf, math.nan)] == ["∞", "-∞", "-"]


# The article


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
    return article_page(article())


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes seconds; tests of words need none of it."""
    monkeypatch.setattr(figures, "png", lambda _: PNG)


def cells(page):
    return [text for text in re.findall(r"<td>(?:<strong>)?([^<]*)", page) if re.search(r"\d", text)]


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
    page = article_page(dataclasses.replace(other, runs=tuple(moved), bayes=bayes)).page
    before, after = cells(article_report.page), cells(page)
    assert len(before) == len(after) > 40
    assert [one for one, two in zip(before, after, strict=True) if one == two] == []


def test_the_scores_and_printed_values_are_there(article_report):
    run, page = article(), article_report.page
    for method in words.METRICS:
        assert estimate(words.scores(run, "default", method.key)).text() in page
    for text in (
        "-64.70 ± 0.05",
        "13.0 ± 0.5",
        "0.1  0.2  0.3",
        "0.50000000000000000",
        "1.250",
        "scripts/some_command",
    ):
        assert text in page, text
    assert "ab" * 32 in page


def test_winners_flip_when_the_numbers_flip():
    def headlines(run):
        return dict(words.in_short(run))

    ahead, behind = headlines(article()), headlines(article({"keras": GOOD, "recipe": FAIR}))
    question = "Keras or the article's recipe?"
    assert ahead[question].startswith("The article's recipe wins on accuracy")
    assert "Keras wins" not in ahead[question]
    assert behind[question].startswith("Keras wins on accuracy")
    assert "recipe wins" not in behind[question]
    assert headlines(article({"keras": GOOD}))["Keras or the default, N(0, 1)?"].startswith("Keras wins")
    same = headlines(article({"keras": GOOD, "recipe": GOOD}))
    assert same[question].startswith("No clear difference")


def test_what_the_elbo_prefers_follows_from_the_elbos():
    wide = words.in_short(article())[3][1]
    default = words.in_short(article(elbos={"default": -50.0}))[3][1]
    assert "prefers N(0, 2) to the default, N(0, 1) by 8.63 ± 0.00 nats" in wide
    assert "prefers the default, N(0, 1) to N(0, 2) by 6.12 ± 0.00 nats" in default
    assert "does not tell the two apart" in words.in_short(article(elbos={"default": -56.125}))[3][1]


def test_tempering_is_said_where_there_is_some(article_report, undrawn):
    assert "is TEMPERED: KL weight 0.1 for 0.weight, 0.2 for 2.weight" in article_report.page
    run = article()
    plain_run = dataclasses.replace(
        run, bayes={name: dataclasses.replace(each, kl_weight=1.0) for name, each in run.bayes.items()}
    )
    assert "TEMPERED" not in article_page(plain_run).page
    hot = dataclasses.replace(run, bayes=dict(run.bayes) | {"recipe": shown(0, 3.0)})
    assert "counts for more" in words.tempering(hot)
    assert "counts for less" in words.tempering(run)


def test_one_draw_is_one_function_is_checked_not_claimed(undrawn):
    run = article()
    broken = dataclasses.replace(
        run.bayes["recipe"], separate=(0.1, 0.1, 0.1), together=(0.5, 0.5, 0.5000001)
    )
    right = article_pictures.printed(run)
    wrong = article_pictures.printed(dataclasses.replace(run, bayes=dict(run.bayes) | {"recipe": broken}))
    assert "The three differ" in right[0].caption
    assert "equal to the last digit" in right[1].caption
    assert "do NOT all differ" in wrong[0].caption
    assert "NOT equal" in wrong[1].caption


def test_one_seed_has_no_errors_and_says_so(undrawn):
    page = article_page(article(seeds=(3,))).page
    assert "cannot tell merit from luck" in page
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
    draw = figures.heat_map

    def spy(values, title, label, largest=None):
        seen.append(largest)
        return draw(values, title, label, largest)

    monkeypatch.setattr(figures, "heat_map", spy)
    run = article()
    article_pictures.maps(run)
    largest = max(float(run.bayes[method].mesh_std.max()) for method in ("recipe", "default"))
    assert seen == [None, largest, None, largest]


def test_the_metrics_hold_every_score(article_report):
    metrics = json.loads(json.dumps(plain(article_report.metrics), allow_nan=False))
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
    p = methods.limit(x)
    assert bl.metrics.accuracy(y, p) == pytest.approx(0.9463, abs=6e-5)  # as printed, to four digits
    assert bl.metrics.nll(y, p) == pytest.approx(0.1187, abs=2e-4)
    random = np.random.default_rng(0)
    at, e = np.array([[0.5, 0.3]]), 0.1 * random.normal(size=(200_000, 2))
    share = np.mean((at[0, 0] + e[:, 0]) ** 2 < at[0, 1] + e[:, 1])
    assert methods.limit(at)[0] == pytest.approx(share, abs=5 / math.sqrt(4 * len(e)))  # five standard errors


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


# Figures


def all_figures():
    random = np.random.default_rng(0)
    y, mean, half = random.normal(size=(3, 20))
    p = random.uniform(0.5, 1, 20)
    levels = np.linspace(0.1, 0.9, 9)
    return {
        "scatter": figures.scatter(random.uniform(-1, 1, (20, 2)), np.arange(20) % 2, "t"),
        "heat_map": figures.heat_map(random.uniform(size=2500), "t", "P (no unit)"),
        "deviation": figures.heat_map(random.uniform(size=2500), "t", "deviation", 0.5),
        "curves": figures.curves({"a": y, "b": mean}, "t", "step", "nats"),
        "histogram": figures.histogram({"a": y, "b": mean}, "t", "P", (0, 1), "draws"),
        "reliability": figures.reliability({"a": (p, p > 0.7)}, "t"),
        "predicted": figures.predicted_against_actual(y, mean, np.abs(half), "t", "euros", (-3, 3)),
        "coverage": figures.coverage_curves(levels, {"a": levels**2}, "t"),
    }


def test_figures_have_titles_and_labels_and_the_articles_size():
    for name, figure in all_figures().items():
        axes = figure.axes[0]
        assert axes.get_title(), name
        assert axes.get_xlabel(), name
        assert axes.get_ylabel(), name
        assert tuple(figure.get_size_inches()) == (5, 5), name


def test_figures_change_no_setting_of_the_process():
    before = dict(mpl.rcParams)
    for figure in all_figures().values():
        figures.png(figure)
    assert dict(mpl.rcParams) == before


def test_a_map_is_drawn_with_y_upwards():
    figure = figures.heat_map(methods.mesh()[:, 1] > 0, "t", "P")
    with Image.open(io.BytesIO(figures.png(figure))) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    height, width = picture.shape[:2]
    above, below = (picture[int(share * height), int(0.42 * width)] for share in (0.15, 0.65))
    assert above[0] > above[2] + 50  # red: probability 1
    assert below[2] > below[0] + 50  # blue: probability 0


def test_a_reliability_mark_is_where_confidence_and_share_are():
    confidence = np.array([0.62, 0.64, 0.66, 0.68, 0.95])
    figure = figures.reliability({"a": (confidence, np.array([1.0, 0, 0, 1.0, 1.0]))}, "t")
    marks = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(marks, [[0.65, 0.5], [0.95, 1.0]])


def test_the_same_figure_is_the_same_file():
    assert len({figures.png(figures.curves({"a": np.arange(3.0)}, "t", "x", "y")) for _ in range(2)}) == 1


# The page


def test_texts_are_escaped_and_nothing_is_fetched(article_report):
    text = "<script>alert(1)</script> & 'more'"
    blocks = (
        Text((text,)),
        Points(((text, text),)),
        Table((text,), ((text,),)),
        Gallery((Picture("a", PNG, text, text),)),
    )
    for page in (render(Page(text, text, (Section(text, blocks),), text)), article_report.page):
        assert "<script" not in page
        assert all(each.startswith("data:") for each in re.findall(r'(?:src|href)="([^"]*)"', page))
        assert not re.search(r"url\(|@import|https?:", page)
        assert page.count("<img") == len(re.findall(r'<img src="[^"]*" alt="[^"]+"', page)) > 0
        assert '<meta charset="utf-8">' in page
        assert "<title>" in page


def test_pages_that_make_no_sense_cannot_be_built():
    with pytest.raises(DataError, match="alt"):
        Picture("a", PNG, " ", "caption")
    with pytest.raises(DataError, match="name"):
        Picture("../a", PNG, "alt", "caption")
    with pytest.raises(DataError, match="2 cells"):
        Table(("a", "b"), (("1",),))
    twice = Gallery((Picture("a", PNG, "alt", ""), Picture("a", PNG, "alt", "")))
    with pytest.raises(DataError, match="twice"):
        Page("", "", (Section("", (twice,)),), "").pictures()


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("jinja2", lambda: render(Page("", "", (), ""))),
        ("matplotlib.figure", lambda: figures.curves({}, "", "", "")),
        ("sklearn.model_selection", lambda: split(TABLE, TableSchema.infer(TABLE, "y"), 1, 0)),
    ],
)
def test_a_missing_library_is_named(monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        call()
    assert caught.value.extra == "report"


def test_json_holds_plain_numbers():
    value = {"a": np.float32(0.5), 1: (math.nan, math.inf), "c": np.arange(2), "d": torch.ones(1), "e": None}
    assert plain(value) == {"a": 0.5, "1": [None, None], "c": [0, 1], "d": [1.0], "e": None}


# The folder


def write(folder, page="<html>", **metrics):
    return write_report(folder, page, {"one": PNG}, {"value": math.nan, **metrics})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_report_is_written_and_replaced(tmp_path):
    folder = tmp_path / "reports" / "mine"
    page = write(folder)
    assert page == folder / "index.html"
    assert set(contents(folder)) == {"index.html", "one.png", "metrics.json"}
    metrics = json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["generator"].startswith("bayesian-layers")
    assert metrics["value"] is None
    check_report_folder(folder)
    write_report(folder, "new", {}, {})
    assert set(contents(folder)) == {"index.html", "metrics.json"}
    assert page.read_text() == "new"
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_an_empty_folder_can_be_used(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("thesis.tex", "mine"),
        ("metrics.json", "{}"),
        ("metrics.json", '{"generator": "other"}'),
        ("metrics.json", "["),
    ],
)
def test_a_foreign_folder_is_refused(tmp_path, name, content):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / name).write_text(content)
    before = contents(tmp_path / "it")
    for call in (write, check_report_folder):
        with pytest.raises(StorageError, match="Choose another name"):
            call(tmp_path / "it")
    assert contents(tmp_path / "it") == before


def test_what_someone_added_to_a_report_is_not_deleted(tmp_path):
    write(tmp_path / "it")
    (tmp_path / "it" / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"notes\.txt"):
        write(tmp_path / "it")
    assert (tmp_path / "it" / "notes.txt").read_text() == "mine"


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "it").write_text("mine")
    with pytest.raises(StorageError):
        write(tmp_path / "it")
    assert (tmp_path / "it").read_text() == "mine"


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    folder = tmp_path / "it"
    write(folder)
    before = contents(folder)
    rename = type(folder).rename

    def fail(self, target):
        if self.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(type(folder), "rename", fail)
    with pytest.raises(StorageError, match="No space left"):
        write(folder, page="new")
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


# Provenance


def test_hashes_see_content_shape_and_type():
    array = np.arange(6.0)
    variants = [array, array + 1, array.reshape(2, 3), array.astype(np.float32)]
    assert len({hash_of(each) for each in variants}) == 4
    assert hash_of(array) == hash_of(torch.arange(6, dtype=torch.float64)) == hash_of(array.astype(">f8"))
    frame = pd.DataFrame({"a": [1, 2]})
    assert hash_of_table(frame) == hash_of_table(frame.set_axis([5, 6]))
    assert hash_of_table(frame) != hash_of_table(frame + 1)


def test_provenance_has_versions():
    assert {"python", "torch", "pyro-ppl", "numpy", "keras", "matplotlib"} <= set(RECORD["versions"])


# Beside


def test_jobs_run_one_at_a_time_and_none_begins_after_a_failure():
    done = []

    def job(number):
        time.sleep(0.05)
        done.append(number)

    with one_at_a_time() as pool:
        for i in range(3):
            pool.submit(job, i)
    assert done == [0, 1, 2]

    def fail():
        with one_at_a_time() as pool:
            for i in range(3, 9):
                pool.submit(job, i)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert 8 not in done


# Comparisons of tables

TABLE = pd.DataFrame(
    {
        "size": np.arange(40.0),
        "colour": ["red", "blue"] * 19 + ["green", "red"],
        "y": ["yes", "no", "no", "no"] * 10,
    }
)


def test_splits_are_stratified_reproducible_and_different():
    schema = TableSchema.infer(TABLE, "y")
    first, second = split(TABLE, schema, 2, seed=7)
    again = split(TABLE, schema, 1, seed=7)[0]
    np.testing.assert_array_equal(first.train, again.train)
    assert not np.array_equal(first.test, second.test)
    assert (first.seed, second.seed) == (7, 8)
    assert (len(first.train), len(first.test)) == (30, 10)
    assert sorted([*first.train, *first.test]) == list(range(40))
    assert abs((TABLE["y"].iloc[first.test] == "yes").sum() - 2.5) < 1


def test_too_few_rows_are_refused():
    few = TABLE.assign(y=["yes", *["no"] * 39])
    with pytest.raises(TableError, match="rows enough"):
        split(few, TableSchema.infer(few, "y"), 1, 0)
    with pytest.raises(DataError, match="splits"):
        split(TABLE, TableSchema.infer(TABLE, "y"), 0, 0)


def test_means_come_from_the_training_part_and_categories_from_the_whole():
    whole = TableSchema.infer(TABLE, "y")
    train = TABLE.iloc[:20]  # no green
    schema = whole.rescaled(train)
    size = next(each for each in schema.columns if each.name == "size")
    assert size.mean == pytest.approx(9.5)
    assert schema.input_names == ("size", "colour=blue", "colour=green", "colour=red")
    assert schema.inputs(TABLE).shape == (40, 4)  # a test row with green can be answered for
    real = TABLE.assign(y=np.arange(40.0) ** 2)
    target = TableSchema.infer(real, "y").rescaled(real.iloc[:20]).target
    assert target.mean == pytest.approx(np.mean(np.arange(20.0) ** 2))


def test_scores_of_regression_are_in_the_units_of_the_target():
    y, mean, std = np.array([1.0, 5.0]), np.array([2.0, 2.0]), np.array([1.0, 1.0])
    found = score("regression", y, Answer(mean, std))
    assert found["rmse"] == pytest.approx(math.sqrt(5))
    assert found["coverage"] == 0.5  # 1.645 deviations hold the first, not the second
    assert found["nll"] == pytest.approx(0.5 * math.log(2 * math.pi) + (1 + 9) / 4)
    assert found["crps"] == pytest.approx(bl.metrics.crps_normal(y, mean, std))


def comparison(task="binary", ours=GOOD, keras=FAIR, warnings=()):
    random = np.random.default_rng(0)
    runs = []
    for i in range(3):
        if task == "regression":
            y = random.normal(size=30)
            both = {
                "ours": Answer(y + 0.3, np.full(30, 0.5), np.linspace(0.1, 0.3, 30)),
                "keras": Answer(y - 0.2, np.full(30, 0.5)),
            }
            values = {
                name: {"rmse": 2 + level, "nll": 1.5 + level, "crps": 0.7 + level, "coverage": 0.9 + level}
                for name, level in (("ours", ours), ("keras", keras))
            }
        else:
            y = random.integers(0, 2 if task == "binary" else 3, 30)
            p = random.dirichlet(np.ones(3), size=30) if task == "multiclass" else random.uniform(size=30)
            both = {"ours": Answer(p, epistemic_std=0.1 * p), "keras": Answer(p)}
            values = {"ours": scores(ours), "keras": scores(keras)}
        values = {
            side: {key: value + 0.0001 * i for key, value in each.items()} for side, each in values.items()
        }
        history = {"loss": np.linspace(1, 0.1, 9), "val_loss": np.linspace(1, 0.2, 9)}
        runs.append(
            SplitRun(
                i,
                y,
                both,
                values,
                {"ours": 11.0, "keras": 7.5},
                np.linspace(300, 90, 60),
                history,
                -91.5,
                0.1,
                warnings,
            )
        )
    return ComparisonRun(
        name="pets",
        target="weight",
        task=task,
        task_line=f"target `weight`: {task}",
        classes=() if task == "regression" else ("a", "b", "c")[: 2 + (task == "multiclass")],
        train_rows=90,
        test_rows=30,
        inputs=5,
        hidden=(20,),
        prior_scale=1.5,
        keras_epochs=321,
        splits=tuple(runs),
        first_rows=Rows(("row", "mean"), (("4", "0.4321"),)),
        weights=Rows(("weight", "mean"), (("0.weight[0, 0]", "-1.234"),)),
        num_weights=141,
        provenance=RECORD,
    )


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_comparison_becomes_a_page(task):
    report = comparison_page(comparison(task))
    for text in (
        "pets",
        "at most 321 epochs",
        "20 % of its training rows",
        "N(0, 1.5)",
        "0.4321",
        "-1.234",
        "-91.50",
    ):
        assert text in report.page, text
    metrics = json.loads(json.dumps(plain(report.metrics), allow_nan=False))
    assert metrics["splits"][2]["scores"]["keras"] == comparison(task).splits[2].scores["keras"]
    expected = {"objective", "keras_loss", "deviations"}
    expected |= {"predicted_ours", "predicted_keras", "coverage"} if task == "regression" else {"reliability"}
    assert set(report.pictures) == expected
    assert max(map(len, report.pictures.values())) < 30_000


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_who_wins_a_comparison_follows_from_the_scores(task):
    def said(ours, keras):
        return dict(comparison_in_short(comparison(task, ours, keras)))["Who wins?"]

    assert said(GOOD, FAIR).startswith("The Bayesian network wins on")
    assert "Keras wins" not in said(GOOD, FAIR)
    assert said(FAIR, GOOD).startswith("Keras wins on")
    assert "network wins" not in said(FAIR, GOOD)
    assert said(GOOD, GOOD).startswith("No clear difference")


def test_warnings_of_a_fit_are_on_the_page(undrawn):
    assert "far from unit scale" in comparison_page(comparison(warnings=("`x` is far from unit scale",))).page
