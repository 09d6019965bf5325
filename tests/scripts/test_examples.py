"""The examples, as small as they can be: that they run, and that their pages say what they should."""

import json

import pytest

EXPECTED = {
    "digits": ("scores", "Rotated digits"),
    "gap": ("gap_over_mean_field", "Foong et al. 2020"),
    "sequence": ("nats_a_step", "One draw of the weights for the whole sequence"),
    "moons": ("unseen_log_density", "Dinh et al. 2017"),
    "bimodal": ("unseen_nats_a_row", "Salimans et al. 2017"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_writes_its_report(script, tmp_path, name):
    done = script("make_examples.py", name, "--quick", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    key, words = EXPECTED[name]
    folder = tmp_path / "out" / name
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics[key]
    assert metrics["provenance"]["command"] == f"scripts/make_examples.py {name} --quick"
    page = (folder / "index.html").read_text()
    assert words in page
    assert page.count("data:image/png") == len(list(folder.glob("*.png"))) > 0


def test_an_unknown_example_is_refused(script):
    done = script("make_examples.py", "galaxies")
    assert done.returncode == 2
    assert "there is no example galaxies; there are digits, gap, sequence, moons, bimodal" in done.stderr


def test_a_foreign_folder_is_left_alone(script, tmp_path):
    (tmp_path / "out" / "moons").mkdir(parents=True)
    (tmp_path / "out" / "moons" / "mine.txt").write_text("mine")
    done = script("make_examples.py", "moons", "--quick", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert (tmp_path / "out" / "moons" / "mine.txt").read_text() == "mine"
