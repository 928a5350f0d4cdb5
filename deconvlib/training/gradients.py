"""The loss' gradient, at the images and at every weight."""

import numpy as np

from deconvlib import backend
from deconvlib.backend import keras


def loss_gradients(model, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(gradient at the images, {weight's path: gradient at it}) of a classifier's loss, with the batch's own statistics.

    The loss is the mean cross-entropy of the probabilities that the model returns. images: uint8 (n, height, width,
    channels), given to the model in [0, 1]. labels: integers (n,). The model is unchanged.
    """
    weights, others = ([weight.value for weight in some] for some in (model.trainable_variables, model.non_trainable_variables))

    def loss(parts):
        probabilities, _ = model.stateless_call(parts[1:], others, parts[0], training=True)
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, probabilities))

    value, pull = backend.vjp(loss, [keras.ops.convert_to_tensor(images / np.float32(255)), *weights])
    at_images, *at_weights = map(keras.ops.convert_to_numpy, pull(keras.ops.ones_like(value)))
    return at_images, {weight.path: at for weight, at in zip(model.trainable_variables, at_weights, strict=True)}
