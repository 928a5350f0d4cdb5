"""Kills at moments drawn from a seed. More of them: `python tests/kills.py --kills 200`."""

import importlib.util
import os
import random
import subprocess
import sys

import kills
import pytest

from deconvlib import backend


def test_a_training_killed_at_any_moment_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "")
    subject, rng = kills.Training(), random.Random(0)
    expected, killed, chains = kills.undisturbed(subject, tmp_path / "undisturbed"), 0, 0
    while killed < 10:
        faults = [subject.draw(rng) for _ in range(5)]
        killed += kills.chain(subject, faults, tmp_path / str(chains), expected)
        chains += 1


@pytest.mark.parametrize("name", ["tensorflow", "jax", "torch"])
def test_it_does_under_every_backend(tmp_path, name):
    if name == backend.NAME or importlib.util.find_spec(name) is None:
        pytest.skip("tested above" if name == backend.NAME else f"{name} is not installed")
    environment = os.environ | {"KERAS_BACKEND": name, "DECONVLIB_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, kills.__file__, "--kills", "4"], check=True, env=environment)


def test_a_run_killed_at_any_moment_ends_the_same(tmp_path):
    """In the writing of a backup, and while the page is written."""
    subject, rng = kills.Run("08_restoration"), random.Random(0)
    faults = [("kernel", "writing", rng.randint(2, 4), rng.random()), ("runner", "before", 3)]
    expected = kills.undisturbed(subject, tmp_path / "undisturbed")
    assert kills.chain(subject, faults, tmp_path / "killed", expected) == 2
