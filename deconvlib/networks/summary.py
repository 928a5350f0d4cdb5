"""A network at a glance: its layers with their FLOPs, a drawing, and small operators as matrices."""

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from deconvlib import figures
from deconvlib.backend import keras


def layer_table(model: keras.Model) -> pd.DataFrame:
    """One row a layer: name, kind, output shape without the batch, parameters, FLOPs for one image.

    FLOPs are 2 × the multiply–adds of convolutions, transposed convolutions and dense layers; the rest is small beside.
    """
    return pd.DataFrame(
        {
            "layer": layer.name,
            "kind": type(layer).__name__,
            "shape": tuple(layer.output.shape[1:]),
            "parameters": layer.count_params(),
            "FLOPs": flops(layer),
        }
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
    )


def flops(layer: keras.layers.Layer) -> int:
    """2 × the multiply–adds of a layer with a kernel for one image, else 0."""
    kernels = [weight.shape for weight in layer.weights if weight.name.endswith("kernel")]
    if not kernels:
        return 0
    # a convolution uses each weight once for each output position; these two once for each input position
    shape = layer.input.shape if type(layer).__name__ in ("Conv2DTranspose", "SubpixelConv2D") else layer.output.shape
    return 2 * sum(int(np.prod(kernel)) for kernel in kernels) * int(np.prod(shape[1:-1]))


KINDS = {
    **dict.fromkeys(("Conv2D", "DeconvolvedConv2D"), "#0072B2"),
    "Conv2DTranspose": "#D55E00",
    **dict.fromkeys(("Unpooling2D", "UpSampling2D", "DepthToSpace"), "#F0E442"),
    "MaxPooling2D": "#56B4E9",
    "AveragePooling2D": "#56B4E9",
    "BatchNormalization": "#CCCCCC",
    **dict.fromkeys(("Dense", "DeconvolvedDense"), "#009E73"),
    "Softmax": "#E69F00",
}


def architecture(table):
    """The network as boxes: height is the map's height, width the square root of its channels.

    table: one row a layer with columns layer, kind, shape (height, width, channels) or (units,), and parameters.
    """
    # a box each for what changes the map; the rest would hide it
    rows = [row for row in table.to_dict("records") if row["kind"] in KINDS or (len(row["shape"]) == 3 and row["parameters"])]
    tallest = max((row["shape"][0] for row in rows if len(row["shape"]) == 3), default=1)
    fig, ax = figures.one(3.2)
    left, seen = 0.0, {}
    for row in rows:
        shape = row["shape"]
        height = max(shape[0] / tallest, 0.03) if len(shape) == 3 else 0.15 + 0.06 * np.log2(shape[-1])
        width = 0.1 * np.sqrt(shape[-1]) if len(shape) == 3 else 0.25
        colour = KINDS.get(row["kind"], "#999999")
        box = ax.add_patch(Rectangle((left, -height / 2), width, height, facecolor=colour, edgecolor="white"))
        seen.setdefault(row["kind"], box)
        size = " × ".join(map(str, shape))
        ax.text(left + width / 2, -0.56, f"{row['layer']}  {size}", rotation=60, ha="right", va="top", fontsize=7)
        left += width + 0.18
    ax.set(xlim=(-0.4, left), ylim=(-0.55, 0.52), aspect="auto")
    ax.axis("off")
    ax.legend(seen.values(), seen, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(seen))
    return fig


def matrices(named):
    """Matrices of linear operators side by side, zero white, on one scale. named: {title: (outputs, inputs)}."""
    limit = max(np.abs(matrix).max() for matrix in named.values()) or 1
    fig = figures.figure(3.6)
    axs = fig.subplots(1, len(named), squeeze=False, width_ratios=[matrix.shape[1] for matrix in named.values()])[0]
    for ax, (title, matrix) in zip(axs, named.items(), strict=True):
        image = ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(
            xlabel=f"input pixel, 0 to {matrix.shape[1] - 1}", ylabel=f"output pixel, 0 to {matrix.shape[0] - 1}", title=title
        )
        ax.locator_params(integer=True, nbins=6)
    fig.colorbar(image, ax=axs, label="weight")
    return fig


def arrays(values, titles):
    """Small number grids with their values written in the cells. values: 2-D arrays."""
    fig = figures.figure(1.9)
    axs = fig.subplots(1, len(values), width_ratios=[array.shape[1] for array in values], squeeze=False)[0]
    limit = max(np.abs(array).max() for array in values)
    for ax, array, title in zip(axs, values, titles, strict=True):
        ax.imshow(array, cmap="RdBu_r", vmin=-2 * limit, vmax=2 * limit)
        for row, column in np.ndindex(array.shape):
            ax.text(column, row, f"{array[row, column]:g}", ha="center", va="center")
        ax.set(title=title, xticks=[], yticks=[])
    return fig
