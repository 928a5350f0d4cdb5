"""How well a linear classifier tells the classes from each layer's features: Zeiler & Fergus 2013, table 7."""

import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deconvlib import checks, figures, progress
from deconvlib.backend import keras
from deconvlib.data.dataset import Dataset
from deconvlib.deconvnet import activations

REGULARIZATION = 100.0  # the penalty on the summed loss is half of this times |weights|²


def measure(model: keras.Model, dataset: Dataset, layers: list[str], dimension: int = 512) -> pd.DataFrame:
    """The accuracy of a linear classifier on the features of each layer: one row a layer.

    Logistic regression (scikit-learn) on features standardised by the training images. To bound their number, maps are
    averaged over the cells of the finest grid that leaves at most `dimension` features (one cell, global average pooling,
    if the channels alone are more); vectors stay whole. The probe cannot see what the average loses: compare layers with
    that in mind.

    Columns: layer; features, their number; train and test, accuracies in [0, 1]; error, the standard error of `test` by
    its number of images. Raises ValueError for an unknown layer, images that do not fit the model, and training images of
    a single class.
    """
    if len(np.unique(dataset.y_train)) < 2:
        raise ValueError(f"the training images of {dataset.name} are of one class; a probe tells two or more apart")
    checks.positive("dimension", dimension)

    def pooled(outputs):
        return activations.vectors([_cells(output, dimension) for output in outputs])

    train, test = (activations.over(model, layers, pooled, x, "features") for x in (dataset.x_train, dataset.x_test))
    found = []
    for layer, x, x_test in progress.steps(list(zip(layers, train, test, strict=True)), "probes", "layer"):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / REGULARIZATION, max_iter=100))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of the loss change no accuracy
            probe.fit(x, dataset.y_train)
        accuracy = probe.score(x_test, dataset.y_test)
        error = np.sqrt(accuracy * (1 - accuracy) / len(x_test))
        found.append((layer, x.shape[1], probe.score(x, dataset.y_train), accuracy, error))
    return pd.DataFrame(found, columns=["layer", "features", "train", "test", "error"])


def _cells(output, dimension):
    """Maps averaged over the cells of the finest square grid that leaves at most `dimension` features."""
    if len(output.shape) != 4:
        return output
    _, height, width, count = output.shape
    side = max(1, min(int(np.sqrt(dimension / count)), height, width))
    for pattern, length in (("gh,nhwc->ngwc", height), ("gw,nhwc->nhgc", width)):
        place, edges = np.arange(length), np.arange(side)[:, None] * length / side
        inside = (place >= np.floor(edges)) & (place < np.ceil(edges + length / side))
        weights = keras.ops.convert_to_tensor((inside / inside.sum(axis=1, keepdims=True)).astype(np.float32))
        output = keras.ops.einsum(pattern, weights, output)
    return output


def figure(table):
    """Accuracy of a linear classifier on each layer's features: test (with its standard error) beside training."""
    fig, ax = figures.one(2.6)
    place = np.arange(len(table))
    ax.bar(place - 0.19, table["train"], width=0.36, color="0.8", label="training")
    bars = ax.bar(place + 0.19, table["test"], width=0.36, yerr=table["error"], capsize=2, label="test")
    ax.bar_label(bars, [f"{value:.2f}" for value in table["test"]], padding=2, fontsize=7)
    ax.set_xticks(place, [f"{layer}\n{count}" for layer, count in zip(table["layer"], table["features"], strict=True)])
    ax.set(xlabel="layer, and number of features", ylabel="accuracy of a linear probe", ylim=(0, 1.1))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
