"""Names, folders and archives -> Dataset, Sample, Scenes."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from deconvlib import allowed, checks, disk
from deconvlib.data import arrays, decoding, files, photographs, shapes
from deconvlib.data.dataset import Dataset, Sample, Scenes
from deconvlib.data.names import called, division

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CIFAR100 = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest
    fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit
    raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower
    sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
    worm""".split()
)
DOWNLOADS = {"cifar10": CIFAR10, "cifar100": CIFAR100, "mnist": DIGITS, "fashion_mnist": FASHION}
NAMES = allowed.DATASETS
LOSSLESS = (".png", ".bmp", ".gif", ".tif", ".tiff")


def load(
    name: str | Path,
    data_dir: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    fitting: str = "crop",
    seed: int = 0,
) -> Dataset:
    """The data set `name`: one of `NAMES`, or the path of a folder of class folders, a .zip of one, an .npz, or a .csv.

    A name is looked for in `data_dir`, else in the folder that the environment variable DECONVLIB_DATA names, as
    <name>/train.zip and test.zip, as <name>/train/<class>/*.png or *.jpg and test, or as <name>.npz; else Keras downloads
    it. "shapes", "digits" and "photographs" (tiles of nine photographs that
    packages bring) need no file.

    A folder or .zip holds a training and a test part, or the classes themselves; then a fifth of each class is split off
    for testing, by `seed`. The parts are folders or .zip files, known by a word of their names: train or training, and test
    or testing, as in seg_train and seg_test, or TrainingData and TestingData. One for validation (val, valid, dev, eval,
    holdout) tests where there is no test part with labels, else it is left out. A .csv beside the images tells the classes,
    in columns filename and label, or other names in `files.FILE` and `files.LABEL`, and may divide the images, in a column
    split; it counts more than folders do. Its path may be given as well. An .npz holds x_train, y_train, x_test, y_test, or
    x and y, and may hold class_names; images are uint8, or floats in [0, 1]. What a folder holds and is not used is printed,
    in one line.

    image_size: side, or (height, width), in pixels; images are resized to it, and it must be given if their sizes differ.
    fitting: how those of other proportions come to it: "crop" keeps the proportions and cuts the longer side to its middle,
    "squeeze" keeps all of the image; a line says of how many. Images stand upright, by EXIF, and over white where they are
    transparent; of several frames the first counts, and a line says so. They have
    one channel if all files are grey, else RGB. Values of more than 8 bits lose their lowest: of 16, or of as many as the
    files say, or the largest value of all images needs. Decoded folders and archives, and "shapes", are kept in a cache: the
    folder DECONVLIB_CACHE, or the user's. Those of disk.LARGE bytes or more are read from there as they are needed.
    Raises ValueError for an unknown name, a folder without two classes, images of several sizes, a corrupt image (named);
    FileNotFoundError if there is neither a file nor a download.
    """
    allowed.check(seed=seed, fitting=fitting)
    size = _size(image_size)
    dataset = _find(_named(name), data_dir, size, fitting, seed)
    return dataset if size in (None, dataset.image_shape[:2]) else resized(dataset, size, fitting)


def _named(name):
    """`name` as text, or as the Path that is there, even if a data set has its name too. Raises ValueError for no text."""
    allowed.refuse("name", str(name), allowed.NAME)
    return name if isinstance(name, Path) and name.expanduser().exists() else str(name)


def _size(image_size):
    """(height, width), or None for None. Raises ValueError for anything but a side or a pair."""
    size = (image_size, image_size) if checks.is_whole(image_size) else image_size
    if size is None:
        return None
    pair = isinstance(size, (tuple, list)) and len(size) == 2
    if not pair or not all(checks.is_whole(side) and side > 0 for side in size):
        raise ValueError(f"image_size must be a side or (height, width) in whole pixels, not {image_size!r}")
    return int(size[0]), int(size[1])


def _find(name, data_dir, size, fitting, seed):
    path = Path(os.path.expanduser(name))
    if name == "shapes":
        return shapes.kept(seed)
    if name == "photographs":
        return photographs.tiles(image_size=size or (photographs.SIDE, photographs.SIDE), seed=seed)
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        return arrays.split("digits", images, digits.target.astype(np.int64), DIGITS, seed)
    if name not in DOWNLOADS and path.exists():
        return _read(path.stem if path.is_file() else path.absolute().name, path, size, fitting, seed)
    if name not in DOWNLOADS:
        raise ValueError(f"there is no folder, .zip, .npz or .csv {path}, and data set {checks.not_known(name, NAMES)}")
    folder = data_dir or os.environ.get("DECONVLIB_DATA")
    if folder:
        for candidate in (Path(folder) / name, Path(folder) / f"{name}.npz"):
            if candidate.exists():
                return _read(name, candidate, size, fitting, seed)
    return _download(name, folder)


def sample(
    name: str | Path,
    image_shape: tuple[int, int, int],
    count: int,
    data_dir: str | Path | None = None,
    fitting: str = "crop",
    seed: int = 0,
) -> Sample:
    """`count` random images of a collection, or all if it has fewer, with shape `image_shape`, in the collection's order.

    name: a folder or .zip of images, with or without classes (of train, val and test parts the last that there is), or a
    .csv; an .npz with x and y, or x_test and y_test, or x alone; an .npy of images; or a name that `load` knows, for its
    test images. Arrays are uint8, or floats in [0, 1]. Only the chosen images are decoded, as by `load`; where they have more
    than 8 bits, all others are as well, since `load` takes the depth of them all. They are resized (Pillow, antialiased) to
    the height and width, by `fitting` as in `load`; colours become grey, or grey RGB, as the channels say.
    Raises ValueError for a collection without images, a corrupt image (named), and as `load`.
    """
    name = _named(name)
    allowed.check(seed=seed, fitting=fitting)
    checks.positive("count", count)
    whole = isinstance(image_shape, tuple | list) and all(checks.is_whole(side) and side > 0 for side in image_shape)
    if not whole or len(image_shape) != 3 or image_shape[2] not in (1, 3):
        raise ValueError(f"image_shape must be (height, width, 1 or 3), in whole pixels, not {image_shape!r}")
    (height, width, channels), path, folder = image_shape, Path(os.path.expanduser(name)), None
    if name in NAMES or not path.exists():
        dataset = load(name, data_dir=data_dir, seed=seed)
        images, labels, class_names = dataset.x_test, dataset.y_test, dataset.class_names
    elif path.suffix in (".npy", ".npz"):
        images, labels, class_names = arrays.images_of(path)
    else:
        parts, _ = files.parts(path)
        for folder in (parts[part] for part in ("test", "val", "train", "whole") if part in parts):
            images, labels, class_names = files.labelled(folder)
            if class_names or not folder.table:  # who gives a table wants the images that it names
                break
        folder.use(images)
        if len(class_names) < 2:  # a folder that only wraps the images
            labels, class_names = None, ()
        _say(path.absolute().name, *files.notes([folder]), *_test_part(parts, folder), files.left_out([folder]))
    if not len(images):
        raise ValueError(f"{name} holds no images ({', '.join(files.SUFFIXES)})")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:count])
    source = tuple(images[i] if folder else str(i) for i in chosen)
    if folder:
        read = [parts[part] for part in ("train", "test", "val") if part in parts][:2] or [folder]
        collection = ((part, files.labelled(part)[0]) for part in read)  # listed only where an image has more than 8 bits
        decode = decoding.decode if 3 * len(source) * height * width >= disk.LARGE else decoding.stack
        images, said = decode([(folder, source)], (height, width), fitting, collection=collection)
        _say(path.absolute().name, said)
    elif images.shape[1:3] == (height, width):
        images = images[chosen]
    else:
        _say(path.name, decoding.told([images.shape[1:3]] * len(chosen), (height, width), fitting))
        images = decoding.scale(images[chosen], (height, width), fitting)
    if channels == 1 and images.shape[-1] == 3:
        images = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])[..., None]
    elif images.shape[-1] != channels:
        images = np.repeat(images, channels, axis=-1)
    return Sample(images, None if labels is None else labels[chosen], class_names, source)


def load_scenes(
    path: str | Path, image_size: int | tuple[int, int] | None = None, fitting: str = "crop", seed: int = 0
) -> Scenes:
    """Images and masks of a folder or .zip: images/*.png, *.jpg, ..., and masks/*.png, *.bmp, *.gif or *.tif of the same names.

    Each grey value or colour in the masks is a class, in ascending order. The parts are as for `load`, in or around images/
    and masks/; where there are none, a fifth of the images is split off for testing, by `seed`. image_size and
    fitting: as for `load`; masks are resized by the nearest pixel, and cropped where their image is. They must stand as the
    images do, which are turned upright by EXIF.
    Raises ValueError for an image without a mask, or one that lies on its side, a corrupt file (named), sizes that differ,
    fewer than 5 images, and masks with one value or more than 256; FileNotFoundError if there is no such folder.
    """
    allowed.refuse("path", str(path), allowed.NAME)
    allowed.check(seed=seed, fitting=fitting)
    path, size = Path(os.path.expanduser(path)), _size(image_size)
    if not path.exists():
        raise FileNotFoundError(f"there is no folder or .zip {path}")
    folder = files.Folder(path).unwrapped()
    train, test, said = _scene_parts(path, folder)
    pairs = train + test
    chosen = [image for image, _ in pairs], [mask for _, mask in pairs]
    folder.use(chosen[0] + chosen[1])
    headers = [decoding.headers(folder, names) for names in chosen]
    said += _fit(path, pairs, *headers)
    images, told = decoding.stack([(folder, chosen[0])], size, fitting)
    like = [header.size for header in headers[0]] if size else ()
    painted, _ = decoding.stack([(folder, chosen[1])], size, fitting, Image.Resampling.NEAREST, like=like)
    _say(path.absolute().name, *said, files.left_out([folder]), told)
    if painted.shape[:3] != images.shape[:3]:
        raise ValueError(f"images of {path} are {images.shape[1:3]}, masks {painted.shape[1:3]}; give image_size")
    classes, names = _pixel_classes(path, painted)
    if test:
        train, test = np.split(np.arange(len(pairs)), [len(train)])
    else:
        test, train = np.split(np.random.default_rng(seed).permutation(len(pairs)), [len(pairs) // 5])
    return Scenes(path.stem, images[train], classes[train], images[test], classes[test], names)


def _scene_parts(path, folder):
    """([(image, mask)] to train on, those to test on, what is to be said) of images/ and masks/, in or around the parts."""
    below = {"images": {}, "masks": {}}  # {name without that step and its suffix: file}
    for name in folder.images():
        steps = name.split("/")
        first = steps[1:] if called(steps[0])[0] else steps
        kind = first[0] if len(first) > 1 and first[0].lower() in below else ""
        if kind.lower() == "images" or (kind and name.lower().endswith(LOSSLESS)):
            steps.remove(kind)
            below[kind.lower()]["/".join(steps).rpartition(".")[0]] = name
    images, masks = below["images"], below["masks"]
    parts = division({stem.partition("/")[0] for stem in images if "/" in stem}, path)
    if parts and "train" not in parts:
        raise ValueError(f"{path} holds {' and '.join(sorted(parts))}, but no part to train on; call its folder train")
    test = parts.get("test", parts.get("val"))
    if parts:
        images = {stem: name for stem, name in images.items() if stem.partition("/")[0] in (parts["train"], test)}
    if lacking := [name for stem, name in images.items() if stem not in masks]:
        raise ValueError(f"{path}: {lacking[0]} has no mask; masks/ must hold a .png of the same name")
    if len(images) < 5:
        raise ValueError(f"{path} holds {len(images)} images in images/; give 5 or more, each with its mask in masks/")
    pairs = {stem: (name, masks[stem]) for stem, name in images.items()}
    tests = [stem for stem in pairs if test and stem.startswith(f"{test}/")]
    said = [f"{test!r} is the test part"] if "val" in parts else []
    return [pairs[stem] for stem in pairs if stem not in set(tests)], [pairs[stem] for stem in tests], said


def _fit(path, pairs, images, masks):
    """What is to be said of masks that may not lie on their images. Raises ValueError for one that lies on its side."""
    turned, odd = 0, []
    for (name, _), image, mask in zip(pairs, images, masks, strict=True):
        (height, width), (mask_height, mask_width) = image.size, mask.size
        sizes = f"{name} is {height} × {width}, {{}}its mask {mask_height} × {mask_width}"
        if height != width and mask.size == image.size[::-1]:
            raise ValueError(f"{path}: {sizes.format('upright by EXIF, ' * image.turned)}; save masks that stand as the images")
        turned += image.turned and not mask.turned
        if not decoding.proportional(image.size, mask.size):
            odd.append(sizes.format(""))
    said = [f"{len(odd)} mask{'s' * (len(odd) > 1)} of other proportions: {odd[0]}"] if odd else []
    return said + ([f"{turned} images are turned upright by EXIF, their masks must stand so"] if turned else [])


def _pixel_classes(path, painted):
    """(uint8 (n, height, width), class names) of masks painted in grey values or colours."""
    values, numbers = np.unique(painted.reshape(-1, painted.shape[3]), axis=0, return_inverse=True)
    if not 2 <= len(values) <= 256:
        raise ValueError(
            f"masks of {path} hold {len(values)} values, not 2 to 256: save them with 8 bits, without blur or JPEG"
        )
    names = tuple(str(value[0]) if len(value) == 1 else "#{:02x}{:02x}{:02x}".format(*value) for value in values)
    return numbers.reshape(painted.shape[:3]).astype(np.uint8), names


def resized(dataset: Dataset, image_size: int | tuple[int, int], fitting: str = "crop", channels: int | None = None) -> Dataset:
    """The data set with images and masks of another size, as `load` brings them to it; channels: 3 makes RGB of grey."""
    size, scaled = _size(image_size), {part: getattr(dataset, part) for part in ("x_train", "x_test")}
    if size != dataset.image_shape[:2]:
        count = len(dataset.x_train) + len(dataset.x_test)
        _say(dataset.name, decoding.told([dataset.image_shape[:2]] * count, size, fitting))
        scaled = {part: decoding.scale(images, size, fitting) for part, images in scaled.items()}
        for part in ("masks_train", "masks_test"):
            if (masks := getattr(dataset, part)) is not None:
                scaled[part] = decoding.scale(masks[..., None] * np.uint8(255), size, fitting)[..., 0] > 127
    if channels == 3 and dataset.image_shape[2] == 1:
        scaled |= {part: np.repeat(scaled[part], 3, axis=3) for part in ("x_train", "x_test")}
    return replace(dataset, **scaled)


def _download(name, folder):
    # imported here alone: loading a folder needs no TensorFlow
    from deconvlib.backend import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:
        place = Path(folder or "<data_dir>") / name
        raise FileNotFoundError(
            f"{name} is in no folder here and cannot be downloaded ({error}). Give data_dir, or set DECONVLIB_DATA, to a "
            f"folder with {place / 'train.zip'} and test.zip, {place / 'train' / '<class>'}, or {place}.npz"
        ) from error
    return arrays.dataset(name, x_train, y_train, x_test, y_test, DOWNLOADS[name])


def _read(name, path, size, fitting, seed):
    if path.suffix == ".npz":
        return arrays.read(name, path, seed, DOWNLOADS.get(name))
    parts, wholes = files.parts(path)
    if not {"whole", "train"} & parts.keys():
        raise ValueError(f"{path} holds {' and '.join(sorted(parts))}, but no part to train on; call its folder train")
    train, said = parts.get("whole") or parts["train"], []
    inside, labels, names = files.labelled(train)
    train.use(inside)
    files.check_classes(train, names)
    found = [(train, inside)]
    for test in (parts[part] for part in ("test", "val") if part in parts):
        within, labels_test, names_test = files.labelled(test)
        if len(names_test) < 2 and set(names_test).isdisjoint(names):
            said.append(f"{test.head!r} has no labels")
            continue
        test.use(within)
        files.check_classes(test, names_test)
        if names != names_test:
            differ = ", ".join(map(repr, sorted(set(names) ^ set(names_test))))
            raise ValueError(f"the training and test parts of {path} have different classes: only one of them has {differ}")
        found.append((test, within))
        said += _test_part(parts, test)
        break
    _say(name, *files.notes(wholes), *said, files.left_out(wholes))
    images, told = decoding.decode(found, size, fitting)
    _say(name, told)
    if len(found) == 1:
        return arrays.split(name, images, labels, names, seed)
    return Dataset(name, images[: len(inside)], labels, images[len(inside) :], labels_test, names)


def _test_part(parts, test):
    """That a part called otherwise tests, or another than the one for validation."""
    return [f"{test.head!r} is the test part"] if "val" in parts else []


def _say(name, *lines):
    """Print, in one line, what was done that the user may not expect."""
    if said := "; ".join(filter(None, lines)):
        print(f"{name}: {said}", flush=True)
