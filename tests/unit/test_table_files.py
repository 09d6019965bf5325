"""One reader and one writer of CSV and Parquet: cells as they are, numbers checked, files whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

import bayesian_layers as bl
from bayesian_layers import table_files
from bayesian_layers.errors import DataError, StorageError

X = torch.linspace(-1, 1, 80).reshape(40, 2)


@pytest.fixture
def posterior(build):
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Normal(1.0))
    return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def text_file(folder, text):
    (folder / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "t.csv"


# --- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("a,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        ("\ufeffa,b\r\n1,2", [["a", "b"], ["1", "2"]]),
        ("a,b\r1,2\r", [["a", "b"], ["1", "2"]]),
        ("\n a, b\n\n  \n1, 2 \n\n", [["a", "b"], ["1", "2 "]]),
        ('a,b\n"1,5","say ""x""\n\nagain"\n', [["a", "b"], ["1,5", 'say "x"\n\nagain']]),
        ('a,b\n5" pipe,"a"b\n', [["a", "b"], ['5" pipe', "ab"]]),
        ("a,b,c\n1\n,,\n", [["a", "b", "c"], ["1", "", ""], ["", "", ""]]),
        (
            'a\n1\n""\n\n2\n',
            [["a"], ["1"], [""], ["2"]],
        ),  # a quoted empty cell is a cell, a blank line is not
        ("a\tb,c\n1\t2\n", [["a\tb", "c"], ["1\t2", ""]]),
    ],
)
def test_cells_are_text_as_it_is(tmp_path, text, cells):
    path = text_file(tmp_path, text)
    assert list(table_files.read_cells(path, ",")) == cells


def test_tabs_separate_too(tmp_path):
    assert list(table_files.read_cells(text_file(tmp_path, "a\tb,c\n1\t2\n"), "\t")) == [
        ["a", "b,c"],
        ["1", "2"],
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "it is empty"),
        ("\n \n\n", "it is empty"),
        ("a,b\n1,2,3\n", "as many cells in each line as in its header: Expected 2 fields in line 2, saw 3"),
        ('a,b\n"1\n2",2\n1,2,3\n', "Expected 2 fields in line 4, saw 3"),
        ('a,b\n1,"2\n3,4\n', "a quote is not closed"),
        ('a\n"2\n', "a quote is not closed"),
        ("a,b\n1,é\n".encode("latin-1"), "must be UTF-8 text"),
        ("a\n" + "x" * 200_000 + "\n", "field larger than field limit"),
    ],
)
def test_text_that_is_not_a_table_is_refused_in_one_sentence(tmp_path, text, match):
    path = text_file(tmp_path, text)
    with pytest.raises(DataError, match=match) as caught:
        list(table_files.read_cells(path, ","))
    assert "\n" not in str(caught.value)


def test_numbers_of_text_are_those_of_parquet(tmp_path, monkeypatch):
    """To the last bit, in blocks of any size; every double survives its text."""
    monkeypatch.setattr(table_files, "_ROWS", 7)
    values = np.random.default_rng(0).normal(size=(40, 2)) * 10.0 ** np.arange(-20, 20)[:, None]
    columns = {"a": values[:, 0], "b": values[:, 1]}
    for path in (tmp_path / "t.csv", tmp_path / "t.parquet"):
        with table_files.new_table(path) as write:
            for start in range(0, 40, 9):
                write({name: each[start : start + 9] for name, each in columns.items()})
        read = list(table_files.read_numbers(path))
        assert {len(block) for block in read[:-1]} <= {1, 2, 7, 9}
        np.testing.assert_array_equal(np.concatenate(read), values)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a,b\n1,2\n3,\n", "column 'b' of .* has no value in row 1, counted from 0"),
        ("a,b\n1,2\n3\n", "column 'b' of .* has no value in row 1"),
        ("a,b\n1,NA\n", "column 'b' of .* must hold numbers; received 'NA' in row 0"),
        ("a,b\n1,True\n", "received 'True' in row 0"),
        ("a,a\n1,2\n", r"different names; received \['a', 'a'\]"),
    ],
)
def test_cells_that_are_not_numbers_are_named(tmp_path, text, match):
    path = text_file(tmp_path, text)
    with pytest.raises(DataError, match=match):
        list(table_files.read_numbers(path))


def test_nulls_of_parquet_are_named(tmp_path):
    table = pyarrow.table({"a": [1.0, 2.0, 3.0], "b": [True, None, None]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    match = "column 'b' of .*, rows from 0 on, has 2 nulls, the first at position 1"
    with pytest.raises(DataError, match=match):
        list(table_files.read_numbers(tmp_path / "t.parquet"))


# --- writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_text_of_numbers_is_short_and_exact(tmp_path, dtype):
    values = np.array([0.1, 1e-30, -3.0, 1 / 3], dtype=dtype)
    with table_files.new_table(tmp_path / "t.csv") as write:
        write({"a": values, "b": -values})
    lines = (tmp_path / "t.csv").read_text().split("\n")
    assert lines[:2] == ["a,b", "0.1,-0.1"]
    assert lines[-1] == ""
    np.testing.assert_array_equal(
        np.array([line.split(",")[0] for line in lines[1:-1]]).astype(dtype), values
    )


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(posterior, tmp_path):
    """A limit on the size of files acts as a full disk: the first write beyond it fails."""
    posterior.save(tmp_path / "model")
    files = [tmp_path / "p.csv", tmp_path / "p.parquet"]
    for path in files:
        path.write_bytes(b"before")
    program = f"""
        import resource, torch
        import bayesian_layers as bl
        posterior = bl.load({str(tmp_path / "model")!r})
        x = torch.arange(100_000.0).reshape(-1, 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        for path in {[str(path) for path in files]!r}:
            try:
                posterior.predict_to(path, x, 2)
            except bl.errors.StorageError as error:
                print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for path, line in zip(files, done.stdout.splitlines(), strict=True):
        assert f"{path.name} must be writable; received: File too large" in line
        assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["model", "p.csv", "p.parquet"]


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_errors_of_the_disk_in_any_write_are_one_sentence(posterior, tmp_path, monkeypatch, name):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=rf"{name} must be writable; received: No space left on device"):
        posterior.predict_to(tmp_path / name, X, 5)
    assert names(tmp_path) == []


def test_an_error_of_the_callers_rows_is_not_one_of_the_file(posterior, tmp_path):
    def blocks():
        yield X
        raise FileNotFoundError(2, "No such file", "rows.npy")

    with pytest.raises(FileNotFoundError, match=r"rows\.npy") as caught:
        posterior.predict_to(tmp_path / "p.csv", blocks(), 5)
    assert caught.value.filename == "rows.npy"
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals, and no locks")
@pytest.mark.parametrize(("name", "how"), [("p.csv", signal.SIGTERM), ("p.parquet", signal.SIGKILL)])
def test_a_killed_run_is_cleaned_up_by_the_next(posterior, tmp_path, name, how):
    posterior.save(tmp_path / "model")
    program = f"""
        import sys, torch
        import bayesian_layers as bl
        posterior = bl.load({str(tmp_path / "model")!r})
        def blocks():
            yield torch.zeros(2**16, 2)
            yield torch.zeros(2**16, 2)
            print("writing", flush=True)
            sys.stdin.read()
        posterior.predict_to({str(tmp_path / name)!r}, blocks(), 2)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"writing\n"
    writer.send_signal(how)
    writer.communicate()
    assert len(names(tmp_path)) == 2  # the model, and what is left of the run
    assert posterior.predict_to(tmp_path / name, X, 5) == 40
    assert names(tmp_path) == ["model", name]
