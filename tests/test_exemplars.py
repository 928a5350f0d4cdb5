"""The strongest units, against a sort of everything."""

import numpy as np
import pytest

from deconvlib import exemplars, models
from deconvlib.backend import keras


@pytest.fixture(scope="module")
def network():
    return models.classifier((16, 16, 3), 4, filters=(6, 8), normalization="batch")


@pytest.mark.parametrize("batch_size", [7, 64])
def test_are_those_of_a_full_sort(network, batch_size):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    found = exemplars.strongest(network, images, ["relu1", "logits"], k=5, batch_size=batch_size)
    assert set(found) == {"relu1", "logits"}
    for layer, units in found.items():
        whole = keras.Model(network.input, network.get_layer(layer).output)
        maps = whole.predict(models.as_input(network, images), verbose=0)
        maps = maps.reshape(40, -1, maps.shape[-1])
        for channel in range(maps.shape[-1]):
            peaks = maps[..., channel].max(axis=1)  # one unit an image
            order = np.argsort(-peaks)[:5]
            np.testing.assert_allclose(units.activation[channel], peaks[order], rtol=1e-4, atol=1e-6)
            assert len(set(units.image[channel])) == 5
            assert (units.channel[channel] == channel).all()
    units = found["relu1"]
    maps = keras.Model(network.input, network.get_layer("relu1").output).predict(models.as_input(network, images), verbose=0)
    named = maps[units.image, units.row, units.column, units.channel]
    np.testing.assert_allclose(named, units.activation, rtol=1e-4, atol=1e-6)


def test_refuses(network):
    images = np.zeros((3, 16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="5 strongest of 3 images: ask for at most 3"):
        exemplars.strongest(network, images, ["relu1"], k=5)
    with pytest.raises(ValueError, match="'relu9' is not in this model; did you mean 'relu"):
        exemplars.strongest(network, images, ["relu9"], k=2)
    with pytest.raises(ValueError, match="do not fit this model"):
        exemplars.strongest(network, np.zeros((3, 8, 8, 3)), ["relu1"], k=2)
