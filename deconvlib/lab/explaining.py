"""A panel over the maps that explain an answer: any image, class and method."""

import numpy as np

from deconvlib import checks, figures
from deconvlib.backend import keras
from deconvlib.deconvnet import graph, inputs
from deconvlib.experiments import saliency
from deconvlib.lab.explorer import Explorer, explore

ANSWER = -1  # the class that the model gives, whichever that is


def explain(
    model: keras.Model,
    images: np.ndarray,
    names: list[str],
    layers: list[str],
    methods: tuple[str, ...] = saliency.METHODS,
) -> Explorer:
    """Which pixels a class owes its score to, by a method: the map over the image, and beside it.

    images: (n, height, width, channels), to choose from. names: of the model's classes. layers: with feature maps, for
    Grad-CAM, the deepest last. methods: of `saliency.METHODS`; without rectifiers, of `saliency.SMOOTH`.
    Raises ValueError for an unknown method or layer, and another number of names.
    """
    methods, layers = saliency.known_methods(methods), checks.names("layers", layers)
    for layer in layers:
        graph.find(model, layer)
    if len(names) != checks.classifier(model):
        raise ValueError(f"names must be of the model's {checks.classifier(model)} classes, and are {len(names)}")

    def draw(image, of, method, layer):
        one = images[[image]]
        answers = np.asarray(model.predict_on_batch(inputs.as_input(model, one)))
        checks.probabilities(model, answers)
        (chances,) = answers
        answer = int(chances.argmax())
        number = answer if of == ANSWER else of
        values = saliency.competing(model, one, np.array([number]), layer, methods=(method,))[method][0]
        said = f"{figures.plain(names[answer])}: {100 * chances[answer]:.0f} %"
        chosen = f"for {figures.plain(names[number])}, {100 * chances[number]:.0f} %"
        drawn = f"{method}, {layer}" if "Grad-CAM" in method else method
        return saliency.overlaid(one[0], values, [f"the answer: {said}", f"{drawn}, {chosen}", "the map alone"])

    classes = [("the answer", ANSWER), *((name, number) for number, name in enumerate(map(str, names)))]
    return explore(
        draw, image=(0, len(images) - 1), of=classes, method=methods, layer=list(layers)[::-1],
        about={
            "image": "image: number of one of the images",
            "of": "class: whose score is explained",
            "method": "method: how the map is made; integrated gradients take the longest",
            "layer": "layer of Grad-CAM: whose maps are weighed; other methods have none",
        },
    )  # fmt: skip
