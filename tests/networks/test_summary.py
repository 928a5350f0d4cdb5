"""A network at a glance."""

import numpy as np
import pandas as pd
import pytest

from deconvlib import figures, networks

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {"layer": ["conv1", "dense1"], "kind": ["Conv2D", "Dense"], "shape": [(8, 8, 4), (10,)], "parameters": [40, 20]}
)
EVERY = {
    "architecture": lambda: networks.architecture(TABLE),
    "matrices": lambda: networks.summary.matrices({"a": RNG.normal(size=(4, 9)), "b": RNG.normal(size=(9, 4))}),
    "arrays": lambda: networks.summary.arrays([np.eye(2), np.eye(3)], ["two", "three"]),
    "covariances": lambda: networks.network_deconvolution.covariances([np.eye(4), -np.eye(4)], ["before", "after"]),
}


@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_every_figure_can_be_drawn(draw, tmp_path):
    figure = draw()
    assert isinstance(figure, figures.Figure), "a notebook would not show it"
    figure.savefig(tmp_path / "figure.png")


def test_an_operator_is_shown_with_zero_in_the_middle():
    (image,) = networks.summary.matrices({"a": np.array([[3.0, -1.0]])}).axes[0].images
    assert image.get_clim() == (-3, 3)


def test_flops_are_those_of_each_output_and_of_each_input_where_transposed():
    table = networks.layer_table(networks.tutorial((32, 32, 3), 10)).set_index("layer")
    # 2 · weights without bias · positions of the output, of the input where transposed
    assert table.loc["conv1", "FLOPs"] == 2 * 864 * 900
    assert table.loc["deconv1", "FLOPs"] == 2 * 11520 * 4
    assert table.loc["logits", "FLOPs"] == 2 * 640
    deconvolved = networks.classifier((16, 16, 1), 3, filters=(4,), normalization="deconvolution")
    assert networks.layer_table(deconvolved).set_index("layer").loc["conv1", "FLOPs"] == 2 * 9 * 4 * 256
