"""What a sweep has found so far -> metrics.csv, and a page with a figure and a row for each run."""

import base64
import html
import json
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from deconvlib import figures
from deconvlib.lab import pages, record


def write(out: Path, runs: list, varied: list[str], states: dict[str, dict]) -> None:
    """Write <out>/metrics.csv and index.html.

    runs: of sweep.Run. varied: names of the parameters that differ among them; the figure's horizontal axis is the first.
    states: {run's name: what `sweep.recorded` says of it}.
    """
    table, measures = _table(out, runs, varied, states)
    record.write(out / "metrics.csv", table.rename(columns=_defused).map(_defused).to_csv(index=False))
    body = ""
    if varied and measures:
        picture = base64.b64encode(figures.png(figure(table, varied[0], measures), dpi=110)).decode()
        body = f'<img src="data:image/png;base64,{picture}" alt="each measure">\n'
        body += '<p class="meta">Small: a run. Large: the mean of all runs of that value, with its 95 % t interval.</p>\n'
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in table)
    rows = "".join(_row(out, row) for row in table.astype(object).where(table.notna(), "").to_dict("records"))
    body += f'<div class="wide"><table><tr>{heads}</tr>{rows}</table></div>'
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    record.write(out / "index.html", pages.page(f"Sweep “{out.name}”", f"{len(table)} runs: {counts}", body))


def _table(out, runs, varied, states):
    """(a row for each run, the columns of what was measured that can be drawn: numbers that differ)."""
    files = {run.name: out / run.name / run.path.stem / "metrics.json" for run in runs if states[run.name]}
    found = {name: record.read(file).get("metrics", {}) for name, file in files.items()}
    taken = {"run", "notebook", "status", "seconds", "hardware", "error", *varied}
    columns = {name: f"{name} (measured)" if name in taken else name for values in found.values() for name in values}
    rows = []
    for run in runs:
        state, measured = states[run.name], found.get(run.name, {})
        row = {"run": run.name, "notebook": run.path.stem} | {name: _cell(run.parameters, name) for name in varied}
        row |= {column: _cell(measured, name) for name, column in columns.items()}
        row |= {"status": state.get("status", "waiting"), "seconds": state.get("seconds")}
        row["hardware"] = ", ".join(f"{value} {name}" for name, value in state.get("hardware", {}).items())
        rows.append(row | {"error": state.get("error")})
    table = pd.DataFrame(rows, dtype=object)
    return table, [column for name, column in columns.items() if name not in varied and _can_be_drawn(table[column].dropna())]


def _cell(values, name):
    value = values.get(name)
    return value if isinstance(value, int | float | str) or name not in values else json.dumps(value)


def _defused(value):
    """A text that a spreadsheet would take for a formula, with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _can_be_drawn(column):
    return column.nunique() > 1 and all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)


def _row(out, row):
    """HTML of one run, whose name links to its page where there is one."""
    cells = [html.escape(pages.readable(value)) for value in row.values()]
    for suffix in (".failed.ipynb", ".html"):
        if (out / (page := f"{row['run']}/{row['notebook']}{suffix}")).exists():
            cells[0] = f'<a href="{quote(page)}">{html.escape(row["run"])}</a>'
    return f'<tr class="{row["status"]}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def figure(table: pd.DataFrame, by: str, measures: list[str]):
    """Each of `measures` by the value of `by`: a faint dot for each run, a filled one for the mean with its 95 % t interval.

    table: a row for each run; by, measures: names of its columns, the measures' numbers, or None in a run that has none.
    """
    from deconvlib.experiments import statistics  # it brings TensorFlow with it, seconds that most pages need not wait

    columns = min(3, len(measures))
    rows = -(-len(measures) // columns)
    fig = figures.figure(2.4 * rows + 0.3)
    axs = list(fig.subplots(rows, columns, squeeze=False).flat)
    groups = list(dict.fromkeys(table[by]))
    for ax, measure in zip(axs, measures, strict=False):
        for place, group in enumerate(groups):
            values = table.loc[table[by] == group, measure].dropna().to_numpy(float)
            ax.plot(np.full(len(values), place - 0.12), values, ".", color="C0", alpha=0.5)
            if len(values) > 1:
                mean, half = statistics.interval(values)
                ax.errorbar(place + 0.12, mean, half, fmt="o", color="C1", markersize=4, capsize=2)
        # names from outside: a $ in them is a $
        ax.set_xticks(range(len(groups)), [str(group) for group in groups], parse_math=False)
        ax.set_xlabel(by, parse_math=False)
        ax.set_title(measure, parse_math=False)
        ax.set_xlim(-0.6, len(groups) - 0.4)
    for ax in axs[len(measures) :]:
        ax.axis("off")
    return fig
