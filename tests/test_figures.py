"""Figures: what lies where in them, how values become colours, and what is refused."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from deconvlib import deconvnet, experiments, figures, networks, training

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8, 3), np.uint8)
HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.2, 0.5], "val_loss": [2.0, 1.5], "val_accuracy": [0.3, 0.4]}
).assign(**{"gradient/conv1": [1.0, 0.5], "gradient/logits": [0.1, 0.2]})
TABLE = pd.DataFrame(
    {"layer": ["conv1", "dense1"], "kind": ["Conv2D", "Dense"], "shape": [(8, 8, 4), (10,)], "parameters": [40, 20]}
)
BINS = pd.DataFrame({"confidence": [0.5, 0.9], "accuracy": [0.4, 0.9], "count": [3, 5]})


def patches(pixels, projections):
    """Patches of units of channel 3."""
    zeros = np.zeros(pixels.shape[:-3], int)
    return deconvnet.Patches(pixels, projections, zeros, zeros, "conv1", deconvnet.Units(zeros, zeros, zeros, zeros + 3, zeros))


EVERY = {
    "covariances": lambda: networks.network_deconvolution.covariances([np.eye(4), -np.eye(4)], ["before", "after"]),
    "learning_curves": lambda: training.learning_curves({"a": np.array([[0.1, 0.3], [0.2, 0.4]]), "b": np.array([[0.2, 0.2]])}),
    "image_sheet": lambda: figures.image_sheet(IMAGES, titles=[str(i) for i in range(12)], columns=5, caption="as they are"),
    "architecture": lambda: networks.architecture(TABLE),
    "curves": lambda: training.curves({"one": HISTORY, "other": HISTORY}),
    "gradient_norms": lambda: training.gradient_norms(HISTORY),
    "confusion": lambda: training.confusion(np.array([[3, 1], [0, 0]]), ("a", "b")),
    "calibration": lambda: training.calibration(BINS, 0.05),
    "mistakes": lambda: training.mistakes(IMAGES[:3], [0, 1, 0], [1, 0, 1], [0.9, 0.8, 0.7], ("a", "b")),
    "matrix_of_operator": lambda: networks.summary.matrix_of_operator(RNG.normal(size=(4, 9))),
    "arrays": lambda: networks.summary.arrays([np.eye(2), np.eye(3)], ["two", "three"]),
    "switches": lambda: deconvnet.figures.switches(IMAGES[:2], RNG.random((2, 8, 8)), RNG.random((2, 8, 8)) > 0.7),
    "gallery": lambda: deconvnet.gallery(patches(RNG.random((3, 5, 4, 4, 1)), RNG.normal(size=(3, 5, 4, 4, 1)))),
    "projections": lambda: deconvnet.figures.projections(IMAGES[:2], {"deconvnet": RNG.normal(size=(2, 8, 8, 3))}),
    "tiles": lambda: figures.tiles(IMAGES, columns=5, caption="as they are"),
    "no tiles": lambda: figures.tiles(IMAGES[:0]),
    "feature": lambda: deconvnet.figures.feature(
        IMAGES[0], RNG.normal(size=(8, 8, 3)), (1, 2, 4, 4), IMAGES[:5], IMAGES[:5] - 127.0, "one"
    ),
    "feature, whole map": lambda: deconvnet.figures.feature(
        IMAGES[0], IMAGES[0] - 127.0, None, IMAGES[:1], IMAGES[:1] - 127.0, "one"
    ),
    "training": lambda: training.curves_and_mistakes({"one": HISTORY, "other": HISTORY}, (IMAGES[:3], ["a", "b", "c"])),
    "training, nothing yet": lambda: training.curves_and_mistakes({}),
}


@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_every_figure_can_be_drawn_and_shows_nothing_by_itself(draw, tmp_path):
    figure = draw()
    assert isinstance(figure, figures.Figure), "a notebook would not show it"
    figure.savefig(tmp_path / "figure.png")


def test_tiles_are_counted_by_their_axes():
    """Panels find out so which picture was clicked."""
    (sheet,) = figures.tiles(IMAGES, columns=5).axes
    assert (sheet.get_xlim(), sheet.get_ylim()) == ((0, 5), (3, 0)) and sheet.get_label() == "tiles"
    axes = {
        ax.get_label(): ax
        for ax in deconvnet.figures.feature(IMAGES[0], IMAGES[0] - 1.0, None, IMAGES[:5], IMAGES[:5] - 1.0, "").axes
    }
    assert axes["strongest"].get_xlim() == axes["strongest, projected"].get_xlim() == (0, figures.tiles_in_row(5)) == (0, 3)
    assert axes["image"].get_xlim() == (-0.5, 7.5)


def test_projections_are_scaled_one_by_one_around_gray():
    signed = np.array([[-2.0, 0.0, 4.0], [0.0, 0.1, -0.1], [0.0, 0.0, 0.0]]).reshape(3, 1, 3, 1)
    expected = [[0.25, 0.5, 1.0], [0.5, 1.0, 0.0], [0.5, 0.5, 0.5]]
    np.testing.assert_allclose(figures.to_display(signed).reshape(3, 3), expected)


def test_an_operator_is_shown_with_zero_in_the_middle():
    (image,) = networks.summary.matrix_of_operator(np.array([[3.0, -1.0]])).axes[0].images
    assert image.get_clim() == (-3, 3)


def test_the_gallery_puts_patches_left_and_projections_right():
    seen, projections = np.zeros((1, 4, 32, 32, 1)), np.zeros((1, 4, 32, 32, 1))
    seen[0, 1] = 0.25  # of two by two tiles the upper right
    projections[0, 2, :, :, 0] = 1.0  # the lower left
    ax = deconvnet.gallery(patches(seen, projections)).axes[0]
    assert ax.get_title() == "conv1, channel 3"
    (image,) = ax.images
    shown = image.get_array()
    half = shown.shape[1] // 2
    assert shown[5, 40] == 0.25 and shown[5, 5] == 0 and shown[40, 40] == 0
    assert shown[40, half + 10] == 1 and shown[5, half + 10] == 0.5
    (image,) = deconvnet.gallery(patches((seen * 255).astype(np.uint8), projections)).axes[0].images
    np.testing.assert_allclose(image.get_array(), shown, atol=1 / 255)


def test_names_of_runs_stay_within_the_figure_however_long():
    named = {f"run {number}: " + "normalization none, " * 9: HISTORY for number in range(3)}
    fig = training.curves_and_mistakes({"tutorial": HISTORY} | named)
    fig.draw_without_rendering()
    upper = fig.subfigs[0]
    (legend,), here = upper.legends, upper.bbox
    place = legend.get_window_extent()
    assert here.x0 <= place.x0 and place.x1 <= here.x1 and here.y0 <= place.y0
    assert place.y1 <= min(ax.get_tightbbox().y0 for ax in upper.axes), "they cover the curves"


def test_confusion_is_in_percent_of_the_true_class():
    texts = [text.get_text() for text in training.confusion(np.array([[3, 1], [0, 8]]), ("a", "b")).axes[0].texts]
    assert texts == ["75", "25", "100"]


def test_a_spectrum_circles_where_a_checkerboard_lies():
    grid = np.tile([[0.0, 0, 1], [0, 0, 0], [0, 0, 0]], (4, 4))[None, ..., None]
    fig = experiments.operators.spectra({"grid": grid, "even": np.full((2, 12, 12, 1), 0.1 + 0.2)}, 3)
    upper, _, _, lower, even, _ = fig.axes
    np.testing.assert_array_equal(upper.images[0].get_array(), grid[0, ..., 0])
    bright = np.argwhere(lower.images[0].get_array() > -4)
    circled = lower.collections[0].get_offsets()[:, ::-1]
    assert sorted(map(tuple, bright)) == sorted(map(tuple, circled)) and len(circled) == 8
    assert (even.images[0].get_array() == -4).all(), "the last digits of an even map are shown"


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


def test_costs_of_operators_and_gaps_of_accuracy_are_where_their_tables_say():
    sizes = [{"operator": name, "side": side, "forward, ratio": ratio, "both, ratio": 2 * ratio, "KiB, ratio": 0.25}
             for name, ratio in (("a", 1.0), ("b", 0.5)) for side in (8, 16)]  # fmt: skip
    forward, both, memory = experiments.operators.costs_figure(pd.DataFrame(sizes)).axes
    assert forward.lines[1].get_xydata().tolist() == [[8, 0.5], [16, 0.5]]
    assert both.lines[0].get_ydata().tolist() == [2, 2] and memory.lines[0].get_ydata().tolist() == [0.25, 0.25]
    table = pd.DataFrame({"setting": ["x", "y"], "training": [0.9, 0.8], "test": [0.5, 0.6]})
    (ax,) = training.overfitting(table).axes
    line, trained, tested = ax.lines
    assert line.get_xdata()[0] == 0.5
    assert (trained.get_xdata().tolist(), tested.get_xdata().tolist()) == ([0.9, 0.8], [0.5, 0.6])


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: figures.image_sheet(np.zeros((2, 4, 4))), r"must be \(n, height, width, 1 or 3\), not \(2, 4, 4\)"),
        (lambda: figures.image_sheet(np.zeros((2, 4, 4, 2))), "1 or 3"),
        (lambda: figures.image_sheet(np.full((2, 4, 4, 3), 200.0)), r"lie in \[0, 1\] or be uint8; these lie in \[200, 200\]"),
        (lambda: figures.image_sheet(np.full((2, 4, 4, 3), np.nan)), r"lie in \[0, 1\]"),
        (lambda: figures.to_display(np.full((1, 2, 2, 1), np.nan)), "NaN"),
        (lambda: deconvnet.gallery(patches(*np.zeros((2, 4, 8, 8, 3)))), r"of shape \(channels, k\), not \(4,\)"),
        (lambda: deconvnet.figures.switches(IMAGES[:1], np.zeros((1, 4, 4)), np.zeros((1, 8, 8), bool)), "one shape"),
    ],
)
def test_refuses(draw, said):
    with pytest.raises(ValueError, match=said):
        draw()


def test_a_notebook_shows_a_figure_once_and_a_panel_by_its_name():
    cells = [
        "import numpy as np\nfrom deconvlib import figures\nfrom deconvlib.lab import panels\nfigures.use_style()",
        "figures.image_sheet(np.zeros((2, 4, 4, 3)))",
        "panels.explore(lambda rank: figures.image_sheet(np.zeros((2, 4, 4, 3))), rank=(0, 3))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook).execute()
    silent, figure, panel = (cell.outputs for cell in notebook.cells)
    assert silent == [] and len(figure) == len(panel) == 1
    assert figure[0].data["text/plain"].startswith("<Figure size") and "image/png" in figure[0].data
    assert panel[0].data["text/plain"] == "explore(rank)"
