"""Reports made end to end from small runs, and those under `reports/`, opened in a browser from disk."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from article import article_fits, build_article_report, run_article
from bayesian_layers.baselines import KerasFit
from bayesian_layers.reporting import write_report
from bayesian_layers.reporting.comparison import comparison_fits, write_comparison

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
    "--enable-logging=stderr",
    "--dump-dom",
]
# Goes before everything else in the page; what it found is written into the page when all is loaded.
PROBE = """<script>
const errors = [];
const log = console.error;
console.error = (...all) => { errors.push(all.join(" ")); log(...all); };
addEventListener("error", event => errors.push(event.message || event.target.src || "?"), true);
addEventListener("securitypolicyviolation", event => errors.push(event.blockedURI));
addEventListener("load", () => {
  const found = {
    errors,
    title: document.title,
    images: [...document.images].map(each => [each.alt, each.complete, each.naturalWidth, each.naturalHeight]),
    fetched: performance.getEntriesByType("resource").map(each => each.name).filter(name => !name.startsWith("data:")),
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script>"""


@pytest.fixture(scope="session")
def browser():
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail(f"these tests need a browser: none of {', '.join(NAMES)} is on PATH")
    return found


def look(browser, page: str, folder: Path, width: int = 1100):
    """Open a page as a file and give what its probe found, and what the browser logged from its console."""
    path = folder / "page.html"
    path.write_text(page.replace("<head>", f"<head>{PROBE}", 1), encoding="utf-8")
    profile = folder / "profile"
    command = [browser, *OPTIONS, f"--window-size={width},900", f"--user-data-dir={profile}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found[1])), console


def without_keras(x, y, predict, **options):
    """What a fit of Keras to a regression returns; ``tests/unit/test_keras_baseline.py`` has real ones."""
    history = {"loss": np.array([2.0, 1.0]), "val_loss": np.array([2.5, 1.5])}
    predictions = {name: np.zeros(len(rows), np.float32) for name, rows in predict.items()}
    return KerasFit(history, predictions, 2, 0.1, 1.0, {"keras": "3"})


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The whole way, from data to folders, in small."""
    folder = tmp_path_factory.mktemp("reports")
    random = np.random.default_rng(0)
    table = pd.DataFrame({"size": random.normal(size=60), "colour": random.choice(["red", "blue"], 60)})
    table["kind"] = np.where(table["size"] > 0.5, "big", np.where(table["size"] < -0.5, "small", "middle"))
    table["price"] = 10 * table["size"] + random.normal(size=60)
    small = {
        "splits": 1,
        "hidden": [4],
        "keras_epochs": 2,
        "max_steps": 20,
        "progress": False,
        "command": "test",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(article_fits, "TEST_ROWS", 500)
        article = run_article(
            [5], keras_epochs=2, max_steps=20, refine_iterations=2, progress=False, command="test"
        )
    write_report(folder / "article", *build_article_report(article))
    write_comparison(table.drop(columns="price"), "kind", folder / "kinds", **small)
    with pytest.MonkeyPatch.context() as patch:  # two starts of Keras show what three would
        patch.setattr(comparison_fits, "fit_keras", without_keras)
        write_comparison(table.drop(columns="kind"), "price", folder / "prices", **small)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["article", "kinds", "prices"])
def test_a_report_opens_from_disk(browser, reports, tmp_path, name):
    page = (reports / name / "index.html").read_text(encoding="utf-8")
    found, console = look(browser, page, tmp_path)
    assert (found["errors"], console, found["fetched"]) == ([], [], [])
    assert found["title"]
    assert len(found["images"]) == len(list((reports / name).glob("*.png"))) > 3
    assert all(alt and complete and min(size) > 0 for alt, complete, *size in found["images"])
    metrics = json.loads((reports / name / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["provenance"]["command"] == "test"
    assert str(ROOT) not in page + json.dumps(metrics)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["article", "prices"])
def test_a_report_is_no_wider_than_a_phone(browser, reports, tmp_path, name):
    # 500 is the narrowest window that a headless browser opens.
    found, _ = look(browser, (reports / name / "index.html").read_text(encoding="utf-8"), tmp_path, width=500)
    assert found["wider"] <= 0


def test_the_probe_sees_what_is_wrong(browser, tmp_path):
    # Nothing listens on port 9 of this machine, so nothing leaves it.
    body = "<img src='http://127.0.0.1:9/missing.png' alt=''><script>fail()</script>"
    page = f"<html><head><title>t</title></head><body>{body}</body>"
    found, console = look(browser, page, tmp_path)
    assert len(found["errors"]) == 2
    assert console
    assert found["fetched"]
    assert found["images"][0][2] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted((ROOT / "reports").glob("*/index.html")), ids=lambda path: path.parent.name
)
def test_the_reports_of_the_repository_open(browser, tmp_path, path):
    found, console = look(browser, path.read_text(encoding="utf-8"), tmp_path)
    assert (found["errors"], console, found["fetched"]) == ([], [], [])
    assert found["images"]
    assert all(alt and complete and min(size) > 0 for alt, complete, *size in found["images"])
