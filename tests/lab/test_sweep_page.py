"""What a sweep's page shows: which columns, which figure, and where its means and intervals lie."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deconvlib.lab import sweep, sweep_page

RUNS = [sweep.Run(f"01_one-{seed}{name}", Path("01_one.ipynb"), {"name": name, "seed": seed}, "key")
        for name in ("$a", "b") for seed in (0, 1)]  # fmt: skip
SCORES = {"01_one-0$a": 1.0, "01_one-1$a": 3.0, "01_one-0b": 5.0}


@pytest.fixture
def out(tmp_path):
    """Results of three of the four runs, the last of which failed."""
    for name, score in SCORES.items():
        (tmp_path / name / "01_one").mkdir(parents=True)
        found = {"score": score, "seed": 7, "same": 1.0, "text": "<b>", "list": [1, 2]}
        (tmp_path / name / "01_one/metrics.json").write_text(json.dumps({"metrics": found}))
    (tmp_path / "01_one-0b/01_one.failed.ipynb").touch()
    states = {run.name: {"status": "done", "error": None} if run.name in SCORES else {} for run in RUNS}
    states["01_one-0b"] = {"status": "failed", "error": "cell 3: <i>", "seconds": 2.0, "hardware": {"device": "x", "cores": 2}}
    sweep_page.write(tmp_path, RUNS, ["name", "seed"], states)
    return tmp_path


def test_a_run_is_a_row_with_what_varies_what_was_measured_and_what_went_wrong(out):
    table = pd.read_csv(out / "metrics.csv")
    measured = ["score", "seed (measured)", "same", "text", "list"]
    assert list(table) == ["run", "notebook", "name", "seed", *measured, "status", "seconds", "hardware", "error"]
    assert list(table["run"]) == [run.name for run in RUNS]
    assert list(table["status"]) == ["done", "done", "failed", "waiting"]
    assert list(table["score"][:3]) == [1, 3, 5] and np.isnan(table["score"][3]) and table["list"][0] == "[1, 2]"
    assert table["hardware"][2] == "x device, 2 cores" and table["error"][2] == "cell 3: <i>"


def test_the_page_escapes_what_comes_from_outside_and_links_what_there_is(out):
    page = (out / "index.html").read_text()
    assert "4 runs: 2 done, 1 failed, 1 waiting" in page and "data:image/png" in page and "http" not in page
    assert "<i>" not in page and "&lt;i&gt;" in page and "<b>" not in page
    assert 'href="01_one-0b/01_one.failed.ipynb"' in page and page.count("href=") == 1


def test_a_group_of_runs_has_a_dot_for_each_and_their_mean_with_its_interval():
    table = pd.DataFrame({"name": ["$a", "$a", "b"], "score": [1.0, 3.0, 5.0], "other": [0.0, 1.0, None]}, dtype=object)
    score, other = sweep_page.figure(table, "name", ["score", "other"]).axes
    assert [label.get_text() for label in score.get_xticklabels()] == ["$a", "b"] and score.get_title() == "score"
    assert [list(line.get_ydata()) for line in score.lines if line.get_marker() == "."] == [[1, 3], [5]]
    ((middle, _caps, (bar,)),) = score.containers  # one run has none
    # t of one degree of freedom at 97.5 %: 12.7062; standard error of 1 and 3: 1
    np.testing.assert_allclose([middle.get_ydata()[0], *bar.get_segments()[0][:, 1]], [2, 2 - 12.7062, 2 + 12.7062], rtol=1e-5)
    assert len(other.containers) == 1 and other.get_title() == "other"


def test_no_text_of_the_table_is_a_formula(tmp_path):
    runs = [sweep.Run("01_one-0", Path("01_one.ipynb"), {"name": "=1+1", "rate": -0.5, "kind": "@x"}, "key")]
    (tmp_path / "01_one-0/01_one").mkdir(parents=True)
    (tmp_path / "01_one-0/01_one/metrics.json").write_text(json.dumps({"metrics": {"=HYPERLINK()": -1.0, "said": "+1"}}))
    sweep_page.write(
        tmp_path, runs, ["name", "rate", "kind"], {"01_one-0": {"status": "failed", "error": "-e", "seconds": 1.0}}
    )
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table.iloc[0][["name", "kind", "said", "error"]].tolist() == ["'=1+1", "'@x", "'+1", "'-e"]
    assert table["rate"][0] == -0.5 and table["'=HYPERLINK()"][0] == -1.0
    assert "=1+1</td>" in (tmp_path / "index.html").read_text() and "'=1+1" not in (tmp_path / "index.html").read_text()
