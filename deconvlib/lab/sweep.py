"""A grid of (notebook, parameters) -> a folder for each run and one table, by the workers of a Dask cluster.

A grid is a YAML file of one block, or a list of blocks:

    notebook: 03_training
    profile: cifar10              # optional: base values, of notebooks/profiles/cifar10.yaml
    parameters: {epochs: 2}       # optional: the same in every run of the block
    grid:                         # optional: each combination of these is a run
      decoder: [none, transposed]
      seed: [0, 1, 2]

Dask hands out the runs, and hands out anew what was under way on a worker that died. What is done stands on the disk alone:
a run works in a folder of its own attempt, which gets the run's name when all is in it. So nothing is there by half, an
orphaned kernel writes where nobody reads, and whoever starts again sees what is finished. Workers on other machines share
this file system, with the notebooks and the results under the same paths, and have deconvlib installed.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

from tqdm import tqdm

from deconvlib import checks
from deconvlib.lab import record
from deconvlib.lab.lanes import THREADS
from deconvlib.lab.parameters import (
    UserError,
    checked,
    checked_parameters,
    choose,
    read_defaults,
    read_profile,
    read_yaml,
    series,
)
from deconvlib.lab.run import alone, check_count, clear, code_of, execute, fingerprint

MOST = 10_000  # runs of one grid: at half a minute each, four days of one worker


@dataclasses.dataclass(frozen=True)
class Run:
    """One notebook with one choice of parameters.

    name: the folder's, from all parameters, so that it stays when the grid grows. parameters: {name: value}, all that the
    notebook has but run_dir, which each attempt has its own of. key: run.fingerprint of what a result depends on.
    """

    name: str
    path: Path
    parameters: dict
    key: str


def sweep(
    grid: Path,
    scheduler: str | None = None,
    workers: int | None = None,
    out: Path | None = None,
    failed: bool = False,
    folder: Path | None = None,
    timeout: int | None = None,
) -> int:
    """Run the grid; returns 0, or 1 where a run failed.

    scheduler: address of a Dask scheduler, as tcp://host:8786; none for `workers` processes on this machine, one run each at
    a time (one for every GPU, else for every two cores). out: of the results; reports/<grid's name> beside the notebooks'
    folder where it is not given. folder: of the notebooks; where it is not given, `series` finds it. timeout: as for `run`.
    Runs that are recorded here with the same code, parameters and library are kept, also those that failed unless `failed`.
    Raises UserError before anything runs: where there are no notebooks, for an unknown notebook, profile, parameter or value
    in the grid, or more than MOST runs, a scheduler that does not answer, an `out` in which another sweep is at work, or a
    missing package; later where the scheduler is lost, or nothing can be written.
    """
    check_count("--workers", workers)
    check_count("--timeout", timeout)
    notebooks = series(folder)
    runs, varied = expand(Path(grid), notebooks)
    from deconvlib.lab import sweep_page  # workers import this module too, and need neither pandas nor Matplotlib

    try:
        import distributed
    except ModuleNotFoundError:
        raise UserError("a sweep needs Dask: pip install 'deconvlib[cluster]'") from None
    out = Path(out or record.home(notebooks[0].parent) / "reports" / Path(grid).stem).resolve()
    with alone(out), contextlib.ExitStack() as stack:
        leftovers = {f"{run.path.stem}-*.part" for run in runs}
        if not scheduler:  # a cluster may still be at work for a sweep that was killed
            clear(out, *leftovers, "index*.part*", "metrics*.part*")
        states = {run.name: recorded(out, run) for run in runs}
        for name in [name for name, state in states.items() if failed and state.get("status") == "failed"]:
            shutil.rmtree(out / name)
            states[name] = {}
        sweep_page.write(out, runs, varied, states)
        if waiting := [run for run in runs if not states[run.name]]:
            client = _connect(stack, scheduler, workers)
            present = len(client.scheduler_info(n_workers=-1)["workers"])
            print(f"{len(runs)} runs, {len(runs) - len(waiting)} of them recorded earlier; {present} workers", flush=True)
            bar = stack.enter_context(tqdm(total=len(runs), initial=len(runs) - len(waiting), unit="run", smoothing=0))
            # one key for one run: a sweep that starts again joins what its forerunner left under way on the cluster
            send = functools.partial(client.submit, attempt, out=out, timeout=timeout, retries=2, pure=False)
            futures = {send(run, key=f"{run.name}-{run.key}"): run for run in waiting}
            for done in distributed.as_completed(futures, loop=client.loop).batches():
                for future in done:
                    state = states[futures[future].name] = _outcome(future)
                    bar.update()
                    if state["error"]:
                        bar.write(f"{futures[future].name}: FAILED\n  {state['error']}")
                sweep_page.write(out, runs, varied, states)
        clear(out, *leftovers)
    print(f"report: {out / 'index.html'}", flush=True)
    return int(any(state["status"] != "done" for state in states.values()))


def expand(grid: Path, notebooks: list[Path]) -> tuple[list[Run], list[str]]:
    """The grid's runs, each once, and the names of the parameters that differ among them, the grid's own first.

    Raises UserError for what is unknown, a value that a parameter cannot have, or what is not of a grid's form.
    """
    blocks = read_yaml(grid)
    runs, order, count = {}, {}, 0
    for block in blocks if isinstance(blocks, list) and blocks else [blocks]:
        if not isinstance(block, dict) or "notebook" not in block:
            raise UserError(f"{grid.name}: a block needs a notebook, like `notebook: 03_training`; this is {block!r:.200}")
        for name in block:
            if name not in (known := ["notebook", "profile", "parameters", "grid"]):
                raise UserError(f"{grid.name}: {checks.not_known(name, known)}")
        paths = choose(notebooks, [str(block["notebook"])])
        if len(paths) > 1:
            raise UserError(f"{grid.name}: notebook {block['notebook']!r} may be {', '.join(path.stem for path in paths)}")
        sections = read_profile(notebooks, block["profile"]) if block.get("profile") else {}
        fixed, choices = block.get("parameters") or {}, block.get("grid") or {}
        if not isinstance(fixed, dict):
            raise UserError(f"{grid.name}: parameters must be {{name: value}}, not {fixed!r}")
        if not isinstance(choices, dict):
            raise UserError(f"{grid.name}: grid must be {{name: list of values}}, not {choices!r}")
        for name, values in choices.items():
            if not isinstance(values, list) or not values or name in fixed:
                raise UserError(f"{grid.name}: {name!r} in a grid needs a list of values, and none among the parameters")
        order |= choices
        defaults = read_defaults(paths[0])
        if "run_dir" not in defaults or "run_dir" in fixed | choices:
            raise UserError(f"{grid.name}: {paths[0].stem} needs a parameter 'run_dir', which the sweep alone sets")
        checked_parameters(paths, sections, fixed | {name: values[0] for name, values in choices.items()})
        count += math.prod(map(len, choices.values()))
        if count > MOST:
            raise UserError(f"{grid.name} has {count:,} combinations or more, and {MOST:,} are the most: shorten its lists")
        code = code_of(paths[0])
        for combination in itertools.product(*choices.values()):
            chosen = fixed | dict(zip(choices, combination, strict=True))
            parameters = defaults | checked(paths[0], defaults, sections, chosen)
            del parameters["run_dir"]
            told = json.dumps(parameters, sort_keys=True).encode()
            name = f"{paths[0].stem}-{hashlib.blake2b(told, digest_size=6).hexdigest()}"
            runs[name] = Run(name, paths[0], parameters, fingerprint(paths[0], parameters, code))
    names = dict.fromkeys([*order, *(name for run in runs.values() for name in run.parameters)])
    return list(runs.values()), [
        name for name in names if len({json.dumps(run.parameters.get(name)) for run in runs.values()}) > 1
    ]


def recorded(out: Path, run: Run) -> dict:
    """What was recorded of the run: status ("done" or "failed"), error, seconds, hardware; empty where it is to run."""
    state = record.read(out / run.name / "run.json")
    return state if state.get("key") == run.key else {}


def attempt(run: Run, out: Path, timeout: int | None = None) -> dict:
    """Execute the run, on a worker, and record it in out/<run's name>; returns what `recorded` does.

    Raises RuntimeError where it is not the run's own failure: other code on this worker than the sweep began with, a kernel
    that did not start, a worker that is being closed. Dask then tries again, on another worker where there is one.
    """
    from distributed import Status, get_worker

    if state := recorded(out, run):  # by a worker that was given up too early, or for a sweep that has ended
        return state
    if fingerprint(run.path, run.parameters) != run.key:
        raise RuntimeError("the notebook, deconvlib or KERAS_BACKEND here differ from what the sweep began with")
    record.fix_data_folder()
    home = record.home(run.path.parent)
    os.chdir(home)  # papermill goes there and back, which mixes up the threads of a worker that has several
    part = out / f"{run.name}.{uuid.uuid4().hex[:8]}.part"
    part.mkdir()
    begun = time.time()
    run_dir = os.path.relpath(part, home)  # no path of a machine goes into an executed notebook
    try:
        error = execute(run.path, part, run.parameters | {"run_dir": run_dir}, echo=None, timeout=timeout)
        lost = error and any(said in error for said in ("Kernel died before replying", "its reply has not come"))
        if lost or (error and get_worker().status != Status.running):
            raise RuntimeError(error)
        for file in (*part.glob("*.ipynb"), *part.glob("*.html")):  # what they call their folder
            record.write(file, file.read_text(encoding="utf-8").replace(part.name, run.name))
        found = record.read(part / run.path.stem / "metrics.json")
        state = {
            "key": run.key,
            "status": "failed" if error else "done",
            "error": error,
            "seconds": round(time.time() - begun, 1),
            "hardware": found.get("hardware") or {"device": record.processor(), "cores": record.cores()},
            "parameters": run.parameters,
        }
        record.write(part / "run.json", json.dumps(state, indent=1))
        if first := recorded(out, run):
            return first
        shutil.rmtree(out / run.name, ignore_errors=True)  # of other code
        part.replace(out / run.name)
        return state
    finally:
        shutil.rmtree(part, ignore_errors=True)  # of a full disk it would keep what there is


def _outcome(future):
    """What the worker recorded, or why there is nothing: then the run is tried again by the next sweep."""
    if future.status == "finished":
        return future.result()
    if future.status != "error":
        raise UserError("the Dask scheduler was lost; run the same command again to continue")
    return {"status": "failed", "error": f"not recorded: {future.exception()}", "seconds": None, "hardware": {}}


def _connect(stack, scheduler, workers):
    """A client of the Dask cluster, which ends with `stack`, as does the cluster itself where it is of this machine."""
    from distributed import Client

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cluster = scheduler or stack.enter_context(_local(workers))
        return stack.enter_context(Client(cluster, timeout=5, set_as_default=False))
    except (OSError, ValueError) as error:  # ValueError: an address of another form
        raise UserError(f"no Dask scheduler answers at {scheduler}; `dask scheduler` starts one ({error})") from error


def _local(workers):
    """A cluster of processes on this machine, deaf to others, with a GPU or a share of the cores for each one's kernels."""
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = _gpus()
    workers = workers or len(gpus) or max(1, record.cores() // 2)
    threads = str(max(1, record.cores() // workers))
    shared = {"host": "127.0.0.1", "dashboard": False}
    # a terminal's Ctrl-C reaches the workers too, which would each show a traceback before the sweep ends them
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    specs = {}
    for index in range(workers):
        env = dict.fromkeys(THREADS, threads)
        env |= {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {}
        options = shared | {"nthreads": 1, "env": env, "silence_logs": logging.CRITICAL, "preload": [deaf]}
        specs[index] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": shared | {"port": 0, "dashboard_address": "127.0.0.1:0"}}
    return SpecCluster(workers=specs, scheduler=scheduler, silence_logs=logging.CRITICAL)


def _gpus():
    """CUDA's names of the GPUs that this process may use, without loading a backend to ask."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    except OSError:
        return []
    return [str(index) for index, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
