"""What a user does in each notebook's panels; what a control does is seen in the picture's pixels."""

import re
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api")


class Panel:
    """A panel of a page, by what a user sees: labels, the picture, messages."""

    def __init__(self, page, number, screenshots):
        self.page, self.box = page, page.locator(".deconvlib-panel").nth(number)
        self.box.scroll_into_view_if_needed()
        self.screenshots = screenshots

    def pixels(self):
        return self.picture().screenshot()

    def picture(self):
        return self.box.locator("img").first

    def control(self, label):
        exactly = self.page.locator(".widget-label, .widget-label-basic", has_text=re.compile(rf"^{re.escape(label)}$"))
        return self.box.locator(".widget-inline-hbox", has=exactly)

    def set(self, label, value):
        """Set the control with this label as a user does: by its menu, its box, or the number beside its slider."""
        control = self.control(label)
        assert control.count() == 1, f"{control.count()} controls are labelled {label!r}"
        if control.locator("select").count():
            control.locator("select").select_option(label=str(value))
        elif control.locator("input[type=checkbox]").count():
            control.locator("input[type=checkbox]").set_checked(value)
        else:
            field = control.locator(".widget-readout, input[type=text]").first
            field.click()
            field.press("Control+A")
            field.press_sequentially(str(value))
            field.press("Enter")

    def changes(self, act, seen=None, timeout=120):
        """Whether the picture's pixels, or what else is `seen`, change after `act`, within seconds.

        An act whose picture nobody waits for would be taken for the next one's.
        """
        seen = seen or self.pixels
        before = seen()
        act()
        for _ in range(10 * timeout):
            if seen() != before:
                return True
            self.page.wait_for_timeout(100)
        return False

    def shows(self, **values):
        """Whether each of these (label, value) changes the picture."""
        for label, value in values.items():
            label = label.replace("_", " ")
            assert self.changes(lambda label=label, value=value: self.set(label, value)), f"{label} = {value}"

    def click(self, x, y):
        """At shares of the picture's width and height."""
        box = self.picture().bounding_box()
        self.picture().click(position={"x": x * box["width"], "y": y * box["height"]})

    def says(self, text, timeout=120):
        self.box.get_by_text(text).first.wait_for(timeout=1000 * timeout)

    def readout(self, label):
        return self.control(label).locator(".widget-readout").inner_text()

    def keep(self, name):
        if self.screenshots:
            self.page.wait_for_timeout(400)  # a slider's handle glides
            self.box.screenshot(path=Path(self.screenshots) / f"{name}.png")


def panels(opened, screenshots=None):
    """panel(stem, number): the panel of that number in that notebook, which is opened once."""
    pages = {}

    def panel(stem, number=0):
        if stem not in pages:
            pages[stem] = opened(stem)
        return Panel(pages[stem], number, screenshots)

    return panel


def hello(panel):
    features = panel("00_hello")
    features.shows(image=5)
    assert features.changes(lambda: features.click(0.1, 0.5))  # a point of the image
    features.keep("00_hello")


def browse_the_data(panel):
    shortage = panel("01_data", 0)
    assert shortage.changes(lambda: shortage.set("labels a class", 9))
    assert shortage.changes(lambda: shortage.set("imbalance", 20))
    shortage.keep("01_shortage")

    augmentation = panel("01_data", 1)
    assert augmentation.changes(lambda: augmentation.set("shift, share of side", 0.4))
    augmentation.shows(image=3)
    augmentation.keep("01_augmentation")
    assert augmentation.changes(lambda: augmentation.set("shift, share of side", 0))
    assert augmentation.changes(lambda: augmentation.set("mirror images", False))

    browse = panel("01_data", 2)
    assert browse.changes(lambda: browse.set("class", "3"))
    browse.shows(page=1)
    assert browse.changes(lambda: browse.click(0.35, 0.3))
    assert browse.readout("picked") != "0"
    assert browse.control("order").locator("select").input_value() == "nearest to the picked"
    browse.keep("01_browse")
    browse.set("order", "confident mistakes")
    browse.says("mistakes are those on the test images")
    browse.set("part", "test")
    browse.says("notebook 03 leaves one there")
    assert browse.changes(lambda: browse.set("order", "random"))


def build_a_model(panel):
    build = panel("02_model")
    assert build.changes(lambda: build.set("filters of each stage", "8, 16, 32"))
    assert build.changes(lambda: build.set("convolutions a stage", 2))
    # the boxes are as large whatever the kernel is, the numbers below are not
    assert build.changes(lambda: build.set("kernel, px", 5), build.box.locator("p").inner_text)
    assert build.changes(lambda: build.set("dense units", 0))
    build.shows(normalization="batch", decoder="resize")
    build.says("MFLOPs an image")
    build.keep("02_build")
    before = build.picture().get_attribute("src")  # its pixels depend on the fraction of a pixel that messages move it by
    build.set("filters of each stage", "8; 16")
    build.says("whole numbers with commas between")
    build.set("filters of each stage", "8, 16, 16, 16, 16, 16")
    build.says("are too small for 6 stages")
    assert build.picture().get_attribute("src") == before and build.picture().is_visible(), "the picture goes away"
    build.set("filters of each stage", "8, 24")
    # what changes nothing that is drawn
    others = {"activation": "elu", "pooling": "average", "decoder filters": "4", "decoder kernel, px": 2}
    others |= {"decoder stride, px": 3, "stride, px": 1, "dropout, share": 0.25, "L1": "1e-05", "L2": "0.0001"}
    for label, value in others.items():
        build.set(label, value)
    build.box.get_by_role("button", name="As a parameters cell").click()
    text, have = build.box.locator("textarea"), sync_api.expect
    for line in (
        *(
            "filters = [8, 24]",
            "convolutions = 2",
            "kernel_size = 5",
            "strides = 1",
            "activation = 'elu'",
            "pooling = 'average'",
        ),
        *("normalization = 'batch'", "decoder = 'resize'", "decoder_filters = [4]", "decoder_kernel_size = 2"),
        *("decoder_strides = 3", "dense_units = 0", "dropout = 0.25", "l1 = 1e-05", "l2 = 0.0001"),
    ):
        have(text).to_have_value(re.compile(rf"^{re.escape(line)}$", re.MULTILINE))
    build.box.get_by_role("button", name="As a profile").click()
    have(text).to_have_value(re.compile("03_training:\n  network:\n    filters:"))


def train(panel):
    train = panel("03_training", 1)
    start, stop = (train.box.get_by_role("button", name=name) for name in ("Start", "Stop"))
    pause, go_on = (train.box.get_by_role("button", name=name) for name in ("Pause", "Go on"))
    others = {"optimizer": "adam", "schedule": "constant", "label smoothing, share": 0.1, "mirror images": False}
    others |= {
        "shift, share of side": 0.2,
        "dropout, share": 0.25,
        "L2": "0.0001",
        "normalization": "none",
        "decoder": "resize",
    }
    for label, value in others.items():
        train.set(label, value)
    assert stop.is_disabled() and train.changes(lambda: start.click())
    train.says(re.compile("done after"))
    run = train.box.locator("option", has_text="run 1").inner_text().replace("\xa0", " ")
    assert run.startswith("run 1: optimizer adam, ") and "learning_rate" not in run
    for changed in ("label_smoothing 0.1", "shift 0.2", "dropout 0.25", "l2 0.0001", "normalization none", "decoder resize"):
        assert changed in run, run
    train.set("epochs", 30)
    train.set("images a step", 16)
    start.click()
    train.says(re.compile("about .* left"))
    assert start.is_disabled()
    pause.click()
    train.says(re.compile("paused in epoch"))
    train.page.wait_for_timeout(1500)  # a picture may be on its way
    assert not train.changes(lambda: None, timeout=2), "it goes on while it is paused"
    assert train.changes(lambda: go_on.click())
    train.keep("03_train")
    # the kernel answers meanwhile: the panel above draws
    other = panel("03_training", 0)
    assert other.changes(lambda: other.set("surer than, %", 60))
    train.box.scroll_into_view_if_needed()
    stop.click()
    train.says(re.compile("stopped after"))
    assert train.changes(lambda: train.box.locator("option", has_text="run 1").click()), "runs cannot be chosen"


def explore_features(panel):
    explore = panel("04_deconvolution")
    explore.shows(channel=3, image=5, rule="guided")
    handle = explore.control("channel").locator(".noUi-handle")
    handle.focus()
    assert explore.changes(lambda: handle.press("ArrowRight")) and explore.readout("channel") == "4"
    assert explore.changes(lambda: explore.set("switches", False))
    assert explore.changes(lambda: explore.set("switches", True))
    assert explore.changes(lambda: explore.click(0.09, 0.48))  # a point of the image
    assert explore.control("unit").locator("select").input_value() == "above the point"
    assert explore.readout("row, pixels") != "0"
    explore.keep("04_explore")
    assert explore.changes(lambda: explore.set("layer", "relu1"))  # whose units see 3 × 3 pixels: their box moves
    assert explore.changes(lambda: explore.set("column, pixels", 6))
    assert explore.changes(lambda: explore.click(0.7, 0.75))  # a picture of the sheet
    assert explore.readout("image") != "5"
    assert explore.changes(lambda: explore.set("unit", "the whole map"))
    assert explore.changes(lambda: explore.set("layer", "relu2"))
    explore.says(re.compile(r"drawn in \d+ ms"))


def synthesize_images(panel):
    grow = panel("04_deconvolution", 1)
    start, stop = (grow.box.get_by_role("button", name=name) for name in ("Start", "Stop"))
    others = {"layer": "relu1", "channel": 1, "channels": 3, "place": "mean", "moves, times": 0, "seed": 7}
    for label, value in others.items():
        grow.set(label, value)
    assert stop.is_disabled() and grow.changes(lambda: start.click())
    grow.says(re.compile("done after"))
    grow.set("layer", "relu2")
    grow.set("steps", 4096)
    assert grow.changes(lambda: start.click())  # the first step's
    grow.says(re.compile("step .* of 4096, about .* left"))
    assert start.is_disabled() and grow.changes(lambda: None), "it does not grow"
    grow.keep("04_synthesize")
    stop.click()
    grow.says(re.compile("stopped after"))
    assert not start.is_disabled()


def move_and_occlude(panel):
    move = panel("05_experiments", 0)
    move.shows(example=1)
    assert move.changes(lambda: move.set("rotation, degrees", 90))
    assert move.changes(lambda: move.set("scale, times", 1.5))
    assert move.changes(lambda: move.set("down, pixels", 2))
    move.keep("05_move")
    occlude = panel("05_experiments", 1)
    occlude.shows(example=1)
    assert occlude.changes(lambda: occlude.set("square, pixels", 2))
    assert occlude.changes(lambda: occlude.set("stride, pixels", 4))
    occlude.shows(fill="mean")
    occlude.keep("05_occlude")


def explain_an_answer(panel):
    explain = panel("06_belief", 0)
    explain.shows(image=3)
    explain.shows(method="Grad-CAM")
    another = explain.control("class").locator("option").nth(5).inner_text()
    assert explain.changes(lambda: explain.set("class", another))
    explain.keep("06_explain")
    assert explain.changes(lambda: explain.set("layer of Grad-CAM", "relu1"))
    explain.shows(method="integrated gradients")


def delete_what_a_map_marks(panel):
    delete = panel("06_belief", 1)
    delete.shows(example=1)
    delete.shows(method="random")
    assert delete.changes(lambda: delete.set("pixels, %", 60))
    delete.keep("06_delete")


def explore_the_study(panel):
    study = panel("07_accuracy")
    study.shows(regime="long tail")
    study.keep("07_study")


def compare_operators(panel):
    operators = panel("11_operators")
    operators.says("in the map of the constant")
    operators.shows(weights="all 1", operator="resize")
    operators.shows(weights="random")
    operators.shows(operator="subpixel, no ICNR")
    assert operators.changes(lambda: operators.set("kernel, px", 5))
    assert operators.changes(lambda: operators.set("stride, px", 3))
    assert operators.changes(lambda: operators.set("test image", 7))
    operators.keep("11_operators")


def measure_gradients(panel):
    gradients = panel("12_training_claims")
    gradients.shows(activation="relu")
    assert gradients.changes(lambda: gradients.set("depth, layers", 3))
    gradients.keep("12_gradients")


def restore(panel):
    restore = panel("08_restoration")
    restore.shows(damage="half size")
    restore.shows(damage="blur", image=3)
    assert restore.changes(lambda: restore.set("strength", 4))
    restore.keep("08_restore")


def walk(panel):
    walk = panel("09_generation")
    assert walk.changes(lambda: walk.set("share of the way", 0.9))
    assert walk.changes(lambda: walk.set("from image", 5))
    assert walk.changes(lambda: walk.set("towards image", 7))
    another = walk.control("class").locator("option").nth(5).inner_text()
    assert walk.changes(lambda: walk.set("class", another))
    walk.keep("09_walk")


def segment(panel):
    segment = panel("10_segmentation")
    segment.shows(scene=3)
    another = segment.control("class").locator("option").nth(5).inner_text()
    assert segment.changes(lambda: segment.set("class", another))
    segment.keep("10_segment")


def be_surer_of_photographs(panel):
    confusion = panel("13_your_photos")
    assert confusion.changes(lambda: confusion.set("surer than, %", 95))


def audit(panel):
    audit = panel("14_your_model")
    audit.shows(channel=1)
    audit.keep("14_audit")


ALL = (
    hello,
    browse_the_data,
    build_a_model,
    train,
    explore_features,
    synthesize_images,
    move_and_occlude,
    explain_an_answer,
    delete_what_a_map_marks,
    explore_the_study,
    restore,
    walk,
    segment,
    compare_operators,
    measure_gradients,
    be_surer_of_photographs,
    audit,
)
