"""What a notebook found -> metrics.json and figures; what a run left -> one page."""

import base64
import html
import importlib.metadata
import io
import json
import os
import platform
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
import psutil


def record(run_dir: str | Path, notebook: str, metrics: dict, figures: dict | None = None) -> None:
    """Write `metrics` with the hardware, versions and commit they were measured on, and `figures` as PNG.

    They go to <run_dir>/<notebook>/metrics.json and <figure's name>.png. metrics: {name: number, text, or list of them}.
    The first figure is the notebook's key figure. What is recorded is over: <run_dir>/<notebook>/backup, where its trainings
    would have gone on after an interruption, is removed. Raises ValueError for a metric that is NaN or infinite.
    """
    folder = Path(run_dir) / notebook
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in (figures or {}).items():
        figure.savefig(folder / f"{name}.png", dpi=110)
    written = {
        "notebook": notebook,
        "metrics": {name: _plain(name, value) for name, value in metrics.items()},
        "figures": list(figures or {}),
        "hardware": hardware(),
        "versions": versions(),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - psutil.Process().create_time(), 1),
    }
    write(folder / "metrics.json", json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(folder / "backup", ignore_errors=True)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def hardware() -> dict:
    """What a result was measured on: device, cores, memory."""
    return {
        "device": _device(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
    }


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def versions() -> dict:
    from deconvlib.backend import NAME

    # TensorFlow's package has another name where it is built for the processor alone
    installed = {dist.name.replace("_", "-"): dist.version for dist in importlib.metadata.distributions()}
    backend = installed.get(NAME) or installed.get(f"{NAME}-cpu", "")
    named = {name: installed.get(name, "") for name in ("deconvlib", "keras", "numpy")}
    return {"python": platform.python_version(), "backend": f"{NAME} {backend}".strip(), **named}


def _device():
    from deconvlib import backend

    return backend.accelerator() or processor()


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _commit():
    """Short hash of the commit that ran, with a + where files differ from it; None outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip() + ("+" if changed.stdout else "")


def _plain(name, value):
    """The metric as JSON holds it. Raises ValueError for what is not a finite number or a text."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(name, item) for item in value]
    if isinstance(value, str | bool) or value is None:
        return value
    number = value.item() if isinstance(value, np.generic) else value
    if not isinstance(number, int | float) or not np.isfinite(number):
        raise ValueError(f"metric {name!r} is {value!r}; it must be a finite number, a text, or a list of them")
    return number


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>deconvlib: {title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.5rem; margin-bottom: 0 }} h2 {{ font-size: 1.15rem; margin: 0 }}
section {{ border-top: 1px solid #ddd; padding: 1.2rem 0 }}
.meta, .links {{ color: #666; font-size: .85rem }}
img {{ max-width: 100%; margin: .6rem 0 }}
table {{ border-collapse: collapse; font-size: .9rem }}
th, td {{ padding: .1rem 1.2rem .1rem 0; vertical-align: top; text-align: left }}
.wide {{ overflow-x: auto }}
td:last-child {{ font-variant-numeric: tabular-nums }}
.failed, .interrupted {{ color: #b00020 }}
pre {{ background: #fdecea; padding: .8rem; overflow-x: auto; white-space: pre-wrap }}
</style>
<h1>{title}</h1>
<p class="meta">{about}</p>
{body}
</html>
"""


def page(title: str, about: str, body: str) -> str:
    """A whole page that needs no network. title and about are text; body is HTML, escaped by who made it."""
    return PAGE.format(title=html.escape(title), about=html.escape(about), body=body)


def index(out: Path, profile: str, runs: list[dict]) -> None:
    """Write <out>/index.html: each notebook's state, key figure and numbers, and what failed.

    runs: one dict a notebook with name, title, status ("done", "kept", "earlier", "failed", "interrupted",
    "running" or "waiting"),
    seconds, and error (a text, or None). Everything is escaped; the page needs no network.
    """
    sections, about = [], ""
    for run in runs:
        metrics = read(out / run["name"] / "metrics.json") if run["status"] in ("done", "kept", "earlier") else {}
        if metrics:
            about = _about(metrics)
        sections.append(_section(out, run, metrics))
    write(out / "index.html", page(f"Series “{profile}”", about, "\n".join(sections)))


def sweep(out: Path, table, figure) -> None:
    """Write <out>/metrics.csv and index.html of a sweep: its figure, and a row a run. Everything is escaped.

    table: a DataFrame with columns run, notebook, status and any others; a run's name links to its page, where there is
    one. figure: a Figure, or None.
    """
    write(out / "metrics.csv", table.to_csv(index=False))
    parts, lines = [], []
    if figure:
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=110, format="png")
        parts.append(f'<img src="data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}" alt="each measure">')
        parts.append('<p class="meta">Small: a run. Large: the mean of all runs of that value, with its 95 % t interval.</p>')
    for row in table.astype(object).where(table.notna(), "").to_dict("records"):
        cells = [html.escape(readable(value)) for value in row.values()]
        pages = [f"{row['run']}/{row['notebook']}{suffix}" for suffix in (".html", ".failed.ipynb")]
        if present := [page for page in pages if (out / page).exists()]:
            cells[0] = f'<a href="{quote(present[0])}">{cells[0]}</a>'
        lines.append(f'<tr class="{row["status"]}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in table)
    parts.append(f'<div class="wide"><table><tr>{heads}</tr>{"".join(lines)}</table></div>')
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    write(out / "index.html", page(f"Sweep “{out.name}”", f"{len(table)} runs: {counts}", "\n".join(parts)))


def _about(metrics):
    device, version = metrics["hardware"], metrics["versions"]
    return (
        f"{device['device']}, {device['cores']} cores, {device['memory_gib']} GiB · {version['backend']}, Keras "
        f"{version['keras']}, Python {version['python']} · commit {metrics['commit'] or 'unknown'} · {metrics['date']}"
    )


def _section(out, run, metrics):
    name, status = run["name"], run["status"]
    spent = f", {run['seconds']:.0f} s" if run.get("seconds") else ""
    said = {"kept": "finished earlier with the same parameters", "earlier": "of an earlier run"}.get(status, status)
    parts = [f"<h2>{html.escape(run['title'])}</h2>", f'<p class="meta {status}">{html.escape(name)}: {said}{spent}</p>']
    for figure in metrics.get("figures", [])[:1]:
        source = html.escape(f"{name}/{figure}.png", quote=True)
        parts.append(f'<img src="{source}" alt="{html.escape(figure, quote=True)}">')
    rows = "".join(
        f"<tr><td>{html.escape(metric)}</td><td>{html.escape(readable(value))}</td></tr>"
        for metric, value in metrics.get("metrics", {}).items()
    )
    parts.append(f"<table>{rows}</table>" if rows else "")
    parts.append(f"<pre>{html.escape(run['error'])}</pre>" if run.get("error") else "")
    files = [path.name for path in (out / f"{name}.html", out / f"{name}.ipynb", out / f"{name}.failed.ipynb") if path.exists()]
    links = " · ".join(f'<a href="{html.escape(file, quote=True)}">{html.escape(file)}</a>' for file in files)
    parts.append(f'<p class="links">{links}</p>')
    return "<section>" + "\n".join(part for part in parts if part) + "</section>"


def readable(value):
    if isinstance(value, list):
        return ", ".join(map(readable, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
