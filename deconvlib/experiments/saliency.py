"""Maps of what matters in an image: from projections, and from baselines that know no network.

Deconvnet and guided back-propagation partly recover the image, whatever the network decides (Nie et al. 2018): they show
what drives a unit, not why a class. Maps are (n, height, width), by any method; larger is more important.
"""

import numpy as np
from skimage.filters import sobel

from deconvlib import checks, figures
from deconvlib.backend import keras
from deconvlib.deconvnet import inputs, projection
from deconvlib.deconvnet.rules import RULES
from deconvlib.experiments import grad_cam, gradients, targets

SMOOTH = ("gradient", "gradient × input", "SmoothGrad", "integrated gradients", "Grad-CAM")  # which need no rectifier
METHODS = (*RULES, *SMOOTH[1:], "guided Grad-CAM")


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
    return {"edge detector": edges(images), "random": np.random.default_rng(seed).random(images.shape[:3], np.float32)}


def class_projections(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, rules: tuple[str, ...] = RULES
) -> dict[str, np.ndarray]:
    """{rule: float32 of the shape of `images`}: each image's class score, projected back to the pixels.

    classes: as for `targets.of_classes`. The projection starts before the softmax, and with 1, not with the score as
    in `deconvnet.project`: a score may be negative, and a rectified negative signal shows another map.
    Raises ValueError for a class that the model does not have, and as `deconvnet.project`.
    """
    images = inputs.as_input(model, images)
    layer, units = targets.of_classes(model, images, classes)
    found = {rule: projection.project_units(model, images, layer, units, rule, signal=1.0) for rule in known_rules(rules)}
    return {rule: patches.projections for rule, patches in found.items()}


def competing(
    model: keras.Model,
    images: np.ndarray,
    classes: np.ndarray,
    layer: str,
    seed: int = 0,
    methods: tuple[str, ...] = (*RULES, "SmoothGrad", "integrated gradients", "Grad-CAM"),
) -> dict[str, np.ndarray]:
    """{method: maps of the class scores, float32 of the shape of `classes` + (height, width)}.

    methods: of METHODS. SMOOTH are those that a network without rectifiers has too. layer: of Grad-CAM and guided Grad-CAM.
    images, classes: as for `class_projections`. Raises ValueError for an unknown method, and as the methods.
    """
    methods = [checks.known("method", method, METHODS) for method in checks.names("methods", methods)]
    target = targets.of_classes(model, images, classes)
    signed = {
        **{rule: lambda rule=rule: class_projections(model, images, classes, (rule,))[rule] for rule in RULES},
        "gradient × input": lambda: gradients.gradient_times_input(model, images, target),
        "SmoothGrad": lambda: gradients.smoothgrad(model, images, target, seed=seed),
        "integrated gradients": lambda: gradients.integrated_gradients(model, images, target).maps,
        "guided Grad-CAM": lambda: grad_cam.guided(model, images, target, layer),
    }
    return {
        method: measure(signed[method]()) if method in signed else grad_cam.grad_cam(model, images, target, layer)
        for method in methods
    }


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


def known_rules(rules):
    """The rules as a list; ValueError for an unknown one, or a single name."""
    if isinstance(rules, str) or not rules:
        raise ValueError(f"rules must be several names of {', '.join(map(repr, RULES))}, not {rules!r}")
    return [checks.known("rule", rule, RULES) for rule in rules]


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


def answers_figure(model, images, answers, confidence, class_names, labels=None, rule="deconvnet"):
    """Each image under the class that was given, over the score of that class projected back to the pixels by `rule`.

    images: (n, height, width, channels), uint8. answers, labels: integers (n,), given and true class; confidence: (n,),
    probability of the given one.
    """
    names = [figures.plain(name) for name in class_names]
    titles = [
        f"{names[given]}, {100 * sure:.{3 if sure > 0.995 else 2}g} %" for given, sure in zip(answers, confidence, strict=True)
    ]
    if labels is not None:
        titles = [f"{title}\nis {names[label]}" for title, label in zip(titles, labels, strict=True)]
    driven = figures.to_display(class_projections(model, images, answers, rules=(rule,))[rule])
    rows = np.concatenate([images / np.float32(255), driven])
    titles += [f"for {names[given]}" for given in answers]
    return figures.image_sheet(rows, titles, columns=len(images), caption=f"Rule {rule}. {figures.SCALING}")


def answer_figure(model, image, class_names=(), rule="deconvnet", top=5):
    """One image, the `top` classes that the model sees in it, and the score of the first of them projected back by `rule`.

    image: (height, width, channels), as for `project`. class_names: of all classes; none: their numbers.
    """
    probabilities = model.predict(inputs.as_input(model, image[None]), verbose=0)[0]
    best = probabilities.argsort()[::-1][:top]
    names = [figures.plain(class_names[number]) if class_names else f"class {number}" for number in best]
    projection = class_projections(model, image[None], best[:1], (rule,))[rule][0]
    fig, axs = figures.panels(3, 2.7, sharey=False)
    figures.show(axs[0], figures.pixels(image[None])[0], "the photograph")
    axs[1].barh(names, probabilities[best])
    axs[1].invert_yaxis()
    axs[1].set(xlim=(0, 1), xlabel="probability", title="the network's answer")
    figures.show(axs[2], figures.to_display(projection), f"what {names[0]!r} responded to")
    for ax in axs[::2]:
        figures.bare(ax)
    return figures.captioned(fig, f"Rule {rule}. {figures.scaling()}")
