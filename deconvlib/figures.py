"""What every figure is made of: the style, sheets of images, tiles. Each wing draws its own figures with it.

Every function returns its figure and never shows it; a notebook shows what a cell ends with. Figures are made without pyplot:
panels draw on worker threads, and pyplot's current figure belongs to all threads at once. Images are
(n, height, width, channels), uint8 or floats in [0, 1], of 1 or 3 channels.
"""

import io
import textwrap
from pathlib import Path

import matplotlib.figure
import matplotlib.style
import numpy as np
from PIL import Image

WIDTH = 9.0  # inches; the width of a notebook's text
PERCENTILE = 99.5  # of a projection's magnitudes: a few pixels are many times the rest, which the largest would turn gray


def scaling(percentile: float = PERCENTILE, what: str = "Projections") -> str:
    """How `to_display` scales projections, or `what` else is signed, for a caption."""
    if percentile == 100:
        return f"{what}: gray is zero, each scaled by its own largest magnitude."
    return f"{what}: gray is zero, each scaled by the percentile {percentile:g} of its magnitudes; what is beyond is clipped."


SCALING = scaling()


def use_style():
    """Use the project's style for every figure that follows."""
    matplotlib.style.use(Path(__file__).with_name("deconv.mplstyle"))


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows: IPython knows how only where pyplot was imported."""

    colours = None  # how many it is shown in; None: all

    def _repr_png_(self):
        shown = png(self, dpi="figure", bbox_inches="tight")
        if not self.colours:
            return shown
        paletted, drawn = Image.open(io.BytesIO(shown)).convert("RGB"), io.BytesIO()
        paletted.quantize(self.colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(drawn, "PNG", optimize=True)
        return drawn.getvalue()


def in_few_colours(fig, colours=256):
    """The figure, which a notebook shows in so many colours: photographs take a quarter of the bytes. `savefig` keeps all."""
    fig.colours = colours
    return fig


def png(fig, **settings):
    drawn = io.BytesIO()
    fig.savefig(drawn, format="png", **settings)
    return drawn.getvalue()


def message(text):
    """A figure that says why there is nothing to show."""
    fig, ax = one(0.6)
    ax.text(0.5, 0.5, text, ha="center", va="center")
    ax.axis("off")
    return fig


def image_sheet(images, titles=None, columns=10, caption=None):
    """Images side by side, `columns` in a row, each under its title."""
    images = pixels(images)
    rows = -(-len(images) // columns)
    fig, axs = grid(rows, columns, row_height=WIDTH / columns * images.shape[1] / images.shape[2] + (0.2 if titles else 0))
    for ax, image, title in zip(axs.flat, images, titles or [""] * len(images), strict=False):
        show(ax, image, title)
    return captioned(fig, caption)


def tiles(images, columns=10, caption=None):
    """Images close together, without titles: quick to draw. Its axes, labelled "tiles", count in tiles."""
    images = pixels(images)
    rows = max(-(-len(images) // columns), 1)
    sheet = filled(images, rows, columns, gap=1)
    fig, ((ax,),) = grid(1, 1, row_height=WIDTH * sheet.shape[0] / sheet.shape[1])
    show(ax, sheet)
    ax.set_label("tiles")
    count_tiles(ax, columns, rows, images.shape[1:3])
    return captioned(fig, caption)


def image_rows(rows, caption=None):
    """A row of images for each name: {name: images}. The rows may differ in length, the images of all have one size."""
    rows = {name: pixels(images) for name, images in rows.items()}
    columns = max(map(len, rows.values()))
    names = 0.075 * max(map(len, rows)) + 0.1  # inches, at their size
    side = min((WIDTH - names) / columns, 1.0)
    blank = {name: np.ones((columns - len(images), *images.shape[1:])) for name, images in rows.items()}
    sheet = mosaic(np.stack([np.concatenate([images, blank[name]]) for name, images in rows.items()]), gap=1)
    width = side * columns
    fig = figure(width * sheet.shape[0] / sheet.shape[1] + 0.1 + 0.25 * bool(caption), width + names)
    ax = fig.subplots()
    bare(ax)
    show(ax, sheet)
    for index, name in enumerate(rows):
        place = (index + 0.5) * sheet.shape[0] / len(rows)
        ax.text(-2, place, name, ha="right", va="center", fontsize=8)
    return captioned(fig, caption)


def to_display(projections, percentile: float = PERCENTILE):
    """Signed projections as pixels in [0, 1]: 0.5 is zero, 0 and 1 a percentile of each image's magnitudes, and beyond.

    projections: (..., height, width, channels). percentile: above 0, to 100, which is the largest; of the values that are not
    0, as a unit that sees little leaves most of a whole image 0. An image that is zero everywhere becomes plain gray.
    Raises ValueError for NaN and for another percentile.
    """
    if not np.isfinite(projections).all():
        raise ValueError("a projection holds NaN or infinity")
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must lie above 0, and be at most 100, not {percentile!r}")
    each = np.abs(projections).reshape(-1, int(np.prod(projections.shape[-3:])))
    limits = [np.percentile(values[values > 0], percentile) if values.any() else 1 for values in each]
    return np.clip(0.5 + 0.5 * projections / np.reshape(limits, (*projections.shape[:-3], 1, 1, 1)), 0, 1)


def tiles_in_row(number):
    """Tiles in a row of a square sheet of `number` tiles."""
    return int(np.ceil(np.sqrt(number)))


def pixels(images):
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images must be (n, height, width, 1 or 3), not {images.shape}")
    if images.dtype == np.uint8:
        return images / np.float32(255)
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise ValueError(f"pixels must lie in [0, 1] or be uint8; these lie in [{images.min():g}, {images.max():g}]")
    return images


def square(tiles):
    """(k, height, width, channels) as one image, `tiles_in_row(k)` in a row."""
    zoom = max(1, 32 // tiles.shape[1])  # or the gaps between patches of 3 × 3 pixels would be as wide as a third of them
    across = tiles_in_row(len(tiles))
    return filled(tiles.repeat(zoom, axis=1).repeat(zoom, axis=2), -(-len(tiles) // across), across, gap=2)


def filled(tiles, rows, columns, gap):
    blank = np.ones((rows * columns - len(tiles), *tiles.shape[1:]))
    return mosaic(np.concatenate([tiles, blank]).reshape(rows, columns, *tiles.shape[1:]), gap)


def count_tiles(ax, columns, rows, tile):
    """Data coordinates in tiles, of size `tile`, for the picture in these axes: a click tells which tile it hit."""
    ax.images[0].set_extent((0, columns, rows, 0))
    ax.set_aspect(tile[0] / tile[1])


def mosaic(tiles, gap):
    """(rows, columns, height, width, channels) as one image, `gap` white pixels between tiles."""
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1)
    rows, columns, height, width, channels = tiles.shape
    return tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)[:-gap, :-gap]


def figure(height, width=WIDTH):
    """An empty figure; inches."""
    return Figure(figsize=(width, height), layout="constrained")


def one(height):
    fig = figure(height)
    return fig, fig.subplots()


def panels(count, height, sharey=True):
    """A figure, inches high, and its axes side by side."""
    fig = figure(height)
    return fig, fig.subplots(1, count, sharey=sharey, squeeze=False)[0]


def grid(rows, columns, row_height, width=WIDTH):
    fig = figure(rows * row_height, width)
    axs = fig.subplots(rows, columns, squeeze=False)
    for ax in axs.flat:
        bare(ax)
    return fig, axs


def bare(ax):
    ax.axis("off")
    ax.set(xticks=[], yticks=[])  # or Matplotlib lays out what nobody sees, which takes half of a figure's time


def plain(text):
    """The text as Matplotlib shows it letter by letter: a dollar sign begins no formula."""
    return str(text).replace("$", r"\$")


def show(ax, image, title=""):
    ax.imshow(image if image.shape[-1] == 3 else image[..., 0], vmin=0, vmax=1)
    ax.set_title(title, fontsize=8)


def row_name(ax, name):
    ax.text(-0.08, 0.5, name, transform=ax.transAxes, rotation=90, ha="right", va="center", fontsize=8)


def captioned(fig, caption):
    if caption:
        letters = int(16.5 * fig.get_figwidth())  # of size 8 in a line
        lines = [line for given in caption.split("\n") for line in textwrap.wrap(given, letters)]
        fig.supxlabel("\n".join(lines), fontsize=8, color="0.35")
    return fig
