"""Which layers are worth a look, on networks of several kinds; and channels drawn at random."""

import numpy as np
import pytest

from deconvlib import deconvnet
from deconvlib.backend import keras


def network(activation, excited=False):
    """Three convolutions, each normalized, then activated; after the second a squeeze and an excitation, or none."""
    images = x = keras.Input((16, 16, 3))
    for number in (1, 2, 3):
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"conv{number}")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Activation(activation, name=f"act{number}")(x) if activation else x
        if excited and number == 2:
            gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
            gate = keras.layers.Conv2D(2, 1, activation=activation, name="squeeze")(gate)
            x = keras.layers.Multiply()([x, keras.layers.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)])
    scores = keras.layers.Dense(3, activation="softmax", name="scores")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(images, scores)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "elu"])
def test_convolutions_are_looked_into_after_their_activation(activation):
    for excited in (False, True):
        assert deconvnet.spread_layers(network(activation, excited), 9) == ["act1", "act2", "act3"]
    assert deconvnet.spread_layers(network(activation), 2) == ["act1", "act3"]


def test_without_an_activation_convolutions_else_dense_layers():
    assert deconvnet.spread_layers(network(None), 9) == ["conv1", "conv2", "conv3"]
    layers = [keras.layers.Flatten(), keras.layers.Dense(4, name="one"), keras.layers.Dense(2, name="two")]
    assert deconvnet.spread_layers(keras.Sequential([keras.Input((4, 4, 1)), *layers]), 3) == ["one", "two"]


def test_an_elu_that_is_a_layer_of_its_own_is_an_activation():
    layers = [keras.layers.Conv2D(2, 3, name="conv"), keras.layers.ELU(name="elu"), keras.layers.GlobalMaxPooling2D()]
    assert deconvnet.spread_layers(keras.Sequential([keras.Input((8, 8, 1)), *layers]), 1) == ["elu"]


def units(activations):
    zeros = np.zeros((len(activations), 1), int)
    return deconvnet.Units(zeros, zeros, zeros, np.arange(len(activations))[:, None], np.float32(activations)[:, None])


def test_channels_are_drawn_of_those_that_fire():
    some = units([1, 0, 2, 0, 3, 4])
    assert deconvnet.draw_channels(some, 9).tolist() == [0, 2, 4, 5]
    drawn = [tuple(deconvnet.draw_channels(some, 2, seed)) for seed in range(40)]
    assert set(drawn) == {(0, 2), (0, 4), (0, 5), (2, 4), (2, 5), (4, 5)}
    assert drawn[3] == tuple(deconvnet.draw_channels(some, 2, 3))
    assert deconvnet.draw_channels(units([0, 0, 0]), 2).shape == (2,)  # none fires: of any
    with pytest.raises(ValueError, match="count must be a whole number of 1 or more"):
        deconvnet.draw_channels(some, 0)
