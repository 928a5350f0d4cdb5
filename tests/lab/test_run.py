"""The runner: what it refuses before anything runs, what it calls a failure, what it keeps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

from deconvlib.lab import parameters, run

PARAMETERS = 'epochs = 1  # passes\nrate = 0.5\nname = "x"\nflip = False\nfilters = [8]\nchoice = None\nrun_dir = "."'


def notebook(folder, stem, *cells, parameters=PARAMETERS):
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_markdown_cell(f"# Title of {stem}"), nbformat.v4.new_code_cell(parameters)]
    nb.cells[1].metadata["tags"] = ["parameters"]
    nb.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nb, folder / f"{stem}.ipynb")


PRINT = "print(epochs, rate, name, flip, filters)"
RECORD = "from deconvlib.lab import record as report\nreport.record(run_dir, '{}', dict(epochs=epochs))"


@pytest.fixture
def folder(tmp_path):
    """Notebooks 01_one and 02_two, and a quick profile."""
    folder = tmp_path / "notebooks"
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles/quick.yaml").write_text("all: {name: y}\n01_one: {epochs: 3}\n")
    notebook(folder, "01_one", PRINT)
    notebook(folder, "02_two", "print('two', epochs)")
    return folder


def run(folder, *names, **settings):
    return run.run(names, folder=folder, out=folder.parent / "out", **settings)


def printed(path):
    return "".join(
        output.text
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if "text" in output
    )


def test_runs_the_series_under_a_profile(folder, capfd):
    notebook(folder, "01_one", PRINT, RECORD.format("01_one"))
    assert run(folder, overrides={"rate": "1e-3", "flip": "true", "filters": "[16, 32]", "choice": "7"}) == 0
    out = folder.parent / "out"
    assert printed(out / "01_one.ipynb") == "3 0.001 y True [16, 32]\n" and printed(out / "02_two.ipynb") == "two 1\n"
    assert json.loads((out / "01_one/metrics.json").read_text())["metrics"] == {"epochs": 3}
    page = (out / "01_one.html").read_text()
    assert "3 0.001 y True" in page and ">print<" in page  # output and input
    assert '<script src="http' not in page
    index = (out / "index.html").read_text()
    assert "Title of 01_one" in index and "Title of 02_two" in index and 'href="02_two.html"' in index
    for path in out.rglob("*.*"):
        assert str(folder.parent) not in path.read_text(errors="ignore"), path  # no path of this machine
    assert "[2/2] 02_two: done in" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("names", "settings", "said"),
    [
        (["03"], {}, "notebook '03' is not known. Known: 01_one, 02_two"),
        (["01_on3"], {}, "did you mean '01_one'"),
        ([], {"profile": "quik"}, "profile 'quik' is not known; did you mean 'quick'"),
        ([], {"overrides": {"epoch": "3"}}, "parameter 'epoch' is not known; did you mean 'epochs'"),
        ([], {"overrides": {"epochs": "3.5"}}, "parameter 'epochs' is 3.5, a float; it must be a int like 1"),
        ([], {"overrides": {"rate": "fast"}}, "parameter 'rate' is 'fast', a str"),
        ([], {"overrides": {"flip": "1"}}, "parameter 'flip' is 1, a int; it must be a bool"),
        ([], {"overrides": {"filters": "8"}}, "must be a list like"),
    ],
)
def test_refuses_before_anything_runs(folder, names, settings, said):
    with pytest.raises(parameters.UserError) as error:
        run(folder, *names, **settings)
    assert said in str(error.value)
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("03_three: {epochs: 1}", "notebook '03_three' is not known"),
        ("01_one: {epoch: 1}", "quick.yaml: 01_one: parameter 'epoch' is not known; did you mean 'epochs'"),
        ("all: {epoch: 1}", "quick.yaml: all: parameter 'epoch' is not known; did you mean 'epochs'"),
        ("01_one: {rate: fast}", "parameter 'rate' is 'fast'"),
        ("01_one: [", "quick.yaml is not YAML"),
    ],
)
def test_refuses_a_wrong_profile(folder, profile, said):
    (folder / "profiles/quick.yaml").write_text(profile)
    with pytest.raises(parameters.UserError) as error:
        run(folder)
    assert said in str(error.value)


def test_a_profile_may_set_what_only_other_notebooks_have(folder):
    notebook(folder, "03_three", "print(size)", parameters='size = 1\nrun_dir = "."')
    (folder / "profiles/quick.yaml").write_text("all: {size: 2}")
    assert run(folder, "02") == 0


def test_the_index_still_shows_what_another_run_left(folder):
    run(folder)
    run(folder, "02", fresh=True)
    index = (folder.parent / "out/index.html").read_text()
    assert "01_one: of an earlier run" in index and "02_two: done" in index and 'href="01_one.html"' in index


def test_reads_yaml_values_by_the_parameters_type(folder):
    (folder / "profiles/quick.yaml").write_text("01_one: {rate: 1e-3, epochs: 2}")  # YAML takes 1e-3 for a text
    values = parameters.checked_parameters([folder / "01_one.ipynb"], parameters.read_profile(folder, "quick"), {"name": "007"})
    assert values[folder / "01_one.ipynb"] == {"rate": 0.001, "epochs": 2, "name": "007", "run_dir": None}


def test_refuses_a_notebook_without_parameters(folder):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), folder / "03_three.ipynb")
    with pytest.raises(parameters.UserError, match="03_three has 0 cells tagged 'parameters'"):
        run(folder)


BROKEN_WIDGET = """
import ipywidgets
def fail(rank):
    raise ValueError("in the callback")
ipywidgets.interactive(fail, rank=(0, 3))
"""


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("1 / 0", "cell 3: ZeroDivisionError: division by zero"),
        ("import os; os._exit(1)", "DeadKernelError"),
        (BROKEN_WIDGET, "in a widget or an output: ValueError: in the callback"),
    ],
    ids=["exception", "dead kernel", "widget"],
)
def test_a_failing_notebook_is_marked_and_the_others_run(folder, capfd, cell, said):
    notebook(folder, "01_one", cell)
    assert run(folder) == 1
    out = folder.parent / "out"
    assert (out / "01_one.failed.ipynb").exists() and not (out / "01_one.ipynb").exists()
    assert printed(out / "02_two.ipynb") == "two 1\n"
    index = (out / "index.html").read_text()
    assert "01_one: failed" in index and said in index and 'href="01_one.failed.ipynb"' in index
    assert said in capfd.readouterr().out
    notebook(folder, "01_one", "print('mended')")
    assert run(folder) == 0 and not (out / "01_one.failed.ipynb").exists()


def test_keeps_what_is_finished_and_runs_what_comes_after_a_change(folder, capfd):
    def states():
        said = capfd.readouterr().out
        return ["kept" if f"{stem}: kept" in said else "ran" for stem in ("01_one", "02_two")]

    run(folder)
    assert states() == ["ran", "ran"]
    run(folder)
    assert states() == ["kept", "kept"]
    assert "finished earlier" in (folder.parent / "out/index.html").read_text()
    notebook(folder, "02_two", "print('changed')")
    run(folder)
    assert states() == ["kept", "ran"]
    run(folder, overrides={"rate": "2"})  # both have it
    assert states() == ["ran", "ran"]
    run(folder, overrides={"rate": "2"}, fresh=True)
    assert states() == ["ran", "ran"]


def command(folder, *arguments):
    """The command line on these notebooks, as a user's shell starts it: in a process group of its own, heeding Ctrl-C."""
    code = (
        "import signal, sys; from pathlib import Path; from deconvlib import __main__; from deconvlib.lab import run as batch\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # tests in the background inherit that it is ignored
        f"batch.run.__defaults__ = (*run.run.__defaults__[:-1], Path({str(folder)!r}))\n"
        "sys.exit(__main__.main())"
    )
    out = folder.parent / "out"
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, "run", "--out", str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_an_interrupted_run_leaves_what_was_finished_and_continues(folder):
    marker = folder.parent / "began"
    notebook(folder, "02_two", f"open({str(marker)!r}, 'w').close()\nimport time; time.sleep(60)")
    process = command(folder)
    end = time.monotonic() + 300
    while not marker.exists():
        assert time.monotonic() < end, "02_two did not begin"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and said.rstrip().endswith("run the same command again to continue"), said
    assert "Traceback" not in said, said
    out = folder.parent / "out"
    assert (out / "01_one.ipynb").exists() and not (out / "02_two.ipynb").exists()
    assert "02_two: interrupted" in (out / "index.html").read_text()
    notebook(folder, "02_two", "print('two')")
    process = command(folder)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "01_one: kept" in said and "02_two: done" in said, said


def test_two_runs_into_one_folder_are_refused_but_a_dead_ones_lock_is_not(folder):
    out = folder.parent / "out"
    out.mkdir()
    (out / ".running").write_text(str(os.getpid()))
    with pytest.raises(parameters.UserError, match="another run is at work"):
        run(folder)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (out / ".running").write_text(str(dead.pid))
    assert run(folder, "02") == 0 and not (out / ".running").exists()


def test_an_out_that_cannot_be_is_one_clear_error(folder):
    (folder.parent / "out").write_text("a file")
    with pytest.raises(parameters.UserError, match="cannot write into"):
        run(folder)


def test_the_command_line_says_what_is_wrong_in_one_line():
    command = [sys.executable, "-m", "deconvlib", "run", "--profile", "quik"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 2 and done.stderr.startswith("deconvlib: profile 'quik' is not known; did you mean 'quick'")
    assert len(done.stderr.splitlines()) == 1


def test_the_quick_profile_is_the_committed_defaults():
    folder = run.ROOT / "notebooks"
    sections = yaml.safe_load((folder / "profiles/quick.yaml").read_text())
    for path in folder.glob("[0-9]*.ipynb"):
        defaults = parameters.read_defaults(path)
        given = {k: v for k, v in sections["all"].items() if k in defaults} | sections.get(path.stem, {})
        assert given == {name: defaults[name] for name in given}, path.stem


@pytest.mark.parametrize("profile", sorted((run.ROOT / "notebooks/profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_committed_profile_is_valid(profile):
    folder = run.ROOT / "notebooks"
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    assert parameters.checked_parameters(paths, parameters.read_profile(folder, profile.stem), {})


def test_bars_of_progress_are_left_out_and_warnings_are_not():
    bar = nbformat.v4.new_output("stream", name="stderr", text="\r50 %\r100 %\r      \r")
    warning = nbformat.v4.new_output("stream", name="stderr", text="beware\n")
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[bar, warning])])
    run._tidy(page)
    assert [output["text"] for output in page.cells[0].outputs] == ["beware\n"]
