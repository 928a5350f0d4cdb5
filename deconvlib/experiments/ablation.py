"""Leave layers out of a network, or halve their width, and train it again: Zeiler & Fergus 2013, table 3."""

import pandas as pd

from deconvlib import networks
from deconvlib.backend import keras


def variants(image_shape: tuple[int, int, int], num_classes: int, filters, seed: int = 0) -> dict[str, keras.Model]:
    """{what was changed: an untrained network}: `networks.classifier` of these filters without some of its layers.

    filters: channels of each convolution, two or more. Raises ValueError for fewer: a network without any has no features.
    """
    if len(filters) < 2:
        raise ValueError(f"filters must be two or more, so that the last convolution can be left out, not {list(filters)}")
    changes = {
        "without the dense layer": {"dense_units": 0},
        "without the last convolution": {"filters": filters[:-1]},
        "without both": {"filters": filters[:-1], "dense_units": 0},
        "convolutions half as wide": {"filters": [max(width // 2, 1) for width in filters]},
    }
    given = {"filters": filters, "seed": seed}
    return {name: networks.classifier(image_shape, num_classes, **given | change) for name, change in changes.items()}


def table(trained: dict[str, tuple[keras.Model, pd.DataFrame]]) -> pd.DataFrame:
    """A row a network: accuracy and val_accuracy after its last epoch, and its parameters.

    trained: {name: (model, history)}, the history as `training.fit` returns it.
    """
    ends = {name: history.iloc[-1][["accuracy", "val_accuracy"]] for name, (_, history) in trained.items()}
    return pd.DataFrame(ends).T.assign(parameters=[model.count_params() for model, _ in trained.values()])
