"""Tables become tensors by name, come back in their own units, and every unfit one is refused by name."""

from __future__ import annotations

import datetime
import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bayesian_layers.errors import MissingExtraError, ShapeError, StorageError, TableError
from bayesian_layers.tabular import (
    CategoricalColumn,
    ClassTarget,
    NumericColumn,
    RegressionTarget,
    TableModel,
    TableSchema,
    csv_text,
    fit_table,
    read_table,
    table_model,
    write_csv,
)

N = 30


def table(**changes: object) -> pd.DataFrame:
    """A table with numbers, text, booleans and a real target; ``changes`` replace or add columns."""
    columns = {
        "age": np.arange(N) * 1.5 + 20,
        "colour": ["red", "blue", "None"] * (N // 3),
        "member": [True, False] * (N // 2),
        "floor": [7] * N,
        "y": np.arange(N) ** 2 / 7,
    }
    return pd.DataFrame(columns | changes)


def written(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def refuses(message: str):
    return pytest.raises(TableError, match=message)


# --- reading ------------------------------------------------------------------------------------------------


def text_file(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,x\n2,y\n", {"a": [1, 2], "b": ["x", "y"]}),
        ("\ufeffa,b\r\n1.5,True\r\n2,False\r\n", {"a": [1.5, 2.0], "b": [True, False]}),
        ('a, "b,c"\n1, "None"\n\n2, "x ""y"""\n', {"a": [1, 2], "b,c": ["None", 'x "y"']}),
        ("a,b\ntrue,1_0\nFalse,2\n", {"a": ["true", "False"], "b": ["1_0", "2"]}),
        ("null,nan\n1,-inf\n", {"null": [1], "nan": [-np.inf]}),
        ("a\n9007199254740993\n9007199254740992\n", {"a": [2**53 + 1, 2**53]}),
        ("a\n18446744073709551617\n-1\n", {"a": [2**64 + 1, -1]}),
        ("é,b\n ü,2026-01-02\n", {"é": ["ü"], "b": ["2026-01-02"]}),
    ],
)
def test_text_files(tmp_path, content, expected):
    frame = read_table(text_file(tmp_path, content))
    assert {name: frame[name].tolist() for name in frame} == expected
    assert all(
        type(a) is type(b)
        for name in frame
        for a, b in zip(frame[name].tolist(), expected[name], strict=True)
    )
    tabs = text_file(tmp_path, content.replace(",", "\t").replace('"b\tc"', '"b,c"'), "table.TSV")
    pd.testing.assert_frame_equal(read_table(str(tabs)), frame)


@pytest.mark.parametrize("missing", ["", "NA", "N/A", "NaN", "nan", "null", "  "])
def test_missing_cells_are_these_and_no_others(tmp_path, missing):
    frame = read_table(
        text_file(tmp_path, f"a,b,c,d\n1,x,True,{missing}\n{missing},{missing},{missing},{missing}\n")
    )
    assert frame.isna().to_numpy().tolist() == [[False, False, False, True], [True] * 4]
    assert frame.dropna(subset="a").drop(columns="d").to_numpy().tolist() == [[1.0, "x", True]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("a,b\n", "only a header"),
        ("a,b,a\n1,2,3\n", "received twice: 'a'"),
        (",a\n0,1\n", "column 1 has no name"),
        ("a,b\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3"),
        ("a,b\n1,2,3\n4,5,6\n", "Expected 2 fields in line 2, saw 3"),
        ('a,b\n1,"2\n', "as many cells"),
        ("a,b\n1,é\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_files_that_hold_no_table(tmp_path, content, message):
    with refuses(message):
        read_table(text_file(tmp_path, content))


@pytest.mark.parametrize("name", ["absent.csv", "folder.csv", "table.xlsx", "http://localhost/table.csv"])
def test_paths_that_lead_to_no_table(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    text_file(tmp_path, "a\n1\n", "table.xlsx")
    with refuses("must be a file|must end in"):
        read_table(tmp_path / name)


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    table().to_parquet(tmp_path / "table.parquet")
    frame = read_table(tmp_path / "table.parquet")
    assert TableSchema.infer(frame, "y") == TableSchema.infer(table(), "y")
    with refuses("is not a valid Parquet file"):
        read_table(text_file(tmp_path, "a\n1\n", "broken.parquet"))


@pytest.mark.parametrize(("module", "name"), [("pandas", "table.csv"), ("pyarrow", "table.parquet")])
def test_what_is_not_installed_is_named(tmp_path, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError) as refusal:
        read_table(text_file(tmp_path, "a\n1\n", name))
    assert refusal.value.package == module


@pytest.mark.slow
def test_pandas_waits_for_its_first_use():
    code = "import sys, bayesian_layers.tabular; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- inputs -------------------------------------------------------------------------------------------------


def test_inputs_worked_out_by_hand():
    frame = pd.DataFrame({"age": [1, 2, 3, 6], "pet": ["b", "a", "b", "b"], "y": [0.5, 1, 2, 4]})
    schema = TableSchema.infer(frame, "y")
    assert schema.columns == (NumericColumn("age", 3.0, 3.5**0.5), CategoricalColumn("pet", ("a", "b")))
    assert schema.input_names == ("age", "pet=a", "pet=b")
    scaled = np.array([-2, -1, 0, 3]) / 3.5**0.5
    expected = np.column_stack([scaled, [0, 1, 0, 0], [1, 0, 1, 1]])
    assert torch.equal(schema.inputs(frame), torch.tensor(expected, dtype=torch.float32))


def test_table_and_file_give_the_same(tmp_path):
    frame = table()
    read = read_table(written(frame, tmp_path))
    schema = TableSchema.infer(frame, "y")
    assert TableSchema.infer(read, "y") == schema
    assert torch.equal(schema.inputs(read), schema.inputs(frame))
    assert torch.equal(schema.targets(read), schema.targets(frame))
    assert schema.inputs(frame).dtype == schema.targets(frame).dtype == torch.float32


def test_constant_columns_keep_their_place():
    schema = TableSchema.infer(
        table(floor=[0.1] * N), "y"
    )  # its standard deviation in floats is 1e-17, not 0
    column = schema.input_names.index("floor")
    assert schema.columns[3] == NumericColumn("floor", 0.1, 1.0)
    assert (schema.inputs(table(floor=[0.1] * N))[:, column] == 0).all()


def test_columns_are_found_by_name_and_the_target_may_be_absent_or_odd():
    schema = TableSchema.infer(table(), "y")
    expected = schema.inputs(table())
    assert torch.equal(schema.inputs(table()[["y", "floor", "colour", "member", "age"]]), expected)
    assert torch.equal(schema.inputs(table().drop(columns="y")), expected)
    assert torch.equal(schema.inputs(table(y=None)), expected)
    assert torch.equal(schema.inputs(table()[3:5]), expected[3:5])
    assert schema.inputs(table()[:0]).shape == (0, len(schema.input_names))


@pytest.mark.parametrize(
    ("cells", "categories"),
    [
        ([True, False, True], ("False", "True")),
        (pd.array([True, False, True], dtype="boolean"), ("False", "True")),
        (["1", "2", "10"], ("1", "10", "2")),  # numbers that were made text on purpose
        (pd.Categorical([3, 1, 3]), ("1", "3")),
        (["None", "a", "none"], ("None", "a", "none")),
        (["a", "b", "7"], ("7", "a", "b")),
        ([datetime.date(2026, 1, 2)] * 3, ("2026-01-02",)),
        ([[1], [2], [1]], ("[1]", "[2]")),
    ],
)
def test_categorical_columns(cells, categories):
    frame = pd.DataFrame({"x": cells, "y": [1.5, 2, 3]})
    assert TableSchema.infer(frame, "y").columns == (CategoricalColumn("x", categories),)


@pytest.mark.parametrize(
    "cells",
    [
        [1, 2, 3],
        [1.0, 2.0, 3.0],
        np.array([1, 2, 3], dtype=np.float16),
        pd.array([1, 2, 3], dtype="Int64"),
        pd.Series([1, 2.0, np.int8(3)], dtype=object),
        [Decimal(1), Decimal(2), Decimal(3)],
    ],
)
def test_numeric_columns(cells):
    frame = pd.DataFrame({"x": cells, "y": [1.5, 2, 3]})
    assert TableSchema.infer(frame, "y").columns == (NumericColumn("x", 2.0, (2 / 3) ** 0.5),)


def test_values_match_across_types(tmp_path):
    schema = TableSchema.infer(table(colour=["1", "2", "10"] * 10), "y")
    frame = table(colour=["1", "2", "10"] * 10)
    assert torch.equal(schema.inputs(read_table(written(frame, tmp_path))), schema.inputs(frame))
    texts = frame.assign(age=frame["age"].astype(str), floor=frame["floor"].astype(object))
    assert torch.equal(schema.inputs(texts), schema.inputs(frame))


# --- tasks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "given", "task", "classes", "line"),
    [
        (
            ["no", "yes", "no"] * 10,
            None,
            "binary",
            ("no", "yes"),
            "binary (2 distinct values); use --task to",
        ),
        (
            [True, False, True] * 10,
            None,
            "binary",
            (False, True),
            "binary (2 distinct values); use --task to",
        ),
        ([0, 1, 0] * 10, None, "binary", (0, 1), "binary (2 distinct numbers); use"),
        ([2.5, -1, 2.5] * 10, None, "binary", (-1.0, 2.5), "binary (2 distinct numbers); use"),
        (["a", "b", "c"] * 10, None, "multiclass", ("a", "b", "c"), "multiclass (3 distinct values); use"),
        ([10, 9, 2] * 10, None, "multiclass", (2, 9, 10), "multiclass (3 distinct numbers); use"),
        (list(range(10)) * 3, None, "multiclass", tuple(range(10)), "multiclass (10 distinct numbers); use"),
        (
            [2**64 + 1, 2**64, 5] * 10,
            None,
            "multiclass",
            (5, 2**64, 2**64 + 1),
            "multiclass (3 distinct numbers)",
        ),
        (
            [2**53 + 1, 2**53, 5] * 10,
            None,
            "multiclass",
            (5, 2**53, 2**53 + 1),
            "multiclass (3 distinct numbers)",
        ),
        (pd.Categorical([2, 1, 4] * 10), None, "multiclass", (1, 2, 4), "multiclass (3 distinct values)"),
        (["1", "2", "1"] * 10, None, "binary", ("1", "2"), "binary (2 distinct values)"),
        ([0.5, 1, 2] * 10, None, "regression", (), "regression (3 distinct numbers); use"),
        (list(range(11)) + [0] * 19, None, "regression", (), "regression (11 distinct numbers); use"),
        (np.linspace(0, 1, 30), None, "regression", (), "regression (30 distinct numbers); use"),
        ([0, 1, 0] * 10, "regression", "regression", (), "regression (as specified)"),
        ([0, 1, 0] * 10, "multiclass", "multiclass", (0, 1), "multiclass (as specified)"),
        ([0.5, 1, 2] * 10, "multiclass", "multiclass", (0.5, 1.0, 2.0), "multiclass (as specified)"),
        (
            ["1", "2", "many"] * 10,
            "multiclass",
            "multiclass",
            ("1", "2", "many"),
            "multiclass (as specified)",
        ),
        (["no", "yes", "no"] * 10, "binary", "binary", ("no", "yes"), "binary (as specified)"),
        (["1.5", "2", "3"] * 10, "regression", "regression", (), "regression (as specified)"),
    ],
)
def test_tasks(cells, given, task, classes, line):
    schema = TableSchema.infer(table(y=cells), "y", given)
    assert (schema.task, schema.classes) == (task, classes)
    assert list(map(type, schema.classes)) == list(map(type, classes))
    assert schema.task_line.startswith(f"target `y`: {line}")
    assert ("--task" in schema.task_line) == (given is None)
    y = schema.targets(table(y=cells))
    assert y.shape == (N,)
    assert y.dtype == (torch.int64 if task == "multiclass" else torch.float32)
    if classes:
        assert [classes[int(position)] for position in y] == pd.Series(cells).tolist()


def test_few_rows_of_a_class_are_fine():
    schema = TableSchema.infer(table(y=["a"] * 28 + ["b", "c"]), "y")
    assert schema.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("cells", "task", "message"),
    [
        (["a"] * N, None, "one class only: 'a' in all 30 rows"),
        ([True] * N, None, "one class only: True"),
        ([1] * N, "binary", "one class only: 1 in"),
        ([1.5] * N, None, r"constant: 1\.5 in all 30 rows"),
        ([1.5] * N, "regression", r"constant: 1\.5"),
        (np.linspace(0, 1, N), "multiclass", "30 distinct numbers in 30 rows"),
        (np.linspace(0, 1, N), "binary", "few classes|2 values"),
        ([0, 1, 2] * 10, "binary", "2 values for task binary; it has 3 distinct numbers: 0, 1, 2"),
        (["a", "b", "c"] * 10, "binary", "'a', 'b', 'c'"),
        (
            ["a", "b", "1"] * 10,
            "regression",
            "`y` must be numeric; 20 of its 30 cells are text: 'a' in row 0",
        ),
        (
            [True, False] * 15,
            "regression",
            "must be numeric for regression, but is boolean. Use task='binary'",
        ),
        ([*map(str, range(N - 1)), "abc"], None, "1 of 30 are text: 'abc' in row 29"),
        ([f"id{i}" for i in range(N)], None, "30 distinct values in 30 rows, such as 'id0'"),
        ([1.0, np.inf, -np.inf] * 10, None, r"infinite cells: `y` has 20 \(first in row 1\)"),
        (["1", "2", "inf"] * 10, "regression", r"`y` has 10 \(first in row 2\)"),
        ([0, 1] * 15, "ranking", "'binary', 'multiclass', 'regression'; received 'ranking'"),
        (np.linspace(0, 1e300, N), None, "Use another unit"),
    ],
)
def test_targets_that_cannot_serve(cells, task, message):
    with refuses(message):
        TableSchema.infer(table(y=cells), "y", task)


# --- tables that cannot serve -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table().rename(columns={"y": "z"}), "'y' is not one of 'age', 'colour', 'member', 'floor', 'z'"),
        (table()[["y"]], "only the target `y`"),
        (table()[:0], "none"),
        (table(age=[None, 1.0, np.nan] * 10, colour=["NA", "a", ""] * 10), None),
        (table(age=[np.inf, 1.0, 2.0] * 10, floor=[1.0, 2.0, -np.inf] * 10), None),
        (
            table(age=[*map(str, range(N - 2)), "abc", "d"]),
            "`age` must be numeric, .*; 2 of 30 are text: 'abc' in row 28",
        ),
        (table(age=["1", "x"] * 15), "15 of 30 are text"),
        (
            table(age=[f"2026-01-{i + 1:02}" for i in range(N)]),
            "`age` must have few categories; it has 30 .* a date",
        ),
        (table(age=pd.date_range("2026-01-01", periods=N)), "'2026-01-01 00:00:00' in row 0"),
        (table(age=np.linspace(-1e300, 1e300, N)), "from -1e\\+300 to 1e\\+300"),
        (table(**{"colour=red": range(N)}), "received twice: 'colour=red'"),
        (pd.concat([table(), table()], axis=1), "received twice: 'age', 'colour'"),
        (pd.DataFrame({1: [1, 2], "1": [1, 2], "y": [1, 2]}), "received twice: '1'"),
        ({"y": [1, 2]}, "must be a pandas DataFrame; received dict"),
    ],
)
def test_tables_that_cannot_serve(frame, message):
    if message is None:
        message = r"`age` has \d0 \(first in row 0\), `\w+` has \d0 \(first in row [02]\)"
    with refuses(message):
        TableSchema.infer(frame, "y")


def test_twenty_texts_are_never_too_many():
    rows = {"x": [f"c{i}" for i in range(20)], "y": np.linspace(0, 1, 20)}
    assert len(TableSchema.infer(pd.DataFrame(rows), "y").input_names) == 20


def test_numbers_as_names_of_columns():
    schema = TableSchema.infer(pd.DataFrame({0: [1, 2, 4], 1: [1.5, 2, 3]}), "1")
    assert schema.input_names == ("0",)


def test_the_line_in_the_file_is_named(tmp_path):
    rows = [f"{i},{i}" for i in range(20)]
    rows[15] = "abc,15"
    with refuses("'abc' in line 17"):
        TableSchema.infer(read_table(text_file(tmp_path, "\n".join(["x,y", *rows, "", ""]))), "y")
    with refuses("'abc' in line 17"):  # rows keep their lines when others go
        TableSchema.infer(read_table(tmp_path / "table.csv")[10:], "y")
    rows[3] = '"3\n",3'
    with refuses("'abc' in row 15"):  # lines can no longer be told from rows
        TableSchema.infer(read_table(text_file(tmp_path, "\n".join(["x,y", *rows]))), "y")


# --- at prediction time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table().drop(columns=["age", "floor"]), "lacks 'age', 'floor'"),
        (table(more=1), "has the unknown 'more'"),
        (table(more=1).drop(columns="age"), "lacks 'age' and has the unknown 'more'"),
        (
            table(age=["a", "1", "2"] * 10),
            "`age` must be numeric; 10 of its 30 cells are text: 'a' in row 0",
        ),
        (
            table(colour=["red", "green", "blue"] * 10),
            "only 'None', 'blue', 'red'; 10 of its cells .* 'green' in row 1",
        ),
        (table(colour=range(N)), "30 of its cells are different: '0'"),
        (table(age=[None, 1.0, 2.0] * 10), r"`age` has 10 \(first in row 0\)"),
        (table(colour=[None, "red", "blue"] * 10, floor=[np.nan] * N), r"`colour` has 10 .*, `floor` has 30"),
        (table(age=[1.0, np.inf, 2.0] * 10), r"infinite cells: `age` has 10 \(first in row 1\)"),
        (table(age=[1e300] * N), "`age` has a value so large"),
    ],
)
def test_tables_to_predict_that_do_not_fit(frame, message):
    schema = TableSchema.infer(table(), "y")
    with refuses(message):
        schema.inputs(frame)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a", "b", "d"], "only 'a', 'b', 'c'; 1 of its cells are different: 'd' in row 2"),
        (["a", None, "b"], r"`y` has 1 \(first in row 1\)"),
    ],
)
def test_targets_that_do_not_fit(cells, message):
    schema = TableSchema.infer(table(y=["a", "b", "c"] * 10), "y")
    with refuses(message):
        schema.targets(table()[:3].assign(y=cells))
    with refuses("target column `y`; it is missing"):
        schema.targets(table().drop(columns="y"))


def test_regression_targets_that_do_not_fit():
    schema = TableSchema.infer(table(), "y")
    for cell, message in {"abc": "'abc' in row 0", np.inf: "infinite", 1e300: "has a value so large"}.items():
        with refuses(message):
            schema.targets(table()[:1].assign(y=[cell]))


# --- the way back -------------------------------------------------------------------------------------------


def test_regression_comes_back_in_its_units():
    frame = table()
    schema = TableSchema.infer(frame, "y")
    y = (frame["y"] - frame["y"].mean()) / frame["y"].std(ddof=0)
    ones = torch.ones(N)
    back = schema.predictions_frame(torch.tensor(y), ones, 2 * ones, 5**0.5 * ones)
    assert list(back) == ["mean", "epistemic_std", "aleatoric_std", "std"]
    np.testing.assert_allclose(back["mean"], frame["y"], rtol=1e-12, atol=1e-12)  # float64 throughout
    scale = frame["y"].std(ddof=0)
    np.testing.assert_allclose(
        back.iloc[0, 1:], np.array([1, 2, 5**0.5]) * scale, rtol=1e-6
    )  # float32 came in
    single = schema.predictions_frame(schema.targets(frame), ones, ones, ones)
    np.testing.assert_allclose(single["mean"], frame["y"], rtol=1e-5, atol=1e-5)  # float32 there and back


@pytest.mark.parametrize(
    ("cells", "column", "kind"),
    [
        ([0, 1], "p_1", int),
        (["no", "yes"], "p_yes", str),
        ([False, True], "p_True", bool),
        ([0.5, 1.5], "p_1.5", float),
        ([2**64, 2**64 + 1], f"p_{2**64 + 1}", int),
    ],
)
def test_binary_predictions(cells, column, kind):
    schema = TableSchema.infer(table(y=cells * 15), "y")
    std = np.array([0.1, 0.2, 0.3])
    back = schema.predictions_frame(np.array([0.2, 0.5, 0.9]), std, std, std)
    assert list(back) == [column, "epistemic_std", "predicted"]
    assert back["predicted"].tolist() == [cells[0], cells[0], cells[1]]
    assert all(type(label) is kind for label in back["predicted"].tolist())
    assert back[column].tolist() == [0.2, 0.5, 0.9]
    assert back["epistemic_std"].tolist() == [0.1, 0.2, 0.3]


def test_multiclass_predictions():
    schema = TableSchema.infer(table(y=[3, 1, 2] * 10), "y")
    p = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    back = schema.predictions_frame(p, p / 10, p, p)
    assert list(back) == [
        *(f"p_{k}" for k in (1, 2, 3)),
        *(f"epistemic_std_{k}" for k in (1, 2, 3)),
        "predicted",
    ]
    assert back["predicted"].tolist() == [3, 1]
    assert back["p_2"].tolist() == [0.3, 0.3]
    np.testing.assert_allclose(back["epistemic_std_3"], [0.05, 0.01])


@pytest.mark.parametrize(
    ("task", "shapes"),
    [
        ("regression", [(3, 1)] * 4),
        ("regression", [(3,), (3,), (3,), (3, 1)]),
        ("regression", [(3,), (1,), (3,), (3,)]),
        ("regression", [()] * 4),
        ("multiclass", [(3,)] * 4),
        ("multiclass", [(3, 2)] * 4),
    ],
)
def test_shapes_of_predictions_are_checked(task, shapes):
    schema = TableSchema.infer(table(y=[3, 1, 2] * 10), "y", task)
    with pytest.raises(ShapeError):
        schema.predictions_frame(*(np.zeros(shape) for shape in shapes))


# --- CSV files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
def test_classes_that_would_be_formulas_are_escaped(start):
    formula = f"{start}cmd|' /C calc'!A0"
    frame = pd.DataFrame({"p": [-0.5, 1.0], "predicted": [formula, "a"]})
    assert f"'{formula}" in csv_text(frame)
    frame["predicted"] = ["=1+1", "a"]
    back = pd.read_csv(io.StringIO(csv_text(frame)))
    assert back["predicted"].tolist() == ["'=1+1", "a"]
    assert back["p"].tolist() == [-0.5, 1.0]


def test_numbers_and_other_classes_are_not_escaped():
    frame = pd.DataFrame({
        "number": [-1.5, 1e-300],
        "text": ["-1", "+2.5e-3"],
        "inner": ["a=b", " -"],
        "large": [-(2**64), 2**64],
        "truth": [True, False],
    })  # fmt: skip
    assert csv_text(frame) == frame.to_csv(index=False)


def test_a_csv_file_is_written_whole_or_not_at_all(tmp_path):
    frame = pd.DataFrame({"name": ["é"]})
    write_csv(frame, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == "name\né\n".encode()
    with pytest.raises(StorageError, match="it is a folder"):
        write_csv(frame, tmp_path)
    with pytest.raises(StorageError, match="must be writable"):
        write_csv(frame, tmp_path / "absent" / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


# --- what could not be saved --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a" * 1001: range(4)}, "a column must have at most 1000 characters, .* has 1001. Shorten it"),
        ({"x": ["b" * 999, "c", "c", "c"]}, "column with a category must have at most 1000 characters"),
        ({f"x{i}": range(4) for i in range(10_001)}, "at most 10000 inputs, .* received 10001"),
    ],
)
def test_a_table_whose_model_could_not_be_saved_is_refused(columns, message):
    with refuses(message):
        TableSchema.infer(pd.DataFrame({**columns, "y": [1.5, 2, 3, 5]}), "y")


def test_names_of_the_greatest_length_can_be_saved(tmp_path):
    frame = pd.DataFrame({"a" * 1000: range(8), "x": ["b" * 998, "c"] * 4, "y": np.arange(8.0)})
    model, _ = fit_table(frame, TableSchema.infer(frame, "y"), max_steps=2, progress=False)
    model.save(tmp_path / "model")
    assert TableModel.load(tmp_path / "model").schema == model.schema


def test_a_schema_too_large_to_be_saved_is_refused_before_the_fit(monkeypatch):
    monkeypatch.setattr(table_model, "fit", lambda *_a, **_k: pytest.fail("it was fitted"))
    cells = [f"{i:04}" + "b" * 980 for i in range(9_000)] * 2
    frame = pd.DataFrame({"x": pd.Categorical(cells), "y": np.arange(18_000.0)})
    with pytest.raises(StorageError, match="8388608 allowed"):
        fit_table(frame, TableSchema.infer(frame, "y"))


# --- documents ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [
        np.linspace(0, 1, N),
        ["no", "yes"] * 15,
        [True, False] * 15,
        [2**64, 2**64 + 1, 0] * 10,
        [0.1, 0.2] * 15,
    ],
)
def test_a_schema_survives_json(cells):
    frame = table(y=cells)
    schema = TableSchema.infer(frame, "y")
    back = TableSchema.from_document(json.loads(json.dumps(schema.to_document())))
    assert back == schema
    assert list(map(type, back.classes)) == list(map(type, schema.classes))
    assert torch.equal(back.inputs(frame), schema.inputs(frame))
    assert torch.equal(back.targets(frame), schema.targets(frame))
    assert back.task_line == schema.task_line


def document(path: str = "", value: object = None) -> dict:
    """A good document with one value changed; ``path`` names it, such as ``columns.0.mean``."""
    found = json.loads(json.dumps(TableSchema.infer(table(y=[0, 1] * 15), "y").to_document()))
    inner = found
    *parents, last = path.split(".")
    for key in parents:
        inner = inner[int(key) if key.isdigit() else key]
    inner[int(last) if last.isdigit() else last] = value
    return found


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        3,
        "text",
        {},
        {"columns": []},
        document("more", 1),
        document("columns", {}),
        document("columns", []),
        document("columns", "text"),
        document("columns", 3),
        document("columns.0", None),
        document("columns.0", []),
        document("columns.0.kind", "datetime"),
        document("columns.0.kind", []),
        document("columns.0.more", 1),
        document("columns.0.name", 3),
        document("columns.0.name", ""),
        document("columns.0.name", "y"),
        document("columns.0.name", "colour"),
        document("columns.0.name", "colour=red"),
        document("columns.0.mean", "1"),
        document("columns.0.mean", True),
        document("columns.0.mean", float("nan")),
        document("columns.0.mean", 10**400),
        document("columns.0.scale", 0.0),
        document("columns.0.scale", -1.0),
        document("columns.0.scale", float("inf")),
        document("columns.0.scale", [1.0]),
        document("columns.1.categories", []),
        document("columns.1.categories", "red"),
        document("columns.1.categories", ["red", "red"]),
        document("columns.1.categories", ["red", 3]),
        document("columns.1.categories", [["red"]]),
        document("columns.1.mean", 1.0),
        document("target", None),
        document("target", {}),
        document("target.task", "ranking"),
        document("target.task", "regression"),
        document("target.task", []),
        document("target.name", None),
        document("target.reason", 3),
        document("target.more", 3),
        document("target.classes", None),
        document("target.classes", [0]),
        document("target.classes", [0, 1, 2]),
        document("target.classes", [0, 0]),
        document("target.classes", [1, 1.0]),
        document("target.classes", [0, "1"]),
        document("target.classes", [0, True]),
        document("target.classes", [0, float("nan")]),
        document("target.classes", [0, [1]]),
        document("target.classes", "ab"),
    ],
)
def test_documents_of_another_kind(bad):
    with pytest.raises(StorageError, match="a table schema must be"):
        TableSchema.from_document(bad)


@pytest.mark.parametrize(
    "build",
    [
        lambda: NumericColumn("x", 0.0, 0.0),
        lambda: CategoricalColumn("x", ["a"]),  # pyright: ignore
        lambda: RegressionTarget("y", float("nan"), 1.0, ""),
        lambda: ClassTarget("y", "binary", ("a", "b", "c"), ""),
        lambda: ClassTarget("y", "regression", ("a", "b"), ""),
        lambda: TableSchema((), RegressionTarget("y", 0.0, 1.0, "")),
        lambda: TableSchema((NumericColumn("y", 0.0, 1.0),), RegressionTarget("y", 0.0, 1.0, "")),
        lambda: TableSchema((NumericColumn("x", 0.0, 1.0),), None),  # pyright: ignore
        lambda: TableSchema(("x",), RegressionTarget("y", 0.0, 1.0, "")),  # pyright: ignore
    ],
)
def test_an_invalid_schema_cannot_be_built(build):
    with pytest.raises(TableError):
        build()


def test_the_caller_is_left_alone():
    frame = table()
    before = frame.copy(deep=True), torch.get_rng_state(), np.geterr(), torch.get_default_dtype()
    schema = TableSchema.infer(frame, "y")
    schema.inputs(frame), schema.targets(frame)
    pd.testing.assert_frame_equal(frame, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert (np.geterr(), torch.get_default_dtype()) == before[2:]
