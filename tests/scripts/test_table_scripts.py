"""The scripts for a table, end to end, and what they say to mistakes."""

import json

import numpy as np
import pandas as pd
import pytest

from bayesian_layers.cli import main

QUICK = ("--max-steps", "60", "--hidden", "4")


def run(capsys, *arguments):
    """The command line, in this process: the scripts add the environment alone, as the binary task shows."""
    status = main(list(map(str, arguments)))
    return status, *capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_fit_summarize_predict(script, capsys, table, frame, tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)

    def call(name, command, *arguments):
        if task != "binary":
            return run(capsys, command, *arguments)
        done = script(name, *arguments)
        return done.returncode, done.stdout, done.stderr

    status, _, said = call("fit_posterior.py", "fit", table(task), "--target", task, "--out", "model", *QUICK)
    assert status == 0, said
    assert f"target `{task}`: {task}" in said
    assert "ELBO -" in said
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "MODEL_CARD.md", "arrays.safetensors", "manifest.json", "posterior.json", "table.json",
    }  # fmt: skip

    status, summary, said = call("summarize_posterior.py", "summarize", "model", "--rows", "5")
    assert status == 0, said
    assert "0.weight[0, 0]" in summary
    assert "KL weight 1" in summary
    assert "age, pet=None, pet=cat, pet=dog" in summary

    new = frame[["keen", "pet", "age"]].iloc[:7]  # another order of columns
    new.to_csv(tmp_path / "new.csv", index=False)
    status, _, said = call("predict.py", "predict", "model", "new.csv", "--out", "predictions.csv")
    assert status == 0, said
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    assert len(predictions) == 7
    if task == "regression":
        assert np.allclose(
            predictions["std"] ** 2, predictions["epistemic_std"] ** 2 + predictions["aleatoric_std"] ** 2
        )
        assert 100 < predictions["aleatoric_std"][0] < 2000  # the units of the target
    else:
        assert set(predictions["predicted"]) <= set(frame[task])
    status, printed, _ = run(capsys, "predict", "model", "new.csv")
    assert (status, printed) == (0, (tmp_path / "predictions.csv").read_text())


def test_predictions_know_the_target(table, tmp_path, frame):
    """A sanity check of the whole chain: better than always saying the more frequent class."""
    path = table("binary")
    assert (
        main(
            [
                "fit",
                str(path),
                "--target",
                "binary",
                "--out",
                str(tmp_path / "m"),
                "--max-steps",
                "300",
                "--quiet",
            ]
        )
        == 0
    )
    assert main(["predict", str(tmp_path / "m"), str(path), "--out", str(tmp_path / "p.csv")]) == 0
    predicted = pd.read_csv(tmp_path / "p.csv")["predicted"]
    assert (predicted == frame["binary"]).mean() > 0.85


def fit_arguments(path, target, out):
    return ["fit", str(path), "--target", target, "--out", str(out), "--quiet", *QUICK]


@pytest.mark.parametrize(
    ("changes", "target", "extra", "said"),
    [
        ({}, "nothing", [], "'nothing' is not one of"),
        ({"age": np.nan}, "binary", [], "`age`"),
        ({"age": [np.inf, *np.zeros(79)]}, "binary", [], "infinite"),
        ({"binary": "ill"}, "binary", [], "class"),
        ({"regression": 3.5}, "regression", [], "`regression`"),
        ({"age": ["abc", *map(str, range(79))]}, "binary", [], "abc"),
        ({"l" * 1001: 1.5}, "binary", [], "must have at most 1000 characters"),
        ({}, "binary", ["--task", "regression"], "`binary`"),
        ({}, "regression", ["--prior-scale", "0"], "standard deviation"),
        ({}, "regression", ["--max-steps", "0"], "max_steps"),
        ({}, "regression", ["--learning-rate", "1e30", "--max-steps", "20"], "learning_rate"),
    ],
)
@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_mistakes_in_fitting(table, tmp_path, capsys, changes, target, extra, said):
    path = table(target if target in ("binary", "regression") else "binary", **changes)
    status = main([*fit_arguments(path, target, tmp_path / "model"), *extra])
    error = capsys.readouterr().err
    assert status == 2
    assert said in error
    assert "Traceback" not in error
    assert [each.name for each in tmp_path.iterdir()] == ["data.csv"]


@pytest.mark.parametrize("content", [None, "", "a,b,binary\n"])
def test_missing_and_empty_files(tmp_path, capsys, content):
    path = tmp_path / "data.csv"
    if content is not None:
        path.write_text(content)
    assert main(fit_arguments(path, "binary", tmp_path / "model")) == 2
    assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.fixture
def model(table, tmp_path):
    assert main(fit_arguments(table("binary"), "binary", tmp_path / "model")) == 0
    return tmp_path / "model"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda new: new.assign(age="old"), "`age`"),
        (lambda new: new.assign(pet="fish"), "fish"),
        (lambda new: new.drop(columns="age"), "age"),
        (lambda new: new.assign(more=1), "more"),
        (lambda new: new.assign(age=np.nan), "`age`"),
        (lambda new: new.iloc[:0], "row"),
    ],
)
def test_mistakes_in_predicting(model, frame, tmp_path, capsys, change, said):
    change(frame[["age", "pet", "keen"]]).to_csv(tmp_path / "new.csv", index=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    capsys.readouterr()
    assert main(["predict", str(model), str(tmp_path / "new.csv"), "--out", str(tmp_path / "out.csv")]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_folder_that_is_not_a_model(model, tmp_path, table, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
    assert main(fit_arguments(table("binary"), "binary", tmp_path / "mine")) == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "irreplaceable"
    assert main(["summarize", str(tmp_path / "mine")]) == 2
    assert main(["predict", str(tmp_path / "none"), str(table("binary"))]) == 2
    assert main(fit_arguments(table("binary"), "binary", model)) == 0  # one of our own is replaced
    document = json.loads((model / "posterior.json").read_text())
    assert document["kl_weight"] == 1.0
    assert capsys.readouterr().err.count("error:") == 3


def test_wrong_words_of_the_command_line(capsys):
    for words in ([], ["fit"], ["fit", "a.csv", "--target", "y", "--out", "m", "--hidden", "0"], ["guess"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_class_names_that_are_formulas_are_escaped_in_predictions(capsys, table, tmp_path):
    path = table("binary", binary=np.where(np.arange(80) % 2, "=1+1", "+SUM(A1)"))
    assert main(fit_arguments(path, "binary", tmp_path / "model")) == 0
    assert main(["predict", str(tmp_path / "model"), str(path), "--out", str(tmp_path / "out.csv")]) == 0
    assert set(pd.read_csv(tmp_path / "out.csv")["predicted"]) <= {"'=1+1", "'+SUM(A1)"}
    capsys.readouterr()
    assert run(capsys, "predict", tmp_path / "model", path)[1] == (tmp_path / "out.csv").read_text()
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert "leading apostrophe" in " ".join(capsys.readouterr().out.split())
