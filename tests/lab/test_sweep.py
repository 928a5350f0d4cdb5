"""Sweeps: what a grid means, what is refused, and that every run is recorded once whatever is killed on the way."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import yaml
from small_notebooks import notebook

from deconvlib.lab import parameters, record, sweep

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PARAMETERS = 'seed = 0\nrate = 0.5\nname = "x"\npause = 0.0\nbroken = False\nlog = ""\nrun_dir = "."'
WORK = """
import json, os, time
from pathlib import Path
if log:
    with open(log, "a") as file:
        entry = [name, seed, time.time(), os.getpid(), os.getppid(), os.environ.get("TF_NUM_INTRAOP_THREADS")]
        file.write(json.dumps(entry) + "\\n")
time.sleep(pause)
assert not broken, "<b>broken</b>"
folder = Path(run_dir) / "01_one"
folder.mkdir()
(folder / "metrics.json").write_text(json.dumps({"metrics": {"score": rate * seed + len(name), "seed": seed, "text": "<i>"}}))
print("wrote", folder)
"""
EIGHT = {"name": ["x", "xy"], "seed": [0, 1, 2, 3]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Notebooks 01_one and 02_two, which need no backend, and a quick profile."""
    folder = tmp_path_factory.mktemp("series") / "notebooks"
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles/quick.yaml").write_text("01_one: {rate: 2}\n")
    notebook(folder, "01_one", WORK, parameters=PARAMETERS)
    notebook(folder, "02_two", "print(epochs)", parameters='epochs = 1\nrun_dir = "."')
    return folder


def written(tmp_path, *blocks):
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(blocks[0] if len(blocks) == 1 else list(blocks)))
    return tmp_path / "grid.yaml"


def block(grid=None, **parameters):
    return {"notebook": "01_one", "profile": "quick", "parameters": parameters, "grid": grid or {}}


def metrics(out):
    return {path.parts[-3]: json.loads(path.read_text())["metrics"] for path in out.glob("*/01_one/metrics.json")}


def test_a_grid_is_every_combination_over_the_profile_and_the_fixed_values(folder, tmp_path):
    grid = written(tmp_path, block({"name": ["a", "b"], "seed": [1, 2]}, pause=1), {"notebook": "02"})
    runs, varied = sweep.expand(grid, parameters.series(folder))
    chosen = [(run.parameters.get("name"), run.parameters.get("seed")) for run in runs]
    assert chosen == [("a", 1), ("a", 2), ("b", 1), ("b", 2), (None, None)]
    assert runs[0].parameters == {"seed": 1, "rate": 2.0, "name": "a", "pause": 1.0, "broken": False, "log": ""}
    assert varied[:2] == ["name", "seed"] and "epochs" in varied  # 02_two alone has epochs
    assert [run.path.stem for run in runs[-2:]] == ["01_one", "02_two"]


def test_a_run_keeps_its_name_when_the_grid_grows_and_is_there_once(folder, tmp_path):
    few = {run.name for run in sweep.expand(written(tmp_path, block({"seed": [0, 1]})), parameters.series(folder))[0]}
    more, varied = sweep.expand(
        written(tmp_path, block({"name": ["x", "y"], "seed": [0, 1, 2]}), block({"seed": [0, 1]})),
        parameters.series(folder),
    )
    assert few < {run.name for run in more} and len(more) == 6 and varied == ["name", "seed"]
    assert all(run.name.startswith("01_one-") and run.name.isascii() for run in more)
    other = sweep.expand(written(tmp_path, block({"seed": [0, 1]}, rate=3.0)), parameters.series(folder))[0]
    assert not few & {run.name for run in other}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"notebook": "03"}, "notebook '03' is not known. Known: '01_one', '02_two'"),
        ({"notebook": "0"}, "notebook '0' may be 01_one, 02_two"),
        ({"profile": "quik"}, "profile 'quik' is not known; did you mean 'quick'"),
        ({"parameters": {"sed": 1}}, "parameter 'sed' is not known; did you mean 'seed'"),
        ({"grid": {"sed": [1]}}, "parameter 'sed' is not known; did you mean 'seed'"),
        ({"grid": {"seed": [1, 1.5]}}, "01_one: seed must be a whole number from 0 to"),
        ({"grid": {"seed": 3}}, "grid.yaml: 'seed' in a grid needs a list of values"),
        ({"grid": {"seed": []}}, "grid.yaml: 'seed' in a grid needs a list of values"),
        ({"grid": {"seed": [1]}, "parameters": {"seed": 1}}, "and none among the parameters"),
        ({"parameters": {"run_dir": "x"}}, "grid.yaml: 01_one needs a parameter 'run_dir', which the sweep alone sets"),
        ({"grids": {}}, "grid.yaml: 'grids' is not known; did you mean 'grid'"),
        ({"parameters": [1]}, "grid.yaml: parameters must be {name: value}"),
        ({"grid": [1]}, "grid.yaml: grid must be {name: list of values}"),
        ({"parameters": {"seed": -1}}, "01_one: seed must be a whole number from 0 to"),
        ({"profile": ["quick"]}, "profile \"['quick']\" is not known"),
    ],
)
def test_refuses_before_anything_runs(folder, tmp_path, change, said):
    with pytest.raises(parameters.UserError) as error:
        sweep.sweep(written(tmp_path, block(), block() | change), out=tmp_path / "out", folder=folder)
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "grid.yaml is not YAML"),
        ("", "grid.yaml: a block needs a notebook"),
        ("grid: {seed: [1]}", "grid.yaml: a block needs a notebook"),
        ("notebook: 01_one\nnotebook: 02_two", "grid.yaml is not YAML: line 1: 'notebook' is there twice"),
        ("- [", "grid.yaml is not YAML: line"),
        ("[]", "a block needs a notebook"),
        ("{notebook: 01_one, grid: {seed: [2024-01-01]}}", "grid.yaml: a date"),
        ("{notebook: 01_one, grid: {seed: !!set {1, 2}}}", "grid.yaml: "),
        (None, "cannot read .*grid.yaml: No such file"),
    ],
)
def test_refuses_what_is_no_grid(folder, tmp_path, text, said):
    if text is not None:
        (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(parameters.UserError, match=said):
        sweep.sweep(tmp_path / "grid.yaml", out=tmp_path / "out", folder=folder)


def test_says_how_many_runs_a_grid_has_before_it_makes_them(folder, tmp_path):
    thousand = list(range(1000))
    grid = written(tmp_path, block({"seed": thousand}), block({"seed": thousand, "pause": [0.5] * 1000}))
    begun = time.monotonic()
    with pytest.raises(parameters.UserError, match=r"grid.yaml has 1,001,000 combinations or more, and 10,000 are the most"):
        sweep.sweep(grid, out=tmp_path / "out", folder=folder)
    assert len(sweep.expand(written(tmp_path, block({"seed": list(range(5000))})), parameters.series(folder))[0]) == 5000
    assert time.monotonic() - begun < 120 and not (tmp_path / "out").exists()


def test_what_a_killed_sweep_left_half_done_is_removed_before_anything_runs(folder, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "_connect", stop)
    for name in ("01_one-0123456789ab.01234567.part", "01_one-holidays.zip", "film.part"):
        (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(written(tmp_path, block()), out=tmp_path / "out", folder=folder)
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"01_one-holidays.zip", "film.part"}
    assert not (tmp_path / "out/.running").exists()


def test_a_full_disk_ends_the_sweep_in_one_line(folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(record, "write", full)
    with pytest.raises(parameters.UserError, match=r"cannot write into .*out: No space left on device; make room,") as error:
        sweep.sweep(written(tmp_path, block()), out=tmp_path / "out", folder=folder)
    assert "\n" not in str(error.value) and not (tmp_path / "out/.running").exists()


@pytest.mark.parametrize("workers", [0, -1])
def test_refuses_no_workers(folder, tmp_path, workers):
    with pytest.raises(parameters.UserError, match="--workers must be a whole number of 1 or more"):
        sweep.sweep(written(tmp_path, block()), workers=workers, out=tmp_path / "out", folder=folder)


@pytest.mark.parametrize("grid", sorted((NOTEBOOKS / "grids").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_committed_grid_is_valid(grid):
    runs, varied = sweep.expand(grid, parameters.series(NOTEBOOKS))
    assert len(runs) > 1 and varied


def test_says_which_package_is_missing(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(parameters.UserError, match=r"pip install .*cluster"):
        sweep.sweep(written(tmp_path, block()), out=tmp_path / "out", folder=folder)


def test_says_that_no_scheduler_answers(folder, tmp_path, monkeypatch):
    with pytest.raises(parameters.UserError, match="no Dask scheduler answers at tcp:"):
        sweep.sweep(written(tmp_path, block()), "tcp://127.0.0.1:1", out=tmp_path / "out", folder=folder)


def test_gpus_are_counted_without_a_backend(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-ab")
    assert sweep._gpus() == ["2", "GPU-ab"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert sweep._gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    listed = "GPU 0: NVIDIA A100 (UUID: GPU-1)\n  MIG 1g.10gb Device 0: (UUID: MIG-1)\nGPU 1: NVIDIA A100 (UUID: GPU-2)\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, listed))
    assert sweep._gpus() == ["0", "1"]


def test_each_local_worker_has_one_gpu_and_its_share_of_the_cores(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(sweep.record, "cores", lambda: 6)
    monkeypatch.setattr("distributed.SpecCluster", lambda workers, **_: workers)
    envs = [spec["options"]["env"] for spec in sweep._local(None).values()]
    assert [env["CUDA_VISIBLE_DEVICES"] for env in envs] == ["4", "7"]
    assert [env["TF_NUM_INTRAOP_THREADS"] for env in envs] == ["3", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert len(sweep._local(None)) == 3 and "CUDA_VISIBLE_DEVICES" not in sweep._local(1)[0]["options"]["env"]


def command(folder, grid, out, *arguments):
    """The command line beside these notebooks, as a user's shell starts it: in a process group of its own."""
    code = (
        "import signal, sys; from deconvlib import __main__\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as in test_run
        "    sys.exit(__main__.main())\n"
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, "sweep", str(grid), "--out", str(out), *arguments],
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def until(true, seconds=300):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def finished(out):
    return {path.parent.name: path.stat().st_mtime for path in out.glob("01_one-*[0-9a-f]/run.json")}


def began(place):
    return [json.loads(line) for line in (place / "log").read_text().splitlines()]


def under_way(place, out):
    """[(kernel's process, its worker's)] of what has begun and is not recorded."""
    states = [record.read(path) for path in out.glob("01_one-*[0-9a-f]/run.json")]
    recorded = {(state["parameters"]["name"], state["parameters"]["seed"]) for state in states}
    pairs = [(kernel, worker) for name, seed, _, kernel, worker, _ in began(place) if (name, seed) not in recorded]
    return [(psutil.Process(kernel), psutil.Process(worker)) for kernel, worker in pairs if psutil.pid_exists(kernel)]


@pytest.fixture(scope="module")
def local(folder, tmp_path_factory):
    """Eight runs on two local workers, of which one was killed midway, then the sweep itself, and that started again.

    place: the folder of the grid, of `out`, and of the log of what began; before: what was recorded when the sweep was
    killed; left: the processes it had; said: what the second one printed; code: its exit status.
    """
    place = tmp_path_factory.mktemp("local")
    grid, out = written(place, block(EIGHT, log=str(place / "log"), pause=1)), place / "out"
    process = command(folder, grid, out, "--workers", "2")
    until(lambda: finished(out))
    orphan, worker = until(lambda: under_way(place, out))[0]
    worker.kill()
    until(lambda: not orphan.is_running())
    until(lambda: len(finished(out)) >= 3)
    left = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)  # its children hold the pipe: they have ended when this returns
    before = finished(out)
    process = command(folder, grid, out, "--workers", "2")
    said = process.communicate(timeout=1800)[0]
    return SimpleNamespace(place=place, out=out, grid=grid, before=before, left=left, said=said, code=process.returncode)


def test_a_killed_worker_and_a_killed_sweep_lose_nothing_and_repeat_nothing(local):
    assert local.code == 0 and 3 <= len(local.before) < 8, local.said
    assert f"8 runs, {len(local.before)} of them recorded earlier" in local.said
    after, table = finished(local.out), pd.read_csv(local.out / "metrics.csv")
    assert len(after) == 8 and local.before.items() <= after.items() and list(table["status"]) == ["done"] * 8
    recorded = {(row["name"], row["seed"]): after[row["run"]] for _, row in table.iterrows()}
    assert all(at < recorded[name, seed] for name, seed, at, *_ in began(local.place))
    assert 8 + 1 <= len(began(local.place)) <= 8 + 1 + 2  # what the worker and then the sweep had under way
    assert not list(local.out.glob("*.part")) and not any(process.is_running() for process in local.left)


def test_leaves_a_table_a_page_and_a_folder_for_each_run(folder, local):
    out, runs = local.out, sweep.expand(local.grid, parameters.series(folder))[0]
    table = pd.read_csv(out / "metrics.csv")
    assert list(table.columns[:6]) == ["run", "notebook", "name", "seed", "score", "seed (measured)"]
    assert list(table["run"]) == [run.name for run in runs]
    assert list(table["score"]) == [2 * seed + len(name) for name in EIGHT["name"] for seed in EIGHT["seed"]]
    assert set(table["status"]) == {"done"} and (table["seconds"] > 0).all() and table["hardware"].str.contains("cores").all()
    assert {path.name for path in out.iterdir()} == {"index.html", "metrics.csv", *table["run"]}
    page = (out / "index.html").read_text()
    assert "Sweep “out”" in page and "8 runs: 8 done" in page and "data:image/png" in page
    assert "<i>" not in page and "&lt;i&gt;" in page and "http" not in page
    for run in runs:
        assert f'href="{run.name}/01_one.html"' in page
        for name in ("01_one.html", "01_one.ipynb"):
            assert f"{run.name}/01_one" in (text := (out / run.name / name).read_text()) and ".part" not in text
    cores = len(os.sched_getaffinity(0))
    assert {threads for *_, threads in began(local.place)} == {str(max(1, cores // 2))}


def test_keeps_what_is_recorded_and_runs_what_is_new(folder, local, tmp_path, capfd):
    shutil.copytree(local.out, out := tmp_path / "out")
    table, begun = (out / "metrics.csv").read_text(), len(began(local.place))
    assert sweep.sweep(local.grid, out=out, folder=folder) == 0
    assert len(began(local.place)) == begun and (out / "metrics.csv").read_text() == table
    grid = written(tmp_path, block(EIGHT | {"name": ["x", "xy", "0"]}, log=str(local.place / "log"), pause=1))
    runs = sweep.expand(grid, parameters.series(folder))[0]
    assert [bool(sweep.recorded(out, run)) for run in runs] == [True] * 8 + [False] * 4
    (out / runs[0].name / "run.json").write_text("{}")  # of other code, or broken
    grid = written(tmp_path, block(EIGHT, log=str(local.place / "log"), pause=1))
    assert sweep.sweep(grid, out=out, folder=folder) == 0
    assert [entry[:2] for entry in began(local.place)[begun:]] == [["x", 0]]
    assert "8 runs, 7 of them recorded earlier" in capfd.readouterr().out


def test_a_failing_run_is_recorded_and_the_others_go_on(folder, tmp_path, capfd):
    grid = written(tmp_path, block({"broken": [True, False]}, log=str(tmp_path / "log")))
    out = tmp_path / "out"
    assert sweep.sweep(grid, workers=2, out=out, folder=folder) == 1
    table = pd.read_csv(out / "metrics.csv")
    assert list(table["status"]) == ["failed", "done"]
    assert table["error"][0].startswith("cell 3: AssertionError: <b>broken</b>")
    assert (out / table["run"][0] / "01_one.failed.ipynb").exists() and not (out / table["run"][0] / "01_one.ipynb").exists()
    page = (out / "index.html").read_text()
    assert "<b>broken" not in page and "&lt;b&gt;broken" in page and "1 failed, 1 done" in page
    assert f"{table['run'][0]}: FAILED" in capfd.readouterr().out
    assert sweep.sweep(grid, out=out, folder=folder) == 1 and len(began(tmp_path)) == 2  # recorded: not again
    assert sweep.sweep(grid, workers=1, out=out, folder=folder, failed=True) == 1 and len(began(tmp_path)) == 3


def test_an_interrupted_sweep_records_no_failure_and_continues(folder, tmp_path):
    out = tmp_path / "out"
    grid = written(tmp_path, block({"seed": [0, 1, 2]}, log=str(tmp_path / "log"), pause=60))
    process = command(folder, grid, out, "--workers", "2")
    until(lambda: (tmp_path / "log").exists() and len(began(tmp_path)) == 2)
    left = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 130 and said.rstrip().endswith("run the same command again to continue"), said
    assert "Traceback" not in said and "Error" not in said, said
    until(lambda: not any(child.is_running() for child in left))
    assert not finished(out) and not (out / ".running").exists()


@pytest.fixture
def cluster(tmp_path):
    """Address of a scheduler with two workers of two threads each, all of them started from the command line."""
    file = str(tmp_path / "scheduler.json")
    shared = ["--scheduler-file", file, "--no-dashboard", "--host", "127.0.0.1"]
    dask = [sys.executable, "-m", "dask"]
    started = [subprocess.Popen([*dask, "scheduler", *shared, "--port", "0"])]
    until(lambda: Path(file).exists() and Path(file).read_text().endswith("}"))
    worker = [*dask, "worker", *shared[:3], "--host", "127.0.0.1", "--nthreads", "2", "--local-directory", str(tmp_path)]
    started += [subprocess.Popen(worker) for _ in range(2)]
    yield json.loads(Path(file).read_text())["address"]
    for process in reversed(started):
        process.terminate()
        process.wait(120)


def test_workers_started_from_the_command_line_find_the_same(folder, local, cluster, tmp_path):
    grid = written(tmp_path, block(EIGHT | {"seed": [0, 1]}, log=str(local.place / "log"), pause=1))
    assert sweep.sweep(grid, cluster, out=tmp_path / "out", folder=folder) == 0
    found = metrics(tmp_path / "out")
    assert len(found) == 4 and found.items() <= metrics(local.out).items()
