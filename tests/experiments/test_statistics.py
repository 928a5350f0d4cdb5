"""Intervals against SciPy's; comparisons of paired runs against numbers worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deconvlib.experiments import statistics

COMPARED = pd.DataFrame(
    {"regime": ["few", "few", "tail"], "variant": ["a", "b", "a"], "control": "plain", "difference": [0.02, -0.01, 0.0]}
    | {"low": [0.01, np.nan, -0.02], "high": [0.03, np.nan, 0.02], "p_holm": [0.01, np.nan, 1.0]}
)


def test_the_interval_is_students():
    values = [1.0, 2, 4, 5]
    mean, half = statistics.interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (mean - half, mean + half) == (pytest.approx(low), pytest.approx(high))
    assert statistics.interval([3.0]) == (3.0, 0.0)
    np.testing.assert_allclose(statistics.interval(np.transpose([values, values])), [[mean] * 2, [half] * 2])
    assert statistics.mean(values) == (mean, mean - half, mean + half)
    assert np.isnan(statistics.mean([3.0])[1:]).all()


def test_intervals_cover_what_they_should():
    # 300 experiments of 40 images: of 95 % intervals, 285 ± 3.8 hold the truth; Wilson's are a little conservative here
    rng = np.random.default_rng(0)
    share, mean = [], []
    for _ in range(300):
        _, low, high = statistics.share(rng.random(40) < 0.3)
        share.append(low <= 0.3 <= high)
        _, low, high = statistics.mean(rng.normal(2, 1, 40))
        mean.append(low <= 2 <= high)
    assert 0.92 < np.mean(share) < 0.98 and 0.92 < np.mean(mean) < 0.98


def results(**accuracies):
    """Rows of one regime: {variant: accuracy of each seed}."""
    rows = [
        {"regime": "few", "seed": seed, "variant": name, "accuracy": value}
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_differences_are_of_the_same_seed():
    """Differences of 1, 2 and 3 points: mean 2, standard error 1 / √3, t(0.975, 2) = 4.303, t = 3.464, p = 0.0742."""
    row = statistics.compare(results(a=[0.50, 0.70, 0.30], b=[0.51, 0.72, 0.33]), "accuracy", {"b": "a"}).iloc[0]
    assert row["difference"] == pytest.approx(0.02) and row["pairs"] == 3
    assert [row["low"], row["high"]] == pytest.approx([0.02 - 0.02484, 0.02 + 0.02484], abs=1e-5)
    assert row["p"] == pytest.approx(0.0742, abs=1e-4) and row["p_holm"] == row["p"]
    assert row["mean"] == pytest.approx(0.52) and row["control_mean"] == pytest.approx(0.5)


def test_a_variant_alone_gives_an_empty_table_of_numbers():
    alone = results(b=[0.5, 0.6])
    for table in (statistics.compare(alone, "accuracy", {"b": "a"}), statistics.pooled(alone, "accuracy", {"b": "a"})):
        assert table.empty and table.nlargest(3, "difference").empty


def test_a_run_without_its_pair_does_not_count():
    table = results(a=[0.5, 0.6, 0.7], b=[0.6, 0.8])
    row = statistics.compare(table, "accuracy", {"b": "a", "c": "a"})
    assert len(row) == 1 and row["pairs"].iloc[0] == 2 and row["difference"].iloc[0] == pytest.approx(0.15)


def test_one_pair_has_no_interval():
    row = statistics.compare(results(a=[0.5], b=[0.6]), "accuracy", {"b": "a"}).iloc[0]
    assert np.isnan([row["low"], row["high"], row["p"], row["p_holm"]]).all()
    assert statistics.verdict(row) == "not known: 1 pair of runs"


def test_nothing_to_compare_is_an_empty_table():
    assert statistics.compare(results(a=[0.5]), "accuracy", {"b": "a"}).empty


def test_the_correction_is_holms():
    np.testing.assert_allclose(statistics._holm(np.array([0.01, 0.04, np.nan, 0.03])), [0.03, 0.06, np.nan, 0.06])
    assert statistics._holm(np.array([0.6, 0.7])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("apart", "said"),
    [
        ([0.030, 0.031, 0.029], "higher: +2.8 to +3.2 points"),
        ([-0.030, -0.031, -0.029], "lower: -3.2 to -2.8 points"),
        ([0.01, -0.01, 0.0], "no difference shown: -2.5 to +2.5 points"),
    ],
)
def test_the_verdict_says_what_the_interval_says(apart, said):
    table = statistics.compare(results(a=[0.5] * 3, b=0.5 + np.array(apart)), "accuracy", {"b": "a"})
    assert statistics.verdict(table.iloc[0]) == said


def test_what_does_not_stand_after_the_correction_is_not_settled():
    row = {"low": 0.003, "high": 0.127, "difference": 0.065, "p_holm": 0.2}
    assert statistics.verdict(row) == "not settled, as one of several: +0.3 to +12.7 points"


def sweeps_table(tmp_path, **columns):
    table = {"run": ["x", "y"], "status": ["done", "failed"], "seed": [0, 1], "regime": ["few", "few"]}
    pd.DataFrame(table | columns).to_csv(tmp_path / "metrics.csv", index=False)
    return tmp_path / "metrics.csv"


def test_a_sweeps_table_becomes_a_row_for_each_variant(tmp_path):
    numbers = {"a: accuracy": [0.5, None], "b: accuracy": [0.6, None], "b: curve": [json.dumps([0.4, 0.6]), None]}
    table = statistics.read(sweeps_table(tmp_path, **numbers))
    assert table["variant"].tolist() == ["a", "b"] and table["accuracy"].tolist() == [0.5, 0.6]
    assert table["curve"].iloc[1] == [0.4, 0.6] and table["seed"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"regime": None}, "has no column 'regime'; its columns: run"),
    ],
)
def test_refuses_a_table_without_results(tmp_path, columns, said):
    path = sweeps_table(tmp_path)
    table = pd.read_csv(path).assign(**columns)
    table.dropna(axis=1, how="all").to_csv(path, index=False)
    with pytest.raises(ValueError, match=said):
        statistics.read(path)


def test_a_sweep_that_has_only_begun_has_no_rows(tmp_path):
    """As its own runs find it: without the columns that the first one done will bring."""
    (tmp_path / "metrics.csv").write_text("run,seed,status\na,0,failed\nb,1,waiting\n")
    assert statistics.read(tmp_path / "metrics.csv").empty


def test_a_forest_has_points_in_their_row_and_fills_what_stands_after_the_correction(drawn):
    fig = drawn(statistics.forest(COMPARED))
    few, tail = fig.axes[:2]
    assert [ax.get_title() for ax in (few, tail)] == ["few", "tail"]
    first, second = (bar.lines[0] for bar in few.containers)
    np.testing.assert_allclose([*first.get_xydata()[0], *second.get_xydata()[0]], [2, 0, -1, 1])
    assert first.get_fillstyle() == "full" and second.get_fillstyle() == "none"
    np.testing.assert_allclose(few.containers[0].lines[2][0].get_segments()[0][:, 0], [1, 3])
    assert [label.get_text() for label in few.get_yticklabels()] == ["a  (over plain)", "b  (over plain)"]


def regimes(**differences):
    """Rows of two variants: {regime: how much higher b is than a, of each seed}."""
    rows = []
    for regime, values in differences.items():
        for seed, value in enumerate(values):
            start = 0.4 + 0.01 * seed
            rows += [(regime, seed, "a", start), (regime, seed, "b", start + value)]
    return pd.DataFrame(rows, columns=["regime", "seed", "variant", "accuracy"])


def test_pooled_effects_of_a_balanced_study_are_those_of_the_regimes_means():
    """Where all regimes have as many runs, the mixed model's interval is Student's over the regimes' means."""
    rng = np.random.default_rng(0)
    apart = 0.05 + rng.normal(0, 0.03, (6, 1)) + rng.normal(0, 0.01, (6, 5))
    table = regimes(**{f"r{number}": row for number, row in enumerate(apart)})
    row = statistics.pooled(table, "accuracy", {"b": "a"}).iloc[0]
    middle, low, high = statistics.mean(apart.mean(axis=1))
    assert [row["difference"], row["low"], row["high"]] == pytest.approx([middle, low, high], rel=1e-3)
    assert row["p"] == pytest.approx(stats.ttest_1samp(apart.mean(axis=1), 0).pvalue, rel=1e-2)
    within = apart.var(axis=1, ddof=1).mean()
    assert row["between"] == pytest.approx((apart.mean(axis=1).var(ddof=1) - within / 5) ** 0.5, rel=1e-2)
    assert (row["regimes"], row["pairs"]) == (6, 30) and row["p_holm"] == row["p"]


def test_regimes_that_differ_by_nothing_are_pooled_and_a_single_one_is_not():
    table = regimes(few=[0.01, 0.03, -0.01], tail=[0.01, 0.03, -0.01])
    row = statistics.pooled(table, "accuracy", {"b": "a", "c": "a"}).iloc[0]
    assert row["difference"] == pytest.approx(0.01) and row["between"] == pytest.approx(0, abs=1e-3)
    assert statistics.pooled(regimes(few=[0.01, 0.02]), "accuracy", {"b": "a"}).empty


def test_the_pooled_figure_has_diamonds_over_the_regimes_circles(drawn):
    pooled, given = COMPARED.iloc[[0]], (COMPARED, {"few": "few labels", "tail": "long tail"}, "a")
    left, right = drawn(statistics.pooled_figure(pooled.assign(p_holm=0.01), *given)).axes
    assert [line.get_xdata()[0] for line in left.lines[:2]] == [2, 0]
    assert left.containers[0].lines[0].get_xydata().tolist() == [[2, 0]]
    assert left.containers[0].lines[0].get_markerfacecolor() == "0.15"
    assert [label.get_text() for label in right.get_yticklabels()] == ["few", "tail"]
    left, _ = statistics.pooled_figure(pooled.assign(p_holm=0.2), *given).axes
    assert left.containers[0].lines[0].get_markerfacecolor() == "white"
