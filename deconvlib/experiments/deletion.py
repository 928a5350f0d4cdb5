"""Do the pixels that a map marks drive the class? Deletion and insertion of Petsiuk et al. 2018."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from deconvlib import checks, figures
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, inputs
from deconvlib.experiments import saliency, statistics


class Curve(NamedTuple):
    """A class's probability while pixels change, most salient first. n images.

    share: (steps + 1,), of the pixels changed, 0 to 1; probability: (n, steps + 1); auc: (n,), the area under each
    image's curve, in [0, 1].
    """

    share: np.ndarray
    probability: np.ndarray
    auc: np.ndarray


def deletion(model: keras.Model, images: np.ndarray, maps: np.ndarray, classes: np.ndarray, steps: int = 32) -> Curve:
    """The probability of each image's class as its most salient pixels turn to the image's mean colour.

    A better map lets it fall earlier: its area under the curve is smaller. maps: (n, height, width); classes: integers
    (n,). Pixels of equal saliency go in random order, because maps of one unit are zero over much of the image. Takes
    n · (steps + 1) predictions, in batches. Petsiuk et al. 2018, section 4.1.
    Raises ValueError for maps that do not fit the images or hold NaN, a class that the model does not have, and outputs
    that are not probabilities.
    """
    images = inputs.as_input(model, images)
    return _curve(model, images, plain(images), maps, classes, steps)


def insertion(model: keras.Model, images: np.ndarray, maps: np.ndarray, classes: np.ndarray, steps: int = 32) -> Curve:
    """The probability of each image's class as its most salient pixels come back into a blurred image.

    A better map lets it rise earlier: its area under the curve is larger. The blur is Gaussian; its standard deviation is
    an eighth of the image's smaller side. The rest as for `deletion`.
    """
    images = inputs.as_input(model, images)
    return _curve(model, blurred(images), images, maps, classes, steps)


def plain(images: np.ndarray) -> np.ndarray:
    """What `deletion` ends with: each image's mean colour everywhere. images: floats (n, height, width, channels)."""
    return np.broadcast_to(images.mean(axis=(1, 2), keepdims=True), images.shape)


def blurred(images: np.ndarray) -> np.ndarray:
    """What `insertion` begins with: each image under a Gaussian. images: floats (n, height, width, channels)."""
    sigma = min(images.shape[1:3]) / 8
    return ndimage.gaussian_filter(images, (0, sigma, sigma, 0))


def changed(begin: np.ndarray, end: np.ndarray, maps: np.ndarray, share: float) -> np.ndarray:
    """The images `begin` with the most salient `share` of their pixels as in `end`; maps: (n, height, width)."""
    done = np.stack([_rank(values, seed=[0, i]) for i, values in enumerate(maps)]) < round(share * maps[0].size)
    return np.where(done[..., None], end, begin)


def _curve(model, begin, end, maps, classes, steps):
    """Curve from the images `begin` to the images `end`, pixel by pixel in the order of the maps."""
    maps, classes = saliency.check_maps(maps, begin.shape[:3]), checks.labels(model, classes, len(begin))
    pixels = maps[0].size
    if not 1 <= steps <= pixels:
        raise ValueError(f"steps must be from 1 to {pixels}, the number of pixels, not {steps}")
    changed = np.linspace(0, pixels, steps + 1).round()
    probability = np.empty((len(maps), steps + 1), np.float32)
    batch = activations.batch_size(model, begin.shape[1:])
    for start in range(0, probability.size, batch):
        image, step = np.divmod(np.arange(start, min(start + batch, probability.size)), steps + 1)
        ranks = np.stack([_rank(maps[i], seed=[0, i]) for i in range(image[0], image[-1] + 1)])
        done = ranks[image - image[0]] < changed[step, None, None]
        found = model.predict_on_batch(np.where(done[..., None], end[image], begin[image]))
        checks.probabilities(model, found)
        probability[image, step] = found[np.arange(len(found)), classes[image]]
    share = changed / pixels
    return Curve(share, probability, np.trapezoid(probability, share, axis=1))


def _rank(values, seed):
    """Each pixel's place in the order of saliency, 0 first."""
    # equals in random order: in the order of pixels they would begin at the top of the image, where the object is not
    order = np.lexsort((np.random.default_rng(seed).random(values.size), -values.ravel()))
    return order.argsort().reshape(values.shape)


def figure(deletions, insertions):
    """Mean probability of the class while the most salient pixels go, and while they come back; 95 % t bands over images.

    deletions, insertions: {method: Curve}, from `deletion` and `insertion`.
    """
    fig, axs = figures.panels(2, 2.8 + 0.18 * -(-len(deletions) // 2))
    for ax, named, verb in zip(axs, (deletions, insertions), ("deleted", "inserted"), strict=True):
        for index, (method, curve) in enumerate(named.items()):
            mean, half = statistics.interval(curve.probability)
            style = "-" if index < 7 else "--"  # the style's colours come again
            label = f"{method}, area {curve.auc.mean():.2f}"
            ax.plot(100 * curve.share, mean, style, color=f"C{index}", label=label)
            ax.fill_between(100 * curve.share, mean - half, mean + half, color=f"C{index}", alpha=0.15, linewidth=0)
        ax.set(xlabel=f"% of pixels {verb}, most salient first", xlim=(0, 100), ylim=(0, 1))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    axs[0].set_ylabel("probability of the class")
    return fig


def steps(image, changed, values, titles):
    """An image, a map of it, and the image with pixels deleted and with pixels inserted.

    image: (height, width, channels); changed: floats of the two, as a model takes them; values: the map; titles: of the
    three images.
    """
    fig, ((first, second, *others),) = figures.grid(1, 4, row_height=figures.WIDTH / 4 + 0.3)
    figures.show(first, figures.pixels(image[None])[0], titles[0])
    second.imshow(values, cmap="gray_r", vmin=0)
    second.set_title("map: darkest first", fontsize=8)
    for ax, one, title in zip(others, changed, titles[1:], strict=True):
        figures.show(ax, np.clip((one - changed.min()) / (np.ptp(changed) or 1), 0, 1), title)
    return fig
