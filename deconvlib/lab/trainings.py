"""Panels over a training: one that trains in the background, and the confusions of a trained network."""

import numpy as np

from deconvlib import networks, training
from deconvlib.lab.explorer import Explorer, explore
from deconvlib.lab.trainer import Trainer, train

WATCHED = 200  # test images in which mistakes are looked for after each epoch
ABOUT = {
    "epochs": "epochs: passes over the training images",
    "batch_size": "images a step",
    "learning_rate": "learning rate: the largest of the schedule",
    "weight_decay": "weight decay: share of a weight that decays, times the learning rate; no use to plain adam",
    "label_smoothing": "label smoothing, share",
    "flip": "mirror images",
    "shift": "shift, share of side: the largest move of an image",
    "dropout": "dropout, share",
    "l2": "L2: penalty on squared weights",
}


def train_classifier(model, dataset, settings, histories, start, class_weight=None, seed=0) -> Trainer:
    """New networks, trained with what stands in the controls, beside runs that were made before.

    model: a trained one, whose mistakes are shown until a run has its own. settings: what `networks.classifier` takes; what
    has no control stays so. histories: {name: one row an epoch} of the earlier runs. start: {name of a control: value}.
    """
    watched = np.random.default_rng(seed).permutation(len(dataset.x_test))[:WATCHED]

    def fit(callback, dropout, l2, normalization, decoder, flip, shift, **schedule):
        built = {"dropout": dropout, "l2": l2, "normalization": normalization, "decoder": decoder}
        network = networks.classifier(dataset.image_shape, dataset.num_classes, **settings | built)
        history = training.fit(
            network, dataset, class_weight=class_weight, augmentation=training.augmentation(flip, shift, seed),
            callbacks=(callback,), verbose=False, seed=seed, **schedule,
        )  # fmt: skip
        return network, history

    def mistakes(network):
        chances = np.asarray(network.predict_on_batch(dataset.x_test[watched] / np.float32(255)))
        said, sure = chances.argmax(axis=1), chances.max(axis=1)
        worst = sorted(np.flatnonzero(said != dataset.y_test[watched]), key=lambda number: -sure[number])[:8]
        return dataset.x_test[watched[worst]], [f"{dataset.class_names[said[n]]} {100 * sure[n]:.0f} %" for n in worst]

    of_model = mistakes(model)
    return train(
        fit, lambda histories, examined: training.curves_and_mistakes(histories, examined or of_model),
        histories=histories, examine=mistakes, start=start, about=ABOUT,
        epochs=(1, 30), batch_size=sorted({16, 32, 64, 128, 256, start["batch_size"]}), optimizer=list(training.OPTIMIZERS),
        learning_rate=("log", 1e-5, 1.0), schedule=list(training.SCHEDULES), weight_decay=("log", 1e-6, 1.0),
        label_smoothing=(0.0, 0.5, 0.05), flip=True, shift=(0.0, 0.3, 0.02), dropout=(0.0, 0.9, 0.05),
        l2=[0.0, 1e-6, 1e-5, 1e-4, 1e-3], normalization=list(networks.NORMALIZATIONS), decoder=list(networks.DECODERS),
    )  # fmt: skip


def confusion(result, truth, class_names) -> Explorer:
    """The confusion matrix of the images about which the network is surer than a threshold.

    result: of `training.evaluate`. truth: (n,) classes of the test images.
    """

    def draw(surer_than):
        sure = result.confidence >= surer_than / 100
        counts = np.zeros_like(result.confusion)
        np.add.at(counts, (truth[sure], result.predicted[sure]), 1)
        return training.confusion(counts, class_names)

    return explore(draw, surer_than=(0, 99), about={"surer_than": "surer than, %"})
