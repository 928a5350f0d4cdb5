"""The three meanings of "deconvolution" in one drawing, every picture of it computed."""

import numpy as np
from matplotlib.patches import Rectangle

from deconvlib import deconvnet, figures
from deconvlib.backend import keras
from deconvlib.networks.network_deconvolution import inverse_square_root

STEPS = 4  # pictures in a row
COLOURS = ("#D55E00", "#0072B2")
TOLD = {
    "Transposed convolution": "a layer that makes\na map finer",
    "Deconvnet": "a way to see what\none unit responds to",
    "Network deconvolution": "decorrelates what a\nconvolution sees",
}


def figure(model: keras.Model, image: np.ndarray, layer: str, pooling: str):
    """A row of pictures for each meaning: transposed convolution, deconvnet, network deconvolution.

    model: of rectifiers, with a max pooling `pooling` on the way to `layer`; image: (height, width, 3), as for `project`. The
    second row projects the strongest unit of `layer`; the third decorrelates this image's patches of 3 × 3
    grey values.
    """
    fig = figures.figure(5.4)
    fig.get_layout_engine().set(wspace=0.12, hspace=0.06)
    axs = fig.subplots(len(TOLD), 1 + STEPS, width_ratios=[1.05] + [1] * STEPS)
    for ax, (name, does) in zip(axs[:, 0], TOLD.items(), strict=True):
        ax.text(0, 0.56, name, weight="bold", fontsize=9, va="bottom", transform=ax.transAxes)
        ax.text(0, 0.5, does, fontsize=8, va="top", transform=ax.transAxes)
    for ax in axs.flat:
        figures.bare(ax)
    _transposed(axs[0, 1:])
    _deconvnet(axs[1, 1:], model, image, layer, pooling)
    _decorrelated(axs[2, 1:], image)
    for ax in axs[:, 2:].flat:
        ax.annotate("", (-0.01, 0.5), (-0.14, 0.5), xycoords="axes fraction", arrowprops={"arrowstyle": "->", "color": "0.3"})
    return fig


def _transposed(axs):
    """A kernel of 4 × 4, with stride 2: each value of a 4 × 4 map places a copy of it, and neighbours' copies overlap."""
    values = np.array([[1, 2, 0, 1], [0, 4, 3, 2], [2, 1, 1, 0], [1, 0, 2, 3]], np.float32)
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 9
    layer = keras.layers.Conv2DTranspose(1, 4, 2, use_bias=False)
    layer.build((1, 4, 4, 1))
    layer.set_weights([kernel.reshape(4, 4, 1, 1)])
    places = ((1, 1), (1, 2))
    seeds = np.zeros((3, 4, 4), np.float32)
    seeds[0, 1, 1] = values[1, 1]
    seeds[1, [1, 1], [1, 2]] = values[[1, 1], [1, 2]]
    seeds[2] = values
    maps = np.asarray(layer(seeds[..., None]))[..., 0]
    _picture(axs[0], values, "a map of 4 × 4")
    for ax, picture, title in zip(
        axs[1:], maps, ("a value places the kernel", "copies overlap", "all copies, added"), strict=True
    ):
        _picture(ax, picture, title, maps.max())
    for colour, (row, column) in zip(COLOURS, places, strict=True):
        _frame(axs[0], (row, column), (1, 1), colour)
        for ax in axs[1 + (colour == COLOURS[1]) : 3]:
            _frame(ax, (2 * row, 2 * column), (4, 4), colour)


def _deconvnet(axs, model, image, layer, pooling):
    units = deconvnet.strongest(model, image[None], layer, k=1)
    unit = units[units.activation[:, 0].argmax(), 0]
    one = np.zeros(model.get_layer(layer).output.shape[1:3])
    one[unit.row, unit.column] = unit.activation
    maps, chosen = deconvnet.switches(model, image[None], pooling)
    channel = maps[0].max(axis=(0, 1)).argmax()
    field = deconvnet.receptive_field.of(model, layer)
    first = field.first(np.array([[unit.row, unit.column]]))[0]
    low, high = np.maximum(first, 0), np.minimum(first + field.size, image.shape[:2])
    figures.show(axs[0], figures.pixels(image[None])[0], "an image and what the unit sees")
    _picture(axs[1], one, f"its activation in {layer}")
    _picture(axs[2], maps[0, ..., channel] * chosen[0, ..., channel], f"maxima in {pooling}: switches")
    projection = deconvnet.project(model, image[None], layer, int(unit.channel))[0]
    figures.show(axs[3], figures.to_display(projection), "its projection")
    _frame(axs[0], low, high - low, COLOURS[0])
    _frame(axs[1], (unit.row, unit.column), (1, 1), COLOURS[0])


def _decorrelated(axs, image):
    """Of the image's grey values, so that a patch has nine numbers: five iterations, as the layer takes."""
    pixels = figures.pixels(image[None])[0].mean(axis=-1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3))
    patches = windows.reshape(-1, 9).astype(np.float32)
    before = np.cov(patches, rowvar=False).astype(np.float32)
    root = np.asarray(inverse_square_root(before + 1e-5 * np.eye(9, dtype=np.float32)))
    middle = (patches - patches.mean(axis=0)) @ root[:, 4]
    figures.show(axs[0], pixels[..., None], "grey values")
    for ax, matrix, title in zip(
        axs[1:3], (before, root @ before @ root), ("covariance of 3 × 3 pixels", "after"), strict=True
    ):
        limit = np.abs(matrix).max()
        ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(title, fontsize=8)
    figures.show(axs[3], figures.to_display(middle.reshape(*windows.shape[:2], 1)), "decorrelated")


def _picture(ax, values, title, limit=None):
    ax.imshow(values, vmin=0, vmax=limit)
    ax.set_title(title, fontsize=8)


def _frame(ax, corner, size, colour):
    ax.add_patch(Rectangle((corner[1] - 0.5, corner[0] - 0.5), size[1], size[0], fill=False, edgecolor=colour, linewidth=1.6))
