"""How a feature changes in training, and when a layer settles: Zeiler & Fergus 2013, figure 4."""

from contextlib import contextmanager
from typing import NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from deconvlib import checks, figures, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, projection

EPOCHS = (0, 1, 2, 5, 10, 20, 30, 40, 64)  # the paper's, and before training
SETTLED = 0.9  # correlation with the last snapshot


class Snapshots(keras.callbacks.Callback):
    """A callback that keeps copies of the weights at chosen epochs, and at the last: `weights`, {epoch: list of arrays}.

    epochs: how many epochs a copy has been trained for; 0 is before training. For model.fit, and for training.fit, which
    trains the network within a wrapper with the same weights.
    """

    def __init__(self, epochs: tuple[int, ...] = EPOCHS):
        super().__init__()
        if any(epoch < 0 or epoch != int(epoch) for epoch in epochs):
            raise ValueError(f"epochs are whole numbers from 0, before training, on; not {tuple(epochs)}")
        self.epochs, self.weights, self.trained = set(epochs), {}, None

    def on_train_begin(self, logs=None):
        self.weights, self.trained = {}, None

    def on_epoch_begin(self, epoch, logs=None):
        # here, and not where training begins: Keras restores an interrupted training in between
        if self.trained is None:
            self._keep(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self._keep(epoch + 1)

    def on_train_end(self, logs=None):
        if self.trained is not None:
            self.weights[self.trained] = self.model.get_weights()

    def _keep(self, trained):
        self.trained = trained
        if trained in self.epochs:
            self.weights[trained] = self.model.get_weights()


class Evolution(NamedTuple):
    """The strongest unit of c channels at e epochs.

    epochs: integers (e,). image: integers (e, c), the number of the image that holds the unit. pixels: what the unit sees
    of the image, (e, c, height, width, channels), and projections, of the same shape.
    """

    epochs: np.ndarray
    image: np.ndarray
    pixels: np.ndarray
    projections: np.ndarray


def measure(
    model: keras.Model, snapshots: dict[int, list[np.ndarray]], images: np.ndarray, layer: str, channels: list[int]
) -> Evolution:
    """What excited channels of `layer` most at each snapshot, and its projection.

    snapshots: {epoch: weights}, from `Snapshots`. images: uint8, or float as the model takes them, (n, height, width,
    channels); the paper searches all training images. A picture jumps when another image becomes the strongest. The model
    has its own weights again afterwards, also after an error.
    Raises ValueError for weights of another model, an unknown layer or channel, and as deconvnet.project_units.
    """
    image, patches = [], []
    with _kept(model, snapshots):
        for epoch in progress.steps(sorted(snapshots), f"evolution of {layer}", "epoch"):
            model.set_weights(snapshots[epoch])
            every = activations.strongest(model, images, layer, k=1)[:, 0]
            units = every[checks.within("channel", channels, len(every.image), f"in layer {layer!r}")]
            image.append(units.image)
            patches.append(projection.project_units(model, images, layer, units))
    pixels, projections = np.stack([p.pixels for p in patches]), np.stack([p.projections for p in patches])
    return Evolution(np.array(sorted(snapshots)), np.array(image), pixels, projections)


class Settling(NamedTuple):
    """correlation: a row for each layer, a column for each epoch, in [-1, 1]. settled: {layer: epoch}."""

    correlation: pd.DataFrame
    settled: dict[str, int]


def settling(model: keras.Model, snapshots: dict[int, list[np.ndarray]], images: np.ndarray, layers: list[str]) -> Settling:
    """When each layer began to answer as it does at the last snapshot.

    correlation: of a channel's activations at a snapshot with those at the last one (Pearson's, over all images and
    places), averaged over the channels. A channel that was constant then counts as 0; one that is constant in the end is
    left out. settled: the first epoch from which the correlation stays at 0.9 or above; the distance between
    snapshots limits how exact it is.

    images: as for `measure`; some dozens are enough for channels with maps. The model has its own weights again
    afterwards. Raises ValueError for weights of another model, or an unknown layer.
    """
    epochs = sorted(snapshots)
    read = activations.reader(model, layers, activations.maps, images.shape[1:])
    moments = {(layer, epoch): 0.0 for layer in layers for epoch in epochs}
    with _kept(model, snapshots):
        for _, batch in activations.batches(model, images, "settling"):
            last = None
            for epoch in reversed(epochs):
                model.set_weights(snapshots[epoch])
                outputs = [output.reshape(-1, output.shape[-1]).astype(float) for output in read(batch)]
                last = last or outputs
                for layer, x, y in zip(layers, outputs, last, strict=True):
                    ones = np.ones_like(x)
                    moments[layer, epoch] += np.stack([part.sum(axis=0) for part in (ones, x, y, x * x, y * y, x * y)])
    table = pd.DataFrame({epoch: [_mean_correlation(*moments[layer, epoch]) for layer in layers] for epoch in epochs}, layers)
    near = table >= SETTLED
    settled = {layer: next((e for e in epochs if near.loc[layer, e:].all()), epochs[-1]) for layer in layers}
    return Settling(table.rename_axis(index="layer", columns="epoch"), settled)


def _mean_correlation(n, x, y, xx, yy, xy):
    """Mean over channels of the correlation of x and y, from sums over n values of each."""
    covariance, own, final = n * xy - x * y, n * xx - x * x, n * yy - y * y
    varied, lives = own > 1e-9 * n * xx, final > 1e-9 * n * yy
    correlation = np.divide(covariance, np.sqrt(np.abs(own * final)), out=np.zeros(len(n)), where=varied & lives)
    return float(correlation[lives].mean()) if lives.any() else np.nan


@contextmanager
def _kept(model, snapshots):
    """The model has its weights again at the end, whatever happens. Raises ValueError for snapshots that it cannot take."""
    if not snapshots:
        raise ValueError("there is no snapshot; train with callbacks=(Snapshots(),) first")
    own = model.get_weights()
    for epoch, weights in snapshots.items():
        if [weight.shape for weight in weights] != [weight.shape for weight in own]:
            raise ValueError(f"the snapshot of epoch {epoch} has weights of another model than {model.name!r}")
    try:
        yield
    finally:
        model.set_weights(own)


def figure(grown, titles):
    """Figure 4 of Zeiler & Fergus: what excited each channel most at each epoch, over its projection.

    grown: from `measure`; titles: of the channels. A frame: another image than before became the strongest.
    """
    pixels = np.stack([figures.pixels(part) for part in grown.pixels])
    tiles = np.stack([pixels, figures.to_display(grown.projections)], axis=2)
    zoom = max(1, 32 // tiles.shape[3])
    tiles = tiles.repeat(zoom, axis=3).repeat(zoom, axis=4)
    count, channels, _, height, width, colours = tiles.shape
    rows = tiles.transpose(1, 2, 0, 3, 4, 5).reshape(2 * channels, count, height, width, colours)
    image, gap = figures.mosaic(rows, gap=2), 2
    side = min(0.65, (figures.WIDTH - 1) / count)  # of a tile, in inches
    fig = figures.figure(2 * channels * side + 0.9, width=min(figures.WIDTH, max(count * side + 1.2, 5)))
    ax = fig.subplots()
    figures.show(ax, image)
    for epoch, channel in np.argwhere(np.diff(grown.image, axis=0, prepend=grown.image[:1])):
        corner = epoch * (width + gap) - gap / 2 - 0.5, 2 * channel * (height + gap) - gap / 2 - 0.5
        frame = Rectangle(corner, width + gap, 2 * (height + gap), fill=False, edgecolor="C1", linewidth=2)
        frame.set_clip_on(False)  # the last ones reach beyond the image
        ax.add_patch(frame)
    ax.set_xticks(np.arange(count) * (width + gap) + width / 2, grown.epochs)
    ax.set_yticks((2 * np.arange(channels) + 1) * (height + gap) - gap / 2, titles)
    ax.set_xlabel("epoch")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figures.captioned(fig, f"{figures.SCALING}\nFramed: another image than before is the strongest.")


def settling_figure(found):
    """What `settling` found: correlation by epoch, from first layer (dark) to last, with a ring where each settles."""
    fig, ax = figures.one(2.8)
    correlation, settled = found
    epochs = list(correlation.columns)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(correlation)))
    for (layer, row), colour in zip(correlation.iterrows(), colours, strict=True):
        ax.plot(epochs, row, "-o", markersize=3, color=colour, label=layer)
        ax.plot(settled[layer], row[settled[layer]], "o", markersize=9, fillstyle="none", color=colour)
    ax.axhline(SETTLED, color="0.7", linewidth=0.8, zorder=0)
    ax.set_xticks(epochs)
    ax.set(xlabel="epoch of the snapshot", ylabel="correlation with the last")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figures.captioned(fig, f"Ring: from here on the layer stays above the gray line, {SETTLED}.")
