"""The runner: what it calls a failure, what it keeps, how it is interrupted."""

import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import papermill
import psutil
import pytest
from small_notebooks import PARAMETERS, notebook

from deconvlib.lab import kernels, lanes, parameters, record, run

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
    (folder / "glossary.md").write_text("See [one](01_one.ipynb): $x^2$")
    assert series(folder, overrides={"rate": "1e-3", "flip": "true", "filters": "[16, 32]", "choice": "7"}) == 0
    out = folder.parent / "out"
    assert printed(out / "01_one.ipynb") == "3 0.001 y True [16, 32]\n" and printed(out / "02_two.ipynb") == "two 1\n"
    assert json.loads((out / "01_one/metrics.json").read_text())["metrics"] == {"epochs": 3}
    page = (out / "01_one.html").read_text()
    assert "3 0.001 y True" in page and ">print<" in page  # output and input
    assert '<script src="http' not in page
    glossary = (out / "glossary.html").read_text()
    assert 'href="01_one.html"' in glossary and "<msup>" in glossary
    index = (out / "index.html").read_text()
    assert "Title of 01_one" in index and "Title of 02_two" in index and 'href="02_two.html"' in index
    for path in out.rglob("*.*"):
        assert str(folder.parent) not in path.read_text(errors="ignore"), path  # no path of this machine
    assert "[2/2] 02_two: done in" in capfd.readouterr().out


def test_the_index_still_shows_what_another_run_left(folder):
    series(folder)
    backup = folder.parent / "out/02_two/backup"
    backup.mkdir()
    series(folder, "02", fresh=True)
    assert not backup.exists(), "its trainings would go on, and not be fresh"
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


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupted_run_leaves_what_was_finished_and_continues(folder, workers):
    marker = folder.parent / "began"
    notebook(folder, "02_two", f"open({str(marker)!r}, 'w').close()\nimport time; time.sleep(60)")
    process = command(folder, "--workers", workers)
    end = time.monotonic() + 300
    while not (marker.exists() and (folder.parent / "reports/quick/01_one/run.json").exists()):
        assert time.monotonic() < end, "02_two did not begin"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 130 and said.rstrip().endswith("run the same command again to continue"), said
    assert "Traceback" not in said, said
    out = folder.parent / "reports/quick"
    assert (out / "01_one.ipynb").exists() and not (out / "02_two.ipynb").exists()
    assert "02_two: interrupted" in (out / "index.html").read_text()
    notebook(folder, "02_two", "print('two')")
    process = command(folder)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0 and "01_one: kept" in said and "02_two: done" in said, said


MEETS = """
import time
from pathlib import Path
Path({own!r}).touch()
end = time.monotonic() + 60
while not Path({other!r}).exists():
    assert time.monotonic() < end, "the other one is not at work"
    time.sleep(0.05)
"""


def test_several_run_at_a_time_but_for_what_reads_and_what_measures(folder, capfd, monkeypatch):
    for name in lanes.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(record, "cores", lambda: 6)
    threads = f"import os; print([os.environ[name] for name in {lanes.THREADS}])\n"
    one, two, out = str(folder.parent / "one"), str(folder.parent / "two"), folder.parent / "out"

    def done(stem):
        return f"from pathlib import Path\nassert Path({str(out / stem / 'run.json')!r}).exists()"

    notebook(folder, "01_one", MEETS.format(own=one, other=two) + "print('met')")
    notebook(folder, "02_alone", threads + "\n".join(map(done, ("01_one", "03_training", "04_four", "05_five"))))
    notebook(folder, "02_two", done("02_alone").replace("assert", "assert not"))
    notebook(folder, "03_training", MEETS.format(own=two, other=one) + "time.sleep(1)")
    notebook(folder, "04_four", threads + done("03_training") + "  # network_of(run_dir)")
    notebook(folder, "05_five", "print(5)")
    measuring = nbformat.read(folder / "02_alone.ipynb", as_version=4)
    measuring.cells[-1].metadata["tags"] = ["alone"]
    nbformat.write(measuring, folder / "02_alone.ipynb")
    assert series(folder, workers=2) == 0, capfd.readouterr().out
    said = capfd.readouterr().out
    assert "      01_one: met\n" in said and "[3/6] 02_two: done" in said
    assert "04_four: ['3', '3', '3']\n" in said and "02_alone: ['6', '6', '6']\n" in said
    assert not set(lanes.THREADS) & set(os.environ)
    series(folder, workers=2)
    assert capfd.readouterr().out.count(": kept") == 6
    notebook(folder, "03_training", "print('changed')")
    series(folder, workers=2)
    said = capfd.readouterr().out
    assert said.count(": kept") == 4 and "03_training: done" in said and "04_four: done" in said


@pytest.mark.parametrize(
    ("host", "process", "later", "who"),
    [
        (None, os.getpid(), 0, f"process {os.getpid()}"),
        ("elsewhere", 3, 0, "process 3 on elsewhere"),
        (None, os.getpid(), 1000, None),  # its number is another process' now
        (None, 2**30, 0, None),
    ],
    ids=["at work", "at work on another machine", "a number used again", "killed"],
)
def test_a_second_run_into_one_folder_is_refused_while_the_first_is_at_work(folder, host, process, later, who):
    out = folder.parent / "out"
    out.mkdir()
    started = psutil.Process().create_time() - later
    lock = {"host": host or platform.node(), "process": process, "started": started}
    (out / ".running").write_text(json.dumps(lock))
    if who:
        with pytest.raises(parameters.UserError) as error:
            series(folder, "02")
        assert str(error.value) == f"another run is at work in {out} ({who}); if it has ended, remove {out / '.running'}"
    else:
        assert series(folder, "02") == 0 and not (out / ".running").exists()


@pytest.mark.parametrize("text", ["", "123", "{"])
def test_a_lock_that_says_nothing_is_no_lock(folder, text):
    out = folder.parent / "out"
    out.mkdir()
    (out / ".running").write_text(text)
    with run.alone(out):
        assert json.loads((out / ".running").read_text())["process"] == os.getpid()
    assert not (out / ".running").exists()


def test_an_out_that_cannot_be_is_one_clear_error(folder):
    (folder.parent / "out").write_text("a file")
    with pytest.raises(parameters.UserError, match=r"cannot write into .*out: .*File exists") as error:
        series(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("where", ["record.write", "papermill.execute_notebook"])
def test_a_full_disk_ends_the_run_in_one_line_that_names_the_folder(folder, monkeypatch, where):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(record if where == "record.write" else papermill, where.partition(".")[2], full)
    with pytest.raises(parameters.UserError, match=r"cannot write into .*out: No space left on device") as error:
        series(folder)
    assert "\n" not in str(error.value) and not (folder.parent / "out/.running").exists()


def test_what_a_killed_run_left_half_written_is_removed_and_what_others_left_is_not(folder):
    out = folder.parent / "out"
    (out / "01_one").mkdir(parents=True)
    ours = ["01_one.part.ipynb", "01_one.part.html", "index.html.part", "01_one/metrics.part.json"]
    for name in (*ours, "film.part", "01.part.zip"):
        (out / name).touch()
    assert series(folder, "02") == 0
    assert {path.name for path in out.rglob("*.part*")} == {"film.part", "01.part.zip"}


MUTE = """
from jupyter_client.session import Session
def send(self, stream, kind, *arguments, send=Session.send, **rest):
    return self.msg(kind, *arguments[:2]) if kind == "execute_reply" else send(self, stream, kind, *arguments, **rest)
Session.send = send
"""


def test_a_kernel_that_does_not_reply_is_ended_and_the_next_notebook_runs(folder, capfd, monkeypatch):
    monkeypatch.setattr(kernels, "GRACE", 2.0)
    notebook(folder, "01_one", MUTE, "print('never')")
    assert series(folder) == 1
    said, errors = capfd.readouterr()
    assert (
        not errors and "  cell 3: the kernel has been idle for 2 s, and its reply has not come; its kernel was ended\n" in said
    )
    assert "[2/2] 02_two: done in" in said and "never" not in said
    assert (folder.parent / "out/01_one.failed.ipynb").exists()


def test_a_cell_that_takes_longer_than_it_may_is_ended_and_the_next_notebook_runs(folder, capfd):
    notebook(folder, "01_one", "print('begun')", "import time; time.sleep(600)")
    assert series(folder, timeout=3) == 1
    said, errors = capfd.readouterr()
    assert (
        not errors and "  cell 4: it takes longer than 3 s; its kernel was ended\n" in said and "[2/2] 02_two: done in" in said
    )
    assert printed(folder.parent / "out/01_one.failed.ipynb") == "begun\n"


def test_a_timeout_is_a_number_of_seconds(folder):
    with pytest.raises(parameters.UserError, match="--timeout must be a whole number of 1 or more, not 0"):
        series(folder, timeout=0)


PLACE = """
from pathlib import Path
from deconvlib.lab import record
record.go_home()
(Path(run_dir) / "found").mkdir(parents=True)
"""


def test_a_path_means_the_same_however_a_notebook_is_run(folder):
    """By papermill from the project's folder, beside the notebooks, and from another folder; then by `run`."""
    notebook(folder, "01_one", PLACE, parameters=PARAMETERS.replace('"."', '"results/x"'))
    project = folder.parent
    (project / "other/folder").mkdir(parents=True)
    for place in (project, folder, project / "other/folder"):
        command = [sys.executable, "-m", "papermill", str(folder / "01_one.ipynb"), "executed.ipynb", "-k", "python3"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (project / "results/x/found").rmdir()
    assert series(folder, "01") == 0 and (project / "out/found").is_dir()


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
