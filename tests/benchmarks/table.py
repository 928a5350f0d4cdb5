"""What `speed` measured -> the page that shows it."""

import json
from pathlib import Path
from statistics import median

NAMES = {
    "deconvlib": "deconvlib",
    "bare_cost": "bare cost: forward pass and gradient of the same windows",
    "captum": "Captum NeuronDeconvolution",
    "captum_cut": "the same, of a network that ends at the layer",
    "xplique": "Xplique DeconvNet",
    "tf_keras_vis": "tf-keras-vis, guided back-propagation",
    "strongest": "deconvlib.deconvnet.strongest",
    "grad_cam": "deconvlib.experiments.grad_cam",
    "class_passes": "one forward pass, and a backward pass for each class",
    "captum_grad_cam": "Captum LayerGradCam",
    "integrated_gradients": "deconvlib.experiments.gradients",
    "captum_integrated": "Captum IntegratedGradients, as many steps",
    "predict": "model.predict",
}
HEAD = """# Benchmarks

`make benchmark` measures this anew, on two cores; under `KERAS_BACKEND=jax` on a GPU: `python tests/benchmarks/speed.py`. That
the projections agree with Captum's, unit by unit, is tested by `tests/benchmarks/agreement.py`. What 20,000 photographs
take of memory is measured by `tests/benchmarks/memory.py`, into `memory.md`.

Time is that of one unit (or map, or image), the median of three rounds in which all took turns, without compilation; ×, how
many times that of this project, the median over the rounds; aim, the least that × should be: 0.8 beside the bare cost allows
this project 1.25 times as long. The first run is of all units, with compilation. Memory is the peak above the loaded network,
results and all. The other tools project one channel of nine images at a time, or make the maps of one class of all images,
through whole images; Captum runs the network to its end.
"""


def page(folder: Path) -> str:
    """Every run of which there is a file in the folder, a section each."""
    return HEAD + "".join(_section(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json")))


def _section(run):
    machine, versions = run["hardware"], dict(run["versions"])
    title = f"\n## {versions.pop('backend')} on {machine['device']}\n\n"
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    about = f"{machine['cores']} cores, {machine['memory_gib']} GiB; {packages}; commit {run['commit']}, {run['date']}.\n"
    return title + about + "".join(map(of_case, run["cases"]))


def of_case(case: dict) -> str:
    mine = case["rows"][0]["seconds"]
    lines = [f"\n### {case['title']}\n\n{case['on']}.\n", "| | units | time | × | aim | first run | memory |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for row in case["rows"]:
        name = NAMES[row["contender"]]
        if row["error"]:
            lines.append(f"| {name} | | {row['error']} | | | | |")
            continue
        times = median(a / b for a, b in zip(row["seconds"], mine, strict=True))
        aim = "" if row["aim"] is None else f"≥ {row['aim']:g}: {'met' if times >= row['aim'] else 'missed'}"
        cells = f"{row['units']:,}", f"{1e3 * median(row['seconds']):,.3g} ms", f"{times:,.3g}", aim
        memory = row["peak_bytes"] / 2**20
        lines.append(f"| {name} | {' | '.join(cells)} | {row['first_run_seconds']:.1f} s | {memory:,.0f} MiB |")
    return "\n".join(lines) + "\n"
