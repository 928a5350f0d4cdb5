"""The panel that builds a classifier from its hyperparameters, and writes them down."""

import re

import yaml

from deconvlib import networks, training
from deconvlib.lab.explorer import Explorer, explore

PENALTIES = [0.0, 1e-6, 1e-5, 1e-4, 1e-3]
ABOUT = {
    "filters": "filters of each stage: as many numbers as stages; each stage halves the map",
    "convolutions": "convolutions a stage",
    "kernel_size": "kernel, px",
    "strides": "stride, px",
    "decoder_filters": "decoder filters: one number a step; each step multiplies the map by the decoder's stride",
    "decoder_kernel_size": "decoder kernel, px: divisible by its stride it covers the output evenly",
    "decoder_strides": "decoder stride, px",
    "dense_units": "dense units: 0 leaves the layer out",
    "dropout": "dropout, share",
    "l1": "L1: penalty on absolute weights",
    "l2": "L2: penalty on squared weights",
}


def build(image_shape, num_classes, settings, images_per_epoch=50_000) -> Explorer:
    """The network of the controls as a drawing and a table, with its parameters, FLOPs and seconds an epoch.

    settings: what `networks.classifier` takes, to begin with; what has no control stays so. Seconds are measured here for
    these settings, and for others in proportion to their FLOPs. Its buttons give the settings as a cell of parameters, and
    as a profile for notebooks 02 and 03.
    """
    model = networks.classifier(image_shape, num_classes, **settings)
    speed = training.images_per_second(model)
    measured = networks.layer_table(model)["FLOPs"].sum()

    def draw(**moved):
        rows = networks.layer_table(networks.classifier(image_shape, num_classes, **settings | chosen(**moved)))
        flops = rows["FLOPs"].sum()
        seconds = images_per_epoch / speed * flops / measured
        said = f"{rows['parameters'].sum():,} parameters, {flops / 1e6:.1f} MFLOPs an image, about {seconds:.0f} s an epoch"
        return networks.architecture(rows), f"{said} of {images_per_epoch:,} images", rows

    texts = {name: ", ".join(map(str, settings[name])) for name in ("filters", "decoder_filters")}
    controls = {
        "filters": texts["filters"], "convolutions": (1, 4), "kernel_size": (1, 9), "strides": (1, 3),
        "activation": ["relu", "leaky_relu", "elu", "gelu", "tanh", "sigmoid"], "pooling": ["max", "average"],
        "normalization": list(networks.NORMALIZATIONS), "decoder": list(networks.DECODERS),
        "decoder_filters": texts["decoder_filters"], "decoder_kernel_size": (1, 9), "decoder_strides": (1, 4),
        "dense_units": (0, 512, 16), "dropout": (0.0, 0.9, 0.05), "l1": PENALTIES, "l2": PENALTIES,
    }  # fmt: skip
    start = {name: settings[name] for name in controls if name in settings and name not in (*texts, "l1", "l2")}
    actions = {"As a parameters cell": as_cell, "As a profile": as_profile}
    return explore(draw, start=start, about=ABOUT, actions=actions, **controls)


def chosen(filters, decoder_filters, **moved):
    """What `networks.classifier` takes, of the panel's texts and values. Raises ValueError for what is no list of numbers."""
    lists = {"filters": filters, "decoder_filters": decoder_filters}
    for name, text in lists.items():
        if not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", text):
            raise ValueError(f"{name}: whole numbers with commas between, 32, 64 for instance, not {text!r}")
        lists[name] = [int(number) for number in text.split(",")]
    return lists | moved


def as_cell(**moved):
    return "".join(f"{name} = {value!r}\n" for name, value in chosen(**moved).items())


def as_profile(**moved):
    return yaml.safe_dump({"02_model": chosen(**moved), "03_training": {"network": chosen(**moved)}}, sort_keys=False)
