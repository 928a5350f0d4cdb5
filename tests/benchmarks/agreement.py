"""deconvlib against the other tools, on the same weights. `make benchmark` runs this, `make test` does not."""

import numpy as np
import pytest

pytest.importorskip("captum")

import nets
import peers
import torch
import torch_nets
from captum import attr

from deconvlib import deconvnet
from deconvlib.backend import keras
from deconvlib.experiments import grad_cam, gradients, targets

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
        share_forward_pass(model, net)
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


STEPS = 16  # of integrated gradients
COMPARED = [("recommended", "pool3", "relu4"), ("residual", "block2_out", "block1_out")]


@pytest.mark.parametrize(("name", "last", "hidden"), COMPARED)
def test_maps_of_classes_and_of_hidden_units(name, last, hidden):
    """Of two classes in each image, and of each image's strongest unit of a hidden channel; Grad-CAM may be 0 everywhere."""
    model = nets.with_classes(getattr(nets, name)(), last)
    net = torch_nets.Residual(model) if name == "residual" else torch_nets.chain(model, last)
    images = nets.noise(4, model.input_shape[1])
    classes = targets.of_classes(model, images, np.array([[3, 3, 8, 1], [0, 7, 7, 2]]))
    unit = targets.of_channels(model, images, hidden, 5)
    found = {
        "gradient × input": gradients.gradient_times_input(model, images, classes),
        "integrated gradients": gradients.integrated_gradients(model, images, classes, steps=STEPS).maps,
        "integrated gradients of units": gradients.integrated_gradients(model, images, unit, steps=STEPS).maps,
        "Grad-CAM": grad_cam.grad_cam(model, images, classes, last)[..., None],
    }
    expected = captums(model, net, images, last, hidden, classes.units, unit.units)
    off = {method: _norm(maps - expected[method]) for method, maps in found.items()}
    norms = {method: _norm(maps) for method, maps in expected.items()}
    if any((off[method] > TOLERANCE * norms[method]).any() for method in found):
        # rounding again, on the whole way of integrated gradients; the largest measured was 0.012
        assert all((off[method] <= 0.05 * norms[method]).all() for method in found)
        share_forward_pass(model, net)
        expected = captums(model, net, images, last, hidden, classes.units, unit.units)
        off = {method: _norm(maps - expected[method]) for method, maps in found.items()}
    for method in found:
        assert norms[method].any() and (off[method] <= TOLERANCE * norms[method]).all(), method


def captums(model, features, images, last, hidden, classes, unit):
    """{method: what Captum finds}: of `classes`, Units of shape (turns, images), and of `unit`, one in each image."""
    net, pixels = torch_nets.WithClasses(model, features), _channels_first(images)
    way = {"n_steps": STEPS, "method": "riemann_middle"}

    def enlarged(cam, one):
        small = cam.attribute(pixels, one, relu_attributions=True)
        return attr.LayerAttribution.interpolate(small, images.shape[1:3], "bilinear")

    def at_unit(maps):  # of all steps of the way, each with all images
        row, column = (np.tile(part, len(maps) // len(images)) for part in (unit.row, unit.column))
        return maps[range(len(maps)), unit.channel[0], row, column]

    cam = attr.LayerGradCam(net, features.get_submodule(last))
    neuron = attr.NeuronIntegratedGradients(net, features.get_submodule(hidden))
    of_class = {
        "gradient × input": lambda one: attr.InputXGradient(net).attribute(pixels.clone().requires_grad_(), one),
        "integrated gradients": lambda one: attr.IntegratedGradients(net).attribute(pixels, target=one, **way),
        "Grad-CAM": lambda one: enlarged(cam, one),
    }
    turns = [torch.from_numpy(one) for one in classes.channel]
    found = {method: np.stack([_channels_last(maps(one)) for one in turns]) for method, maps in of_class.items()}
    return found | {"integrated gradients of units": _channels_last(neuron.attribute(pixels, at_unit, **way))}


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


def share_forward_pass(model, net):
    """From here on convolutions and normalizations of `net` give what Keras computes there: the way back is compared alone."""
    shared = (torch.nn.Sequential, torch.nn.BatchNorm2d)
    names = [name for name, module in net.named_children() if isinstance(module, shared)]
    every = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    given = {}

    def compute(_, inputs):
        given.update(zip(names, every.predict(_channels_last(inputs[0]), verbose=0), strict=True))

    def hand_on(name):
        return lambda *call: call[-1] + (_channels_first(given[name]) - call[-1]).detach()

    net.register_forward_pre_hook(compute)
    for name in names:
        inside = net.get_submodule(name).modules()  # of a convolution also its padding and its rectifier
        kernel = next(module for module in inside if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d))
        kernel.register_forward_hook(hand_on(name))


def _channels_first(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _channels_last(found):
    return found.detach().permute(0, 2, 3, 1).numpy()


def _norm(projections):
    return np.sqrt(np.sum(projections.astype(float) ** 2, axis=(-3, -2, -1)))
