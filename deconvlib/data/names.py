"""What folders, archives and tables are called -> which part of a collection they are."""

import re

GUESSED = ("pred", "predict", "prediction", "predictions", "submission", "submissions")
CALLED = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation", "holdout"),
    "test": ("test", "tests", "testing"),
    "rest": (*GUESSED, "unlabeled", "unlabelled", "sample", "samples"),  # neither trains nor tests
}
PARTS = {f"{name}{end}": part for part, names in CALLED.items() for name in names for end in ("", "set", "data", "images")}
PLAIN = ("set", "data", "dataset", "image", "images", "img", "imgs", "zip", "csv", "tsv")  # words that tell nothing


def _words(name):
    """["asl", "train", "data"] of asl_TrainData2."""
    return re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower())


def holds_guesses(table):
    """Whether a table is called as one that somebody hands in: sample_submission.csv."""
    return not set(GUESSED).isdisjoint(_words(table))


def called(name):
    """(the part that a folder or table is called, or None; its other words): ("train", ["asl"]) of asl_train_images."""
    words = _words(name)
    parts = {PARTS[word] for word in words if word in PARTS}
    parts = parts - {"rest"} or parts  # test_samples are a test part
    return parts.pop() if len(parts) == 1 else None, [word for word in words if word not in PARTS and word not in PLAIN]


def division(heads, place):
    """{part: head} of heads that differ only in the part that they name, as seg_train and seg_test; {} where none do.

    place: what holds them, for the ValueError where two are called the same part.
    """
    groups = {}
    for head in sorted(heads):
        part, others = called(head)
        if part:
            groups.setdefault(" ".join(others), []).append((part, head))
    for _, group in sorted(groups.items()):
        parts = {part for part, _ in group}
        # a class may be called train, but no class is an archive
        trains = "train" in parts and (len(parts) > 1 or any(head.lower().endswith(".zip") for _, head in group))
        if not trains and len(parts - {"rest"}) < 2:
            continue
        found = {}
        for part, head in group:
            if part in found and part != "rest":
                raise ValueError(f"{place} holds both {found[part]!r} and {head!r}; keep one of them")
            found[part] = head
        found.pop("rest", None)
        return found
    return {}


def like_parts(names):
    """Which of these names of classes may have been meant for parts: train alone, or train_a and test_b."""
    named = {name: called(name) for name in names}
    parts = {part for part, _ in named.values()} - {"rest", None}
    return [name for name, (part, others) in named.items() if part in parts and (not others or len(parts) > 1)]
