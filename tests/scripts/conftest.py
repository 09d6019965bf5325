"""Tables for the scripts, and how the scripts are called: as a person calls them."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def script_in():
    """Run a script in a process of its own, started in a folder."""

    def run(folder, name, *arguments):
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / name, *map(str, arguments)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "100"},
        )

    return run


@pytest.fixture
def script(script_in, tmp_path):
    """Run a script of the folder, elsewhere than in the repository."""
    return functools.partial(script_in, tmp_path)


@pytest.fixture
def frame():
    """Numeric and categorical inputs; targets of each task."""
    generator = np.random.default_rng(0)
    age = generator.normal(50, 10, 80)
    pet = generator.choice(["cat", "dog", "None"], 80)
    z = (age - 50) / 10 + (pet == "dog") + generator.normal(0, 0.3, 80)
    return pd.DataFrame({
        "age": age,
        "pet": pet,
        "keen": generator.choice([True, False], 80),
        "binary": np.where(z > 0, "ill", "well"),
        "multiclass": np.digitize(z, [-0.5, 0.5]),
        "regression": 1000 * z + 5,
    })  # fmt: skip


@pytest.fixture
def table(frame, tmp_path):
    """Write a CSV file with one of the targets; more columns may be changed first."""

    def write(target, name="data.csv", **changes):
        others = {"binary", "multiclass", "regression"} - {target}
        path = tmp_path / name
        frame.drop(columns=list(others)).assign(**changes).to_csv(path, index=False)
        return path

    return write
