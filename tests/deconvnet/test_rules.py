"""The rules against the paper's chain written out: transposed matrices, switches found in loops, signals rectified.

Every form in which a rectifier comes, and every structure around it, goes through the same chain. What peers answer
here is known: most return the plain gradient for the forms that they do not know, without a word.
"""

from unittest import mock

import numpy as np
import pytest

from deconvlib import backend, deconvnet, networks
from deconvlib.backend import keras

RNG = np.random.default_rng(0)
SHAPE = (9, 9, 2)


@pytest.fixture(autouse=True)
def same_numbers_whichever_tests_run():
    global RNG
    RNG = np.random.default_rng(0)


# The chain: each part maps x to (y, back), and `back` the signal at y to the signal at x.


def chain(*parts):
    def up(x, rule):
        backs = []
        for part in parts:
            x, back = part(x, rule)
            backs.append(back)

        def down(signal):
            for back in reversed(backs):
                signal = back(signal)
            return signal

        return x, down

    return up


def linear(layer):
    """A layer without activation: its matrix, from what it makes of each unit vector, and that matrix transposed."""

    def up(x, rule):
        inputs = np.concatenate([np.zeros((1, x.size)), np.eye(x.size)]).reshape(-1, *x.shape).astype(np.float32)
        zero, *columns = keras.ops.convert_to_numpy(layer(inputs)).astype(float)
        matrix = np.stack([(column - zero).ravel() for column in columns])
        y = (x.ravel() @ matrix).reshape(zero.shape) + zero
        return y, lambda signal: (matrix @ signal.ravel()).reshape(x.shape)

    return up


def rectifier(slope=0.0, ceiling=np.inf):
    def up(x, rule):
        mask = np.where(x > 0, 1.0, slope)

        def down(signal):
            rectified = np.where(signal > 0, signal, slope * signal)
            return {"gradient": signal * mask * (x < ceiling), "deconvnet": rectified, "guided": rectified * mask}[rule]

        return np.minimum(np.where(x > 0, x, slope * x), ceiling), down

    return up


def max_pool(size, stride):
    """Unpadded. Where regions overlap, a place that is the maximum of several gets the signals of all."""

    def up(x, rule):
        height, width = ((length - size) // stride + 1 for length in x.shape[:2])
        y, switches = np.zeros((height, width, x.shape[2])), {}
        for place in np.ndindex(y.shape):
            row, column, channel = place[0] * stride, place[1] * stride, place[2]
            region = x[row : row + size, column : column + size, channel]
            inside = np.unravel_index(region.argmax(), region.shape)
            switches[place] = row + inside[0], column + inside[1], channel
            y[place] = region.max()

        def down(signal):
            unpooled = np.zeros(x.shape)
            for place, switch in switches.items():
                unpooled[switch] += signal[place]
            return unpooled

        return y, down

    return up


def total(*branches):
    def up(x, rule):
        values, backs = zip(*(branch(x, rule) for branch in branches), strict=True)
        return sum(values), lambda signal: sum(back(signal) for back in backs)

    return up


def side_by_side(*branches):
    def up(x, rule):
        values, backs = zip(*(branch(x, rule) for branch in branches), strict=True)
        ends = np.cumsum([value.shape[-1] for value in values])[:-1]
        return np.concatenate(values, axis=-1), lambda signal: sum(
            back(part) for back, part in zip(backs, np.split(signal, ends, axis=-1), strict=True)
        )

    return up


def built(layer, shape=SHAPE):
    """The layer with random weights; variances and their like positive."""
    layer.build((None, *shape))
    weights = [RNG.normal(0, 0.5, weight.shape) for weight in layer.weights]
    names = [weight.name for weight in layer.weights]
    layer.set_weights([abs(w) + 0.1 if name == "moving_variance" else w for w, name in zip(weights, names, strict=True)])
    return layer


def activated(layer, activation):
    """A layer of the same weights with an activation fused into it."""
    twin = type(layer).from_config(layer.get_config() | {"activation": activation, "name": f"{layer.name}_activated"})
    twin.build((None, *SHAPE))
    twin.set_weights(layer.get_weights())
    return twin


def model_of(*calls):
    entry = x = keras.Input(SHAPE)
    for call in calls:
        x = call(x)
    return keras.Model(entry, x)


def assert_projects_as(model, parts, rule):
    images = 4 * RNG.normal(size=(6, *SHAPE)).astype(np.float32)  # large enough for the ceiling of ReLU6
    expected = []
    for image in images:
        y, down = chain(*parts)(image.astype(float), rule)
        unit = (*np.unravel_index(y[..., 1].argmax(), y.shape[:-1]), 1)
        seed = np.zeros(y.shape)
        seed[unit] = y[unit]
        expected.append(down(seed))
    found = deconvnet.project(model, images, model.layers[-1].name, 1, rule)
    assert np.abs(expected).max() > 0
    # float32 against float64: at most 2.8e-7 was measured over the cases below
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


FORMS = {  # what the model is made of, for a convolution without activation; and the rectifier that this is
    "activation='relu'": (lambda conv: [activated(conv, "relu")], {}),
    "activation=the backend's": (lambda conv: [activated(conv, backend.relu)], {}),
    "activation=keras.ops.relu": (lambda conv: [activated(conv, keras.ops.relu)], {}),
    "Activation('relu')": (lambda conv: [conv, keras.layers.Activation("relu")], {}),
    "ReLU()": (lambda conv: [conv, keras.layers.ReLU()], {}),
    "keras.ops.relu": (lambda conv: [conv, keras.ops.relu], {}),
    "activation=ReLU()": (lambda conv: [activated(conv, keras.layers.ReLU())], {}),
    "activation='relu6'": (lambda conv: [activated(conv, "relu6")], {"ceiling": 6}),
    "ReLU(6)": (lambda conv: [conv, keras.layers.ReLU(6)], {"ceiling": 6}),
    "keras.ops.relu6": (lambda conv: [conv, keras.ops.relu6], {"ceiling": 6}),
    "activation='leaky_relu'": (lambda conv: [activated(conv, "leaky_relu")], {"slope": 0.2}),
    "LeakyReLU(0.3)": (lambda conv: [conv, keras.layers.LeakyReLU(0.3)], {"slope": 0.3}),
    "ReLU(negative_slope=0.1)": (lambda conv: [conv, keras.layers.ReLU(negative_slope=0.1)], {"slope": 0.1}),
    "keras.ops.leaky_relu": (lambda conv: [conv, lambda x: keras.ops.leaky_relu(x, 0.1)], {"slope": 0.1}),
    "nested": (lambda conv: [keras.Sequential([keras.Input(SHAPE), activated(conv, "relu")])], {}),
}


@pytest.mark.parametrize("rule", deconvnet.RULES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_rectifier(form, rule):
    make, kind = FORMS[form]
    first, last = built(keras.layers.Conv2D(4, 3)), built(keras.layers.Conv2D(3, 2), (3, 3, 4))
    model = model_of(*make(first), keras.layers.MaxPooling2D(2), last)
    assert_projects_as(model, [linear(first), rectifier(**kind), max_pool(2, 2), linear(last)], rule)


KINDS = {
    "SeparableConv2D": lambda: keras.layers.SeparableConv2D(4, 3),
    "DepthwiseConv2D": lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
    "Dense": lambda: keras.layers.Dense(4),
    "strides": lambda: keras.layers.Conv2D(4, 3, strides=2, padding="same"),
    "dilation": lambda: keras.layers.Conv2D(4, 3, dilation_rate=2, padding="same"),
    "groups": lambda: keras.layers.Conv2D(4, 3, groups=2),
    "Conv2DTranspose": lambda: keras.layers.Conv2DTranspose(4, 4, strides=2, padding="same"),
}


@pytest.mark.parametrize("rule", deconvnet.RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_fused_into_every_kind_of_convolution(kind, rule):
    first = built(KINDS[kind]())
    shape = first.compute_output_shape((None, *SHAPE))[1:]
    last = built(keras.layers.Conv2D(3, 2), shape)
    model = model_of(activated(first, "relu"), last)
    assert_projects_as(model, [linear(first), rectifier(), linear(last)], rule)


def residual():
    norm = built(keras.layers.BatchNormalization(), (9, 9, 4))  # with γ of both signs
    first, second = (
        built(keras.layers.Conv2D(4, 3, padding="same")),
        built(keras.layers.Conv2D(4, 3, padding="same"), (9, 9, 4)),
    )
    last = built(keras.layers.Conv2D(3, 3), (9, 9, 4))

    def block(x):
        x = keras.layers.ReLU()(norm(first(x)))
        return keras.layers.ReLU()(keras.layers.Add()([x, second(x)]))

    inner = total(lambda x, rule: (x, lambda signal: signal), linear(second))
    return model_of(block, last), [linear(first), linear(norm), rectifier(), inner, rectifier(), linear(last)]


def concatenation():
    left, right = built(keras.layers.Conv2D(3, 3, padding="same")), built(keras.layers.Conv2D(2, 1))
    last = built(keras.layers.Conv2D(3, 3), (9, 9, 5))
    model = model_of(lambda x: keras.layers.Concatenate()([activated(left, "relu")(x), keras.layers.ReLU()(right(x))]), last)
    return model, [side_by_side(chain(linear(left), rectifier()), chain(linear(right), rectifier())), linear(last)]


def shared_rectifier():
    relu = keras.layers.ReLU()
    first, second = built(keras.layers.Conv2D(4, 3)), built(keras.layers.Conv2D(4, 3), (7, 7, 4))
    last = built(keras.layers.Conv2D(3, 3), (5, 5, 4))
    parts = [linear(first), rectifier(), linear(second), rectifier(), linear(last)]
    return model_of(first, relu, second, relu, last), parts


def overlapping_max_pooling():
    first, last = built(keras.layers.Conv2D(4, 3, padding="same")), built(keras.layers.Conv2D(3, 2), (4, 4, 4))
    model = model_of(activated(first, "relu"), keras.layers.MaxPooling2D(3, strides=2), last)
    return model, [linear(first), rectifier(), max_pool(3, 2), linear(last)]


def average_pooling():
    pool = keras.layers.AveragePooling2D(3, strides=2, padding="same")
    first, last = built(keras.layers.Conv2D(4, 3, padding="same")), built(keras.layers.Conv2D(3, 2), (5, 5, 4))
    return model_of(activated(first, "relu"), pool, last), [linear(first), rectifier(), linear(pool), linear(last)]


@pytest.mark.parametrize("rule", deconvnet.RULES)
@pytest.mark.parametrize(
    "structure", [residual, concatenation, shared_rectifier, overlapping_max_pooling, average_pooling], ids=lambda f: f.__name__
)
def test_every_structure(structure, rule):
    assert_projects_as(*structure(), rule)


class Doubling(keras.layers.Layer):
    def call(self, x):
        return 2 * x


REFUSED = {  # a call without a rule, and the name under which it is refused
    **{name: (keras.layers.Activation(name), name) for name in ("tanh", "gelu", "silu", "elu", "selu", "softplus", "sigmoid")},
    "keras.ops.tanh": (keras.ops.tanh, "Tanh"),
    "PReLU": (keras.layers.PReLU(), "PReLU"),
    "threshold": (keras.layers.ReLU(threshold=1.0), "relu(threshold=1)"),
    "a function of the user's": (keras.layers.Activation(lambda x: keras.ops.relu(x) ** 2), "<lambda>"),
    "a layer of the user's": (Doubling(), f"{__name__}.Doubling"),
    "a layer of a known name": (type("Conv2D", (Doubling,), {})(), f"{__name__}.Conv2D"),
    "product of two maps": (lambda x: keras.layers.Multiply()([x, x + 1]), "Multiply"),
    "maximum of two maps": (lambda x: keras.layers.Maximum()([x, x + 1]), "Maximum"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_rule_is_refused_by_name_and_the_chain_rule_may_stand_in(case):
    call, name = REFUSED[case]
    model = model_of(built(keras.layers.Conv2D(4, 3)), call, built(keras.layers.Conv2D(3, 2), (7, 7, 4)))
    images, last = RNG.normal(size=(1, *SHAPE)).astype(np.float32), model.layers[-1].name
    for rule in ("deconvnet", "guided"):
        with pytest.raises(ValueError, match=r"for which rule .* is not defined") as refusal:
            deconvnet.project(model, images, last, 0, rule)
        assert f"applies {name}," in str(refusal.value) and f"chain_rule=({name!r},)" in str(refusal.value)
    table = deconvnet.coverage(model, last)
    assert "refused" in table["backward"].tolist() and not table["covered"].all()
    passed = deconvnet.project(model, images, last, 0, chain_rule=(name,))
    # the model has no rectifier, so that the plain chain rule is all there is
    np.testing.assert_array_equal(passed, deconvnet.project(model, images, last, 0, "gradient"))
    assert passed.any()


def test_coverage_says_what_becomes_of_the_signal():
    model = model_of(
        keras.layers.Conv2D(4, 3, activation="relu", name="a"),
        keras.layers.ReLU(6, name="b"),
        keras.layers.LeakyReLU(0.2, name="c"),
        keras.layers.Activation("gelu", name="d"),
        keras.layers.Conv2D(4, 3, activation="softmax", name="e"),
    )
    table = deconvnet.coverage(model, "e", "guided", chain_rule=("gelu",)).set_index("layer")
    assert table["function"].to_dict() == {"a": "relu", "b": "relu", "c": "leaky_relu", "d": "gelu", "e": "softmax"}
    assert table["covered"].to_dict() == {"a": True, "b": True, "c": True, "d": False, "e": True}
    assert table["backward"].to_dict() == {
        "a": "max(g, 0) · [x > 0]",
        "b": "max(g, 0) · [x > 0]",
        "c": "max(g, 0.2 · g) · ([x > 0] + 0.2 · [x ≤ 0])",
        "d": deconvnet.rules.CHAIN_RULE,
        "e": "the projection starts before it",
    }
    assert deconvnet.coverage(model, "c", "gradient")["covered"].all()
    # before the layer, a softmax is a nonlinearity like others
    model = model_of(keras.layers.Conv2D(4, 3, activation="softmax", name="e"), keras.layers.Conv2D(4, 3, name="f"))
    assert deconvnet.coverage(model, "f")["backward"].tolist() == ["refused"]
    with pytest.raises(ValueError, match=r"nonlinearity 'swish' is not known\. Known: 'e', 'softmax'"):
        deconvnet.project(model, np.ones((1, *SHAPE)), "f", 0, chain_rule=("swish",))


ON_THE_WAY = {  # has_switches, preferred_rule
    "max pooling": ([keras.layers.ReLU(), keras.layers.MaxPooling2D(2)], True, "deconvnet"),
    "global max pooling": ([keras.layers.ReLU(), keras.layers.GlobalMaxPooling2D(keepdims=True)], True, "deconvnet"),
    "strides": ([keras.layers.ReLU(), keras.layers.Conv2D(4, 3, strides=2)], False, "guided"),
    "average pooling": ([keras.layers.ReLU(), keras.layers.AveragePooling2D(2)], False, "guided"),
    "gelu": ([keras.layers.Activation("gelu"), keras.layers.MaxPooling2D(2)], True, "gradient"),
}


@pytest.mark.parametrize("case", ON_THE_WAY)
def test_without_switches_a_deconvnet_is_alike_for_every_image_and_guided_is_preferred(case):
    calls, switched, rule = ON_THE_WAY[case]
    model = model_of(*calls, keras.layers.Conv2D(3, 1, name="last"), keras.layers.GlobalMaxPooling2D())
    assert deconvnet.has_switches(model, "last") == switched and deconvnet.preferred_rule(model, "last") == rule
    told = deconvnet.coverage(model, "last")["backward"].str.contains("no switches on the way")
    assert told.all() if not switched else not told.any()
    assert not deconvnet.coverage(model, "last", "guided")["backward"].str.contains("switches").any()
    if rule == "gradient":
        return
    model.set_weights([np.abs(weight) for weight in model.get_weights()])  # or a rectifier may stop every signal
    images, signals = RNG.normal(size=(2, *SHAPE)).astype(np.float32), {"whole_map": True, "signal": 1.0}
    for chosen in deconvnet.RULES:  # what is said is so
        one, other = deconvnet.project(model, images, "last", 0, chosen, **signals)
        assert np.array_equal(one, other) == (chosen == "deconvnet" and not switched)


class Augmented(keras.layers.Layer):
    """A layer of the user's that holds augmentation, and says nothing of training."""

    def __init__(self):
        super().__init__()
        self.flip = keras.layers.RandomFlip(seed=0)

    def call(self, x):
        return self.flip(x)


class Piped(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.pipe = keras.Sequential([keras.layers.RandomFlip(seed=0), keras.layers.Dropout(0.5, seed=0)])

    def call(self, x, training=None):
        return self.pipe(x, training=training)


@pytest.mark.parametrize(
    "random",
    [
        *(keras.layers.RandomFlip(seed=0), keras.layers.RandomRotation(0.5, seed=0), keras.layers.RandomZoom(0.5, seed=0)),
        *(keras.layers.RandomBrightness(0.9, value_range=(0, 1), seed=0), keras.layers.RandomContrast(0.9, seed=0)),
        keras.layers.GaussianNoise(1.0, seed=0),
        keras.Sequential([keras.layers.RandomFlip(seed=0), keras.layers.RandomTranslation(0.5, 0.5, seed=0)]),
        *(Augmented(), Piped()),
        lambda x: keras.layers.Dropout(0.9, seed=0)(x, training=True),
        lambda x: keras.layers.BatchNormalization(momentum=0.0)(x, training=True),
    ],
    ids=lambda layer: getattr(layer, "name", "called with training=True"),
)
def test_every_layer_is_at_inference_as_in_predict(random):
    """Augmentation is by default in training; Keras' predict overrides that, and a training=True that was given."""
    model = model_of(random, keras.layers.Conv2D(3, 3, activation="relu", name="conv"))
    images = RNG.random((64, *SHAPE)).astype(np.float32)
    maps = model.predict(images, verbose=0)
    best = deconvnet.strongest(model, images, "conv", k=5)
    assert np.array_equal(best.image, np.argsort(-maps.max(axis=(1, 2)), axis=0, kind="stable")[:5].T)
    own = isinstance(random, Augmented | Piped)  # of which no rule is known
    assert deconvnet.coverage(model, "conv")["covered"].all() != own
    patches = deconvnet.project_units(model, images, "conv", best, "gradient", signal=1.0)
    assert np.isfinite(patches.projections).all() and np.abs(patches.projections).max() > 0
    one, again = (deconvnet.project(model, images[:3], "conv", 0, "gradient") for _ in range(2))
    assert np.array_equal(one, again)


def test_only_what_a_layer_depends_on_counts():
    """A branch beside it may apply what no rule covers, or break off."""
    images = keras.Input(SHAPE)
    first = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(images)
    beside = keras.layers.Conv2D(4, 3, padding="same", activation="gelu", name="beside")(first)
    second = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="second")(first)
    nested = keras.Sequential([keras.Input(second.shape[1:]), keras.layers.Conv2D(2, 1, activation="softmax", name="in")])
    model = keras.Model(images, keras.layers.Concatenate(name="both")([beside, second, nested(inputs=first)]))
    alone = keras.Model(images, second)
    x = RNG.random((3, *SHAPE)).astype(np.float32)
    for rule in deconvnet.RULES:
        assert np.array_equal(deconvnet.project(model, x, "second", 1, rule), deconvnet.project(alone, x, "second", 1, rule))
    assert deconvnet.coverage(model, "second")["layer"].tolist() == ["first", "second"]
    both = deconvnet.strongest(model, x, ["second", "beside"], k=2)
    assert both["beside"].activation.shape == (4, 2)
    with pytest.raises(ValueError, match="'beside' applies gelu"):
        deconvnet.project(model, x, "both", 0)


def test_mixed_precision():
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8), normalization="batch")
    half = keras.models.clone_model(model, clone_function=lambda layer: type(layer).from_config(
        layer.get_config() | ({} if isinstance(layer, keras.layers.InputLayer) else {"dtype": "mixed_float16"})
    ))  # fmt: skip
    half.set_weights(model.get_weights())
    images = RNG.random((2, 16, 16, 3)).astype(np.float32)
    full, found = (deconvnet.project(net, images, "relu2", 3) for net in (model, half))
    assert found.dtype == np.float32
    # float16 has three digits; over five seeds at most 0.0025 was measured
    assert np.linalg.norm(found - full) <= 0.02 * np.linalg.norm(full)
    units = deconvnet.Units(np.zeros(4, int), np.arange(4), np.arange(4), np.arange(4), np.zeros(4))
    for together in (0, 4):  # from windows, and from whole maps
        with mock.patch.object(deconvnet.projection._Engine, "together", lambda *_, together=together: together):
            full, found = (deconvnet.project_units(net, images, "relu2", units).projections for net in (model, half))
        assert found.dtype == np.float32
        assert 0 < np.linalg.norm(full) and np.linalg.norm(found - full) <= 0.02 * np.linalg.norm(full)
