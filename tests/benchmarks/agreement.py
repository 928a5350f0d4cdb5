"""deconvlib against the other tools, on the same weights. `make benchmark` runs this, `make test` does not."""

import numpy as np
import pytest

pytest.importorskip("captum")

import nets
import peers
import torch
import torch_nets

from deconvlib import deconvnet
from deconvlib.backend import keras

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks")
TOLERANCE = 1e-4  # ‖difference‖ / ‖reference‖ of each unit; the largest measured, after the same forward pass, was 1e-5


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
@pytest.mark.parametrize(("layer", "count"), [("block2_conv2", 12), ("block3_conv3", 8), ("block5_conv3", 6)])
def test_vgg16(layer, count, rule):
    model, images = nets.vgg16(), 255 * nets.noise(2, 224)
    net = torch_nets.chain(model, layer)
    off = differences(model, images, layer, count, rule, net=net)
    if off.max() > TOLERANCE:
        # of millions of poolings and rectifiers rounding decides a few one way here, another way there
        assert np.median(off) <= TOLERANCE
        share_forward_pass(model, images, net)
        off = differences(model, images, layer, count, rule, net=net)
    assert off.max() <= TOLERANCE


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
@pytest.mark.parametrize("layer", ["block1_out", "block2_relu", "block2_out"])
def test_residual_network_with_batch_normalization(layer, rule):
    model = nets.residual()
    off = differences(model, nets.noise(8, 49), layer, 16, rule, net=torch_nets.Residual(model))
    assert off.max() <= TOLERANCE


@pytest.mark.parametrize(("tool", "rule"), [("captum", "guided"), ("xplique", "deconvnet"), ("tf_keras_vis", "guided")])
def test_recommended_network(tool, rule):
    try:
        off = differences(nets.recommended(), nets.noise(8, 32), "relu6", 4, rule, tool)
    except ImportError as error:
        pytest.skip(str(error))
    assert off.max() <= TOLERANCE


def differences(model, images, layer, count, rule, tool="captum", **settings):
    """Of `count` random active units in each image: ‖difference‖ / ‖reference‖, the reference being what `tool` finds."""
    maps = keras.Model(model.inputs, model.get_layer(layer).output).predict(images, verbose=0)
    units = nets.active_units(maps, count)
    patches = deconvnet.project_units(model, images, layer, units, rule)
    settings |= {"rule": rule} if tool == "captum" else {}
    whole = getattr(peers, tool)(model, images, layer, units, **settings)()
    # of whole images, seeded with 1
    height, width = patches.projections.shape[2:4]
    rows = patches.row[..., None, None] + np.arange(height)[:, None]
    columns = patches.column[..., None, None] + np.arange(width)
    turn, image = np.indices(units.image.shape)[..., None, None]
    expected = whole[turn, image, rows, columns] * units.activation[..., None, None, None]
    assert _norm(expected).all()
    return _norm(patches.projections - expected) / _norm(expected)


def share_forward_pass(model, images, net):
    """From here on each convolution of `net` hands on the maps that Keras computes there: the way back is compared alone."""
    convolutions = [name for name, module in net.named_children() if isinstance(module, torch.nn.Sequential)]
    every = keras.Model(model.inputs, [model.get_layer(name).output for name in convolutions])
    for name, maps in zip(convolutions, every.predict(images, verbose=0), strict=True):
        given = torch.from_numpy(maps).permute(0, 3, 1, 2)
        convolution = net.get_submodule(name)[0]
        convolution.register_forward_hook(lambda *call, given=given: call[-1] + (given - call[-1]).detach())


def _norm(projections):
    return np.sqrt(np.sum(projections.astype(float) ** 2, axis=(2, 3, 4)))
