"""The command line: what is wrong stands in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def said(*command, cwd=ROOT):
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_says_what_is_wrong_in_one_line():
    wrong = said("-m", "deconvlib", "run", "--profile", "quik")
    assert wrong.startswith("deconvlib: profile 'quik' is not known; did you mean 'quick'")


@pytest.mark.parametrize("command", [["run"], ["sweep", "notebooks/grids/decoders.yaml"]], ids=lambda command: command[0])
def test_says_where_there_are_no_notebooks(command, tmp_path):
    assert said("-m", "deconvlib", *command, cwd=tmp_path).startswith("deconvlib: no notebook like 01_data.ipynb in /")


def test_says_what_to_install_where_the_lab_is_missing():
    code = "import sys; sys.modules['papermill'] = sys.modules['yaml'] = None; from deconvlib import __main__; "
    wrong = said("-c", code + "sys.exit(__main__.main(['run']))")
    assert wrong == "deconvlib: papermill, yaml missing: pip install 'deconvlib[lab]'\n"


def test_says_in_one_line_that_a_parameter_cannot_have_a_value_and_loads_no_backend():
    code = "import sys; from deconvlib import __main__; code = __main__.main(['run', '03', '-p', 'optimizer', 'adm']); "
    code += (
        "assert not {'tensorflow', 'keras', 'pandas', 'matplotlib', 'papermill', 'nbformat'} & set(sys.modules); sys.exit(code)"
    )
    assert said("-c", code).startswith("deconvlib: 03_training: optimizer 'adm' is not known; did you mean 'adam'")


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["run", "-p", "run_dir", "x"], "parameter 'run_dir' is where results go, which --out says: run --out FOLDER"),
        (["run", "-p", "seed", "1", "-p", "seed", "2"], "parameter 'seed' is given twice: say one -p seed VALUE"),
        (["run", "--out", "/dev/full/x"], "cannot write into /dev/full/x: "),
        (["run", "--profile", "../profiles/quick"], "profile '../profiles/quick' is not known. Known: 'cifar10', 'gpu'"),
        (
            ["sweep", "notebooks/grids/decoders.yaml", "--workers", "-1"],
            "--workers must be a whole number of 1 or more, not -1",
        ),
        (["sweep", "notebooks/grids/decoders.yaml", "--out", "/dev/full/x"], "cannot write into /dev/full/x: "),
        (["sweep", "notebooks/grids"], "cannot read notebooks/grids: Is a directory"),
    ],
)
def test_what_cannot_be_is_one_line(command, line):
    assert said("-m", "deconvlib", *command).startswith(f"deconvlib: {line}")


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.3])
def test_a_ctrl_c_while_it_starts_is_one_line(seconds, tmp_path):
    code = (
        "import os, signal, sys, threading; from deconvlib import __main__\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # tests in the background inherit that it is ignored
        f"threading.Timer({seconds}, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        f"sys.exit(__main__.main(['run', '--out', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 130 and done.stderr == "deconvlib: interrupted; run the same command again to continue\n"
