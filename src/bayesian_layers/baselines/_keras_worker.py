"""Train one Keras network and predict with it; this is a separate program that is run by its path.

Usage: ``python -P _keras_worker.py FOLDER``. FOLDER contains ``recipe.json`` and ``inputs.npz``; the program adds
``outputs.npz`` and, last of all, ``result.json``. It imports nothing of the package around it, so that only Keras has
to be loaded. Without ``-P`` Python would import the file next to this one, ``keras.py``, instead of Keras.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# Keras imports these if it finds them, and works without them; loading them takes 3 of 8 s.
OPTIONAL = ("sklearn", "pandas", "matplotlib")

PREDICTION_ROWS = 16384  # bounds the memory; predictions of different rows are independent
HEADS = {
    "binary": ("sigmoid", "binary_crossentropy"),
    "multiclass": ("softmax", "sparse_categorical_crossentropy"),
    "regression": ("linear", "mse"),
}


def build(keras: Any, recipe: dict[str, Any], num_inputs: int) -> Any:
    """Build and compile the network."""
    activation, loss = HEADS[recipe["task"]]
    dense = keras.layers.Dense
    hidden = [dense(width, activation=recipe["activation"]) for width in recipe["hidden"]]
    output = dense(recipe["num_outputs"], activation=activation)
    model = keras.Sequential([keras.Input((num_inputs,)), *hidden, output])
    optimizer = keras.optimizers.Adam(learning_rate=recipe["learning_rate"])
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    return model


def train(keras: Any, model: Any, recipe: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Train by plain ``model.fit``."""
    validation = (arrays["x_validation"], arrays["y_validation"]) if "x_validation" in arrays else None
    callbacks = []
    if recipe["patience"] is not None:
        stopping = keras.callbacks.EarlyStopping(
            monitor="val_loss", mode="min", patience=recipe["patience"], restore_best_weights=True
        )
        callbacks.append(stopping)
    options = {name: recipe[name] for name in ("batch_size", "epochs")} | {
        "callbacks": callbacks,
        "verbose": 0,
    }
    return model.fit(arrays["x"], arrays["y"], validation_data=validation, **options).history


def main(folder: Path) -> None:
    """Read the recipe and the arrays, train, predict, write."""
    import keras
    import torch

    recipe = json.loads((folder / "recipe.json").read_text())
    with np.load(folder / "inputs.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    keras.utils.set_random_seed(recipe["seed"])
    model = build(keras, recipe, arrays["x"].shape[1])
    start = time.perf_counter()
    history = train(keras, model, recipe, arrays)
    seconds = time.perf_counter() - start
    outputs = {f"history_{name}": np.asarray(values, dtype=np.float64) for name, values in history.items()}
    for name, x in arrays.items():
        if name.startswith("predict_"):
            outputs[name] = model.predict(x, batch_size=PREDICTION_ROWS, verbose=0)
    np.savez(folder / "outputs.npz", **outputs)  # pyright: ignore[reportArgumentType]
    modules = {"keras": keras, "torch": torch, "numpy": np}
    versions = {"python": platform.python_version()}
    versions |= {name: str(module.__version__) for name, module in modules.items()}
    (folder / "result.json").write_text(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    # With None in sys.modules an import fails at once, in this process only.
    sys.modules.update(dict.fromkeys(OPTIONAL))  # pyright: ignore[reportArgumentType, reportCallIssue]
    main(Path(sys.argv[1]))
