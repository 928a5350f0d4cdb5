"""Networks with some layers left out."""

import numpy as np
import pandas as pd
import pytest

from deconvlib import networks
from deconvlib.experiments import ablation


def test_each_network_lacks_what_its_name_says():
    found = ablation.variants((16, 16, 3), 5, (4, 6), seed=3)
    layers = {name: {layer.name for layer in model.layers} for name, model in found.items()}
    assert [("dense1" in own, "conv2" in own) for own in layers.values()] == [
        (False, True),
        (True, False),
        (False, False),
        (True, True),
    ]
    wide = found["convolutions half as wide"]
    assert [wide.get_layer(name).filters for name in ("conv1", "conv2")] == [2, 3]
    whole = networks.classifier((16, 16, 3), 5, (4, 6), seed=3)
    for model in (found["without the dense layer"], found["without the last convolution"]):
        kernels = [each.get_layer("conv1").get_weights()[0] for each in (whole, model)]
        np.testing.assert_array_equal(*kernels)
    with pytest.raises(ValueError, match=r"two or more, so that the last convolution can be left out, not \[4\]"):
        ablation.variants((16, 16, 3), 5, [4])


def test_the_table_has_the_last_epoch_of_each():
    model = networks.classifier((8, 8, 1), 2, filters=(2,), dense_units=0)
    history = pd.DataFrame({"epoch": [1, 2], "accuracy": [0.5, 0.75], "loss": [1.0, 0.5], "val_accuracy": [0.25, 0.5]})
    table = ablation.table({"whole": (model, history), "again": (model, history[:1])})
    assert table.index.tolist() == ["whole", "again"] and table["parameters"].tolist() == [model.count_params()] * 2
    assert table[["accuracy", "val_accuracy"]].to_numpy().tolist() == [[0.75, 0.5], [0.5, 0.25]]
