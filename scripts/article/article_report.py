"""The report of the article: a pure function of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesian_layers.reporting.page import (
    Block,
    Collapsible,
    Page,
    Paragraphs,
    Points,
    Report,
    Section,
    Table,
)
from bayesian_layers.reporting.provenance import footer, provenance_points
from bayesian_layers.reporting.scores import RULE, Estimate, estimate, number

from . import pictures, posterior_section
from .article_results import HISTOGRAM_AT, SEPARATE_AT, ArticleRun
from .methods import BAYESIAN, KERAS, LABELS, OPTIMAL, TITLES, near_and_far
from .text import METRICS, best_of, comparisons, mean_over_seeds, ratio, scores, summary

_METHODS = (KERAS, *BAYESIAN, OPTIMAL)
_LEAD = (
    "In 2018 an article replaced the dense layers of a network by Bayesian ones, trained it on 200 noisy points around "
    "a parabola, and got a network that shows where it is unsure. This page reproduces everything in the article with "
    "this library, and compares it with the library's default and with an ordinary Keras network."
)
_METHOD_NOTES = (
    ("Keras:", "2 inputs, 10 tanh units, 1 sigmoid output; Adam at its defaults, cross-entropy, batches of 32 rows."),
    ("The article's recipe:", "the same network with N(0, 1) priors on the two kernels, biases as point estimates, and "
     "exactly the article's loss. Only the optimizer differs: this library's default schedule (Adam with 16 draws per "
     "step and a cosine decay) instead of Adam at 0.05 with one draw per step for 30,000 steps."),
    ("The default, N(0, 1):", "a prior N(0, 1) on all 41 weights and biases, fitted with the library's defaults: the "
     "full ELBO, nothing tempered."),
    ("N(0, 2):", "the same with a prior standard deviation of 2."),
    ("The best possible:", "P(label = 1) computed from the rule and the noise that made the data, by numerical "
     "integration. No method knows them."),
)  # fmt: skip


def build_article_report(run: ArticleRun) -> Report:
    """Build the report of a run of the article."""
    title = "Bayesian layers: the article from beginning to end"
    return Page(title, _LEAD, _sections(run), footer(run.provenance, f" with {_seeds(run)}")).report(
        metrics(run)
    )


def _sections(run: ArticleRun) -> tuple[Section, ...]:
    means, stds = pictures.maps(run)
    first = f"Pictures and printed values are those of the first seed, {run.seeds[0]}."
    order = "On the left, or first: the article's recipe. On the right, or second: the library's default."
    return (
        Section("Summary", (Points(summary(run)),)),
        Section("Which predicts best", (_scores_table(run), _gains_table(run), Points(_METHOD_NOTES))),
        Section("The data, and the Keras network", (Paragraphs((first,)), pictures.data(run))),
        Section(
            "Fitting the Bayesian network",
            (Paragraphs((order,)), pictures.losses(run), pictures.coloured(run)),
        ),
        Section("One draw is one function", (*pictures.printed(run), pictures.histograms(run))),
        Section("Where it is sure, and where it is not", (means, stds, _near_far_table(run))),
        *([posterior_section.section(run)] if run.sampled else []),
        Section("The weights", (Paragraphs((_ABOUT_WEIGHTS,)), *_weight_tables(run))),
        Section("How this report was made", (Points(provenance_points(run.provenance)),)),
    )


_ABOUT_WEIGHTS = (
    "ArviZ's table of every weight and bias: mean, standard deviation and the 94 % highest-density interval of 1000 "
    "draws. Point-estimated biases have standard deviation 0. The draws are independent, so there is no R-hat."
)


def _seeds(run: ArticleRun) -> str:
    return "1 seed" if len(run.seeds) == 1 else f"{len(run.seeds)} seeds"


def _scores_table(run: ArticleRun) -> Table:
    rows, best = [], set()
    for i, method in enumerate(_METHODS):
        cells = [estimate(scores(run, method, each.key)).text(each.digits) for each in METRICS]
        elbo, seconds = (mean_over_seeds(run, method, name) for name in ("elbo", "seconds"))
        rows.append((LABELS[method], *cells, _optional(elbo, 2), _optional(seconds, 1)))
        best |= {(i, j + 1) for j, each in enumerate(METRICS) if best_of(run, each, _METHODS[:-1]) == method}
    spread = "" if len(run.seeds) == 1 else ", mean ± standard error over the seeds (the data stay the same)"
    return Table(
        ("", *(each.label for each in METRICS), "ELBO (nats)", "training (s)"),
        tuple(rows),
        f"20,000 test rows, 1000 draws, {_seeds(run)}{spread}. NLL (negative log likelihood) is in nats per row; ECE "
        "(expected calibration error) uses 15 bins of the confidence. Higher accuracy and ELBO are better; for the "
        "other scores lower is better. The best mean of the methods is emphasized. The ELBO is at KL weight 1 for all; "
        "the recipe has no prior on its biases, so its ELBO cannot be compared with the others. Keras trained at the "
        "same time as the fits, on the same processor.",
        frozenset(best),
    )


def scores_as_text(run: ArticleRun) -> str:
    """Format the table of scores for a terminal."""
    table = _scores_table(run)
    lines = [table.header, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _optional(value: Estimate | None, digits: int) -> str:
    return "-" if value is None else value.text(digits)


def _gains_table(run: ArticleRun) -> Table:
    rows, best = [], set()
    for i, method in enumerate(BAYESIAN):
        found = comparisons(run, method)
        rows.append((LABELS[method], *(each.gain.text(each.metric.digits, sign=True) for each in found)))
        best |= {(i, j + 1) for j, each in enumerate(found) if each.outcome == "better"}
    return Table(
        ("better than Keras by", *(each.label for each in METRICS)),
        tuple(rows),
        "Paired differences to Keras, seed by seed. Positive (emphasized where clear): better than Keras; negative: "
        f"Keras is better. {RULE}",
        frozenset(best),
    )


def _near_far_table(run: ArticleRun) -> Table:
    rows = []
    for method in BAYESIAN:
        near, far = (mean_over_seeds(run, method, name) for name in ("near", "far"))
        shown = "-" if near is None or far is None else ratio(near.mean, far.mean)
        rows.append((LABELS[method], _optional(near, 4), _optional(far, 4), shown))
    return Table(
        ("", "near (within 0.1)", "far (beyond 0.4)", "near / far"),
        tuple(rows),
        f"Mean standard deviation of P(label = 1) by vertical distance from the parabola, {_seeds(run)}.",
    )


def _weight_tables(run: ArticleRun) -> tuple[Block, ...]:
    blocks = []
    for method in pictures.SIDE_BY_SIDE:
        shown = run.bayes[method]
        rows = tuple((name, *(number(v, 3) for v in values)) for name, values in shown.summary.items())
        table = Table(("", *shown.summary_columns), rows, shown.tempering)
        blocks.append(Collapsible(f"{TITLES[method]}: {len(rows)} weights and biases", table))
    return tuple(blocks)


def metrics(run: ArticleRun) -> dict[str, Any]:
    """Return every number of a run."""
    return {
        "report": "article",
        "methods": {method: _method_metrics(run, method) for method in _METHODS},
        "better_than_keras_by": {
            method: {each.metric.key: each.to_document() for each in comparisons(run, method)}
            for method in BAYESIAN
        },
        "shown": {"keras": _keras_shown(run), **{name: _bayes_shown(run, name) for name in run.bayes}},
        "sampled": posterior_section.metrics(run) if run.sampled else {},
        "in_short": dict(summary(run)),
        "provenance": dict(run.provenance),
    }


def _method_metrics(run: ArticleRun, method: str) -> dict[str, Any]:
    names = ("elbo", "seconds", "near", "far")
    facts = {name: value for name in names if (value := mean_over_seeds(run, method, name)) is not None}
    means = {each.key: estimate(scores(run, method, each.key)) for each in METRICS} | facts
    runs = [
        {"seed": each.seed, **each.scores, **{name: getattr(each, name) for name in (*facts, "elbo_stderr")}}
        for each in run.of(method)
    ]
    return {
        "label": LABELS[method],
        "mean": {name: each.to_document() for name, each in means.items()},
        "runs": runs,
    }


def _keras_shown(run: ArticleRun) -> dict[str, Any]:
    history = run.keras.history
    wrong = int(np.sum((run.keras.train > 0.5) != (run.y == 1)))
    return {"epochs": len(history), "first_loss": history[0], "last_loss": history[-1], "train_errors": wrong}


def _bayes_shown(run: ArticleRun, method: str) -> dict[str, Any]:
    shown = run.bayes[method]
    near, far = near_and_far(shown.mesh_std)
    return {
        "tempering": shown.tempering,
        "kl_weight": shown.kl_weight,
        "steps": len(shown.history),
        "first_objective": shown.history[0],
        "last_50_objectives_mean": np.mean(shown.history[-50:]),
        "train_errors": int(np.sum((shown.train > 0.5) != (run.y == 1))),
        "separate_predictions": {"at": SEPARATE_AT, "values": shown.separate},
        "one_call_with_three_equal_rows": {"at": SEPARATE_AT, "values": shown.together},
        "thousand_predictions": {
            "at": HISTOGRAM_AT,
            "mean": np.mean(shown.point),
            "deviation": np.std(shown.point),
            "share_above_half": np.mean(shown.point > 0.5),
        },
        "deviation_map": {"near": near, "far": far, "largest": shown.mesh_std.max()},
        "weights": {"columns": shown.summary_columns, "rows": shown.summary},
    }
