"""HTML pages that need no network: what all have in common, a run of the series, an executed notebook."""

import copy
import html
import re
from pathlib import Path

from deconvlib.lab import record

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")  # for str.format


def page(title: str, about: str, body: str) -> str:
    """A whole page that needs no network. title and about are text; body is HTML, escaped by who made it."""
    return PAGE.format(title=html.escape(title), about=html.escape(about), body=body)


def index(out: Path, profile: str, runs: list[dict]) -> None:
    """Write <out>/index.html: the series as cards, then each notebook's state, key figure and numbers, and what failed.

    runs: one dict a notebook with name, title, status ("done", "kept", "earlier", "failed", "interrupted", "running" or
    "waiting"), seconds, and error (a text, or None). Everything is escaped; the page needs no network.
    """
    cards, sections, about = [], [], ""
    for run in runs:
        metrics = record.read(out / run["name"] / "metrics.json") if run["status"] in ("done", "kept", "earlier") else {}
        if metrics:
            about = _about(metrics)
        pictures = "".join(_picture(run["name"], figure) for figure in metrics.get("figures", [])[:1])
        cards.append(_card(out, run, pictures))
        sections.append(_section(out, run, metrics.get("metrics", {}), pictures))
    body = "\n".join(['<nav class="cards">', *cards, "</nav>", *sections])
    record.write(out / "index.html", page(f"Series “{profile}”", about, body))


def _about(metrics):
    device, version = metrics["hardware"], metrics["versions"]
    return (
        f"{device['device']}, {device['cores']} cores, {device['memory_gib']} GiB · {version['backend']}, Keras "
        f"{version['keras']}, Python {version['python']} · commit {metrics['commit'] or 'unknown'} · {metrics['date']}"
    )


def _picture(name, figure):
    source, text = (html.escape(value, quote=True) for value in (f"{name}/{figure}.png", figure))
    return f'<img src="{source}" alt="{text}">'


def _spent(run):
    seconds = run.get("seconds")
    if not seconds:
        return ""
    return f", {seconds:.0f} s" if seconds < 120 else f", {seconds / 60:.0f} min"


def _card(out, run, pictures):
    """A link to the notebook's page, or to its section below where it has no page yet."""
    target = f"{run['name']}.html" if (out / f"{run['name']}.html").exists() else f"#{run['name']}"
    status = {"earlier": "earlier run"}.get(run["status"], run["status"])
    said = f"<strong>{html.escape(run['title'])}</strong>"
    said += f'<span class="meta {run["status"]}">{html.escape(run["name"])}: {status}{_spent(run)}</span>'
    return f'<a href="{html.escape(target, quote=True)}"><span class="thumbnail">{pictures}</span>{said}</a>'


def _section(out, run, metrics, pictures):
    name, status = run["name"], run["status"]
    said = {"kept": "finished earlier with the same parameters", "earlier": "of an earlier run"}.get(status, status)
    parts = [f"<h2>{html.escape(run['title'])}</h2>"]
    parts.append(f'<p class="meta {status}">{html.escape(name)}: {said}{_spent(run)}</p>{pictures}')
    rows = "".join(
        f"<tr><td>{html.escape(metric)}</td><td>{html.escape(readable(value))}</td></tr>" for metric, value in metrics.items()
    )
    parts.append(f"<table>{rows}</table>" if rows else "")
    parts.append(f"<pre>{html.escape(run['error'])}</pre>" if run.get("error") else "")
    files = [path.name for path in (out / f"{name}.html", out / f"{name}.ipynb", out / f"{name}.failed.ipynb") if path.exists()]
    links = " · ".join(f'<a href="{html.escape(file, quote=True)}">{html.escape(file)}</a>' for file in files)
    parts.append(f'<p class="links">{links}</p>')
    return f'<section id="{html.escape(name, quote=True)}">' + "\n".join(part for part in parts if part) + "</section>"


def readable(value) -> str:
    """Numbers with four digits."""
    if isinstance(value, list):
        return ", ".join(map(readable, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def notebook(notebook, title: str, folder: Path) -> str:
    """An executed notebook as a page, with the pictures and formulas of its texts; folder: of the notebook, from which paths
    of pictures count. The page needs no network; a formula that cannot be converted stays as it was typed.
    """
    from traitlets.config import Config

    from deconvlib.lab import formulas

    # no script from the internet, MathJax neither
    config = Config(HTMLExporter={"mathjax_url": "", "require_js_url": "", "jquery_url": "", "widget_renderer_url": ""})
    config.CoalesceStreamsPreprocessor.enabled = True
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:  # nbconvert embeds only what lies below the folder that it is told
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace('<img src="../', '<img src="')
            cell.source = re.sub(
                r"(\]\([\w-]+)\.(?:ipynb|md)\b", r"\1.html", cell.source
            )  # a page links to its neighbours' pages
    resources = {"metadata": {"name": title, "path": str(folder.resolve().parent)}}
    return formulas.Exporter(config=config, embed_images=True).from_notebook_node(notebook, resources)[0]


def text(path: Path) -> str:
    """A Markdown file that lies beside the notebooks, as a page like theirs."""
    import nbformat

    cell = nbformat.v4.new_markdown_cell(path.read_text(encoding="utf-8"))
    return notebook(nbformat.v4.new_notebook(cells=[cell]), path.stem, path.parent)
