"""Notebooks + profile -> executed notebooks, a page for each, and an index: the series without a browser.

papermill executes; success is decided here, because papermill calls a dead kernel's cells "completed" and does not see a
traceback inside a widget.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import os
import platform
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil

from deconvlib.lab import lanes, pages, record
from deconvlib.lab.parameters import UserError, checked_parameters, choose, read_profile, series

LIBRARY = Path(__file__).parents[1]
START = 300  # seconds that a kernel may take to start, and IOPUB its last output: for what hangs, not for what is slow
IOPUB = 60
FOREVER = 10**9  # also seconds: nbclient hears of a reply that does not come only where a cell has some limit


def run(
    notebooks: list[str] = (),
    profile: str = "quick",
    overrides: dict[str, str] | None = None,
    out: Path | None = None,
    fresh: bool = False,
    folder: Path | None = None,
    timeout: int | None = None,
    workers: int = 1,
) -> int:
    """Run the series, or the named part of it; returns 0, or 1 where a notebook failed.

    notebooks: stems, or the beginning of one ("03"); none for all. profile: a file of profiles/ beside the notebooks.
    overrides: {parameter: value as text}, for every chosen notebook that has it. out: of the results; reports/<profile>
    beside the notebooks' folder where it is not given. folder: of the notebooks; where it is not given, `series` finds it.
    timeout: seconds that a cell may take; None: as long as it needs. A kernel that is idle and does not reply is ended.
    workers: notebooks that run at a time, each in a process of its own. Those that load another's network wait for it; one
        with a cell tagged "alone", since it measures speed, has the machine to itself, after the others.
    A notebook that finished here before with the same code, parameters and library is kept, unless it loads the network of
    one that runs anew; `fresh` keeps none. One that fails is marked, its executed copy kept, and the next one runs.
    Raises UserError before anything runs: where there are no notebooks, for an unknown notebook, profile or parameter, a
    value that the parameter cannot have, or an `out` in which another run is at work; later where nothing can be written.
    """
    check_count("--timeout", timeout)
    check_count("--workers", workers)
    everything = series(folder)
    paths, folder = choose(everything, notebooks), everything[0].parent
    out = Path(out or record.home(folder) / "reports" / profile)
    out = out if workers == 1 else out.absolute()
    parameters = checked_parameters(paths, read_profile(everything, profile), overrides or {})
    for values in parameters.values():
        if "run_dir" in values:  # relative: no path of a machine goes into an executed notebook
            values["run_dir"] = os.path.relpath(out, record.home(folder))
    with alone(out):
        clear(out, *(f"{name}*.part*" for name in ("index", *(path.stem for path in everything))))
        clear(out, *(f"{path.stem}/*.part*" for path in everything))
        return _run_all(everything, paths, parameters, profile, out, fresh, timeout, workers)


def check_count(option, value):
    if value is not None and value < 1:
        raise UserError(f"{option} must be a whole number of 1 or more, not {value}")


def clear(out, *patterns):
    """Remove files and folders that a killed run was about to write; others' files may lie in `out` too."""
    for path in itertools.chain(*map(out.glob, patterns)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _run_all(everything, paths, parameters, profile, out, fresh, timeout, workers):
    runs, chosen = _entries(everything, paths, out)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    glossary = everything[0].with_name("glossary.md")  # every page links to it
    if glossary.exists():
        record.write(out / "glossary.html", pages.text(glossary))
    keys = {path: fingerprint(path, parameters[path]) for path in paths}
    labels = {path: f"[{number}/{len(paths)}] {path.stem}" for number, path in enumerate(paths, start=1)}
    reads, todo = {path: lanes.reads(path, parameters[path]) for path in paths}, []
    for path, entry in chosen.items():
        earlier = record.read(out / path.stem / "run.json")
        same = earlier.get("key") == keys[path] and (out / path.name).exists()
        if same and not fresh and not reads[path] & {other.stem for other in todo}:
            entry |= {"status": "kept", "seconds": earlier["seconds"]}
            print(f"{labels[path]}: kept, finished earlier with the same parameters (--fresh runs it again)", flush=True)
        else:
            todo.append(path)
    stop, at_index = threading.Event(), threading.Lock()

    def show():
        with at_index:
            pages.index(out, profile, runs)

    def work(path):
        entry, state, label = chosen[path], out / path.stem / "run.json", labels[path]
        state.parent.mkdir(exist_ok=True)
        if fresh:
            record.over(state.parent)
        state.unlink(missing_ok=True)
        entry["status"] = "running"
        show()
        print(f"{label}: running", flush=True)
        begun, echo = time.time(), "      " if workers == 1 else f"      {path.stem}: "
        try:
            entry["error"] = execute(path, out, parameters[path], echo, timeout)
            if stop.is_set():
                raise KeyboardInterrupt
            entry["status"] = "failed" if entry["error"] else "done"
        except KeyboardInterrupt:
            entry["status"], entry["error"] = "interrupted", "interrupted; run again to continue"
            raise
        finally:
            entry["seconds"] = round(time.time() - begun, 1)
            show()
        if entry["error"]:
            print(f"{label}: FAILED after {entry['seconds']:.0f} s\n  {entry['error']}", flush=True)
        else:
            record.write(state, json.dumps({"key": keys[path], "seconds": entry["seconds"], "parameters": parameters[path]}))
            record.over(state.parent)
            print(f"{label}: done in {entry['seconds']:.0f} s", flush=True)

    lanes.work_off(todo, reads, work, workers, stop)
    show()
    print(f"report: {out / 'index.html'}", flush=True)
    return int(any(entry["status"] == "failed" for entry in runs))


def _entries(everything, paths, out):
    """What the page tells of each notebook that runs, and of each that an earlier run left; and {path: its own} of those."""
    runs, chosen = [], {}
    for path in everything:
        title = re.search(r'"# (.+?)(?:\\n)?"', path.read_text(encoding="utf-8")) or ("", path.stem)
        entry = {"name": path.stem, "title": title[1], "status": "waiting", "seconds": None, "error": None}
        earlier = record.read(out / path.stem / "run.json")
        if path in paths:
            chosen[path] = entry
        elif earlier and (out / path.name).exists():
            entry |= {"status": "earlier", "seconds": earlier["seconds"]}
        else:
            continue
        runs.append(entry)
    return runs, chosen


def execute(path, out, parameters, echo="      ", timeout=None):
    """None, or what went wrong; leaves <stem>.ipynb and .html, or <stem>.failed.ipynb, in `out`.

    echo: what stands before each line that the notebook prints, in the terminal; None: it does not go there. timeout: as for
    `run`. Raises OSError where `out` cannot be written.
    """
    import nbformat
    import papermill

    from deconvlib.lab import kernels

    record.fix_data_folder()
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what went wrong is said below, in one line
    part, done, failed = (out / f"{path.stem}{suffix}.ipynb" for suffix in (".part", "", ".failed"))
    for stale in (done, failed, done.with_suffix(".html")):
        stale.unlink(missing_ok=True)
    error = unfinished = None
    try:
        papermill.execute_notebook(
            path,
            part,
            parameters,
            cwd=record.home(path.parent),
            kernel_name="python3",
            kernel_manager_class=kernels.Manager,
            language="python",
            progress_bar=False,
            start_timeout=START,
            iopub_timeout=IOPUB,
            execution_timeout=timeout or FOREVER,
            stdout_file=SimpleNamespace(write=functools.partial(_echo, echo), flush=lambda: None) if echo else None,
            # ipykernel warns at each start that it listens without encryption, and one that is interrupted shows a
            # traceback of the socket that was closed under it; what goes wrong in a cell comes by papermill
            extra_arguments=["--log-level=CRITICAL"],
        )
    except papermill.PapermillExecutionError as raised:
        error = f"cell {raised.exec_count}: {raised.ename}: {raised.evalue}"
    except TimeoutError as raised:  # nbclient's
        late = f"its output has not come within {IOPUB} s" if "IOPub" in str(raised) else f"it takes longer than {timeout} s"
        if isinstance(raised.__context__, kernels.NoReply):
            late = str(raised.__context__)
        error = unfinished = f"{late}; its kernel was ended"
    except Exception as raised:  # a dead kernel: papermill saves every cell as completed
        if _of_files(raised):  # not the notebook's fault, and the next one would end so too
            raise
        error = f"{type(raised).__name__}: {raised}"
    if part.exists():
        notebook = nbformat.read(part, as_version=4)
        if unfinished:
            error = f"cell {max(cell.get('execution_count') or 1 for cell in notebook.cells)}: {unfinished}"
        error = error or _hidden_error(notebook)
        _tidy(notebook)
        nbformat.write(notebook, part)
        part.replace(failed if error else done)
        if not error:
            record.write(done.with_suffix(".html"), pages.notebook(notebook, path.stem, path.parent))
    return f"{error}\n  executed copy: {failed.name}" if error else None


def _echo(before, text):
    print(*(f"{before}{line}\n" for line in text.splitlines()), sep="", end="", flush=True)


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


def fingerprint(path, parameters, code=None):
    """A text that changes with the notebook's code, its parameters, the library and the backend. code: what `code_of` says."""
    told = json.dumps([code or code_of(path), parameters], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def code_of(path):
    """A text that changes with the notebook's code, the library and the backend."""
    library = [file.read_text(encoding="utf-8") for file in sorted(LIBRARY.rglob("*.py"))]
    told = json.dumps([lanes.code_cells(path), library, os.environ.get("KERAS_BACKEND", "tensorflow")])
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def alone(out):
    """Makes the folder `out`. Two runs into one would mix their results: the second is refused.

    Raises UserError also where, now or within, something cannot be written.
    """
    lock = out / record.RUNNING
    try:
        out.mkdir(parents=True, exist_ok=True)
        if owner := _owner(record.read(lock)):
            raise UserError(f"another run is at work in {out} ({owner}); if it has ended, remove {lock}")
        lock.unlink(missing_ok=True)
        mine = psutil.Process()
        with lock.open("x") as file:  # of two that start at once, one fails
            json.dump({"host": platform.node(), "process": mine.pid, "started": mine.create_time()}, file)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    except OSError as error:
        if not _of_files(error):
            raise
        said = f"cannot write into {out}: {error.strerror or error}"
        said += f" ({error.filename})" if error.filename not in (None, str(out)) else ""
        raise UserError(f"{said}; make room, or give another --out; what is finished is kept") from error


def _of_files(error):
    """Whether it says that a file or folder could not be written; a lost connection and a time-out are OSErrors too."""
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError | TimeoutError)


def _owner(lock):
    """Who wrote this lock, in words; None where that process has ended, killed perhaps, or its number is another's now."""
    try:
        host, number, started = lock["host"], lock["process"], lock["started"]
        if host != platform.node():
            return f"process {number} on {host}"
        alike = abs(psutil.Process(number).create_time() - started) < 10  # a clock that was set moves what is said of the start
        return f"process {number}" if alike else None
    except (KeyError, TypeError, ValueError, psutil.NoSuchProcess):
        return None
