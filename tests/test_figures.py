"""Figures: what lies where in them, how values become colours, and what is refused."""

import io

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from deconvlib import deconvnet, figures

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8, 3), np.uint8)


def patches(pixels, projections):
    """Patches of units of channel 3."""
    zeros = np.zeros(pixels.shape[:-3], int)
    return deconvnet.Patches(pixels, projections, zeros, zeros, "conv1", deconvnet.Units(zeros, zeros, zeros, zeros + 3, zeros))


EVERY = {
    "image_sheet": lambda: figures.image_sheet(IMAGES, titles=[str(i) for i in range(12)], columns=5, caption="as they are"),
    "switches": lambda: deconvnet.figures.switches(IMAGES[:2], RNG.random((2, 8, 8)), RNG.random((2, 8, 8)) > 0.7),
    "gallery": lambda: deconvnet.gallery(patches(RNG.random((3, 5, 4, 4, 1)), RNG.normal(size=(3, 5, 4, 4, 1)))),
    "gallery of no channel": lambda: deconvnet.gallery(patches(np.zeros((0, 5, 4, 4, 1)), np.zeros((0, 5, 4, 4, 1)))),
    "projections": lambda: deconvnet.figures.projections(IMAGES[:2], {"deconvnet": RNG.normal(size=(2, 8, 8, 3))}),
    "tiles": lambda: figures.tiles(IMAGES, columns=5, caption="as they are"),
    "no tiles": lambda: figures.tiles(IMAGES[:0]),
    "feature": lambda: deconvnet.figures.feature(
        IMAGES[0], RNG.normal(size=(8, 8, 3)), (1, 2, 4, 4), IMAGES[:5], IMAGES[:5] - 127.0, "one"
    ),
    "feature, whole map": lambda: deconvnet.figures.feature(
        IMAGES[0], IMAGES[0] - 127.0, None, IMAGES[:1], IMAGES[:1] - 127.0, "one"
    ),
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
    np.testing.assert_allclose(figures.to_display(signed, percentile=100).reshape(3, 3), expected)


def test_projections_are_scaled_by_a_percentile_of_what_is_not_zero():
    """Of the magnitudes 1, 2, 3, 4, 100 the percentile 50 is 3, of 2, 2, 2, 8, 8 it is 2; zeros do not count."""
    signed = np.array([[1, -2, 3, -4, 100, 0, 0, 0], [2, -2, 0, 2, 8, 0, -8, 0]]).reshape(2, 1, 4, 2, 1)
    expected = [[2 / 3, 1 / 6, 1, 0, 1, 0.5, 0.5, 0.5], [1, 0, 0.5, 1, 1, 0.5, 0, 0.5]]
    np.testing.assert_allclose(figures.to_display(signed, 50).reshape(2, 8), expected)
    spread = np.linspace(-1, 1, 401).reshape(
        1, 401, 1, 1
    )  # 400 values beside 0: the percentile 99.5 lies 0.005 of the way from 0.995 to 1
    shown = figures.to_display(spread).ravel()
    assert (shown == 1).sum() == (shown == 0).sum() == 1 and shown[200] == 0.5
    np.testing.assert_allclose(shown[200:400], 0.5 + 0.5 * spread.ravel()[200:400] / 0.995025, rtol=1e-6)


def test_captions_say_the_percentile():
    signed, drawn = RNG.normal(size=(1, 3, 4, 4, 1)), patches(RNG.random((1, 3, 4, 4, 1)), RNG.normal(size=(1, 3, 4, 4, 1)))
    for percentile, said in ((100, "by its own largest magnitude"), (99.5, "the percentile 99.5 of its magnitudes")):
        for figure in (
            deconvnet.gallery(drawn, caption="Ours.", percentile=percentile),
            deconvnet.figures.projections(drawn.pixels[0], {"one": signed[0]}, percentile),
            deconvnet.figures.feature(
                drawn.pixels[0, 0], signed[0, 0], None, drawn.pixels[0], signed[0], "", percentile=percentile
            ),
        ):
            assert said in figure.get_supxlabel().replace("\n", " ")
    gallery = deconvnet.gallery(drawn, caption="Ours.").axes[0].images[0].get_array()
    assert deconvnet.gallery(drawn, caption="Ours.").get_supxlabel().startswith("Ours. Projections: gray is zero")
    assert (gallery != deconvnet.gallery(drawn, percentile=50).axes[0].images[0].get_array()).any()


@pytest.mark.parametrize(("count", "names"), [(1, 1), (2, 1), (2, 3), (4, 3), (8, 2), (9, 4)])
def test_projections_fill_the_figure_however_few_they_are(count, names, drawn):
    images = RNG.integers(0, 256, (count, 16, 24, 3), np.uint8)
    figure = drawn(deconvnet.figures.projections(images, {f"rule {i}": RNG.normal(size=images.shape) for i in range(names)}))
    assert len(figure.axes) == count * (names + 1)
    inked = sum(ax.get_window_extent().width * ax.get_window_extent().height for ax in figure.axes)
    assert inked > 0.6 * figure.bbox.width * figure.bbox.height
    assert figure.get_figwidth() <= figures.WIDTH and figure.get_figheight() < 12


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


def test_a_gallery_is_cropped_to_where_the_energy_lies_and_says_so():
    seen, projections = RNG.random((1, 4, 32, 32, 1)), np.zeros((1, 4, 32, 32, 1))
    projections[:, :, 8:14, 20:24] = RNG.normal(size=(4, 6, 4, 1))
    drawn = patches(seen, projections)
    cropped = deconvnet.gallery(drawn, share=1.0)
    assert "Shown are 6 × 6 of 32 × 32 pixels, with 100 % of" in cropped.get_supxlabel().replace("\n", " ")
    shown = cropped.axes[0].images[0].get_array()
    assert shown[0, 0] == seen[0, 0, 8, 18]
    projections[:] = 1
    assert "Shown" not in deconvnet.gallery(drawn).get_supxlabel()


def test_projections_of_a_channel_that_are_one_picture_are_shown_once():
    projections = np.arange(1.0, 5).reshape(4, 1, 1, 1) * np.array([[1.0, -1.0], [0.5, 0.0]])[..., None]
    for last, enlarged in ((1.0, True), (-1.0, False)):
        projections[3] *= last
        (image,) = deconvnet.gallery(patches(np.zeros((1, 4, 2, 2, 1)), projections[None])).axes[0].images
        right = image.get_array()[:, -len(image.get_array()) :]
        assert (len(np.unique(right[: len(right) // 2, : len(right) // 2])) == 1) == enlarged


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: figures.image_sheet(np.zeros((2, 4, 4))), r"must be \(n, height, width, 1 or 3\), not \(2, 4, 4\)"),
        (lambda: figures.image_sheet(np.zeros((2, 4, 4, 2))), "1 or 3"),
        (lambda: figures.image_sheet(np.full((2, 4, 4, 3), 200.0)), r"lie in \[0, 1\] or be uint8; these lie in \[200, 200\]"),
        (lambda: figures.image_sheet(np.full((2, 4, 4, 3), np.nan)), r"lie in \[0, 1\]"),
        (lambda: figures.to_display(np.full((1, 2, 2, 1), np.nan)), "NaN"),
        (lambda: figures.to_display(np.ones((1, 2, 2, 1)), 0), "percentile must lie above 0, and be at most 100, not 0"),
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


def test_few_colours_are_shown_and_all_are_saved():
    image = np.random.default_rng(0).random((1, 60, 60, 3)).astype(np.float32)
    full = len(figures.image_sheet(image, columns=1)._repr_png_())
    fig = figures.in_few_colours(figures.image_sheet(image, columns=1), 16)
    shown = fig._repr_png_()
    assert len(shown) < full / 2 and len(Image.open(io.BytesIO(shown)).convert("RGB").getcolors(1000)) <= 16
    assert len(figures.png(fig, dpi="figure", bbox_inches="tight")) == full
