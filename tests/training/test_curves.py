"""Figures of trainings: what lies where in them."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from deconvlib import figures, training

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.2, 0.5], "val_loss": [2.0, 1.5], "val_accuracy": [0.3, 0.4]}
).assign(**{"gradient/conv1": [1.0, 0.5], "gradient/logits": [0.1, 0.2]})
BINS = pd.DataFrame({"confidence": [0.5, 0.9], "accuracy": [0.4, 0.9], "count": [3, 5]})
EVERY = {
    "curves": lambda: training.curves({"one": HISTORY, "other": HISTORY}),
    "learning_curves": lambda: training.learning_curves({"a": np.array([[0.1, 0.3], [0.2, 0.4]]), "b": np.array([[0.2, 0.2]])}),
    "gradient_norms": lambda: training.gradient_norms({"a": HISTORY, "b": HISTORY}),
    "training": lambda: training.curves_and_mistakes({"one": HISTORY, "other": HISTORY}, (IMAGES[:3], ["a", "b", "c"])),
    "training, nothing yet": lambda: training.curves_and_mistakes({}),
    "confusion": lambda: training.confusion(np.array([[3, 1], [0, 0]]), ("a", "b")),
    "calibration": lambda: training.calibration(BINS, 0.05),
    "mistakes": lambda: training.mistakes(IMAGES[:3], [0, 1, 0], [1, 0, 1], [0.9, 0.8, 0.7], ("a", "b")),
    "no mistakes": lambda: training.mistakes(IMAGES[:0], [], [], [], ("a", "b")),
}


@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_every_figure_can_be_drawn(draw, tmp_path):
    figure = draw()
    assert isinstance(figure, figures.Figure), "a notebook would not show it"
    figure.savefig(tmp_path / "figure.png")


def test_names_of_runs_stay_within_the_figure_however_long():
    named = {f"run {number}: " + "normalization none, " * 9: HISTORY for number in range(3)}
    fig = training.curves_and_mistakes({"tutorial": HISTORY} | named)
    fig.draw_without_rendering()
    upper = fig.subfigs[0]
    (legend,), here = upper.legends, upper.bbox
    place = legend.get_window_extent()
    assert here.x0 <= place.x0 and place.x1 <= here.x1 and here.y0 <= place.y0
    assert place.y1 <= min(ax.get_tightbbox().y0 for ax in upper.axes), "they cover the curves"


def test_gradients_are_drawn_as_geometric_means_by_layer():
    rows = [
        {"network": network, "activation": activation, "seed": seed, "layer": layer, "norm": 10.0 ** (layer + 2 * seed)}
        for network in ("plain", "residual") for activation in ("tanh", "relu") for seed in (0, 1) for layer in (1, 2, 3)
    ]  # fmt: skip
    tanh, relu = training.gradient_flow(pd.DataFrame(rows)).axes
    assert (tanh.get_title(), relu.get_title()) == ("tanh", "relu")
    np.testing.assert_allclose(tanh.lines[0].get_xydata(), [[1, 1e2], [2, 1e3], [3, 1e4]])
    band = tanh.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(10) and band[:, 1].max() == pytest.approx(1e5)


def test_gaps_of_accuracy_are_drawn_where_the_table_says():
    table = pd.DataFrame({"setting": ["x", "y"], "training": [0.9, 0.8], "test": [0.5, 0.6]})
    (ax,) = training.overfitting(table).axes
    line, trained, tested = ax.lines
    assert line.get_xdata()[0] == 0.5
    assert (trained.get_xdata().tolist(), tested.get_xdata().tolist()) == ([0.9, 0.8], [0.5, 0.6])


def test_learning_curves_have_the_interval_over_the_seeds():
    """0.1, 0.2 and 0.3: standard error 0.1 / √3, t(0.975, 2) = 4.303, so ± 0.248."""
    (ax,) = training.learning_curves({"a": np.array([[0.1], [0.2], [0.3]]), "b": np.array([[0.5]])}).axes
    (band,) = ax.collections
    ends = band.get_paths()[0].vertices[:, 1]
    assert [ends.min(), ends.max()] == pytest.approx([0.2 - 0.2484, 0.2 + 0.2484], abs=1e-4)


def test_pale_colours_come_after_the_strong_ones():
    (ax,) = training.learning_curves({str(number): np.array([[0.5]]) for number in range(20)}).axes
    colours = [tuple(line.get_color()) for line in ax.lines]
    assert len(set(colours)) == 20 and colours[:10] == [matplotlib.colormaps["tab20"](2 * number) for number in range(10)]
