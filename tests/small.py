"""What several tests use, here and in the processes that they start."""

import pandas as pd

from deconvlib import deconvnet, networks, training
from deconvlib.backend import keras


def small(dataset, seed=0, **settings):
    return networks.classifier(dataset.image_shape, dataset.num_classes, filters=(8,), seed=seed, **settings)


def settings():
    """Everything that draws at random while training."""
    return {"augmentation": training.augmentation(), "schedule": "cosine", "optimizer": "adamw", "weight_decay": 0.01}


def same(one, other):
    """Asserts that two histories are the same but for the seconds."""
    columns = [column for column in one if column != "seconds"]
    pd.testing.assert_frame_equal(one[columns], other[columns], rtol=1e-6)


class Interrupt(keras.callbacks.Callback):
    """Calls `end` in the third epoch, after the second was saved."""

    def __init__(self, end):
        super().__init__()
        self.end = end

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.end()


def answers(model, images):
    """What a network says while it trains, the running averages after that, and projections: float arrays."""
    found = [model(images, training=True), *model.get_weights()]
    found += [deconvnet.project(model, images[:4], layer, 0) for layer in ("conv1", "deconv1")]
    return [keras.ops.convert_to_numpy(array) for array in found]
