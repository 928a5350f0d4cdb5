"""Training images moved and mirrored, in ways that are fast on every backend."""

import numpy as np

from deconvlib import allowed
from deconvlib.backend import keras

ops = keras.ops


def augmentation(flip: bool = True, shift: float = 0.1, seed: int = 0) -> tuple[keras.layers.Layer, ...]:
    """Layers that mirror images left to right, and move them by up to `shift` of their side, mirrored at the border.

    shift: from 0 to 0.5. Raises ValueError for another, or a seed below 0.
    """
    allowed.check(flip=flip, shift=shift, seed=seed)
    flips = (keras.layers.RandomFlip("horizontal", seed=seed),) if flip else ()
    return (*flips, RandomShift(shift, seed=seed + 1)) if shift else flips


def augmented(image: np.ndarray, copies: int, flip: bool = True, shift: float = 0.1, seed: int = 0) -> np.ndarray:
    """An image (height, width, channels), uint8, over copies of it as an epoch may show them: float32 (1 + copies, ...)."""
    shown = [image[None] / np.float32(255)]
    layers = augmentation(flip, shift, seed)
    for _ in range(copies):
        copy = shown[0]
        for layer in layers:
            copy = layer(copy, training=True)
        shown.append(np.asarray(copy))
    return np.concatenate(shown)


@keras.saving.register_keras_serializable(package="deconvlib")
class RandomShift(keras.layers.Layer):
    """While training, moves each image by whole pixels, up to `share` of its side each way, and mirrors it at the border.

    Keras' RandomTranslation moves an image after the other under JAX, which leaves a GPU idle.
    """

    def __init__(self, share, seed=None, **keywords):
        super().__init__(**keywords)
        self.share, self.seed = share, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        if not training:
            return images
        for _ in ("rows", "columns"):  # which are transposed, so that each is the first axis once
            count, side = ops.shape(images)[0], images.shape[1]
            most = int(self.share * side)
            place = ops.arange(side) + keras.random.randint((count, 1), -most, most + 1, seed=self.seed_generator)
            place = ops.mod(place, 2 * side)
            place = ops.minimum(place, 2 * side - 1 - place) + side * ops.arange(count)[:, None]
            lines = ops.reshape(images, (count * side, *images.shape[2:]))
            images = ops.transpose(ops.take(lines, place, axis=0), (0, 2, 1, 3))
        return images

    def get_config(self):
        return super().get_config() | {"share": self.share, "seed": self.seed}
