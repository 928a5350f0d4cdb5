"""Which class each pixel belongs to: masks as colours, with the classes' names; their overlap is in `quality`."""

import matplotlib
import numpy as np
from matplotlib.patches import Patch

from deconvlib import figures


def colours(num_classes: int) -> np.ndarray:
    """(num_classes, 3) in [0, 1], one for each class; class 0, the ground, is nearly white."""
    found = matplotlib.colormaps["tab20"](np.arange(num_classes) % 20)[:, :3].astype(np.float32)
    found[0] = 0.95
    return found


def figure(scenes, masks, class_names):
    """A row of scenes, and below it a row of each kind of masks, {name: (n, height, width)}; each class has its colour."""
    colour = colours(len(class_names))
    fig = figures.image_rows({"scene": scenes} | {name: colour[part] for name, part in masks.items()})
    width, height = fig.get_size_inches()
    columns = int(width / 1.1)
    fig.set_size_inches(width, height + 0.2 * -(-len(class_names) // columns) + 0.1)
    drawn = [Patch(facecolor=one, edgecolor="0.6", linewidth=0.5) for one in colour]
    fig.legend(drawn, class_names, loc="outside lower center", ncols=columns, fontsize=8)
    return fig


def chances(scene, truth, likely, class_names, chosen):
    """A scene, its true pixels of the class `chosen`, and how likely each network finds that class there.

    scene: (height, width, channels); truth: (height, width); likely: {network: (height, width, classes)}, probabilities.
    """
    number = list(class_names).index(chosen)
    maps = {"truth": (truth == number).astype(np.float32)} | {name: part[..., number] for name, part in likely.items()}
    fig, axs = figures.panels(1 + len(maps), 2.4)
    figures.show(axs[0], scene, "scene")
    for ax, (name, part) in zip(axs[1:], maps.items(), strict=True):
        drawn = ax.imshow(part, cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(name, fontsize=8)
    for ax in axs:
        figures.bare(ax)
    fig.colorbar(drawn, ax=axs[1:], label=f"probability of {chosen}", shrink=0.8)
    return fig
