"""A deterministic Keras network, trained in its own process.

Keras chooses its backend when it is first imported, from the environment. A separate process leaves the caller's
environment and modules unchanged, and fits cannot influence each other.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import BaselineError, DataError, MissingExtraError
from ._recipe import Recipe, read_inputs, read_targets, split

Arrays = dict[str, np.ndarray]

_WORKER = Path(__file__).with_name("_keras_worker.py")
_RESIDUAL_ROWS = "predict_residual"


@dataclass(frozen=True)
class KerasFit:
    """A trained Keras network, as arrays.

    Attributes:
        history: ``"loss"`` and, with validation rows, ``"val_loss"`` per epoch, ``(epochs,)``: mean cross-entropy in
            nats per row, or mean squared error in squared units of ``y``. ``"loss"`` is Keras' average over an epoch.
        predictions: By name, ``float32``: P(y = 1), ``(M,)``; probabilities, ``(M, K)``; or means, ``(M,)``.
        epochs: Number of epochs of the training.
        seconds: Wall-clock time of ``model.fit``, without the start of the process.
        noise_scale: Regression: the root mean square of the residuals on the validation rows, or on the training rows
            if there are none, in units of ``y``; else None. It is the same for all rows, and too small if the network
            overfits the rows it comes from, or if these chose when to stop.
        versions: Versions of python, keras, torch and numpy in the training process.
    """

    history: Arrays
    predictions: Arrays
    epochs: int
    seconds: float
    noise_scale: float | None
    versions: dict[str, str]


def fit_keras(
    x: Any,
    y: Any,
    predict: Mapping[str, Any],
    *,
    task: Literal["binary", "multiclass", "regression"],
    hidden: Sequence[int] = (10,),
    activation: str = "tanh",
    epochs: int = 2000,
    batch_size: int = 32,
    learning_rate: float = 0.001,
    validation_fraction: float = 0.0,
    patience: int | None = None,
    seed: int = 0,
    num_classes: int | None = None,
) -> KerasFit:
    """Train a dense Keras network by ``model.fit`` and predict with it.

    The output layer is a sigmoid, a softmax or linear; the loss is binary or categorical cross-entropy or mean squared
    error; the optimizer is Adam; everything is in ``float32`` and on one CPU thread. The defaults are those of the
    article. Equal seeds give equal results. Several threads may call it at the same time.

    Args:
        x: Inputs, shape ``(N, D)``. Standardize them first, as for any network.
        y: Targets, shape ``(N,)``: labels 0 and 1, labels 0..K-1, or real numbers.
        predict: Inputs to predict at, by name, each of shape ``(M, D)``.
        task: The kind of target.
        hidden: Widths of the hidden layers; ``()`` for none.
        activation: Activation of the hidden layers, by its name in Keras.
        epochs: Largest number of passes over the training rows.
        batch_size: Rows per step.
        learning_rate: Learning rate of Adam.
        validation_fraction: Share of the rows that is held out from training, chosen by ``seed``.
        patience: Epochs without a better validation loss after which training stops, and the weights of the best epoch
            are used. None trains for all epochs.
        seed: Seed of the initial weights, the batches and the validation rows.
        num_classes: K, for ``"multiclass"``; None uses the largest label plus 1.

    Returns:
        The predictions and the history of the training.

    Raises:
        MissingExtraError: If Keras is not installed.
        ShapeError: If an array has the wrong shape.
        DataError: If values are not finite, a label is out of range, or an option is not valid.
        BaselineError: If the process fails or training diverges; the message includes the output of the process.

    References:
        Kingma & Ba (2015), arXiv 1412.6980: Adam.

    Example:
        >>> from bayesian_layers.baselines import fit_keras
        >>> fit_keras([[0.0], [1.0]], [[0], [1]], {}, task="binary")
        Traceback (most recent call last):
        ...
        bayesian_layers.errors.ShapeError: `y` must have shape (2,); received (2, 1). Pass one target per row.
    """
    _require_keras()
    options = (activation, epochs, batch_size, learning_rate, validation_fraction, patience, seed)
    recipe = Recipe(task, hidden, *options)
    inputs = read_inputs("x", x)
    targets, num_outputs = read_targets(y, task, len(inputs), num_classes)
    if not isinstance(predict, Mapping):
        raise DataError(f"`predict` must map names to inputs; received {type(predict).__name__}. Use a dict.")
    at = {name: read_inputs(f"predict[{name!r}]", rows, inputs.shape[1]) for name, rows in predict.items()}
    kept, held = split(len(inputs), validation_fraction, seed)
    arrays = {"x": inputs[kept], "y": targets[kept]}
    if len(held):
        arrays |= {"x_validation": inputs[held], "y_validation": targets[held]}
    arrays |= {f"predict_{i}": rows for i, rows in enumerate(at.values())}
    rows = held if len(held) else kept
    if task == "regression":
        arrays[_RESIDUAL_ROWS] = inputs[rows]
    outputs, result = _run({**asdict(recipe), "num_outputs": num_outputs}, arrays)
    return _collect(outputs, result, list(at), targets[rows])


def _require_keras() -> None:
    # find_spec finds the package without importing it; it raises ValueError for a stand-in in sys.modules.
    try:
        found = importlib.util.find_spec("keras")
    except ValueError:
        found = None
    if found is None:
        raise MissingExtraError("keras", "keras")


def _environment(folder: Path) -> dict[str, str]:
    # Variables such as KERAS_MAX_EPOCHS, or a keras.json with another float type, would change the computation.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    keras = {"KERAS_BACKEND": "torch", "KERAS_TORCH_DEVICE": "cpu", "KERAS_HOME": str(folder / "home")}
    return kept | keras | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _run(recipe: dict[str, Any], arrays: Arrays) -> tuple[Arrays, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bayesian-layers-keras-") as name:
        folder = Path(name)
        (folder / "recipe.json").write_text(json.dumps(recipe, default=np.generic.item))
        np.savez(folder / "inputs.npz", **arrays)  # pyright: ignore[reportArgumentType]
        _call_worker(folder)
        with np.load(folder / "outputs.npz", allow_pickle=False) as stored:
            outputs = dict(stored)
        return outputs, json.loads((folder / "result.json").read_text())


def _call_worker(folder: Path) -> None:
    # -P keeps the worker's folder off the path, where this file would be imported as Keras.
    command = [sys.executable, "-P", str(_WORKER), str(folder)]
    # `run` kills the process if an exception such as KeyboardInterrupt ends the wait for it.
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    process = subprocess.run(
        command, env=_environment(folder), stdin=nothing, stdout=nothing, stderr=pipe, check=False
    )
    if process.returncode != 0 or not (folder / "result.json").is_file():
        tail = process.stderr.decode(errors="replace").strip()[-5000:] or "nothing"
        raise BaselineError(
            f"the Keras process must end with status 0 and a result; it ended with {process.returncode}. "
            f"Fix the error below. The worker's output was:\n{tail}"
        )


def _collect(outputs: Arrays, result: dict[str, Any], names: list[str], targets: np.ndarray) -> KerasFit:
    history = {key: outputs[f"history_{key}"] for key in ("loss", "val_loss") if f"history_{key}" in outputs}
    epochs = len(history["loss"])
    if not all(np.isfinite(array).all() for array in outputs.values()):
        first = int(np.append(np.isfinite(history["loss"]), False).argmin())
        raise BaselineError(
            f"the Keras network must stay finite; its loss was finite for {first} of {epochs} epochs only. "
            "Standardize `x` and `y`, or lower `learning_rate`."
        )
    given = {name: array for name, array in outputs.items() if name.startswith("predict_")}
    points = {name: array[:, 0] if array.shape[1] == 1 else array for name, array in given.items()}
    scale = None
    if _RESIDUAL_ROWS in points:
        residual = targets.astype(np.float64) - points[_RESIDUAL_ROWS]
        scale = float(np.sqrt(np.mean(residual**2)))
    predictions = {name: points[f"predict_{i}"] for i, name in enumerate(names)}
    return KerasFit(history, predictions, epochs, result["seconds"], scale, result["versions"])
