"""The README's Python blocks and every docstring's example run as they stand."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import bayesian_layers
from bayesian_layers.noise import seeded

ROOT = Path(__file__).parents[2]


def modules():
    found = pkgutil.walk_packages(bayesian_layers.__path__, "bayesian_layers.")
    return ["bayesian_layers", *(each.name for each in found if not each.name.endswith("_worker"))]


@pytest.mark.slow
@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings(name):
    with seeded(0):
        result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    count = sum(
        len(test.examples) > 0 for name in modules() for test in finder.find(importlib.import_module(name))
    )
    assert count > 20


def blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    assert blocks()
    with seeded(0):
        for block in blocks():
            exec(compile(block, "README.md", "exec"), names)
