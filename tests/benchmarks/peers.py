"""What can project units back to the pixels: this project, the bare cost of it, and other tools.

Each function prepares one of them and returns a function without arguments that projects all `units`, of shape (channels,
images), or makes their maps. The other tools are called as their documentation shows: one channel, or one class, at a time, on
whole images. They seed with 1, deconvlib with the activation.
"""

import contextlib
import functools
from unittest import mock

import numpy as np

from deconvlib import backend, deconvnet
from deconvlib.backend import keras
from deconvlib.deconvnet import projection
from deconvlib.experiments import grad_cam as cam
from deconvlib.experiments import gradients, targets


def deconvlib(model, images, layer, units):
    return lambda: deconvnet.project_units(model, images, layer, units)


@contextlib.contextmanager
def without_computing(note=lambda windows: None):
    """Within, the compiled call is told to `note` and gives zeros; each unit is projected from a window of its own.

    For a model that nothing else projects: what was compiled is kept with it.
    """

    class Zeros:
        def __init__(self, *_):
            pass

        def begin(self, windows, *_):
            note(windows)
            return [np.zeros_like(windows)]

    engine = projection._Engine
    with mock.patch.object(backend, "compiled", Zeros), mock.patch.object(engine, "together", lambda *_: 0):
        yield


def bare_cost(model, images, layer, units):
    """One forward pass up to the layer and one vector–Jacobian product, on the very windows that deconvlib projects.

    model: one that nothing else projects, as deconvlib keeps with it what it compiled, here the function that takes notes.
    """
    windows = []
    with without_computing(windows.append):
        deconvnet.project_units(model, images, layer, units)
    assert sum(map(len, windows)) == units.image.size, "not one window a unit: the bare cost has to be defined anew"

    def pull(batch):
        maps, back = backend.vjp(forward, batch)
        return back(maps)

    def forward(pixels):
        return deconvnet.graph.run(
            model, [pixels], lambda step, *arguments, **named: step.operation(*arguments, **named), until=layer
        )

    gradient = backend.compiled(pull, model, windows[0].shape[1:])
    return lambda: [gradient(batch) for batch in windows]


def captum(model, images, layer, units, rule="deconvnet", net=None):
    """net: the network in PyTorch; None for all of `model` up to its last feature maps, as Captum takes it."""
    import torch
    import torch_nets
    from captum.attr import NeuronDeconvolution, NeuronGuidedBackprop

    device = "cuda" if backend.accelerator() and torch.cuda.is_available() else "cpu"
    net = (net or torch_nets.chain(model)).to(device)
    tool = {"deconvnet": NeuronDeconvolution, "guided": NeuronGuidedBackprop}[rule](net, net.get_submodule(layer))

    def project(unit):
        pixels = torch.from_numpy(images[unit.image]).permute(0, 3, 1, 2).to(device).requires_grad_()
        found = tool.attribute(pixels, lambda maps: maps[range(len(pixels)), unit.channel, unit.row, unit.column])
        return found.detach().permute(0, 2, 3, 1).cpu().numpy()

    return lambda: _by_channel(project, units)


def captum_cut(model, images, layer, units):
    """Of a network that ends at the layer: nothing is computed that is not needed."""
    import torch_nets

    return captum(model, images, layer, units, net=torch_nets.chain(model, layer))


def tf_keras_vis(model, images, layer, units):
    """Guided back-propagation, as it has no deconvnet."""
    _need_tensorflow()
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.utils.model_modifiers import ExtractIntermediateLayer, GuidedBackpropagation

    tool = Saliency(model, [ExtractIntermediateLayer(layer), GuidedBackpropagation()])
    raw = {"keepdims": True, "gradient_modifier": None, "normalize_map": False}

    def project(unit):
        places = list(enumerate(zip(unit.row, unit.column, unit.channel, strict=True)))
        return np.array(tool(lambda maps: [maps[i, *place] for i, place in places], images[unit.image], **raw))

    return lambda: _by_channel(project, units)


def xplique(model, images, layer, units):
    _need_tensorflow()
    import tensorflow
    from xplique.attributions import DeconvNet

    def value(net, inputs, places):
        return tensorflow.gather_nd(net(inputs), tensorflow.cast(places, "int32"), batch_dims=1)

    tool = DeconvNet(keras.Model(model.inputs, model.get_layer(layer).output), operator=value, reducer=None)

    def project(unit):
        return np.array(tool(images[unit.image], np.stack([unit.row, unit.column, unit.channel], axis=1)))

    return lambda: _by_channel(project, units)


def grad_cam(model, images, layer, units):
    target = targets.Target(model.layers[-1].name, units)
    return lambda: cam.grad_cam(model, images, target, layer)


def class_passes(model, images, layer, units):
    """One forward pass to the scores, and one backward pass to the pixels for each class, in one program."""

    def pull(pixels, seeds):
        with _pulled_often():
            _, back = backend.vjp(forward, pixels)
            return keras.ops.stack([back(seeds[:, turn]) for turn in range(len(units.channel))], axis=1)

    def forward(pixels):
        return deconvnet.graph.run(model, [pixels], lambda step, *a, **k: deconvnet.graph.at_inference(step.operation, *a, **k))

    seeds = np.eye(model.output_shape[-1], dtype=np.float32)[units.channel.T]
    program = backend.compiled(pull, model, images.shape[1:], seeds.shape[1:])
    return lambda: program(images, seeds)


def captum_grad_cam(model, images, layer, units):
    """One class of all images at a time, as its documentation shows."""
    from captum.attr import LayerAttribution, LayerGradCam

    net, pixels = _classifier(model, images)
    tool = LayerGradCam(net, net.features.get_submodule(layer))

    def enlarged(unit):
        small = tool.attribute(pixels, _classes(unit, pixels), relu_attributions=True)
        return LayerAttribution.interpolate(small, images.shape[1:3], "bilinear").detach().cpu().numpy()

    return lambda: _by_channel(enlarged, units)


def integrated_gradients(model, images, _, units):
    target = targets.Target(model.layers[-1].name, units)
    return lambda: gradients.integrated_gradients(model, images, target, steps=gradients.STEPS)


def captum_integrated(model, images, _, units):
    """At the same points, as many at once as this project takes."""
    from captum.attr import IntegratedGradients

    net, pixels = _classifier(model, images)
    how = {"n_steps": gradients.STEPS, "method": "riemann_middle", "internal_batch_size": 256}

    def one(unit):
        return IntegratedGradients(net).attribute(pixels, target=_classes(unit, pixels), **how).cpu().numpy()

    return lambda: _by_channel(one, units)


def _classifier(model, images):
    """(the classifier in PyTorch, images as it takes them), on the device."""
    import torch
    import torch_nets

    device = "cuda" if backend.accelerator() and torch.cuda.is_available() else "cpu"
    net = torch_nets.WithClasses(model, torch_nets.chain(model)).to(device)
    return net, torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)


def _classes(unit, pixels):
    import torch

    return torch.from_numpy(unit.channel).to(pixels.device)


def _pulled_often():
    """Within, a way back may be gone several times: TensorFlow forgets it after the first."""
    if backend.NAME != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow

    tape = functools.partial(tensorflow.GradientTape, persistent=True)
    return mock.patch.object(tensorflow, "GradientTape", tape)


def strongest(model, images, layers, _):
    return lambda: deconvnet.strongest(model, images, layers)


def predict(model, images, *_):
    return lambda: model.predict(images, batch_size=256, verbose=0)


def _by_channel(project, units):
    return np.stack([project(units[channel]) for channel in range(len(units.image))])


def _need_tensorflow():
    if backend.NAME != "tensorflow":
        raise ImportError(f"needs TensorFlow, not {backend.NAME}")
