"""Reports are pure functions of runs, so the runs here are made by hand."""

from __future__ import annotations

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

import bayesian_layers as bl
from _hashing import hash_of
from bayesian_layers.errors import DataError, MissingExtraError, ShapeError, StorageError, TableError
from bayesian_layers.reporting import check_report_folder, figures, write_report
from bayesian_layers.reporting.background import background_queue
from bayesian_layers.reporting.comparison import ComparisonRun, build_comparison_report
from bayesian_layers.reporting.comparison.comparison_fits import random_splits, scores_of
from bayesian_layers.reporting.comparison.comparison_report import summary
from bayesian_layers.reporting.comparison.comparison_results import MethodPrediction, SplitRun
from bayesian_layers.reporting.page import (
    Gallery,
    Page,
    Paragraphs,
    Picture,
    Points,
    Section,
    Table,
    render,
    to_json_types,
)
from bayesian_layers.reporting.provenance import hash_of_table, provenance
from bayesian_layers.reporting.scores import (
    Estimate,
    Metric,
    caveat,
    compare,
    describe_winners,
    estimate,
    number,
    outcome,
)
from bayesian_layers.tabular import TableSchema

ACCURACY, NLL = Metric("accuracy", "accuracy", "higher"), Metric("nll", "NLL", "lower")
COVERAGE = Metric("coverage", "coverage", "near", goal=0.9)
PNG = figures.png(figures.curves({"a": np.arange(3.0)}, "t", "x", "y"))
RECORD = provenance([3, 4], {"the rows": "ab" * 32}, "scripts/some_command")
GOOD, FAIR = 0.0, 0.01


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
    assert (
        describe_winners([compare(ACCURACY, high, low)], "A", "B")
        == "A wins on accuracy (by 0.1000 ± 0.0000)."
    )
    assert (
        describe_winners([compare(ACCURACY, low, high)], "A", "B")
        == "B wins on accuracy (by 0.1000 ± 0.0000)."
    )
    assert describe_winners([compare(ACCURACY, high, high)], "A", "B").startswith(
        "There is no clear difference on accuracy"
    )
    assert (
        describe_winners([compare(ACCURACY, [0.9], [0.8])], "A", "B") == "A is ahead on accuracy (by 0.1000)."
    )
    mixed = [compare(ACCURACY, high, low), compare(NLL, high, low)]
    assert describe_winners(mixed, "A", "B").startswith(
        "B wins on NLL (by 0.1000 ± 0.0000). A wins on accuracy"
    )


def test_one_run_is_called_one_run():
    assert "only one run" in caveat(1)
    assert caveat(2) == ""


def test_infinite_scores_are_shown_and_judged():
    compared = compare(NLL, [0.1, 0.2], [0.1, math.inf])
    assert compared.outcome == "better"
    assert compared.theirs.text().startswith("∞")
    assert compare(NLL, [math.inf, 1.0], [math.inf, 1.0]).outcome == "unclear"
    assert [number(each) for each in (math.inf, -math.inf, math.nan)] == ["∞", "-∞", "-"]


def scores(level):
    return {"accuracy": 0.93 - level, "nll": 0.15 + level, "brier": 0.047 + level, "ece": 0.02 + level}


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes seconds; tests of words need none of it."""
    monkeypatch.setattr(figures, "png", lambda _: PNG)


# Figures


def all_figures():
    random = np.random.default_rng(0)
    y, mean, half = random.normal(size=(3, 20))
    p = random.uniform(0.5, 1, 20)
    levels = np.linspace(0.1, 0.9, 9)
    return {
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


@pytest.mark.slow
def test_figures_change_no_setting_of_the_process():
    before = dict(mpl.rcParams)
    for figure in all_figures().values():
        figures.png(figure)
    assert dict(mpl.rcParams) == before


def test_a_reliability_mark_is_where_confidence_and_share_are():
    confidence = np.array([0.62, 0.64, 0.66, 0.68, 0.95])
    figure = figures.reliability({"a": (confidence, np.array([1.0, 0, 0, 1.0, 1.0]))}, "t")
    marks = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(marks, [[0.65, 0.5], [0.95, 1.0]])


def test_the_same_figure_is_the_same_file():
    assert len({figures.png(figures.curves({"a": np.arange(3.0)}, "t", "x", "y")) for _ in range(2)}) == 1


# The page


def test_texts_are_escaped_and_nothing_is_fetched():
    text = "<script>alert(1)</script> & 'more'"
    blocks = (
        Paragraphs((text,)),
        Points(((text, text),)),
        Table((text,), ((text,),)),
        Gallery((Picture("a", PNG, text, text),)),
    )
    comparison_page = build_comparison_report(comparison()).page
    for page in (render(Page(text, text, (Section(text, blocks),), text)), comparison_page):
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
        Page("", "", (Section("", (twice,)),), "").report({})


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("jinja2", lambda: render(Page("", "", (), ""))),
        ("matplotlib.figure", lambda: figures.curves({}, "", "", "")),
        ("sklearn.model_selection", lambda: random_splits(TABLE, TableSchema.infer(TABLE, "y"), 1, 0)),
    ],
)
def test_a_missing_library_is_named(monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        call()
    assert caught.value.extra == "report"


def test_json_holds_plain_numbers():
    value = {"a": np.float32(0.5), 1: (math.nan, math.inf), "c": np.arange(2), "d": torch.ones(1), "e": None}
    assert to_json_types(value) == {"a": 0.5, "1": [None, None], "c": [0, 1], "d": [1.0], "e": None}


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
        with pytest.raises(StorageError, match="Choose another folder"):
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


# Jobs in the background


def test_jobs_run_one_at_a_time_and_none_starts_after_a_failure():
    done = []

    def job(number):
        time.sleep(0.05)
        done.append(number)

    with background_queue() as pool:
        for i in range(3):
            pool.submit(job, i)
    assert done == [0, 1, 2]

    def fail():
        with background_queue() as pool:
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
    first, second = random_splits(TABLE, schema, 2, seed=7)
    again = random_splits(TABLE, schema, 1, seed=7)[0]
    np.testing.assert_array_equal(first.train, again.train)
    assert not np.array_equal(first.test, second.test)
    assert (first.seed, second.seed) == (7, 8)
    assert (len(first.train), len(first.test)) == (30, 10)
    assert sorted([*first.train, *first.test]) == list(range(40))
    assert abs((TABLE["y"].iloc[first.test] == "yes").sum() - 2.5) < 1


def test_too_few_rows_are_refused():
    few = TABLE.assign(y=["yes", *["no"] * 39])
    with pytest.raises(TableError, match="too few rows"):
        random_splits(few, TableSchema.infer(few, "y"), 1, 0)
    with pytest.raises(DataError, match="splits"):
        random_splits(TABLE, TableSchema.infer(TABLE, "y"), 0, 0)


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
    found = scores_of("regression", y, MethodPrediction(mean, std))
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
                "ours": MethodPrediction(y + 0.3, np.full(30, 0.5), np.linspace(0.1, 0.3, 30)),
                "keras": MethodPrediction(y - 0.2, np.full(30, 0.5)),
            }
            values = {
                name: {"rmse": 2 + level, "nll": 1.5 + level, "crps": 0.7 + level, "coverage": 0.9 + level}
                for name, level in (("ours", ours), ("keras", keras))
            }
        else:
            y = random.integers(0, 2 if task == "binary" else 3, 30)
            p = random.dirichlet(np.ones(3), size=30) if task == "multiclass" else random.uniform(size=30)
            both = {"ours": MethodPrediction(p, epistemic_std=0.1 * p), "keras": MethodPrediction(p)}
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
        first_rows=Table(("row", "mean"), (("4", "0.4321"),)),
        weights=Table(("weight", "mean"), (("0.weight[0, 0]", "-1.234"),)),
        num_weights=141,
        provenance=RECORD,
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_comparison_becomes_a_page(task):
    report = build_comparison_report(comparison(task))
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
    metrics = json.loads(json.dumps(to_json_types(report.metrics), allow_nan=False))
    assert metrics["splits"][2]["scores"]["keras"] == comparison(task).splits[2].scores["keras"]
    expected = {"objective", "keras_loss", "deviations"}
    expected |= {"predicted_ours", "predicted_keras", "coverage"} if task == "regression" else {"reliability"}
    assert set(report.pictures) == expected
    assert max(map(len, report.pictures.values())) < 30_000


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_who_wins_a_comparison_follows_from_the_scores(task):
    def said(ours, keras):
        return dict(summary(comparison(task, ours, keras)))["Who wins?"]

    assert said(GOOD, FAIR).startswith("The Bayesian network wins on")
    assert "Keras wins" not in said(GOOD, FAIR)
    assert said(FAIR, GOOD).startswith("Keras wins on")
    assert "network wins" not in said(FAIR, GOOD)
    assert said(GOOD, GOOD).startswith("There is no clear difference")


def test_warnings_of_a_fit_are_on_the_page(undrawn):
    assert (
        "far from unit scale"
        in build_comparison_report(comparison(warnings=("`x` is far from unit scale",))).page
    )
