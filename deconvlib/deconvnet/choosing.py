"""What there is to project in a model: nonlinearities on the way, the rule to prefer, layers and channels worth a look."""

import numpy as np
import pandas as pd

from deconvlib import checks
from deconvlib.backend import keras
from deconvlib.deconvnet import graph, rules
from deconvlib.deconvnet.activations import Units


def coverage(model: keras.Model, layer: str, rule: str = "deconvnet", chain_rule: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row for each nonlinearity between the pixels and `layer`: layer, function, covered, backward.

    covered: whether `rule` is defined there; backward: what becomes there of the signal g on its way to the pixels, with
    x what the nonlinearity was given. Pooling is not listed: its switches are the chain rule. By rule "deconvnet" nothing else
    depends on the image; backward says so where no max pooling is on the way.
    """
    checks.known("rule", rule, rules.RULES)
    chain_rule = checks.names("chain_rule", chain_rule, 0)
    found, alike = [], rule == "deconvnet" and not has_switches(model, layer)
    for nonlinearity in rules.nonlinearities(model, layer):
        backward = rules.backward(nonlinearity, layer, rule, chain_rule)
        # a sigmoid at which the plain chain rule was asked for is passed, but not covered
        covered = backward not in ("refused", rules.CHAIN_RULE) or rule == "gradient"
        if alike and nonlinearity.rectifier is not None:
            backward += "; no switches on the way: alike for every image"
        found.append((nonlinearity.step.name, nonlinearity.name, covered, backward))
    return pd.DataFrame(found, columns=["layer", "function", "covered", "backward"])


def has_switches(model: keras.Model, layer: str) -> bool:
    """Whether a max pooling is on the way from `layer` to the pixels, whose switches a deconvnet unpools by."""
    graph.find(model, layer)
    way = graph.ancestors(model, [layer])
    return any(step.name in way and graph.kind(step.operation) in rules.POOLS for step in graph.steps(model))


def preferred_rule(model: keras.Model, layer: str) -> str:
    """The rule to project `layer` by: "deconvnet"; "guided" where no switches are on the way; "gradient" where neither can.

    Without switches a deconvnet's picture hardly depends on the image; guided back-propagation was made for such networks
    (Springenberg et al. 2014, section 3.4).
    """
    if not coverage(model, layer)["covered"].all():
        return "gradient"
    return "deconvnet" if has_switches(model, layer) else "guided"


def rectified_convolutions(model: keras.Model) -> list[str]:
    """The layers in which the feature maps of a convolution appear rectified: itself, or the first rectifier after it."""
    return _first_after_convolutions(model, lambda _, rectifier: rectifier is not None)


def spread_layers(model: keras.Model, count: int) -> list[str]:
    """So many layers, spread over the depth: where convolutions appear rectified, else after a smooth function as GELU.

    Of a model without any: convolutions, else dense layers. Maps of one place, as squeeze-and-excitation has, are left out
    where there are others.
    """
    every, layers = graph.steps(model), {layer.name for layer in model.layers}
    smooth = _first_after_convolutions(model, lambda name, _: _is_activation(name))
    found = [name for name in rectified_convolutions(model) if name in layers] or [name for name in smooth if name in layers]
    for kind in ("Conv", "Dense"):
        found = found or [step.name for step in every if kind in type(step.operation).__name__]
    one_place = {step.name for step in every if step.node.outputs[0].shape[1:-1] == (1, 1)}
    found = [name for name in found if name not in one_place] or found
    return [found[index] for index in np.unique(np.linspace(0, len(found) - 1, count).round().astype(int))]


def draw_channels(units: Units, count: int, seed: int = 0) -> np.ndarray:
    """Numbers of so many channels that fire, drawn at random by `seed`, in order; of any channels where none fires.

    units: of shape (all channels, k), from `strongest`. Where fewer fire, fewer come back.
    """
    checks.positive("count", count)
    firing = np.flatnonzero(units.activation[:, 0] > 0)
    among = firing if len(firing) else np.arange(len(units.activation))
    return np.sort(np.random.default_rng(seed).permutation(among)[:count])


def _is_activation(name):
    return hasattr(keras.activations, name.lower()) and name not in rules.OUTPUTS


def _first_after_convolutions(model, fits):
    """Of each convolution itself, or the first step after it, whose nonlinearity fits: fits(name, rectifier)."""
    found, waiting = [], False
    for step in graph.steps(model):
        name, rectifier = rules.nonlinearity(step)
        waiting = waiting or "Conv" in type(step.operation).__name__
        if waiting and name is not None and fits(name, rectifier):
            found.append(step.name)
            waiting = False
    return found
