"""The engine: activation -> pixels, on any Keras model with a graph. Knows neither Jupyter nor this project's networks."""

from deconvlib.deconvnet import figures, receptive_field
from deconvlib.deconvnet.activations import Units, strongest
from deconvlib.deconvnet.choosing import (
    coverage,
    draw_channels,
    has_switches,
    preferred_rule,
    rectified_convolutions,
    spread_layers,
)
from deconvlib.deconvnet.figures import gallery, layer_gallery
from deconvlib.deconvnet.projection import Patches, project, project_units, switches
from deconvlib.deconvnet.rules import RULES
