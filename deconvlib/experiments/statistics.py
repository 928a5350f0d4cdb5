"""Results of networks that differ in one thing, trained with the same seeds -> differences, intervals, words.

A result is a row: `regime` (which images, in words), `seed`, `variant`, and numbers. Two variants are compared by the
differences of the runs that share regime and seed, so that what a seed does to both cancels out.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

COLUMNS = ["regime", "variant", "control", "mean", "control_mean", "pairs", "difference", "low", "high", "p"]


def read(path: Path) -> pd.DataFrame:
    """The results in a sweep's metrics.csv, whose runs recorded `regime`, and numbers under names like "variant: number".

    Returns a row for each run and variant: regime, seed, variant, and a column a number; a list becomes a list again. Runs
    that failed or wait are left out; a sweep that has no run done yet has no rows.

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
        for column in table:
            variant, colon, number = column.partition(": ")
            if colon and not pd.isna(run[column]):
                value = run[column]
                found.setdefault(variant, {})[number] = json.loads(value) if isinstance(value, str) else value
        shared = {"regime": run["regime"], "seed": run["seed"]}
        rows += [shared | {"variant": variant} | numbers for variant, numbers in found.items()]
    return pd.DataFrame(rows)


def compare(results: pd.DataFrame, measure: str, controls: dict[str, str]) -> pd.DataFrame:
    """How much higher `measure` is for each variant than for its control: a row for each regime and variant.

    controls: {variant: the variant that it is compared with}. Returns regime, variant, control, `mean` (of the variant),
    `control_mean`, `pairs` (seeds that both have), `difference` (mean of the differences), `low` and `high` (its 95 % t
    interval), `p` (two-sided paired t-test) and `p_holm`, corrected for all rows of the table (Holm 1979). A variant
    without a pair is left out; with one pair, or with equal differences, there is no interval and no p.
    """
    rows = []
    for regime, group in results.groupby("regime", sort=False):
        values = group.pivot(index="seed", columns="variant", values=measure)
        for variant, control in controls.items():
            if not {variant, control} <= set(values):
                continue
            both = values[[variant, control]].dropna().astype(float)
            if both.empty:
                continue
            apart = (both[variant] - both[control]).to_numpy()
            low = high = p = np.nan
            if len(apart) > 1 and np.ptp(apart) > 0:
                test = stats.ttest_1samp(apart, 0)
                (low, high), p = test.confidence_interval(0.95), test.pvalue
            row = {"regime": regime, "variant": variant, "control": control}
            row |= {"mean": both[variant].mean(), "control_mean": both[control].mean(), "pairs": len(both)}
            rows.append(row | {"difference": apart.mean(), "low": low, "high": high, "p": p})
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(p_holm=_holm(table["p"].to_numpy(float)))


def _holm(p):
    """p-values multiplied so that any false one among them is as rare as one test's would be (Holm 1979)."""
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def verdict(row) -> str:
    """What a row of `compare` allows one to say, in percentage points where the measure is a share."""
    if np.isnan(row["low"]):
        return f"not known: {row['pairs']} pair{'s' if row['pairs'] > 1 else ''} of runs"
    between = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f} points"
    if row["p_holm"] >= 0.05:
        return f"no difference shown: {between}"
    return f"{'higher' if row['difference'] > 0 else 'lower'}: {between}"
