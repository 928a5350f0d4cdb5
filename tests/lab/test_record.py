"""What is recorded, and what the index shows."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from deconvlib.lab import pages, record


def test_records_metrics_with_what_they_were_measured_on(tmp_path):
    metrics = {"accuracy": np.float32(0.5), "sizes": np.array([1, 2]), "name": "shapes", "pairs": [(1, 2)], "none": None}
    (tmp_path / "03_training/backup").mkdir(parents=True)
    record.save(tmp_path, "03_training", metrics, {"curves": Figure()})
    assert not (tmp_path / "03_training/backup").exists(), "a recorded run would go on"
    text = (tmp_path / "03_training/metrics.json").read_text()
    written = json.loads(text)
    assert written["metrics"] == {"accuracy": 0.5, "sizes": [1, 2], "name": "shapes", "pairs": [[1, 2]], "none": None}
    assert written["figures"] == ["curves"] and (tmp_path / "03_training/curves.png").exists()
    assert written["hardware"]["cores"] >= 1 and written["hardware"]["device"]
    assert written["versions"]["backend"].split()[0] in ("tensorflow", "jax", "torch") and written["versions"]["keras"]
    assert str(Path.home()) not in text and os.getcwd() not in text


@pytest.mark.parametrize("value", [float("nan"), np.inf, [1.0, np.nan], object()])
def test_refuses_a_metric_that_is_no_number(tmp_path, value):
    with pytest.raises(ValueError, match="metric 'accuracy' is"):
        record.save(tmp_path, "03_training", {"accuracy": value})


def test_the_index_escapes_what_comes_from_outside(tmp_path):
    record.save(tmp_path, "01_data", {"<i>metric</i>": "<b>value</b>"}, {"sheet": Figure()})
    runs = [
        {"name": "01_data", "title": "Look <script>", "status": "done", "seconds": 3.2, "error": None},
        {"name": "02_model", "title": "Build", "status": "failed", "seconds": 1.0, "error": "cell 3: <img>"},
        {"name": "03_training", "title": "Train", "status": "waiting", "seconds": None, "error": None},
    ]
    pages.index(tmp_path, "quick & <small>", runs)
    page = (tmp_path / "index.html").read_text()
    for raw in ("<script", "<i>metric", "<b>value", "<img>", "<small>"):
        assert raw not in page
    assert 'src="01_data/sheet.png"' in page and "cell 3: &lt;img&gt;" in page and "03_training: waiting" in page
    assert "http" not in page  # opens without a network
