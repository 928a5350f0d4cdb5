"""Kills at moments drawn from a seed. More of them: `python tests/kills.py --kills 200`."""

import random
from concurrent.futures import ThreadPoolExecutor

import kills


def test_a_training_killed_at_any_moment_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "")
    subject, rng = kills.Training(), random.Random(0)
    expected, killed, chains = kills.undisturbed(subject, tmp_path / "undisturbed"), 0, 0
    while killed < 20:
        faults = [subject.draw(rng) for _ in range(5)]
        killed += kills.chain(subject, faults, tmp_path / str(chains), expected)
        chains += 1


def chain(stem, faults, folder):
    subject = kills.Run(stem)
    expected = kills.undisturbed(subject, folder / f"{stem}, undisturbed")
    return kills.chain(subject, faults, folder / stem, expected)


def test_a_run_killed_at_any_moment_ends_the_same(tmp_path):
    """In the writing of a backup, and while the page is written."""
    rng = random.Random(0)
    faults = [("kernel", "writing", rng.randint(2, 4), rng.random()), ("runner", "before", 3)]
    with ThreadPoolExecutor() as pool:
        killed = list(pool.map(chain, kills.RUNS, [faults] * 2, [tmp_path] * 2))
    assert killed == [2, 2]
