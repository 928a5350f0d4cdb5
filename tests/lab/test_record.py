"""What is recorded, and on what it says it was measured."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from small_notebooks import notebook

from deconvlib.lab import record, run


def test_records_metrics_with_what_they_were_measured_on(tmp_path):
    metrics = {"accuracy": np.float32(0.5), "sizes": np.array([1, 2]), "name": "shapes", "pairs": [(1, 2)], "none": None}
    (tmp_path / "03_training/backup").mkdir(parents=True)
    record.save(tmp_path, "03_training", metrics, {"curves": Figure(), "base/relu1": Figure()})
    assert not (tmp_path / "03_training/backup").exists(), "a recorded run would go on"
    text = (tmp_path / "03_training/metrics.json").read_text()
    written = json.loads(text)
    assert written["metrics"] == {"accuracy": 0.5, "sizes": [1, 2], "name": "shapes", "pairs": [[1, 2]], "none": None}
    assert written["figures"] == ["curves", "base_relu1"] and (tmp_path / "03_training/base_relu1.png").exists()
    assert written["hardware"]["cores"] >= 1 and written["hardware"]["device"]
    assert written["versions"]["backend"].split()[0] in ("tensorflow", "jax", "torch") and written["versions"]["keras"]
    assert str(Path.home()) not in text and os.getcwd() not in text


@pytest.mark.parametrize("value", [float("nan"), np.inf, [1.0, np.nan], object()])
def test_refuses_a_metric_that_is_no_number(tmp_path, value):
    with pytest.raises(ValueError, match="metric 'accuracy' is"):
        record.save(tmp_path, "03_training", {"accuracy": value})


def test_what_a_training_was_expected_to_learn_is_a_warning_and_an_error_where_it_must_hold(capsys):
    claims = {"the loss fell": np.bool_(False), "it beats chance": True}
    assert record.expect(claims, strict=False) == {"not as expected": ["the loss fell"]}
    assert capsys.readouterr().out == "WARNING: expected, and not so here: the loss fell\n"
    with pytest.raises(AssertionError, match="not as expected: the loss fell"):
        record.expect(claims, strict=True)
    assert record.expect({"it beats chance": True}, strict=True) == {} and capsys.readouterr().out == ""


def test_a_run_keeps_its_trainings_until_the_page_is_written(folder, monkeypatch, tmp_path):
    """A kill while the page is written would otherwise cost the training."""
    write, seen = record.write, []
    code = (
        "from pathlib import Path\nfrom deconvlib.lab import record\n(Path(run_dir) / '03_three/backup').mkdir(parents=True)\n"
    )
    notebook(folder, "03_three", code + "record.save(run_dir, '03_three', {})")
    backup = tmp_path / "out/03_three/backup"
    monkeypatch.setattr(record, "write", lambda path, text: (seen.append((path.name, backup.exists())), write(path, text)))
    assert run.run(["03"], out=tmp_path / "out", folder=folder) == 0
    assert ("03_three.html", True) in seen and ("run.json", True) in seen and not backup.exists()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project, and a library that lies in it."""
    (tmp_path / "project/notebooks").mkdir(parents=True)
    (tmp_path / "project/notebooks/01_data.ipynb").touch()
    monkeypatch.setattr(record, "__file__", str(tmp_path / "project/deconvlib/lab/record.py"))
    monkeypatch.setenv("DECONVLIB_DATA", "data")
    return tmp_path / "project"


@pytest.mark.parametrize("place", [".", "notebooks", "reports/deep", ".."])
def test_paths_are_taken_from_the_projects_folder_wherever_a_kernel_starts(project, monkeypatch, place):
    (project / place).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(project / place)
    for _ in range(2):  # a cell may run twice
        record.go_home()
        assert Path.cwd() == project
        assert os.environ["DECONVLIB_DATA"] == str((project / place / "data").resolve())


def test_notebooks_that_lie_in_another_folder_have_their_results_there(project, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/02_model.ipynb").touch()
    monkeypatch.chdir(tmp_path / "work")
    record.go_home()
    assert Path.cwd() == tmp_path / "work" == record.home(tmp_path / "work")


def test_without_a_project_the_working_folder_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "__file__", str(tmp_path / "site-packages/deconvlib/lab/record.py"))
    monkeypatch.chdir(tmp_path)
    record.go_home()
    assert Path.cwd() == tmp_path


def test_the_commit_has_a_plus_where_code_differs_and_not_where_a_run_has_written_results(tmp_path, monkeypatch):
    code, result = tmp_path / "library/record.py", tmp_path / "reports/metrics.json"
    for path in (code, result):
        path.parent.mkdir()
        path.write_text("first")
    monkeypatch.setattr(record, "__file__", str(code))
    assert record._commit() is None
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    result.write_text("second")
    commit = record._commit()
    assert commit and set(commit) <= set("0123456789abcdef")
    code.write_text("second")
    assert record._commit() == commit + "+"
