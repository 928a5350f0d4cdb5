"""The panels over encoders with decoders: restore a damaged image, walk between two images, look at a segmentation."""

import numpy as np

from deconvlib import figures, training
from deconvlib.experiments import quality, segmentation
from deconvlib.experiments.restoration import DAMAGES
from deconvlib.lab.explorer import Explorer, explore

STEPS = np.linspace(0, 1, 9, dtype=np.float32)[:, None]  # of a walk


def restore(methods: dict, images: np.ndarray) -> Explorer:
    """A panel: an image, damaged as strongly as is chosen, and what each method makes of it, with its PSNR.

    methods: {damage: {method: function(damaged, strength) -> restored}}; images: float (n, height, width, channels) in [0, 1].
    """

    def draw(damage, strength, image):
        kind, original = DAMAGES[damage], images[image : image + 1]
        value = kind.strengths[min(strength, len(kind.strengths) - 1)]
        spoiled = kind(original, np.random.default_rng(image), value)
        found = {name: method(spoiled, value) for name, method in methods[damage].items()}
        titles = [f"original\n{kind.unit} {value:g}"]
        titles += [f"{name}\n{quality.of_images(one, original)['PSNR'][0]:.1f} dB" for name, one in found.items()]
        return figures.image_sheet(np.concatenate([original, *found.values()]), titles, columns=len(titles))

    about = {
        "strength": "strength: from weak to strong; 2 is the one trained for; half size has one",
        "image": "image: number of a test image",
    }
    controls = {"damage": list(methods), "strength": (0, 4), "image": (0, len(images) - 1)}
    return explore(draw, start={"strength": 2}, about=about, **controls)


def walk(parts, images: np.ndarray, class_names) -> Explorer:
    """A panel: a generator's images on the straight line between the codes of two images.

    parts: `networks.variational` that is told the class; images: float (n, height, width, channels) in [0, 1].
    """

    def draw(image, towards, share, label):
        first, last = training.predict(parts.encoder, images[[image, towards]])
        codes = np.concatenate([(1 - steps) * first + steps * last for steps in (STEPS, np.float32([[share]]))])
        told = np.eye(len(class_names), dtype=np.float32)[[list(class_names).index(label)] * len(codes)]
        drawn = training.predict(parts.decoder, codes, told)
        ends = np.stack([images[image], images[towards], drawn[-1]])
        return figures.image_rows({"from, to, here": ends, "between": drawn[:-1]})

    about = {"share": "share of the way", "label": "class: what the decoder is told"}
    about |= {"towards": "towards image", "image": "from image"}
    number = (0, len(images) - 1)
    controls = {"image": number, "towards": number, "share": (0.0, 1.0, 0.05), "label": list(class_names)}
    return explore(draw, start={"towards": 1, "share": 0.5}, about=about, **controls)


def segment(likely: dict, scenes: np.ndarray, truth: np.ndarray, class_names) -> Explorer:
    """A panel: where in a scene each network expects the chosen class.

    likely: {network: probabilities (n, height, width, classes)}; scenes: float (n, height, width, channels) in [0, 1];
    truth: the pixels' classes, (n, height, width).
    """

    def draw(scene, label):
        found = {name: maps[scene] for name, maps in likely.items()}
        return segmentation.chances(scenes[scene], truth[scene], found, class_names, label)

    about = {"scene": "scene: number of a test scene", "label": "class: its probability is drawn"}
    start = {"label": list(class_names)[1]}
    return explore(draw, start=start, about=about, scene=(0, len(scenes) - 1), label=list(class_names))
