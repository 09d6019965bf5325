"""The page of a comparison: a pure function of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..page import Folded, Page, Points, Report, Section, Table, Text, render
from ..provenance import as_points
from ..scores import RULE, Duel, Estimate, caveat, duel, estimate, number, verdict
from . import pictures
from .results import KERAS, LABELS, OURS, ComparisonRun, Rows
from .run import PATIENCE, VALIDATION_SHARE


def comparison_page(run: ComparisonRun) -> Report:
    """Lay a comparison out as a report."""
    lead = (
        f"The column {run.target} of the table {run.name}, predicted from {run.inputs} inputs by a Bayesian network "
        f"and by a Keras network of the same layers, on {_splits(run)} of {run.train_rows} rows to learn from and "
        f"{run.test_rows} to answer for."
    )
    version = run.provenance["versions"].get("bayesian-layers", "")
    footer = (
        f"Made by bayesian-layers {version} on {run.provenance['date']}. All numbers of this page, and the scores of "
        "each split, are in metrics.json."
    )
    page = Page(f"{run.name}: a Bayesian network and Keras", lead, _sections(run), footer)
    return Report(render(page), page.pictures(), metrics(run) | {"captions": page.captions()})


def _sections(run: ComparisonRun) -> tuple[Section, ...]:
    shown = Text(
        (f"Pictures and tables from here on are those of the first split, seed {run.splits[0].seed}.",)
    )
    weights = f"The weights: the first {len(run.weights.rows)} of {run.num_weights}"
    return (
        Section("In short", (Points(in_short(run)),)),
        Section("Who predicts best", (_scores_table(run), Points(_fairness(run)), _every_split(run))),
        Section("How good the answers are", (shown, pictures.answers(run))),
        Section("Fitting", (pictures.losses(run),)),
        Section(
            "The first answers",
            (
                Table(run.first_rows.header, run.first_rows.rows, _ABOUT_ANSWERS),
                Folded(weights, Table(run.weights.header, run.weights.rows, "ArviZ's summary of 1000 draws")),
            ),
        ),
        Section("How this was made", (Points(as_points(run.provenance)),)),
    )


_ABOUT_ANSWERS = (
    "What the Bayesian network says about the first test rows; row counts the rows of the table from 1. "
    "epistemic_std is the deviation that comes from not knowing the weights."
)


def duels(run: ComparisonRun) -> list[Duel]:
    """Compare both methods by all metrics, split by split."""
    return [
        duel(each, run.scores(OURS, each.key), run.scores(KERAS, each.key), run.overlap)
        for each in run.metrics
    ]


def in_short(run: ComparisonRun) -> tuple[tuple[str, str], ...]:
    """Say what came out."""
    seconds = {
        method: float(np.mean([each.seconds[method] for each in run.splits])) for method in (OURS, KERAS)
    }
    time = "; ".join(f"{LABELS[method]} {number(value, 1)} s" for method, value in seconds.items())
    points = [
        ("Who wins?", verdict(duels(run), f"The {LABELS[OURS]}", LABELS[KERAS])),
        *([("One split.", text)] if (text := caveat(len(run.splits))) else []),
        ("What only one of them says.", _only_ours(run)),
        ("Training time, a split:", f"{time}, side by side on the same processor."),
    ]
    warned = sorted({text for each in run.splits for text in each.warnings})
    return (*points, *(("Warning of the fit:", text) for text in warned))


def _only_ours(run: ComparisonRun) -> str:
    first = run.splits[0].answers[OURS]
    deviation = number(float(np.mean(np.asarray(first.epistemic_std))), 3)
    if run.task == "regression":
        return (
            f"The Bayesian network gives each row a deviation of its own (in the first split {deviation} on average "
            "from not knowing the weights); Keras gives a point, and one deviation for all rows from its residuals."
        )
    return (
        f"The Bayesian network says how far its probabilities would move under other weights that fit the data as "
        f"well: by {deviation} on average in the first split. Keras gives probabilities alone."
    )


def _splits(run: ComparisonRun) -> str:
    return "1 random split" if len(run.splits) == 1 else f"{len(run.splits)} random splits"


def _fairness(run: ComparisonRun) -> tuple[tuple[str, str], ...]:
    layers = ", ".join(map(str, run.hidden)) or "none"
    stratified = " Each class has the same share in both parts." if run.classes else ""
    return (
        ("The same for both:", f"rows, inputs (numbers standardized, categories one-hot), hidden layers ({layers}, "
         f"tanh), scores in the units of the target. Task: {run.task_line}.{stratified} Means and scales are learned "
         "from the training rows alone; which categories and classes exist, from the whole table."),
        ("Keras:", f"Adam at its defaults, batches of 32 rows, at most {run.keras_epochs} epochs; "
         f"{100 * VALIDATION_SHARE:.0f} % of its training rows are held out, it stops after {PATIENCE} epochs "
         "without a better loss on them and takes the weights of the best." + _keras_noise(run)),
        ("Bayesian network:", f"prior N(0, {run.prior_scale:g}) on all weights and biases, default fit of the full "
         "ELBO on all training rows, nothing tempered, nothing held out, nothing tuned by these splits."),
        ("Standard errors:", "the splits share rows, so their scores are not independent; the errors are widened "
         "accordingly (Nadeau & Bengio 2003)."),
    )  # fmt: skip


def _keras_noise(run: ComparisonRun) -> str:
    if run.task != "regression":
        return ""
    return " It predicts points: its deviation is that of its residuals on the rows held out."


def _scores_table(run: ComparisonRun) -> Table:
    rows, best = [], set()
    for i, each in enumerate(duels(run)):
        digits = each.metric.digits
        gain = each.gain.text(digits, sign=True)
        rows.append((each.metric.label, each.ours.text(digits), each.theirs.text(digits), gain))
        best |= {"better": {(i, 1)}, "worse": {(i, 2)}}.get(each.outcome, set())
    spread = "" if len(run.splits) == 1 else "Mean ± standard error over the splits. "
    return Table(
        ("on the test rows", LABELS[OURS], LABELS[KERAS], f"{LABELS[OURS]} better by"),
        tuple(rows),
        f"{spread}On the right the paired difference, positive where the Bayesian network is better; a clear winner "
        f"is emphasized. {_meaning(run)} {RULE}",
        frozenset(best),
    )


def _meaning(run: ComparisonRun) -> str:
    if run.task == "regression":
        return (
            f"RMSE and CRPS in the units of {run.target}, NLL in nats a row: lower is better; coverage should be near "
            "its level."
        )
    return "NLL in nats a row; ECE with 15 bins of the confidence; accuracy is better when higher, all else when lower."


def _every_split(run: ComparisonRun) -> Folded:
    rows = [
        (f"{each.seed}", LABELS[method], *(number(each.scores[method][m.key], m.digits) for m in run.metrics),
         number(each.elbo, 2) if method == OURS else "-", number(each.seconds[method], 1))
        for each in run.splits
        for method in (OURS, KERAS)
    ]  # fmt: skip
    header = ("seed", "method", *(each.label for each in run.metrics), "ELBO (nats)", "training (s)")
    return Folded("Every split", Table(header, tuple(rows)))


def metrics(run: ComparisonRun) -> dict[str, Any]:
    """Gather every number of a run."""
    means = {
        method: {
            each.key: _plain(estimate(run.scores(method, each.key), run.overlap)) for each in run.metrics
        }
        for method in (OURS, KERAS)
    }
    better = {each.metric.key: _plain(each.gain) | {"outcome": each.outcome} for each in duels(run)}
    return {
        "report": "comparison",
        "name": run.name,
        "target": run.target,
        "task": run.task,
        "classes": run.classes,
        "settings": {
            "train_rows": run.train_rows,
            "test_rows": run.test_rows,
            "inputs": run.inputs,
            "hidden": run.hidden,
            "prior_scale": run.prior_scale,
            "keras_epochs": run.keras_epochs,
            "keras_validation_share": VALIDATION_SHARE,
            "keras_patience": PATIENCE,
        },
        "mean": means,
        "better_than_keras_by": better,
        "splits": [_split_metrics(each) for each in run.splits],
        "first_rows": _as_lists(run.first_rows),
        "weights": _as_lists(run.weights),
        "in_short": dict(in_short(run)),
        "provenance": dict(run.provenance),
    }


def _as_lists(rows: Rows) -> dict[str, Any]:
    return {"columns": rows.header, "rows": rows.rows}


def _split_metrics(each: Any) -> dict[str, Any]:
    return {
        "seed": each.seed,
        "scores": each.scores,
        "seconds": each.seconds,
        "elbo": each.elbo,
        "elbo_standard_error": each.elbo_stderr,
        "steps": len(each.history),
        "keras_epochs_run": len(each.keras_history["loss"]),
        "mean_epistemic_std": np.mean(np.asarray(each.answers[OURS].epistemic_std)),
        "warnings": each.warnings,
    }


def _plain(value: Estimate) -> dict[str, Any]:
    return {"mean": value.mean, "standard_error": value.error, "runs": value.runs}
