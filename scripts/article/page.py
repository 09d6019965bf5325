"""The article's page: a pure function of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesian_layers.reporting.page import Block, Folded, Page, Points, Report, Section, Table, Text, render
from bayesian_layers.reporting.provenance import as_points
from bayesian_layers.reporting.scores import RULE, Estimate, estimate, number

from . import panel, pictures
from .methods import BAYESIAN, KERAS, LABELS, LIMIT, TITLES, near_and_far
from .results import HISTOGRAM_AT, SEPARATE_AT, ArticleRun
from .words import METRICS, best_of, duels, field, in_short, ratio, scores

_METHODS = (KERAS, *BAYESIAN, LIMIT)
_LEAD = (
    "In 2018 an article swapped a network's dense layers for Bayesian ones, on 200 noisy points beside a parabola, "
    "and got a network that says where it is unsure. Here is all that it showed, made with this library, beside "
    "the library's own default and the Keras network that one would use otherwise."
)
_METHOD_NOTES = (
    ("Keras:", "2 - 10 tanh - 1 sigmoid, Adam at Keras' defaults, cross-entropy, batches of 32 rows."),
    ("The article's recipe:", "the same network with N(0, 1) priors on the two kernels, biases as point estimates, and "
     "the article's loss exactly. Only the optimizer is another: this library's default schedule (Adam with 16 "
     "draws a step and a cosine decay) in place of Adam at 0.05 with one draw for 30,000 steps."),
    ("The default, N(0, 1):", "a prior N(0, 1) on all 41 weights and biases, fitted as the library does when "
     "nothing is said: full ELBO, nothing tempered."),
    ("N(0, 2):", "the same with deviation 2."),
    ("The limit:", "P(label = 1) computed from the rule and the noise that made the data, by numerical integration. "
     "No method knows these."),
)  # fmt: skip


def article_page(run: ArticleRun) -> Report:
    """Lay a run of the article out as a report."""
    page = Page("Bayesian layers: the article, end to end", _LEAD, _sections(run), _footer(run))
    return Report(render(page), page.pictures(), metrics(run) | {"captions": page.captions()})


def _sections(run: ArticleRun) -> tuple[Section, ...]:
    means, deviations = pictures.maps(run)
    first = f"Pictures and printed values are those of the first seed, {run.seeds[0]}."
    return (
        Section("In short", (Points(in_short(run)),)),
        Section("Who predicts best", (_scores_table(run), _duels_table(run), Points(_METHOD_NOTES))),
        Section("The data, and the Keras network", (Text((first,)), pictures.data(run))),
        Section(
            "Fitting the Bayesian network", (Text((_beside(),)), pictures.losses(run), pictures.coloured(run))
        ),
        Section("One draw is one function", (*pictures.printed(run), pictures.histograms(run))),
        Section("What it knows, and where it does not", (means, deviations, _near_far_table(run))),
        *([panel.section(run)] if run.sampled else []),
        Section("The weights", (Text((_ABOUT_WEIGHTS,)), *_summaries(run))),
        Section("How this was made", (Points(as_points(run.provenance)),)),
    )


_ABOUT_WEIGHTS = (
    "ArviZ's table of every weight and bias: mean, deviation and the 94 % highest-density interval of 1000 draws. "
    "Point-estimated biases have deviation 0. The draws are independent, so there is no R-hat to show."
)


def _beside() -> str:
    return "Left, or first, the article's recipe; right, or second, the library's default."


def _footer(run: ArticleRun) -> str:
    record = run.provenance
    return (
        f"Made by bayesian-layers {record['versions'].get('bayesian-layers', '')} on {record['date']} with "
        f"{_seeds(run)}. All numbers of this page, and the scores of each seed, are in metrics.json."
    )


def _seeds(run: ArticleRun) -> str:
    return "1 seed" if len(run.seeds) == 1 else f"{len(run.seeds)} seeds"


def _scores_table(run: ArticleRun) -> Table:
    rows, best = [], set()
    for i, method in enumerate(_METHODS):
        cells = [estimate(scores(run, method, each.key)).text(each.digits) for each in METRICS]
        rows.append((LABELS[method], *cells, _elbo(run, method), _optional(field(run, method, "seconds"), 1)))
        best |= {(i, j + 1) for j, each in enumerate(METRICS) if best_of(run, each, _METHODS[:-1]) == method}
    spread = "" if len(run.seeds) == 1 else ", mean ± standard error over the seeds (the data stay the same)"
    return Table(
        ("", *(each.label for each in METRICS), "ELBO (nats)", "training (s)"),
        tuple(rows),
        f"20,000 test rows, 1000 draws, {_seeds(run)}{spread}. NLL in nats a row; ECE with 15 bins of the confidence. "
        "Accuracy and ELBO are better when higher, the others when lower; the best mean, the limit apart, is "
        "emphasized. The ELBO is at KL weight 1 for all; the recipe's has no prior on its biases, so it is "
        "not to be compared with the others. Keras trained beside the fits, on the same processor.",
        frozenset(best),
    )


def scores_as_text(run: ArticleRun) -> str:
    """Write the table of scores for a terminal."""
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


def _elbo(run: ArticleRun, method: str) -> str:
    return _optional(field(run, method, "elbo"), 2)


def _optional(value: Estimate | None, digits: int) -> str:
    return "-" if value is None else value.text(digits)


def _duels_table(run: ArticleRun) -> Table:
    rows, best = [], set()
    for i, method in enumerate(BAYESIAN):
        fought = duels(run, method)
        rows.append((LABELS[method], *(each.gain.text(each.metric.digits, sign=True) for each in fought)))
        best |= {(i, j + 1) for j, each in enumerate(fought) if each.outcome == "better"}
    return Table(
        ("better than Keras by", *(each.label for each in METRICS)),
        tuple(rows),
        "Paired differences to Keras, seed by seed. Positive, and emphasized where clear: better than Keras; "
        f"negative: Keras is better. {RULE}",
        frozenset(best),
    )


def _near_far_table(run: ArticleRun) -> Table:
    rows = []
    for method in BAYESIAN:
        near, far = field(run, method, "near"), field(run, method, "far")
        shown = "-" if near is None or far is None else ratio(near.mean, far.mean)
        rows.append((LABELS[method], _optional(near, 4), _optional(far, 4), shown))
    return Table(
        ("", "near (within 0.1)", "far (beyond 0.4)", "near / far"),
        tuple(rows),
        f"Mean deviation of P(label = 1) by vertical distance from the parabola, {_seeds(run)}.",
    )


def _summaries(run: ArticleRun) -> tuple[Block, ...]:
    blocks = []
    for method in pictures.SIDE_BY_SIDE:
        shown = run.bayes[method]
        rows = tuple((name, *(number(v, 3) for v in values)) for name, values in shown.summary.items())
        table = Table(("", *shown.summary_columns), rows, shown.tempering)
        blocks.append(Folded(f"{TITLES[method]}: {len(rows)} weights and biases", table))
    return tuple(blocks)


def metrics(run: ArticleRun) -> dict[str, Any]:
    """Gather every number of a run."""
    return {
        "report": "article",
        "methods": {method: _method_metrics(run, method) for method in _METHODS},
        "better_than_keras_by": {
            method: {
                each.metric.key: _plain(each.gain) | {"outcome": each.outcome} for each in duels(run, method)
            }
            for method in BAYESIAN
        },
        "shown": {"keras": _keras_shown(run), **{name: _bayes_shown(run, name) for name in run.bayes}},
        "sampled": panel.metrics(run) if run.sampled else {},
        "in_short": dict(in_short(run)),
        "provenance": dict(run.provenance),
    }


def _method_metrics(run: ArticleRun, method: str) -> dict[str, Any]:
    names = ("elbo", "seconds", "near", "far")
    facts = {name: value for name in names if (value := field(run, method, name)) is not None}
    means = {each.key: estimate(scores(run, method, each.key)) for each in METRICS} | facts
    runs = [
        {"seed": each.seed, **each.scores, **{name: getattr(each, name) for name in (*facts, "elbo_stderr")}}
        for each in run.of(method)
    ]
    return {
        "label": LABELS[method],
        "mean": {name: _plain(each) for name, each in means.items()},
        "runs": runs,
    }


def _plain(value: Estimate) -> dict[str, Any]:
    return {"mean": value.mean, "standard_error": value.error, "runs": value.runs}


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
