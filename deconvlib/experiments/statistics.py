"""Intervals of means and shares; and results of networks that differ in one thing -> paired differences.

A result is a row: `regime` (which images, in words), `seed`, `variant`, and numbers. Two variants are compared by the
differences of the runs that share regime and seed, so the effect of a seed on both cancels out.
"""

import json
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from scipy import stats

from deconvlib import figures

COLUMNS = ["regime", "variant", "control", "mean", "control_mean", "pairs", "difference", "low", "high", "p"]


def interval(values) -> tuple[float, float]:
    """(mean, half of its 95 % t interval) of independent values; the half of a single value is 0.

    values: (n, ...); the mean goes over the first axis. Returns two numbers for (n,), else two arrays.
    """
    values = np.asarray(values, float)
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else 0 * values[0]
    return values.mean(axis=0), half


def mean(values) -> tuple[float, float, float]:
    """(mean, low, high) of independent values by `interval`; low and high are NaN for a single value."""
    middle, half = interval(values) if len(values) > 1 else (values[0], np.nan)
    return middle, middle - half, middle + half


def share(hits) -> tuple[float, float, float]:
    """(share of hits, low, high) of booleans: the 95 % interval of Wilson 1927."""
    low, high = stats.binomtest(int(np.sum(hits)), len(hits)).proportion_ci(0.95, method="wilson")
    return float(np.mean(hits)), low, high


def read(path: Path) -> pd.DataFrame:
    """The results in a sweep's metrics.csv: a row for each run and variant.

    The runs recorded `regime`, and numbers under names like "variant: number". Columns: regime, seed, variant, and one for
    each number; a list becomes a list again. Failed and waiting runs are left out; a sweep without a finished run has no
    rows.
    Raises FileNotFoundError; ValueError where one of these columns is missing.
    """
    table = pd.read_csv(path)
    if "status" in table and not (table["status"] == "done").any():
        return pd.DataFrame()
    if missing := [name for name in ("regime", "seed", "status") if name not in table]:
        raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}; its columns: {', '.join(table)}")
    table = table[table["status"] == "done"]
    rows = []
    for _, run in table.iterrows():
        found = {}
        for column, value in run.items():
            variant, colon, number = column.partition(": ")
            if colon and not pd.isna(value):
                found.setdefault(variant, {})[number] = json.loads(value) if isinstance(value, str) else value
        shared = {"regime": run["regime"], "seed": run["seed"]}
        rows += [shared | {"variant": variant} | numbers for variant, numbers in found.items()]
    return pd.DataFrame(rows)


def compare(results: pd.DataFrame, measure: str, controls: dict[str, str]) -> pd.DataFrame:
    """How much higher `measure` is for each variant than for its control: a row for each regime and variant.

    controls: {variant: its control}. Columns: regime, variant, control, `mean` (of the variant), `control_mean`, `pairs`
    (seeds that both have), `difference` (mean of the differences), `low` and `high` (its 95 % t interval), `p` (two-sided
    paired t-test) and `p_holm`, corrected for all rows of the table (Holm 1979). A variant without a pair is left out. One
    pair, or equal differences, give no interval and no p.
    """
    rows = []
    for regime, group in results.groupby("regime", sort=False):
        values = group.pivot(index="seed", columns="variant", values=measure)
        for variant, control in controls.items():
            both = values.reindex(columns=[variant, control]).dropna().astype(float)
            if both.empty:
                continue
            apart = (both[variant] - both[control]).to_numpy()
            low = high = p = np.nan
            if len(apart) > 1 and np.ptp(apart) > 0:
                _, low, high = mean(apart)
                p = stats.ttest_1samp(apart, 0).pvalue
            means = both[variant].mean(), both[control].mean()
            rows.append((regime, variant, control, *means, len(both), apart.mean(), low, high, p))
    return _corrected(rows, COLUMNS)


def pooled(results: pd.DataFrame, measure: str, controls: dict[str, str]) -> pd.DataFrame:
    """How much higher `measure` is for each variant than for its control, in the mean of all regimes: a row a variant.

    A mixed model of the paired differences, fitted by restricted maximum likelihood: one effect, and for each regime a random
    deviation from it. The interval, and the test, are Student's with one degree of freedom less than there are regimes, since
    few regimes tell little of how much they differ. Columns: variant, control, `regimes`, `pairs`, `difference`, `low`, `high`
    (95 %), `between` (standard deviation of the regimes' effects), `p` and `p_holm`, corrected for all rows (Holm 1979).
    A variant that has pairs in fewer than two regimes is left out.
    """
    values, rows = results.pivot(index=["regime", "seed"], columns="variant", values=measure), []
    for variant, control in controls.items():
        both = values.reindex(columns=[variant, control]).dropna().astype(float)
        apart = both[variant] - both[control]
        regimes = apart.index.get_level_values("regime")
        if regimes.nunique() < 2 or np.ptp(apart) == 0:
            continue
        effect, error, between = _mixed(apart.to_numpy(), regimes)
        freedom = regimes.nunique() - 1
        half, p = stats.t.ppf(0.975, freedom) * error, 2 * stats.t.sf(abs(effect) / error, freedom)
        rows.append((variant, control, freedom + 1, len(apart), effect, effect - half, effect + half, between, p))
    return _corrected(rows, ["variant", "control", "regimes", "pairs", "difference", "low", "high", "between", "p"])


def _corrected(rows, columns):
    """The rows as a table, with `p_holm`; of numbers also where there are no rows."""
    table = pd.DataFrame(rows, columns=columns).astype({"difference": float, "low": float, "high": float, "p": float})
    return table.assign(p_holm=_holm(table["p"].to_numpy()))


def _mixed(values, groups):
    """(mean, its standard error, standard deviation between groups) of a model with a random intercept for each group."""
    from statsmodels.regression.mixed_linear_model import MixedLM  # it takes a second to import

    scale = values.std()  # the optimizer's tolerances are for numbers about 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where groups differ by nothing, which is an answer
        fit = MixedLM(values / scale, np.ones((len(values), 1)), groups=np.asarray(groups)).fit(reml=True)
    return scale * fit.fe_params[0], scale * fit.bse_fe[0], scale * float(fit.cov_re[0, 0]) ** 0.5


def _holm(p):
    """p-values, multiplied so that a false one among all is as rare as in a single test (Holm 1979)."""
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def verdict(row) -> str:
    """What a row of `compare` shows, in words; the measure is a share, and differences are in percentage points."""
    if np.isnan(row["low"]):
        return f"not known: {row['pairs']} pair{'s' if row['pairs'] > 1 else ''} of runs"
    between = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f} points"
    if row["p_holm"] >= 0.05:
        alone = row["low"] > 0 or row["high"] < 0  # the interval is of this comparison alone
        return f"{'not settled, as one of several' if alone else 'no difference shown'}: {between}"
    return f"{'higher' if row['difference'] > 0 else 'lower'}: {between}"


def pooled_figure(pooled, compared, kinds, single):
    """The effect of each variant in the mean of all regimes, with those of single regimes; beside it one variant in each.

    pooled, compared: from the functions of these names, of shares. kinds: {regime: kind}, which colours it. single: a variant.
    Diamonds: pooled, with the 95 % interval; filled where it stands after Holm's correction. Circles: the means of a regime,
    with their 95 % interval at the right, where nothing is tested.
    """
    fig = figures.figure(0.3 * max(len(pooled), (compared["variant"] == single).sum()) + 1.1)
    left, right = fig.subplots(1, 2, width_ratios=(3, 2), sharex=True)
    colour = {kind: f"C{index}" for index, kind in enumerate(dict.fromkeys(kinds.values()))}
    for place, row in enumerate(pooled.to_dict("records")):
        regimes = compared[(compared["variant"] == row["variant"]) & (compared["control"] == row["control"])]
        for one in regimes.to_dict("records"):
            left.plot(100 * one["difference"], place, "o", color=colour[kinds[one["regime"]]], fillstyle="none", markersize=4)
        # an open one is white: the circles behind it would fill it
        _bar(left, row, place, fmt="D", color="0.15", mfc="0.15" if row["p_holm"] < 0.05 else "white", zorder=3)
    left.set_yticks(range(len(pooled)), [f"{row.variant}  (over {row.control})" for row in pooled.itertuples()], fontsize=7)
    left.set_title("pooled over the regimes", fontsize=8)
    chosen = compared[compared["variant"] == single]
    for place, row in enumerate(chosen.to_dict("records")):
        _bar(right, row, place, fmt="o", color=colour[kinds[row["regime"]]], fillstyle="none")
    right.set_yticks(range(len(chosen)), [textwrap.fill(name, 30) for name in chosen["regime"]], fontsize=7)
    right.set_title(f"{single}, each regime", fontsize=8)
    for ax in (left, right):
        ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
        ax.invert_yaxis()
    fig.supxlabel("difference, percentage points", fontsize=8)
    marks = [Line2D([], [], marker="o", linestyle="", fillstyle="none", color=c, label=kind) for kind, c in colour.items()]
    fig.legend(handles=marks, loc="outside upper center", ncols=len(marks))
    return fig


def _bar(ax, row, place, **marks):
    """A difference with its interval, in percentage points."""
    middle = 100 * row["difference"]
    spread = np.nan_to_num([[middle - 100 * row["low"]], [100 * row["high"] - middle]])
    ax.errorbar(middle, place, xerr=spread, markersize=4, capsize=2, **marks)


def forest(table):
    """How much each variant gains over its control, in percentage points with its 95 % interval; one panel a regime.

    Filled: the difference stands after Holm's correction (p_holm < 0.05). table: from `compare`, of shares.
    """
    variants = list(dict.fromkeys(zip(table["variant"], table["control"], strict=True)))
    groups = list(dict.fromkeys(table["regime"]))
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    fig = figures.figure(rows * (0.2 * len(variants) + 0.8) + 0.3)
    axs = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax, group in zip(axs.flat, groups, strict=False):
        for row in table[table["regime"] == group].to_dict("records"):
            filled = "full" if row["p_holm"] < 0.05 else "none"
            _bar(ax, row, variants.index((row["variant"], row["control"])), fmt="o", color="C0", fillstyle=filled)
        ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
        ax.set_title(textwrap.fill(group, 30), fontsize=8, parse_math=False)
    for ax in axs.flat[len(groups) :]:
        ax.axis("off")
    for ax in axs.flat[len(groups) - columns : len(groups)]:  # the lowest of each column
        ax.tick_params("x", labelbottom=True)
    for ax in axs[:, 0]:
        ax.tick_params("y", labelsize=7)
    axs[0, 0].set_yticks(range(len(variants)), [f"{variant}  (over {control})" for variant, control in variants], fontsize=7)
    axs[0, 0].set_ylim(len(variants) - 0.5, -0.5)
    fig.supxlabel("difference, percentage points", fontsize=8)
    return fig
