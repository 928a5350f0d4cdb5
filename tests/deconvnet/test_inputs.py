"""Images as a model takes them."""

import numpy as np

from deconvlib import networks
from deconvlib.deconvnet import inputs


def test_images_become_what_the_model_takes():
    model = networks.classifier((16, 16, 1), 3, filters=(4,))
    bytes_, floats = np.full((1, 16, 16, 1), 255, np.uint8), np.full((1, 16, 16, 1), 0.5)
    assert inputs.as_input(model, bytes_).max() == 1 and inputs.as_input(model, floats).dtype == np.float32
