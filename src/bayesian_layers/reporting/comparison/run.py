"""Running a comparison: both methods on the same splits of a table, with the same inputs and layers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ... import metrics
from ...baselines import KerasFit, fit_keras
from ...errors import FitWarning
from ...fitting import FitResult
from ...tabular import RegressionTarget, TableModel, TableSchema, fit_table
from ..beside import one_at_a_time
from ..provenance import hash_of_table, provenance
from .results import KERAS, LEVEL, OURS, Answer, ComparisonRun, Rows, SplitRun, metrics_of
from .splits import Split, split

if TYPE_CHECKING:
    import pandas

NUM_DRAWS = 1000
VALIDATION_SHARE, PATIENCE = 0.2, 50
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
    """Fit both methods on random splits of a table, and score them on what they have not seen."""
    whole = TableSchema.infer(frame, target, task)
    parts = split(frame, whole, splits, seed)
    prepared = [_prepare(frame, whole, each) for each in parts]
    runs, shown = [], None
    with one_at_a_time() as pool:
        waiting = [pool.submit(_fit_keras, each, hidden, keras_epochs) for each in prepared]
        for each, keras in zip(prepared, waiting, strict=True):
            _say(
                progress, f"split {len(runs) + 1} of {len(parts)}: {len(each.part.train)} rows to learn from"
            )
            result = _fit(each, hidden, prior_scale, max_steps, progress)
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


class _Prepared:
    """One split as both methods see it."""

    def __init__(
        self, part: Split, schema: TableSchema, train: pandas.DataFrame, test: pandas.DataFrame
    ) -> None:
        self.part, self.schema, self.train, self.test = part, schema, train, test
        self.x, self.y = schema.inputs(train), schema.targets(train)
        self.x_test = schema.inputs(test)

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and scale that the target was standardized by."""
        target = self.schema.target
        return (target.mean, target.scale) if isinstance(target, RegressionTarget) else (0.0, 1.0)

    @property
    def y_test(self) -> np.ndarray:
        """What came, in the units of the target."""
        if self.schema.task == "regression":
            mean, scale = self.scale
            return self.schema.targets(self.test).double().numpy() * scale + mean
        return self.schema.targets(self.test).numpy().astype(int)


def _prepare(frame: pandas.DataFrame, whole: TableSchema, part: Split) -> _Prepared:
    train, test = frame.iloc[part.train], frame.iloc[part.test]
    return _Prepared(part, whole.rescaled(train), train, test)


def _fit(
    given: _Prepared, hidden: Sequence[int], prior_scale: float, max_steps: int | None, progress: bool
) -> FitResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # the page says them
        return fit_table(
            given.train,
            given.schema,
            hidden=hidden,
            prior_scale=prior_scale,
            seed=given.part.seed,
            max_steps=max_steps,
            progress=progress,
        )[1]


def _fit_keras(given: _Prepared, hidden: Sequence[int], epochs: int) -> KerasFit:
    task: Any = given.schema.task
    return fit_keras(
        given.x,
        given.y,
        {"test": given.x_test},
        task=task,
        hidden=tuple(hidden),
        epochs=epochs,
        validation_fraction=VALIDATION_SHARE,
        patience=PATIENCE,
        seed=given.part.seed,
        num_classes=len(given.schema.classes) if task == "multiclass" else None,
    )


def _split_run(given: _Prepared, result: FitResult, keras: KerasFit) -> SplitRun:
    answers = {OURS: _ours(given, result), KERAS: _theirs(given, keras)}
    y, task = given.y_test, given.schema.task
    return SplitRun(
        seed=given.part.seed,
        y=y,
        answers=answers,
        scores={method: score(task, y, each) for method, each in answers.items()},
        seconds={OURS: result.seconds, KERAS: keras.seconds},
        history=result.history,
        keras_history=keras.history,
        elbo=result.elbo,
        elbo_stderr=result.elbo_stderr,
        warnings=tuple(result.warnings),
    )


def _ours(given: _Prepared, result: FitResult) -> Answer:
    mean, scale = given.scale
    p = result.posterior.predict(given.x_test, NUM_DRAWS, given.part.seed)
    std = scale * _array(p.std) if given.schema.task == "regression" else None
    return Answer(mean + scale * _array(p.mean), std, scale * _array(p.epistemic_std))


def _theirs(given: _Prepared, keras: KerasFit) -> Answer:
    mean, scale = given.scale
    points = mean + scale * keras.predictions["test"].astype(float)
    return Answer(
        points, None if keras.noise_scale is None else np.full(len(points), scale * keras.noise_scale)
    )


def _array(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def score(task: str, y: np.ndarray, answer: Answer) -> dict[str, float]:
    """Compute all metrics of a task."""
    if task != "regression":
        return {each.key: getattr(metrics, each.key)(y, answer.mean) for each in metrics_of(task)}
    half = NormalDist().inv_cdf(0.5 + LEVEL / 2) * np.asarray(answer.std)
    return {
        "rmse": metrics.rmse(y, answer.mean),
        "nll": metrics.normal_nll(y, answer.mean, answer.std),
        "crps": metrics.crps_normal(y, answer.mean, answer.std),
        "coverage": metrics.coverage(y, answer.mean - half, answer.mean + half),
    }


def _shown(given: _Prepared, result: FitResult) -> dict[str, Any]:
    """The first predictions and weights, as the scripts print them."""
    few = given.test.head(_FIRST_ROWS)
    predicted = TableModel(given.schema, result.posterior).predict(few, NUM_DRAWS, given.part.seed)
    name = given.schema.target.name
    predicted.insert(0, f"actual {name}", few[name].to_numpy())
    predicted.insert(0, "row", (given.part.test[: len(few)] + 1).astype(str))
    summary = result.posterior.summary(NUM_DRAWS, given.part.seed)
    few_weights = summary.head(_FIRST_WEIGHTS).reset_index(names="weight")
    return {"first_rows": _rows(predicted), "weights": _rows(few_weights), "num_weights": len(summary)}


def _rows(frame: pandas.DataFrame) -> Rows:
    cells = (
        tuple(f"{each:.4g}" if isinstance(each, float) else str(each) for each in row)
        for row in frame.itertuples(index=False, name=None)
    )
    return Rows(tuple(map(str, frame.columns)), tuple(cells))


def _say(progress: bool, text: str) -> None:
    if progress:
        print(text, file=sys.stderr, flush=True)
