"""A trained network -> a classifier of other images: a new head on its features, then its upper layers fine-tuned.

The two steps of Keras' guide "Transfer learning & fine-tuning". Frozen layers give the same features for an image each time, so
that they are computed once, and the head is trained on them as a logistic regression: it has one optimum, and no learning rate.
"""

import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from deconvlib import checks
from deconvlib.backend import keras
from deconvlib.data.dataset import Dataset
from deconvlib.deconvnet import activations, graph

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # scikit-learn's C, the inverse of the penalty on squared weights
HEAD = "head"


def classifier(base: keras.Model, num_classes: int, seed: int = 0) -> keras.Model:
    """A copy of `base` whose last dense layer is a new one, "head", of so many classes; all its other layers are frozen.

    Frozen layers keep their weights; a frozen batch normalization also normalizes by the statistics that it has, as it does at
    inference. base: a classifier, as `networks.load` gives it. seed: of the new weights, until `fit_head` sets them.
    Raises ValueError for a base without a dense layer, or with a layer that has the name of the new one.
    """
    checks.classifier(base)
    dense = [step for step in graph.steps(base) if graph.kind(step.operation) == "Dense"]
    if not dense:
        raise ValueError(f"model {base.name!r} has no dense layer to replace: give a classifier that ends in one")
    if any(step.operation.name == HEAD for step in graph.steps(base) if step != dense[-1]):
        raise ValueError(f"a layer of model {base.name!r} is called {HEAD!r}, as the new one would be: rename it")
    copied = graph.copying(base, {})

    def call(step, *arguments, **keywords):
        if step.name != dense[-1].name:
            return copied(step, *arguments, **keywords)
        activation = step.operation.activation
        return keras.layers.Dense(num_classes, activation, kernel_initializer=_glorot(seed), name=HEAD)(*arguments)

    images = keras.Input(base.input_shape[1:], name=base.inputs[0].name)
    model = keras.Model(images, graph.run(base, [images], call), name=base.name)
    for layer in model.layers:
        layer.trainable = layer.name == HEAD
    return model


def features(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What the head of a `classifier` is given for images: float32 (n, features). images: uint8, or as the model takes them."""
    return activations.over(model, [_feeds(model)], activations.maps, images, "features")[0]


def fit_head(model: keras.Model, dataset: Dataset, computed: tuple[np.ndarray, np.ndarray] | None = None) -> pd.DataFrame:
    """Set the head of a `classifier` in place: the logistic regression of the labels on the features of the training images.

    dataset: as `Dataset.hold_out` returns it: its test images choose the strength, by their loss. computed: the features of its
    training and test images, where they are known. Returns a row a strength: strength, val_loss, val_accuracy, chosen.
    Raises ValueError where a class has no training image. Kornblith, Shlens & Le 2019 do the same.
    """
    if not dataset.class_counts().all():
        empty = dataset.class_names[int(dataset.class_counts().argmin())]
        raise ValueError(f"class {empty!r} of {dataset.name} has no training image: give one, or leave the class out")
    x, held = computed or [features(model, images) for images in (dataset.x_train, dataset.x_test)]
    rows, fitted = [], []
    for strength in STRENGTHS:
        # threads that wait for each other would take a hundred times as long where other programs use the processor
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of the loss change no accuracy
            fitted.append(LogisticRegression(C=strength, max_iter=300).fit(x, dataset.y_train))
            chances = fitted[-1].predict_proba(held)
        loss = log_loss(dataset.y_test, chances, labels=range(dataset.num_classes))
        rows.append((strength, loss, np.mean(chances.argmax(axis=1) == dataset.y_test)))
    table = pd.DataFrame(rows, columns=["strength", "val_loss", "val_accuracy"])
    best = int(table["val_loss"].argmin())
    kernel, bias = fitted[best].coef_.T, fitted[best].intercept_
    if dataset.num_classes == 2:  # scikit-learn has one logit there, the difference of two
        kernel, bias = np.concatenate([-kernel, kernel], axis=1) / 2, np.concatenate([-bias, bias]) / 2
    model.get_layer(HEAD).set_weights([kernel, bias])
    return table.assign(chosen=table.index == best)


def unfreeze(model: keras.Model, layer: str) -> list[str]:
    """Make `layer` and what comes after it trainable, in place, but for batch normalizations; returns these layers' names.

    A batch normalization in training would normalize by its few images, and lose what the network was trained with: Keras'
    guide keeps it at inference. Raises ValueError for an unknown layer.
    """
    graph.find(model, layer)
    names = [step.name for step in graph.steps(model)]
    later = [step.operation for step in graph.steps(model)[names.index(layer) :]]
    chosen = [each for each in later if getattr(each, "weights", ()) and graph.kind(each) != "BatchNormalization"]
    for each in chosen:
        each.trainable = True
    return [each.name for each in chosen]


def contributions(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What each feature adds to each class score on average over `images`: weight × mean activation, (features, classes)."""
    return features(model, images).mean(axis=0)[:, None] * keras.ops.convert_to_numpy(model.get_layer(HEAD).kernel)


def _feeds(model):
    """The name of the layer whose output the head gets, past what does nothing at inference."""
    names = {id(tensor): step for step in graph.steps(model) for tensor in step.node.outputs}
    step = names[id(graph.find(model, HEAD).node.input_tensors[0])]
    while graph.kind(step.operation) == "Dropout":
        step = names[id(step.node.input_tensors[0])]
    return step.name


def _glorot(seed):
    return keras.initializers.GlorotUniform(seed=seed)
