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
