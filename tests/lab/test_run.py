"""The runner: what it calls a failure, what it keeps, how it is interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from small_notebooks import notebook

from deconvlib.lab import parameters, run

RECORD = "from deconvlib.lab import record\nrecord.save(run_dir, '{}', dict(epochs=epochs))"


def series(folder, *names, **settings):
    return run.run(names, folder=folder, out=folder.parent / "out", **settings)


def printed(path):
    return "".join(
        output.text
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if "text" in output
    )


def test_runs_the_series_under_a_profile(folder, capfd):
    notebook(folder, "01_one", "print(epochs, rate, name, flip, filters)", RECORD.format("01_one"))
    assert series(folder, overrides={"rate": "1e-3", "flip": "true", "filters": "[16, 32]", "choice": "7"}) == 0
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


def test_the_index_still_shows_what_another_run_left(folder):
    series(folder)
    series(folder, "02", fresh=True)
    index = (folder.parent / "out/index.html").read_text()
    assert "01_one: of an earlier run" in index and "02_two: done" in index and 'href="01_one.html"' in index


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
    assert series(folder) == 1
    out = folder.parent / "out"
    assert (out / "01_one.failed.ipynb").exists() and not (out / "01_one.ipynb").exists()
    assert printed(out / "02_two.ipynb") == "two 1\n"
    index = (out / "index.html").read_text()
    assert "01_one: failed" in index and said in index and 'href="01_one.failed.ipynb"' in index
    assert said in capfd.readouterr().out
    notebook(folder, "01_one", "print('mended')")
    assert series(folder) == 0 and not (out / "01_one.failed.ipynb").exists()


def test_keeps_what_is_finished_and_runs_what_comes_after_a_change(folder, capfd):
    def states():
        said = capfd.readouterr().out
        return ["kept" if f"{stem}: kept" in said else "ran" for stem in ("01_one", "02_two")]

    series(folder)
    assert states() == ["ran", "ran"]
    series(folder)
    assert states() == ["kept", "kept"]
    assert "finished earlier" in (folder.parent / "out/index.html").read_text()
    notebook(folder, "02_two", "print('changed')")
    series(folder)
    assert states() == ["kept", "ran"]
    series(folder, overrides={"rate": "2"})  # both have it
    assert states() == ["ran", "ran"]
    series(folder, overrides={"rate": "2"}, fresh=True)
    assert states() == ["ran", "ran"]


def command(folder, *arguments):
    """The command line beside these notebooks, as a user's shell starts it: in a process group of its own, heeding Ctrl-C."""
    code = (
        "import signal, sys; from deconvlib import __main__\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # tests in the background inherit that it is ignored
        "sys.exit(__main__.main())"
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, "run", *arguments],
        cwd=folder.parent,
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
    out = folder.parent / "reports/quick"
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
        series(folder)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (out / ".running").write_text(str(dead.pid))
    assert series(folder, "02") == 0 and not (out / ".running").exists()


def test_an_out_that_cannot_be_is_one_clear_error(folder):
    (folder.parent / "out").write_text("a file")
    with pytest.raises(parameters.UserError, match="cannot write into"):
        series(folder)


def test_a_change_anywhere_in_the_library_runs_anew(folder, tmp_path, monkeypatch):
    shutil.copytree(run.LIBRARY, library := tmp_path / "deconvlib")
    monkeypatch.setattr(run, "LIBRARY", library)
    seen = {run.fingerprint(folder / "01_one.ipynb", {})}
    for file in ("checks.py", "deconvnet/rules.py", "lab/pages.py"):
        with (library / file).open("a") as text:
            text.write("# changed\n")
        seen.add(run.fingerprint(folder / "01_one.ipynb", {}))
    assert len(seen) == 4


def test_bars_of_progress_are_left_out_and_warnings_are_not():
    bar = nbformat.v4.new_output("stream", name="stderr", text="\r50 %\r100 %\r      \r")
    warning = nbformat.v4.new_output("stream", name="stderr", text="beware\n")
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[bar, warning])])
    run._tidy(page)
    assert [output["text"] for output in page.cells[0].outputs] == ["beware\n"]
