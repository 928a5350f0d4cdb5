"""What tests of several wings share."""

import pytest

from deconvlib import figures
from deconvlib.backend import keras


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Fixtures of any scope and the test draw the same weights in every run, whatever ran before in this process."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def drawn(tmp_path):
    """A function that draws a figure as a notebook does, and returns it."""

    def draw(figure):
        assert isinstance(figure, figures.Figure), "a notebook would not show it"
        figure.savefig(tmp_path / "figure.png")
        return figure

    return draw
