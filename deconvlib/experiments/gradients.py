"""Maps from gradients of a score: gradient × input, integrated gradients, SmoothGrad.

No rectifier is needed, but for SmoothGrad over another rule than the gradient. Maps are signed, of the shape of the target's
units + (height, width, channels): `saliency.measure` makes one number a pixel of them.
"""

from typing import NamedTuple

import numpy as np

from deconvlib import backend, checks, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import graph, inputs, projection, rules
from deconvlib.experiments import targets
from deconvlib.experiments.targets import Target

STEPS, REFINED = 64, 2  # of the way of integrated gradients; how often they become three times as many, at most
TOLERANCE = 0.01  # of a score's change, that its integrated gradients may miss


class Integrated(NamedTuple):
    """Integrated gradients of units of any shape s.

    maps: float32, s + (height, width, channels). change: shape s, the score of the image less that of the baseline, which
    each map would add up to, were the integral exact. gap: shape s, how much more it adds up to.
    """

    maps: np.ndarray
    change: np.ndarray
    gap: np.ndarray


def projected(model: keras.Model, images: np.ndarray, target: Target, rule: str = "gradient") -> np.ndarray:
    """What `rule` brings back to whole images from 1 at each unit, float32, of the units' shape + (height, width, channels).

    images: as for `deconvnet.project`; target: from `targets.of_classes` or `of_channels`. Raises ValueError for an unknown
    layer or rule, units or images that do not fit, and a nonlinearity that the rule does not cover.
    """
    images = inputs.as_input(model, images)
    return _sum(model, images, target, rule, [(1, images)], 1, f"rule {rule}")[0]


def gradient_times_input(model: keras.Model, images: np.ndarray, target: Target) -> np.ndarray:
    """Each pixel times the gradient of the score, float32, of the units' shape + (height, width, channels).

    Where the model takes black as 0, black pixels have none, whatever they say. Shrikumar et al. 2016. The rest as for
    `projected`.
    """
    return projected(model, images, target) * inputs.as_input(model, images)[target.units.image]


def integrated_gradients(
    model: keras.Model, images: np.ndarray, target: Target, baseline: np.ndarray | None = None, steps: int | None = None
) -> Integrated:
    """Each pixel's change from the baseline to the image, times the mean gradient of the score on the way there.

    baseline: pixels as those of the images, one image (height, width, channels), or one for each; None: black.
    steps: of the integral, all alike; the gradient is taken at their middles. None: STEPS, of which the first, where rectifiers
    switch all over the image, is divided again; and for each unit whose gap is more than TOLERANCE of its change each step
    in three, at most REFINED times. Sundararajan et al. 2017.
    The rest as for `projected`. Raises ValueError also for a baseline of another shape.
    """
    checks.positive("steps", STEPS if steps is None else steps)
    images = inputs.as_input(model, images)
    baseline = _baseline(model, images, baseline)
    change = images - baseline

    def total(units, places, widths):
        way = ((width, (baseline + place * change).astype(np.float32)) for place, width in zip(places, widths, strict=True))
        return _sum(model, images, Target(target.layer, units), "gradient", way, len(places), "integrated gradients")[0]

    (_, end), (_, begin) = (_sum(model, images, target, "gradient", [(1, part)], 1, "score") for part in (images, baseline))
    edges = _graded() if steps is None else np.arange(steps + 1) / steps
    left, width = edges[:-1], np.diff(edges)
    # a rectifier's kinks lie anywhere on the way: no rule of higher order does better than the middles
    gradient, refined = total(target.units, left + width / 2, width), 0
    while True:
        maps = gradient * change[target.units.image]
        gap = maps.sum(axis=(-3, -2, -1), dtype=float) - (end - begin)
        rough = abs(gap) > TOLERANCE * abs(end - begin)
        if steps is not None or refined == REFINED or not rough.any():
            return Integrated(maps, end - begin, gap)
        outer = np.concatenate([left + width / 6, left + 5 * width / 6])  # of three thirds; the middle one's was taken
        gradient[rough] = (gradient[rough] + total(target.units[rough], outer, np.tile(width, 2))) / 3
        left, width, refined = (
            np.concatenate([left, left + width / 3, left + 2 * width / 3]),
            np.tile(width / 3, 3),
            refined + 1,
        )


def _graded():
    """The edges of STEPS steps, the first of them divided into halves towards the baseline."""
    edges = np.arange(1, STEPS + 1) / STEPS
    return np.concatenate([[0], edges[0] / 2.0 ** np.arange(8, 0, -1), edges])


def smoothgrad(
    model: keras.Model,
    images: np.ndarray,
    target: Target,
    rule: str = "gradient",
    samples: int = 16,
    noise: float = 0.15,
    seed: int = 0,
) -> np.ndarray:
    """The mean of what `rule` brings back over images with noise, float32, of the units' shape + (height, width, channels).

    noise: s.d. of the Gaussian, as a share of the range of pixels, within which it is kept. Smilkov et al. 2017. The rest as
    for `projected`.
    """
    checks.positive("samples", samples)
    if not noise >= 0:
        raise ValueError(f"noise must be 0 or more, a share of the range of pixels, not {noise!r}")
    images, rng = inputs.as_input(model, images), np.random.default_rng(seed)
    low, high = inputs.pixel_range(model) or (images.min(), images.max())

    def noisy():
        moved = images + (high - low) * noise * rng.standard_normal(images.shape, np.float32)
        return 1 / samples, moved.clip(low, high).astype(np.float32)

    return _sum(model, images, target, rule, (noisy() for _ in range(samples)), samples, "SmoothGrad")[0]


def _baseline(model, images, baseline):
    """Floats of the shape of the images."""
    if baseline is None:
        return np.full_like(images, (inputs.pixel_range(model) or (0, 1))[0])
    baseline = np.asarray(baseline)
    if baseline.shape not in (images.shape, images.shape[1:]):
        raise ValueError(f"baseline must be {images.shape[1:]}, or {images.shape}, one for each image, not {baseline.shape}")
    return np.broadcast_to(inputs.as_input(model, baseline.reshape(-1, *images.shape[1:])), images.shape)


def _sum(model, images, target, rule, versions, count, what):
    """(sum of what the rule brings back over `count` versions of the images, sum of the scores); versions: (weight, images)."""
    units, shape = targets.checked(model, images, target)
    program, size = graph.kept(_compiled, model, target.layer, rule, images.shape[1:])
    total, scores = np.zeros((len(units.image), *images.shape[1:]), np.float32), np.zeros(len(units.image))
    starts = range(0, len(units.image), size)
    todo = ((*version, start) for version in versions for start in starts)
    for weight, version, start in progress.steps(todo, f"{what} of {target.layer}", total=count * len(starts)):
        chosen = units[start : start + size]
        found, score = program(version[chosen.image], targets.seeds(chosen, shape))
        total[start : start + size] += np.float32(weight) * found
        scores[start : start + size] += weight * score
    graph.check_finite(model, [target.layer], total)
    own = np.shape(target.units.image)
    return total.reshape(*own, *images.shape[1:]), scores.reshape(own)


def _compiled(model, layer, rule, image_shape):
    """(program, units in a batch): program(images, seeds) gives what the rule brings back, and the units' scores."""
    graph.check_weights(model, [layer])
    call = rules.caller(layer, rule, rules.treatment(model, layer, rule))

    def evaluate(step, *arguments, **keywords):
        return call(step, step.operation, *arguments, **keywords)

    def pull(images, seeds):
        values, back = backend.vjp(lambda pixels: graph.run(model, [pixels], evaluate, until=layer), images)
        seeds = keras.ops.cast(seeds, values.dtype)
        scores = keras.ops.sum(values * seeds, axis=tuple(range(1, len(values.shape))))
        return keras.ops.cast(back(seeds), "float32"), keras.ops.cast(scores, "float32")

    shapes = graph.shapes(model, image_shape[:2], until=layer)
    elements = sum(int(np.prod(shape)) for shape in shapes.values())
    return backend.compiled(pull, model, image_shape, shapes[layer]), projection.batch_size(elements)
