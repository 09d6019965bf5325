"""Fits both methods on the same splits of a table, with the same inputs and layers, and scores them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ... import metrics
from ...arguments import check_integer
from ...baselines import KerasFit, fit_keras
from ...errors import FitWarning, TableError
from ...fitting.result import FitResult
from ...lazy_imports import require
from ...tabular import RegressionTarget, TableModel, TableSchema, fit_table
from ..background import background_queue
from ..page import Table
from ..provenance import hash_of_table, provenance
from .comparison_results import KERAS, LEVEL, OURS, ComparisonRun, MethodPrediction, SplitRun, metrics_of

if TYPE_CHECKING:
    import pandas

NUM_DRAWS = 1000
TEST_SHARE, VALIDATION_SHARE, PATIENCE = 0.25, 0.2, 50
_FIRST_ROWS, _FIRST_WEIGHTS = 8, 12


def run_comparison(
    frame: pandas.DataFrame,
    target: str,
    *,
    task: str | None = None,
    splits: int = 5,
    hidden: Sequence[int] = (20,),
    prior_scale: float = 1.0,
    keras_epochs: int = 1000,
    max_steps: int | None = None,
    seed: int = 0,
    name: str = "",
    command: str = "",
    progress: bool = True,
) -> ComparisonRun:
    """Fit both methods on random splits of a table, and score them on the test rows."""
    whole = TableSchema.infer(frame, target, task)
    parts = random_splits(frame, whole, splits, seed)
    prepared = [_Prepared(frame, whole, each) for each in parts]
    options = {"hidden": hidden, "prior_scale": prior_scale, "max_steps": max_steps, "progress": progress}
    runs, shown = [], None
    with background_queue() as pool:
        waiting = [pool.submit(_fit_keras, each, hidden, keras_epochs) for each in prepared]
        for each, keras in zip(prepared, waiting, strict=True):
            if progress:
                rows = f"{len(each.part.train)} training rows"
                print(f"split {len(runs) + 1} of {len(parts)}: {rows}", file=sys.stderr, flush=True)
            result = _fit(each, options)
            runs.append(_split_run(each, result, keras.result()))
            shown = shown or _shown(each, result)
    first = prepared[0]
    return ComparisonRun(
        name=name or target,
        target=target,
        task=whole.task,
        task_line=whole.task_line.split(";")[0],
        classes=tuple(map(str, whole.classes)),
        train_rows=len(first.part.train),
        test_rows=len(first.part.test),
        inputs=len(whole.input_names),
        hidden=tuple(hidden),
        prior_scale=prior_scale,
        keras_epochs=keras_epochs,
        splits=tuple(runs),
        provenance=provenance([each.seed for each in parts], {"the table": hash_of_table(frame)}, command),
        **(shown or {}),
    )


@dataclass(frozen=True)
class Split:
    """Training and test rows by position, and the seed of everything random that is done with them."""

    seed: int
    train: np.ndarray
    test: np.ndarray


def random_splits(frame: pandas.DataFrame, schema: TableSchema, count: int, seed: int) -> list[Split]:
    """Split a table at random, ``count`` times; each class keeps its share in both parts."""
    check_integer("splits", count, least=1)
    selection = require("sklearn.model_selection", "scikit-learn", "report")
    classes = schema.targets(frame).numpy() if schema.classes else None
    rows = np.arange(len(frame))
    options = {"test_size": TEST_SHARE, "stratify": classes}
    try:
        parts = [selection.train_test_split(rows, random_state=seed + i, **options) for i in range(count)]
    except ValueError as error:
        raise TableError(
            f"the table has too few rows to keep {100 * TEST_SHARE:.0f} % of them for testing: {error}"
        ) from error
    return [Split(seed + i, np.sort(train), np.sort(test)) for i, (train, test) in enumerate(parts)]


class _Prepared:
    """The data of one split, encoded for both methods."""

    def __init__(self, frame: pandas.DataFrame, whole: TableSchema, part: Split) -> None:
        self.part, self.train, self.test = part, frame.iloc[part.train], frame.iloc[part.test]
        self.schema = whole.rescaled(self.train)
        self.x, self.y = self.schema.inputs(self.train), self.schema.targets(self.train)
        self.x_test = self.schema.inputs(self.test)

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and scale with which the target was standardized."""
        target = self.schema.target
        return (target.mean, target.scale) if isinstance(target, RegressionTarget) else (0.0, 1.0)

    @property
    def y_test(self) -> np.ndarray:
        """The test targets, in the units of the target."""
        if self.schema.task == "regression":
            mean, scale = self.scale
            return self.schema.targets(self.test).double().numpy() * scale + mean
        return self.schema.targets(self.test).numpy().astype(int)


def _fit(data: _Prepared, options: dict[str, Any]) -> FitResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # the page shows them
        return fit_table(data.train, data.schema, seed=data.part.seed, **options)[1]


def _fit_keras(data: _Prepared, hidden: Sequence[int], epochs: int) -> KerasFit:
    options: dict[str, Any] = {"task": data.schema.task, "hidden": tuple(hidden), "epochs": epochs}
    options |= {"validation_fraction": VALIDATION_SHARE, "patience": PATIENCE, "seed": data.part.seed}
    if data.schema.task == "multiclass":
        options["num_classes"] = len(data.schema.classes)
    return fit_keras(data.x, data.y, {"test": data.x_test}, **options)


def _split_run(data: _Prepared, result: FitResult, keras: KerasFit) -> SplitRun:
    predictions = {OURS: _ours(data, result), KERAS: _theirs(data, keras)}
    y, task = data.y_test, data.schema.task
    return SplitRun(
        seed=data.part.seed,
        y=y,
        predictions=predictions,
        scores={method: scores_of(task, y, each) for method, each in predictions.items()},
        seconds={OURS: result.seconds, KERAS: keras.seconds},
        history=result.history,
        keras_history=keras.history,
        elbo=result.elbo,
        elbo_stderr=result.elbo_stderr,
        warnings=tuple(result.warnings),
    )


def _ours(data: _Prepared, result: FitResult) -> MethodPrediction:
    mean, scale = data.scale
    p = result.posterior.predict(data.x_test, NUM_DRAWS, data.part.seed)
    std = scale * _array(p.std) if data.schema.task == "regression" else None
    return MethodPrediction(mean + scale * _array(p.mean), std, scale * _array(p.epistemic_std))


def _theirs(data: _Prepared, keras: KerasFit) -> MethodPrediction:
    mean, scale = data.scale
    points = mean + scale * keras.predictions["test"].astype(float)
    std = None if keras.noise_scale is None else np.full(len(points), scale * keras.noise_scale)
    return MethodPrediction(points, std)


def _array(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def scores_of(task: str, y: np.ndarray, prediction: MethodPrediction) -> dict[str, float]:
    """Compute all metrics of a task for one method."""
    if task != "regression":
        return {each.key: getattr(metrics, each.key)(y, prediction.mean) for each in metrics_of(task)}
    half = prediction.half_width(LEVEL)
    return {
        "rmse": metrics.rmse(y, prediction.mean),
        "nll": metrics.normal_nll(y, prediction.mean, prediction.std),
        "crps": metrics.crps_normal(y, prediction.mean, prediction.std),
        "coverage": metrics.coverage(y, prediction.mean - half, prediction.mean + half),
    }


def _shown(data: _Prepared, result: FitResult) -> dict[str, Any]:
    """Return the first predictions and weights as tables of text."""
    few = data.test.head(_FIRST_ROWS)
    predicted = TableModel(data.schema, result.posterior).predict(few, NUM_DRAWS, data.part.seed)
    name = data.schema.target.name
    predicted.insert(0, f"actual {name}", few[name].to_numpy())
    predicted.insert(0, "row", (data.part.test[: len(few)] + 1).astype(str))
    summary = result.posterior.summary(NUM_DRAWS, data.part.seed)
    weights = _text_table(summary.head(_FIRST_WEIGHTS).reset_index(names="weight"))
    return {"first_rows": _text_table(predicted), "weights": weights, "num_weights": len(summary)}


def _text_table(frame: pandas.DataFrame) -> Table:
    cells = (
        tuple(f"{each:.4g}" if isinstance(each, float) else str(each) for each in row)
        for row in frame.itertuples(index=False, name=None)
    )
    return Table(tuple(map(str, frame.columns)), tuple(cells))
