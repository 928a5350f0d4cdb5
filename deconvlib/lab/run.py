"""Notebooks + profile -> executed notebooks, a page for each, and an index: the series without a browser.

papermill executes; success is decided here, because papermill calls a dead kernel's cells "completed" and does not see a
traceback inside a widget.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

from deconvlib.lab import pages, record
from deconvlib.lab.parameters import UserError, checked_parameters, choose, read_profile, series

LIBRARY = Path(__file__).parents[1]


def run(
    notebooks: list[str] = (),
    profile: str = "quick",
    overrides: dict[str, str] | None = None,
    out: Path | None = None,
    fresh: bool = False,
    folder: Path | None = None,
) -> int:
    """Run the series, or the named part of it; returns 0, or 1 where a notebook failed.

    notebooks: stems, or the beginning of one ("03"); none for all. profile: a file of profiles/ beside the notebooks.
    overrides: {parameter: value as text}, for every chosen notebook that has it. out: of the results; reports/<profile>
    beside the notebooks' folder where it is not given. folder: of the notebooks; where it is not given, `series` finds it.
    A notebook that finished here before with the same code, parameters and library is kept, as long as none before it ran
    anew; `fresh` keeps none. One that fails is marked, its executed copy kept, and the next one runs.
    Raises UserError before anything runs: where there are no notebooks, for an unknown notebook, profile or parameter, a
    value of another type than the parameter's default, or an `out` in which another run is at work.
    """
    everything = series(folder)
    paths, folder = choose(everything, notebooks), everything[0].parent
    out = Path(out or folder.parent / "reports" / profile)
    parameters = checked_parameters(paths, read_profile(everything, profile), overrides or {})
    for values in parameters.values():
        if "run_dir" in values:  # relative: no path of a machine goes into an executed notebook
            values["run_dir"] = os.path.relpath(out, folder)
    with alone(out):
        return _run_all(everything, paths, parameters, profile, out, fresh)


def _run_all(everything, paths, parameters, profile, out, fresh):
    runs, chosen = [], []
    for path in everything:
        title = re.search(r'"# (.+?)(?:\\n)?"', path.read_text(encoding="utf-8")) or ("", path.stem)
        entry = {"name": path.stem, "title": title[1], "status": "waiting", "seconds": None, "error": None}
        earlier = record.read(out / path.stem / "run.json")
        if path in paths:
            chosen.append(entry)
        elif earlier and (out / path.name).exists():  # the page also shows what a run of other notebooks left here
            entry |= {"status": "earlier", "seconds": earlier["seconds"]}
        else:
            continue
        runs.append(entry)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rerun = fresh
    for number, (path, entry) in enumerate(zip(paths, chosen, strict=True), start=1):
        key, state = fingerprint(path, parameters[path]), out / path.stem / "run.json"
        state.parent.mkdir(exist_ok=True)
        label = f"[{number}/{len(paths)}] {path.stem}"
        earlier = record.read(state)
        if not rerun and earlier.get("key") == key and (out / path.name).exists():
            entry |= {"status": "kept", "seconds": earlier["seconds"]}
            print(f"{label}: kept, finished earlier with the same parameters (--fresh runs it again)", flush=True)
            continue
        rerun = True  # later notebooks read what this one writes
        state.unlink(missing_ok=True)
        entry["status"] = "running"
        pages.index(out, profile, runs)
        print(f"{label}: running", flush=True)
        begun = time.time()
        try:
            entry["error"] = execute(path, out, parameters[path])
            entry["status"] = "failed" if entry["error"] else "done"
        except KeyboardInterrupt:
            entry["status"], entry["error"] = "interrupted", "interrupted; run again to continue"
            raise
        finally:
            entry["seconds"] = round(time.time() - begun, 1)
            pages.index(out, profile, runs)
        if entry["error"]:
            print(f"{label}: FAILED after {entry['seconds']:.0f} s\n  {entry['error']}", flush=True)
        else:
            record.write(state, json.dumps({"key": key, "seconds": entry["seconds"], "parameters": parameters[path]}))
            record.over(state.parent)
            print(f"{label}: done in {entry['seconds']:.0f} s", flush=True)
    pages.index(out, profile, runs)
    print(f"report: {out / 'index.html'}", flush=True)
    return int(any(entry["status"] == "failed" for entry in runs))


def execute(path, out, parameters, echo=True):
    """None, or what went wrong; leaves <stem>.ipynb and .html, or <stem>.failed.ipynb, in `out`.

    echo: whether what the notebook prints also goes to the terminal.
    """
    import nbformat
    import papermill

    from deconvlib.lab import kernels

    fix_data_folder()
    part, done, failed = (out / f"{path.stem}{suffix}.ipynb" for suffix in (".part", "", ".failed"))
    for stale in (done, failed, done.with_suffix(".html")):
        stale.unlink(missing_ok=True)
    error = None
    try:
        papermill.execute_notebook(
            path,
            part,
            parameters,
            cwd=path.parent,
            kernel_name="python3",
            kernel_manager_class=kernels.Manager,
            language="python",
            progress_bar=False,
            stdout_file=SimpleNamespace(write=_echo, flush=lambda: None) if echo else None,
            # ipykernel warns at each start that it listens without encryption, and one that is interrupted shows a
            # traceback of the socket that was closed under it; what goes wrong in a cell comes by papermill
            extra_arguments=["--log-level=CRITICAL"],
        )
    except papermill.PapermillExecutionError as raised:
        error = f"cell {raised.exec_count}: {raised.ename}: {raised.evalue}"
    except Exception as raised:  # a dead kernel, a time-out: papermill saves every cell as completed
        error = f"{type(raised).__name__}: {raised}"
    if part.exists():
        notebook = nbformat.read(part, as_version=4)
        error = error or _hidden_error(notebook)
        _tidy(notebook)
        nbformat.write(notebook, part)
        part.replace(failed if error else done)
        if not error:
            record.write(done.with_suffix(".html"), pages.notebook(notebook, path.stem))
    return f"{error}\n  executed copy: {failed.name}" if error else None


def fix_data_folder():
    """Make DECONVLIB_DATA absolute, which is said from where the command is typed: kernels run in the notebooks' folder."""
    if "DECONVLIB_DATA" in os.environ:
        os.environ["DECONVLIB_DATA"] = os.path.abspath(os.environ["DECONVLIB_DATA"])


def _echo(text):
    print(*(f"      {line}\n" for line in text.splitlines()), sep="", end="", flush=True)


def _hidden_error(notebook):
    """The first traceback among cell outputs or in a widget's state, which papermill does not look into."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    states = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    for state in states.values():
        outputs += state.get("state", {}).get("outputs", [])
    for output in outputs:
        if output["output_type"] == "error":
            return f"in a widget or an output: {output['ename']}: {output['evalue']}"
    return None


def _tidy(notebook):
    """Without widgets, which need a kernel and the internet, bars of progress, and papermill's record of paths and times."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if "outputs" in cell:  # a bar of progress rewrites its line, and clears it in the end
            bars = [output for output in cell.outputs if output.get("name") == "stderr" and "\r" in output["text"]]
            cell.outputs = [output for output in cell.outputs if output not in bars]
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def fingerprint(path, parameters):
    """A text that changes with the notebook's code, its parameters, the library and the backend."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    library = [file.read_text(encoding="utf-8") for file in sorted(LIBRARY.rglob("*.py"))]
    told = json.dumps([code, parameters, library, os.environ.get("KERAS_BACKEND", "tensorflow")], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def alone(out):
    """Makes the folder `out`. Two runs into one would mix their results: the second is refused."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into {out}: {error.strerror}") from error
    lock = out / record.RUNNING
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(lock.read_text()), 0)  # raises where that process has ended, killed perhaps
        raise UserError(f"another run is at work in {out} (process {lock.read_text()})")
    lock.write_text(str(os.getpid()))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
