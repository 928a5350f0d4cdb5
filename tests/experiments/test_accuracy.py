"""The variants of the study: what they cost beside their controls, and their gains in a table."""

import pandas as pd
import pytest

from deconvlib import networks
from deconvlib.experiments import accuracy, statistics


def test_every_variant_can_be_built_and_every_question_has_its_control():
    known = accuracy.variants([4, 4, 6])
    models = {name: networks.classifier((8, 8, 1), 3, **own, seed=0) for name, own in known.items()}
    controls = {"wide": "plain", "wide branch": "plain"} | accuracy.QUESTIONS
    assert set(controls) == set(known) - {"plain"} and set(controls.values()) <= set(known)
    table = accuracy.costs(models, controls)
    assert table.index.tolist() == list(known)
    assert table.loc["plain", "MFLOPs, over control's"] == table.loc["balanced weights", "parameters, over control's"] == 1
    assert table.loc["wide", "MFLOPs, over control's"] == table.loc["wide", "MFLOPs"] / table.loc["plain", "MFLOPs"] > 1


def test_gains_are_a_column_a_regime_and_times_are_over_the_controls():
    rows = [
        (regime, seed, name, share + 0.01 * seed, 10 * times)
        for regime, times in (("few", 1), ("tail", 3)) for seed in (0, 1)
        for name, share, times in (("plain", 0.4, 1), ("wide", 0.45, times))
    ]  # fmt: skip
    results = pd.DataFrame(rows, columns=["regime", "seed", "variant", "accuracy", "seconds"])
    table = accuracy.points(results, statistics.compare(results, "accuracy", {"wide": "plain"}))
    assert table.index.tolist() == [("wide", "plain")]
    assert table.iloc[0].tolist() == pytest.approx([5, 5, 1, 3])
    assert table.columns.tolist() == ["few", "tail", "time, min", "time, max"]


@pytest.mark.parametrize(
    ("given", "name", "kind"),
    [
        ((20, 1.0, 4, "cosine"), "x, 20 labels a class", "few labels"),
        ((0, 50.0, 4, "cosine"), "x, imbalance 50", "long tail"),
        ((0, 1.0, 3, "constant"), "x, all labels, 3 epochs, constant rate", "all labels"),
    ],
)
def test_a_regime_is_named_and_its_kind_read_from_the_name(given, name, kind):
    assert accuracy.regime("x", *given) == name
    assert accuracy.kinds([name]) == {name: kind}
