"""What a notebook found -> metrics.json and figures, with the hardware and versions it was found on."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil

from deconvlib import disk

RUNNING = ".running"  # in a folder of results while `run` is at work there


def save(run_dir: str | Path, notebook: str, metrics: dict, figures: dict | None = None) -> None:
    """Write `metrics` with the hardware, versions and commit they were measured on, and `figures` as PNG.

    They go to <run_dir>/<notebook>/metrics.json and <figure's name>.png. metrics: {name: number, text, or list of them}.
    The first figure is the notebook's key figure. What is recorded is over: <run_dir>/<notebook>/backup, where its trainings
    would have gone on after an interruption, is removed; `run` does it itself, once the notebook's page is written too.
    Raises ValueError for a metric that is NaN or infinite.
    """
    folder = Path(run_dir) / notebook
    folder.mkdir(parents=True, exist_ok=True)
    # a nested layer's name has a slash
    figures = {name.replace("/", "_"): figure for name, figure in (figures or {}).items()}
    for name, figure in figures.items():
        with disk.whole(folder / f"{name}.png") as part:
            figure.savefig(part, dpi=110)
    written = {
        "notebook": notebook,
        "metrics": {name: _plain(name, value) for name, value in metrics.items()},
        "figures": list(figures),
        "hardware": hardware(),
        "versions": versions(),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - psutil.Process().create_time(), 1),
    }
    write(folder / "metrics.json", json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    if not (Path(run_dir) / RUNNING).exists():
        over(folder)


def over(folder: Path) -> None:
    """Remove what a notebook's trainings would go on from; `folder` is <run_dir>/<notebook>."""
    shutil.rmtree(folder / "backup", ignore_errors=True)


def expect(claims: dict[str, bool], strict: bool) -> dict:
    """{"not as expected": [claims]} for the metrics, of those that are not so, each said in a line; {} where all are.

    claims: {what was expected of a training: whether it is so}. A short training, or few images, may learn too little, and
    its numbers are results all the same. strict: raise AssertionError instead.
    """
    failed = [claim for claim, so in claims.items() if not so]
    if strict and failed:
        raise AssertionError(f"not as expected: {', '.join(failed)}")
    for claim in failed:
        print(f"WARNING: expected, and not so here: {claim}", flush=True)
    return {"not as expected": failed} if failed else {}


def home(notebooks: Path) -> Path:
    """The project's folder, from which paths among the parameters of its notebooks are taken: the one that holds notebooks/.

    notebooks: their folder; under another name it is itself the project's.
    """
    return notebooks.parent if notebooks.name == "notebooks" else notebooks


def go_home() -> None:
    """Make the project's folder the working folder, so that a path means the same however a notebook is run.

    JupyterLab, nbval and `run` start a kernel beside the notebooks, papermill wherever it is typed. The project is that of the
    working folder, else the one that this library lies in; where there is none, the working folder stays.
    """
    fix_data_folder()
    here = Path.cwd()
    places = [here, *(place / "notebooks" for place in (here, *here.parents, Path(__file__).parents[2]))]
    if found := next((place for place in places if any(place.glob("[0-9][0-9]_*.ipynb"))), None):
        os.chdir(home(found))


def fix_data_folder() -> None:
    """Make DECONVLIB_DATA absolute, which is said from where the command is typed: kernels work in the project's folder."""
    if "DECONVLIB_DATA" in os.environ:
        os.environ["DECONVLIB_DATA"] = os.path.abspath(os.environ["DECONVLIB_DATA"])


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with disk.whole(path) as part:
        part.write_text(text, encoding="utf-8")


def read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def hardware() -> dict:
    """What a result was measured on: device, cores, memory."""
    from deconvlib import backend

    memory = round(psutil.virtual_memory().total / 2**30)
    return {"device": backend.accelerator() or processor(), "cores": cores(), "memory_gib": memory}


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


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _commit():
    """Short hash of the commit that ran, with a + where files differ from it; None where the library is in no repository.

    Results differ from it while a run writes them: they do not count.
    """
    here = Path(__file__)

    def git(*command):
        return subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # an installed library may lie in somebody else's repository
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)reports")
        return git("rev-parse", "--short", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return None


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
