"""Maps of what matters in an image: from projections, and from baselines that know no network.

Deconvnet and guided back-propagation partly recover the image, whatever the network decides (Nie et al. 2018): they show
what drives a unit, not why a class. Maps are (n, height, width), by any method; larger is more important.
"""

import numpy as np
from skimage.filters import sobel

from deconvlib import checks, figures
from deconvlib.backend import keras
from deconvlib.deconvnet import choosing, graph, projection
from deconvlib.deconvnet.activations import Units
from deconvlib.deconvnet.projection import Patches
from deconvlib.deconvnet.rules import RULES
from deconvlib.experiments import grad_cam, gradients, targets
from deconvlib.experiments.targets import Target

SMOOTH = ("gradient", "gradient × input", "SmoothGrad", "integrated gradients", "Grad-CAM")  # which need no rectifier
METHODS = (*RULES, *SMOOTH[1:], "guided Grad-CAM")
BASELINES = ("edge detector", "random")  # which know no network
LAID_OVER = "Grad-CAM lies over the gray image: brighter and denser is more."  # for a caption, of `lay_over`


def measure(projections: np.ndarray) -> np.ndarray:
    """How much a projection says at each pixel: the sum of the absolute values of its channels, (..., height, width).

    projections: signed, (..., height, width, channels). The sign is dropped, as in Simonyan et al. 2014: a negative value
    says that less of that colour would excite the unit. Raises ValueError for NaN or infinity.
    """
    projections = np.asarray(projections)
    if not np.isfinite(projections).all():
        raise ValueError("a projection holds NaN or infinity")
    return np.abs(projections).sum(axis=-1)


def edges(images: np.ndarray) -> np.ndarray:
    """The baseline that knows no network: float32 (n, height, width), Sobel's magnitude summed over the channels.

    images: (n, height, width, channels), uint8 or float; the maps have the scale of the pixels.
    """
    images = np.asarray(images, np.float32)
    return np.stack([sum(sobel(image[..., channel]) for channel in range(image.shape[-1])) for image in images])


def baselines(images: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """{"edge detector": `edges`, "random": a number in [0, 1) for each pixel}: a map that says anything beats both."""
    noise = np.random.default_rng(seed).random(images.shape[:3], np.float32)
    return dict(zip(BASELINES, (edges(images), noise), strict=True))


def attributions(
    model: keras.Model,
    images: np.ndarray,
    target: Target,
    method: str,
    layer: str | None = None,
    seed: int = 0,
    steps: int | None = None,
) -> np.ndarray:
    """A map for each of the target's units by one of METHODS: float32, the units' shape + (height, width, channels), signed.

    A way back starts with 1 at each unit, not with its activation as in `deconvnet.project`: a score may be negative, and a
    rectified negative signal shows another map. Grad-CAM's map has one channel, and nothing below 0. images: as for `project`;
    target: from `targets.of_classes` or `of_channels`. layer: of Grad-CAM and guided Grad-CAM; None: `grad_cam.last_maps`.
    seed: of SmoothGrad's noise. steps: of integrated gradients. Raises ValueError for an unknown method, and as the methods.
    """
    if checks.known("method", method, METHODS) in RULES:
        return gradients.projected(model, images, target, method)
    return {
        "gradient × input": lambda: gradients.gradient_times_input(model, images, target),
        "SmoothGrad": lambda: gradients.smoothgrad(model, images, target, seed=seed),
        "integrated gradients": lambda: gradients.integrated_gradients(model, images, target, steps=steps).maps,
        "Grad-CAM": lambda: grad_cam.grad_cam(model, images, target, layer)[..., None],
        "guided Grad-CAM": lambda: grad_cam.guided(model, images, target, layer),
    }[method]()


def competing(
    model: keras.Model,
    images: np.ndarray,
    target: np.ndarray | Target,
    layer: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] = METHODS,
) -> dict[str, np.ndarray]:
    """{method: `measure` of its `attributions`}: float32 of the shape of the target's units + (height, width).

    target: as for `attributions`, or classes, as for `targets.of_classes`. methods: of METHODS. SMOOTH are those that a network
    without rectifiers has too. The rest as for `attributions`. Raises ValueError also for one method that is no list.
    """
    if not isinstance(target, Target):
        target = targets.of_classes(model, images, target)
    return {method: measure(attributions(model, images, target, method, layer, seed)) for method in known_methods(methods)}


def patches(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    units: Units,
    method: str = "deconvnet",
    *,
    signal: float | None = None,
    seed: int = 0,
    steps: int | None = 16,
) -> Patches:
    """What each unit sees, beside its map by one of METHODS there: `deconvnet.project_units`, by other methods than rules too.

    Their maps are of whole images, and cut to what the unit sees. signal: of a rule, as for `project_units`; seed, steps: as
    for `attributions`; few steps are enough to see which pixels count. Raises ValueError as these.
    """
    if method in RULES:
        return projection.project_units(model, images, layer, units, method, signal=signal)
    maps = attributions(model, images, Target(layer, units), method, seed=seed, steps=steps)
    return projection.cut(model, images, layer, units, maps.repeat(images.shape[3] // maps.shape[-1], axis=-1))


def choose(model: keras.Model, method: str = "") -> tuple[str, ...]:
    """The methods to look into a classifier by: `method`, or the best that its layers allow; then Grad-CAM, where it has maps.

    The best is `deconvnet.preferred_rule`; where that is the gradient, integrated gradients: some nonlinearity has no rule.
    Raises ValueError for an unknown method, and one that this network does not allow.
    """
    answer = graph.steps(model)[-1].name
    if not method:
        rule = choosing.preferred_rule(model, answer)
        method = rule if rule != "gradient" else "integrated gradients"
    if checks.known("method", method, METHODS) not in SMOOTH:
        for _, layer, function, covered, _ in choosing.coverage(model, answer).itertuples():
            if not covered:
                needed = f"method {method!r} needs rectifiers, and layer {layer!r} applies {function}"
                raise ValueError(f"{needed}: use one of {', '.join(map(repr, SMOOTH))}")
    with_maps = ("Grad-CAM",) if grad_cam.last_maps(model, answer) else ()
    if "Grad-CAM" in method and not with_maps:
        raise ValueError(f"method {method!r} needs a layer with feature maps, and there is none below {answer!r}")
    return tuple(dict.fromkeys((method, *with_maps)))


def spread_layers(model: keras.Model, method: str, count: int) -> list[str]:
    """`deconvnet.spread_layers`, but for Grad-CAM those with feature maps below them, of which it is made.

    Raises ValueError where there is none.
    """
    layers = choosing.spread_layers(model, count)
    found = [layer for layer in layers if "Grad-CAM" not in method or grad_cam.last_maps(model, layer)]
    if not found:
        raise ValueError(f"method {method!r} of hidden units needs feature maps below them, and below {layers} there are none")
    return found


def figure(images: np.ndarray, maps: dict[str, np.ndarray], titles: list[str]):
    """Maps of several methods beside the images, a row an image; white is zero, black each map's largest value."""
    fig, axs = figures.grid(len(images), 1 + len(maps), row_height=figures.WIDTH / (1 + len(maps)))
    for row, image, title, index in zip(axs, figures.pixels(images), titles, range(len(images)), strict=True):
        figures.show(row[0], image)
        figures.row_name(row[0], title)
        for ax, values in zip(row[1:], maps.values(), strict=True):
            ax.imshow(values[index], cmap="gray_r", vmin=0)
    for ax, name in zip(axs[0], ["image", *maps], strict=True):
        ax.set_title(name.replace(" ", "\n"), fontsize=8)
    return figures.captioned(fig, "White is zero or below, black each map's largest value.")


def lay_over(ax, image, values):
    """Draws a map over the gray copy of its image: brighter and denser is more, from 0 to a high percentile of the map."""
    strength = np.maximum(values, 0)
    limit = np.percentile(strength[strength > 0], figures.PERCENTILE) if strength.any() else 1
    strength = np.minimum(strength / limit, 1)
    figures.show(ax, image.mean(axis=2, keepdims=True))
    ax.imshow(strength, cmap="inferno", vmin=0, vmax=1, alpha=0.8 * strength**0.5)


def overlaid(image, values, titles):
    """An image, a map laid over its gray copy by `lay_over`, and the map alone, under three titles.

    image: (height, width, channels); values: the map, (height, width).
    """
    fig, ((first, over, alone),) = figures.grid(1, 3, row_height=figures.WIDTH / 3 + 0.2)
    (image,) = figures.pixels(image[None])
    figures.show(first, image, titles[0])
    lay_over(over, image, values)
    positive = values[values > 0]
    alone.imshow(values, cmap="gray_r", vmin=0, vmax=np.percentile(positive, figures.PERCENTILE) if positive.size else 1)
    for ax, title in zip((over, alone), titles[1:], strict=True):
        ax.set_title(title, fontsize=8)
    said = f"Black, and the brightest over the image: the percentile {figures.PERCENTILE:g} of the map, and what is beyond."
    return figures.captioned(fig, f"White: zero or below. {said}")


def known_methods(methods):
    """The methods as a list; ValueError for an unknown one, or a single name."""
    return [checks.known("method", method, METHODS) for method in checks.names("methods", methods)]


def check_maps(maps, shape):
    """The maps as an array; ValueError unless their shape is the images' (n, height, width), and all values finite."""
    maps = np.asarray(maps)
    if maps.shape != tuple(shape) or maps.ndim != 3 or not maps.size:
        wanted = tuple(shape) if len(shape) == 3 else "(n, height, width)"
        channels = "; make them of projections with saliency.measure" if maps.ndim == 4 else ""
        raise ValueError(f"maps must be {wanted}, one an image, not {maps.shape}{channels}")
    check_finite(maps)
    return maps


def check_finite(maps):
    """Raises ValueError for a map with NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(maps).reshape(len(maps), -1).all(axis=1))
    if len(bad):
        raise ValueError(f"map {bad[0]} holds NaN or infinity")
