"""What tests of several wings share."""

import pytest

from deconvlib import figures


@pytest.fixture
def drawn(tmp_path):
    """A function that draws a figure as a notebook does, and returns it."""

    def draw(figure):
        assert isinstance(figure, figures.Figure), "a notebook would not show it"
        figure.savefig(tmp_path / "figure.png")
        return figure

    return draw
