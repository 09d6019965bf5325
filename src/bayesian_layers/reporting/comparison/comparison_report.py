"""The report of a comparison: a pure function of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..page import Collapsible, Page, Paragraphs, Points, Report, Section, Table
from ..provenance import footer, provenance_points
from ..scores import RULE, Comparison, caveat, compare, describe_winners, estimate, number
from . import pictures
from .comparison_fits import PATIENCE, VALIDATION_SHARE
from .comparison_results import KERAS, LABELS, OURS, ComparisonRun, SplitRun


def build_comparison_report(run: ComparisonRun) -> Report:
    """Build the report of a comparison."""
    lead = (
        f"The column {run.target} of the table {run.name} is predicted from {run.inputs} inputs by a Bayesian network "
        f"and by a Keras network with the same layers. Each of {_splits(run)} has {run.train_rows} rows for training "
        f"and {run.test_rows} rows for testing."
    )
    title = f"{run.name}: a Bayesian network and Keras"
    return Page(title, lead, _sections(run), footer(run.provenance)).report(metrics(run))


def _sections(run: ComparisonRun) -> tuple[Section, ...]:
    shown = f"From here on, pictures and tables show the first split (seed {run.splits[0].seed})."
    predictions = replace(run.first_rows, caption=_ABOUT_PREDICTIONS)
    title = f"The weights: the first {len(run.weights.rows)} of {run.num_weights}"
    weights = Collapsible(title, replace(run.weights, caption="ArviZ's summary of 1000 draws"))
    return (
        Section("Summary", (Points(summary(run)),)),
        Section("Which predicts better", (_scores_table(run), Points(_fairness(run)), _every_split(run))),
        Section("How good the predictions are", (Paragraphs((shown,)), pictures.predictions(run))),
        Section("Training", (pictures.losses(run),)),
        Section("The first predictions", (predictions, weights)),
        Section("How this report was made", (Points(provenance_points(run.provenance)),)),
    )


_ABOUT_PREDICTIONS = (
    "The predictions of the Bayesian network for the first test rows; the column row counts the rows of the table "
    "from 1. epistemic_std is the standard deviation that comes from not knowing the weights exactly."
)


def comparisons(run: ComparisonRun) -> list[Comparison]:
    """Compare both methods by all metrics, split by split."""
    return [
        compare(each, run.scores(OURS, each.key), run.scores(KERAS, each.key), run.test_to_train)
        for each in run.metrics
    ]


def summary(run: ComparisonRun) -> tuple[tuple[str, str], ...]:
    """Return the main results as headings and sentences."""
    seconds = [(name, np.mean([each.seconds[key] for each in run.splits])) for key, name in LABELS.items()]
    time = "; ".join(f"{name} {number(float(mean), 1)} s" for name, mean in seconds)
    points = [
        ("Who wins?", describe_winners(comparisons(run), f"The {LABELS[OURS]}", LABELS[KERAS])),
        *([("One split.", text)] if (text := caveat(len(run.splits))) else []),
        ("What only the Bayesian network tells.", _only_ours(run)),
        ("Training time per split:", f"{time}; both ran at the same time on the same processor."),
    ]
    warned = sorted({text for each in run.splits for text in each.warnings})
    return (*points, *(("Warning of the fit:", text) for text in warned))


def _only_ours(run: ComparisonRun) -> str:
    first = run.splits[0].predictions[OURS]
    std = number(float(np.mean(np.asarray(first.epistemic_std))), 3)
    if run.task == "regression":
        return (
            f"The Bayesian network predicts a standard deviation for each row (in the first split, {std} on average "
            "comes from not knowing the weights). Keras predicts one number per row; its standard deviation, estimated "
            "from its errors, is the same for all rows."
        )
    return (
        "The Bayesian network tells how much its probabilities would change under other weights that fit the data "
        f"as well: their standard deviation is {std} on average in the first split. Keras predicts probabilities only."
    )


def _splits(run: ComparisonRun) -> str:
    return "1 random split" if len(run.splits) == 1 else f"{len(run.splits)} random splits"


def _fairness(run: ComparisonRun) -> tuple[tuple[str, str], ...]:
    layers = ", ".join(map(str, run.hidden)) or "none"
    stratified = " Each class has the same share in both parts." if run.classes else ""
    noise = " It predicts numbers; its standard deviation is that of its errors on the rows held out."
    return (
        ("Both methods:", "they get the same rows, the same inputs (numbers standardized, categories one-hot) and the "
         f"same hidden layers ({layers}; tanh), and are scored in the units of the target. Task: {run.task_line}."
         f"{stratified} Means and scales are computed from the training rows only; the list of categories and classes "
         "comes from the whole table."),
        ("Keras:", f"Adam at its defaults, batches of 32 rows, at most {run.keras_epochs} epochs. "
         f"{100 * VALIDATION_SHARE:.0f} % of its training rows are held out: training stops after {PATIENCE} epochs "
         "without a better loss on them, and the weights of the best epoch are used."
         + (noise if run.task == "regression" else "")),
        ("Bayesian network:", f"the prior of all weights and biases is N(0, {run.prior_scale:g}). The default fit uses "
         "all training rows and the full ELBO: nothing is tempered, held out or tuned on these splits."),
        ("Standard errors:", "the splits share rows, so their scores are not independent; the standard errors are "
         "widened accordingly (Nadeau & Bengio 2003)."),
    )  # fmt: skip


def _scores_table(run: ComparisonRun) -> Table:
    rows, best = [], set()
    for i, each in enumerate(comparisons(run)):
        digits = each.metric.digits
        gain = each.gain.text(digits, sign=True)
        rows.append((each.metric.label, each.ours.text(digits), each.theirs.text(digits), gain))
        best |= {"better": {(i, 1)}, "worse": {(i, 2)}}.get(each.outcome, set())
    spread = "" if len(run.splits) == 1 else "Mean ± standard error over the splits. "
    return Table(
        ("on the test rows", LABELS[OURS], LABELS[KERAS], f"{LABELS[OURS]} better by"),
        tuple(rows),
        f"{spread}The last column is the paired difference, positive where the Bayesian network is better; a clear "
        f"winner is emphasized. {_meaning(run)} {RULE}",
        frozenset(best),
    )


def _meaning(run: ComparisonRun) -> str:
    if run.task == "regression":
        return (
            "RMSE (root mean squared error) and CRPS (continuous ranked probability score) are in the units of "
            f"{run.target}, NLL (negative log likelihood) is in nats per row: lower is better. Coverage should be near "
            "its level."
        )
    return (
        "NLL (negative log likelihood) is in nats per row; ECE (expected calibration error) uses 15 bins of the "
        "confidence. Higher accuracy is better; for all other scores lower is better."
    )


def _every_split(run: ComparisonRun) -> Collapsible:
    rows = [
        (f"{each.seed}", LABELS[method], *(number(each.scores[method][m.key], m.digits) for m in run.metrics),
         number(each.elbo, 2) if method == OURS else "-", number(each.seconds[method], 1))
        for each in run.splits
        for method in (OURS, KERAS)
    ]  # fmt: skip
    header = ("seed", "method", *(each.label for each in run.metrics), "ELBO (nats)", "training (s)")
    return Collapsible("Every split", Table(header, tuple(rows)))


def metrics(run: ComparisonRun) -> dict[str, Any]:
    """Return every number of a run."""

    def mean(method: str, key: str) -> dict[str, Any]:
        return estimate(run.scores(method, key), run.test_to_train).to_document()

    settings = ("train_rows", "test_rows", "inputs", "hidden", "prior_scale", "keras_epochs")
    keras = {"keras_validation_share": VALIDATION_SHARE, "keras_patience": PATIENCE}
    return {
        "report": "comparison",
        "name": run.name,
        "target": run.target,
        "task": run.task,
        "classes": run.classes,
        "settings": {**{name: getattr(run, name) for name in settings}, **keras},
        "mean": {method: {each.key: mean(method, each.key) for each in run.metrics} for method in LABELS},
        "better_than_keras_by": {each.metric.key: each.to_document() for each in comparisons(run)},
        "splits": [_split_metrics(each) for each in run.splits],
        "first_rows": {"columns": run.first_rows.header, "rows": run.first_rows.rows},
        "weights": {"columns": run.weights.header, "rows": run.weights.rows},
        "in_short": dict(summary(run)),
        "provenance": dict(run.provenance),
    }


def _split_metrics(each: SplitRun) -> dict[str, Any]:
    return {
        "seed": each.seed,
        "scores": each.scores,
        "seconds": each.seconds,
        "elbo": each.elbo,
        "elbo_standard_error": each.elbo_stderr,
        "steps": len(each.history),
        "keras_epochs_run": len(each.keras_history["loss"]),
        "mean_epistemic_std": np.mean(np.asarray(each.predictions[OURS].epistemic_std)),
        "warnings": each.warnings,
    }
