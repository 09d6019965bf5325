"""The examples, as small as they can be: that they run, and that their pages say what they should."""

import json

import pytest

import make_examples

EXPECTED = {
    "digits": ("scores", "Rotated digits"),
    "gap": ("gap_over_mean_field", "Foong et al. 2020"),
    "sequence": ("nats_a_step", "One draw of the weights for the whole sequence"),
    "moons": ("unseen_log_density", "Dinh et al. 2017"),
    "bimodal": ("unseen_nats_a_row", "Salimans et al. 2017"),
}


@pytest.fixture(scope="module")
def examples(script_in, tmp_path_factory):
    """All examples in one process."""
    folder = tmp_path_factory.mktemp("examples")
    return script_in(folder, "make_examples.py", "--quick", "--out", folder), folder


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_writes_its_report(examples, name):
    done, folder = examples
    assert done.returncode == 0, done.stderr
    key, words = EXPECTED[name]
    metrics = json.loads((folder / name / "metrics.json").read_text())
    assert metrics[key]
    assert metrics["provenance"]["command"] == f"scripts/make_examples.py {name} --quick"
    page = (folder / name / "index.html").read_text()
    assert words in page
    assert page.count("data:image/png") == len(list((folder / name).glob("*.png"))) > 0


def test_an_unknown_example_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        make_examples.main(["galaxies"])
    assert caught.value.code == 2
    assert (
        "there is no example galaxies; there are digits, gap, sequence, moons, bimodal"
        in capsys.readouterr().err
    )


def test_a_foreign_folder_is_left_alone(capsys, tmp_path):
    (tmp_path / "out" / "moons").mkdir(parents=True)
    (tmp_path / "out" / "moons" / "mine.txt").write_text("mine")
    assert make_examples.main(["moons", "--quick", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert (tmp_path / "out" / "moons" / "mine.txt").read_text() == "mine"
