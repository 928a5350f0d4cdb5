import numpy as np
import pytest
from small import Interrupt, settings, small

from deconvlib import data, training
from deconvlib.backend import keras


@pytest.fixture(scope="session")
def digits():
    return data.load("digits")


@pytest.fixture(scope="session")
def images():
    return data.shapes(120, 10).x_train[:, 8:24, 8:24] / np.float32(255)


@pytest.fixture(scope="session")
def whole(digits):
    """A network after a training that nothing interrupted, and its history."""
    model = small(digits, dropout=0.2)
    return model, training.fit(model, digits, epochs=4, **settings())


@pytest.fixture(scope="session")
def interrupted():
    """A function that calls another one, whose training Ctrl-C ends in the third epoch."""

    def call(train):
        def end():
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            fit = keras.Model.fit
            patch.setattr(keras.Model, "fit", lambda *a, callbacks, **k: fit(*a, callbacks=[*callbacks, Interrupt(end)], **k))
            train()

    return call
