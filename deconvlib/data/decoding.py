"""Files of images -> arrays: what their headers say, pixels upright and opaque in 8 bits, the cache on disk."""

import contextlib
import functools
import hashlib
import io
import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from deconvlib import disk, progress
from deconvlib.data.files import printable

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # whatever the name; Pillow's others may run programs
GREY = ("1", "L", "LA", "La", "F")  # and I, of 16 bits
DEPTHS = (8, 10, 12, 14, 16)
# how Pillow unpacks colours of 16 bits, to their upper byte, and what gives the lower: the other order of bytes
LOWER = {f"{mode};16{order}": f"{mode};16{other}" for mode in ("RGB", "RGBA") for order, other in ("BL", "LB")}
LOWER |= {f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}" for mode in ("RGB", "RGBA")}
PAIRED = "LA;16B"  # grey with transparency, which it calls RGBA: unpacked as that, it is both bytes of grey and both of alpha
LOWER[PAIRED] = "RGBA"
VERSION = 3  # of what is made of a file; counts up when that changes, and images cached before are decoded anew


class Header(NamedTuple):
    """What a file says of its image before it is decoded."""

    size: tuple[int, int]  # (height, width), upright
    grey: bool
    deep: bool  # more than 8 bits a value
    turned: bool  # by its EXIF data
    stated: int  # bits that carry information, by a PNG's sBIT; 0 where it does not say
    several: bool  # frames, of an animation, or pages


def headers(folder, files):
    """The Header of each of the files."""
    with folder.reader() as opened:
        return [_File(folder, name, opened).header() for name in files]


def decode(parts, size, fitting, collection=()):
    """(images, what is said of them) of `parts`, as `stack`, from the cache if they were decoded before.

    Images of disk.LARGE bytes or more stay in the cache's file: a numpy.memmap that cannot be written to. Where the cache takes
    no file, a line says so, and they are held in memory.
    """
    collection, count = list(collection), sum(len(files) for _, files in parts)
    prints = [folder.fingerprint(files) for folder, files in parts]
    prints += [f"of {folder.fingerprint(files)}" for folder, files in collection]
    text = "\n".join([*prints, f"{size} {fitting if size else ''} {VERSION}"])
    key = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()
    cache = disk.cache() / f"{key}.npy"
    if found := _cached(cache, count):
        return found
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        # a kill leaves no half of it; where two processes decode the same, the last one's stays
        with disk.whole(cache, shared=True) as part, part.open("wb") as file:
            _, said = stack(parts, size, fitting, collection=collection, into=functools.partial(_Written, file))
            file.seek(0, os.SEEK_END)
            np.save(file, np.array(said))
    except OSError as error:
        name = parts[0][0].path.name
        print(f"{name}: no room in the cache ({error}): decoded into memory, and again the next time", flush=True)
    return _cached(cache, count) or stack(parts, size, fitting, collection=collection)


def _cached(cache, count):
    """What `decode` returns, from the file; None where it is not there yet, cut short, or not an array: decode again."""
    with contextlib.suppress(Exception), cache.open("rb") as file:
        images = np.load(cache, mmap_mode="r", allow_pickle=False)
        file.seek(images.offset + images.nbytes)
        said = str(np.load(file, allow_pickle=False))
        if images.dtype == np.uint8 and images.ndim == 4 and len(images) == count:
            with contextlib.suppress(OSError):
                os.utime(cache)  # what is unused for longest goes first
            return images if images.nbytes >= disk.LARGE else np.array(images), said


class _Written:
    """An array of bytes that goes to a file as `numpy.save` writes it, an item after the other in any order.

    It is written and not mapped: a disk that is full then raises OSError, and does not end the process.
    """

    def __init__(self, file, shape):
        disk.make_room(Path(file.name).parent, math.prod(shape))
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        self.file, self.first, self.size, self.lock = file, file.tell(), math.prod(shape[1:]), threading.Lock()

    def __setitem__(self, number, item):
        with self.lock:
            self.file.seek(self.first + number * self.size)
            self.file.write(np.ascontiguousarray(item))


def stack(parts, size, fitting="crop", resampling=Image.Resampling.LANCZOS, collection=(), like=(), into=None):
    """(uint8 images (n, height, width, channels), what is said of them, or "") of `parts`: [(Folder, names of files)].

    Headers are read first: images of several sizes, and what is no image, are refused before any is decoded. Then one after
    the other is decoded and brought to `size`, (height, width), as by `fitted`, so that little more is held in memory than
    what comes back. like: the (height, width) to which each is resized before that. It is said how many are cropped or
    squeezed, and of how many only the first frame is read. One channel if all files are grey, else 3. Values of more than 8
    bits are read with the depth of all images of `collection`, listed as `parts`, or else of these. into: into(shape) gives
    what takes an image by its number, in place of an array. Raises ValueError for these, and for what cannot be decoded, by its
    name.
    """
    # more threads would not be faster, but hold more photographs
    with contextlib.ExitStack() as stacked, ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:

        def listed(parts):
            opened = [(folder, files, stacked.enter_context(folder.reader())) for folder, files in parts]
            return [_File(folder, name, reader) for folder, files, reader in opened for name in files]

        images = listed(parts)
        what = parts[0][0].path.name
        headers = list(progress.steps(pool.map(_File.header, images), f"reading the headers of {what}", "image", len(images)))
        shape = (len(images), *(size or _common_size(images, headers)), 1 if all(header.grey for header in headers) else 3)
        every = listed(collection) if any(header.deep for header in headers) else []
        shift, depth = _shift(every or images, pool.map(_File.header, every) if every else headers, pool, resampling)
        out = into(shape) if into else _in_memory(parts[0][0], shape)

        def fill(number):
            with images[number].named():
                image = images[number].pixels(headers[number], size, shift)
                image = fitted(image, like[number] if like else None, "squeeze", resampling)
                image = np.broadcast_to(np.atleast_3d(fitted(image, size, fitting, resampling)), shape[1:])
            out[number] = image

        for _ in progress.steps(pool.map(fill, range(len(images))), f"decoding {what}", "image", len(images)):
            pass
    several = sum(header.several for header in headers)
    frames = f"{several:,} of {len(images):,} files hold several frames: the first is read" if several else ""
    return out, "; ".join(filter(None, (depth, frames, told([header.size for header in headers], size, fitting))))


def fitted(image, size, fitting, resampling=Image.Resampling.LANCZOS):
    """The image of Pillow resized to `size`, (height, width), or None: by "squeeze" all of it, by "crop" its middle."""
    if size in (None, image.size[::-1]):
        return image
    resize = ImageOps.fit if fitting == "crop" else Image.Image.resize
    return resize(image, size[::-1], resampling)


def proportional(one, other):
    """Whether two sizes, (height, width), have the same proportions, but for rounding."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


def told(sizes, size, fitting):
    """How many images of these sizes `fitted` crops or squeezes to `size`, in words; "" where it does with none."""
    count = sum(not proportional(each, size) for each in sizes) if size else 0
    done = {"crop": "cropped in the middle", "squeeze": "squeezed"}[fitting]
    said = f"fitting={fitting!r}: {count:,} of {len(sizes):,} images are {done} to {{}} × {{}} pixels"
    return said.format(*size) if count else ""


def _common_size(images, headers):
    first = headers[0].size
    sizes = {header.size for header in headers}
    if len(sizes) == 1:
        return first
    other = next(number for number, header in enumerate(headers) if header.size != first)
    said = [f"{images[number].name} is {' × '.join(map(str, headers[number].size))}" for number in (0, other)]
    raise ValueError(
        f"images of {images[0].folder} differ in size ({len(sizes)} sizes): {said[0]}, {said[1]} pixels; "
        "pass image_size=(height, width), or set the notebook's parameter image_size, as 64"
    )


def _in_memory(folder, shape):
    needed = math.prod(shape)
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else needed
    if needed > have:
        taken = f"{shape[0]:,} images of {shape[1]} × {shape[2]} pixels take {needed / 1e9:,.0f} GB of memory"
        raise ValueError(f"{folder}: {taken}, this machine has {have / 1e9:,.0f}; pass a smaller image_size")
    return np.empty(shape, np.uint8)


def _shift(images, headers, pool, resampling):
    """(bits to drop of values of more than 8 bits, what is said of that): by the largest value of all images together."""
    deep = [(image, header) for image, header in zip(images, headers, strict=True) if header.deep]
    if not deep:
        return 0, ""
    top = max(pool.map(_File.top, *zip(*deep, strict=True)))
    stated = max(header.stated for _, header in deep)
    depth = stated if stated and top < 2**stated else next(depth for depth in DEPTHS if top < 2**depth)
    if resampling == Image.Resampling.NEAREST and depth > 8:
        raise ValueError(f"{deep[0][0].folder}: {deep[0][0].name} has values to {top}; save masks with 8 bits")
    said = f"{len(deep):,} images of 16 bits hold values to {top}: read as {depth} bits" if depth < 16 else ""
    return max(depth - 8, 0), said


class _File:
    """One image of a folder or archive. What cannot be read raises ValueError with its name."""

    def __init__(self, folder, name, opened):
        self.folder, self.name, self._opened = folder, name, opened

    def header(self):
        with self.named(), self._opened(self.name) as file:
            start = file.read(2**14)
            file.seek(0)
            image = _open(file)
            size, deep = image.size[::-1], image.mode.startswith("I") or _rawmode(image) in LOWER
            # a PNG says it before its pixels, or would have to be decoded for it
            orientation = _orientation(image) if image.format != "PNG" or "exif" in image.info else 1
            if image.format != "TIFF" and orientation > 4:  # Pillow turns a TIFF itself
                size = size[::-1]
            grey = image.mode in GREY or image.mode.startswith("I") or _rawmode(image) == PAIRED
            return Header(size, grey, deep, orientation != 1, _significant_bits(start), _several(image))

    def top(self, header):
        """The largest value of an image of more than 8 bits."""
        with self.named():
            return int(self._values(header)[0].max())

    def _values(self, header):
        """[colours, alpha] of an image of more than 8 bits, 0 to 65535: (height, width, 1 or 3), (height, width, 0 or 1)."""
        values = np.atleast_3d(self._loaded()).astype(np.int32)
        if values.shape[2] > 1:  # Pillow keeps the upper byte of a colour; told that the lower comes first, that
            lower = np.asarray(self._loaded(lower=True))
            paired = header.grey and values.shape[2] == 4
            values = np.int32(256) * lower[..., ::2] + lower[..., 1::2] if paired else values * 256 + lower
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its values go from {values.min()} to {values.max()}; 0 to 65535 are read")
        return np.split(values, [1 if values.shape[2] < 3 else 3], axis=2)

    def pixels(self, header, size, shift):
        """The image of Pillow in mode L or RGB, upright and over white, no smaller than is needed for `size`."""
        if not header.deep:
            return _flat(self._loaded(draft=size and 2 * max(size)))
        colours, alpha = self._values(header)
        alpha = alpha >> (shift if alpha.max(initial=0) >> shift < 256 else 8)  # opaque may be 65535 where 4095 is white
        values = np.dstack([colours >> shift, alpha]).astype(np.uint8)
        return _flat(Image.fromarray(values if values.shape[2] > 1 else values[..., 0]))

    def _loaded(self, lower=False, draft=None):
        with self._opened(self.name) as file:
            image = _open(io.BytesIO(file.read()))
        if lower:
            mode = LOWER[_rawmode(image)]
            image.tile = [tile._replace(args=mode if image.format == "PNG" else (mode, *tile.args[1:])) for tile in image.tile]
        if draft:
            image.draft(None, (draft, draft))  # a JPEG is decoded at a half, a quarter or an eighth, where that is enough
        image.load()
        if _orientation(image) != 1:
            ImageOps.exif_transpose(image, in_place=True)
        return image

    @contextlib.contextmanager
    def named(self):
        try:
            yield
        except Exception as error:
            why = f"no {', '.join(FORMATS)} that Pillow reads" if isinstance(error, UnidentifiedImageError) else error
            said = f"{self.folder.path}: {self.folder.names[self.name]} is not a readable image ({why})"
            raise ValueError(printable(said)) from error


def _open(file):
    return Image.open(file, formats=FORMATS)


def _rawmode(image):
    """How the file holds its values, in Pillow's words: "RGB;16B"."""
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else args and args[0]


def _several(image):
    """Whether the file holds frames or pages after the first; not, where these are damaged, or a camera's previews (MPO)."""
    with contextlib.suppress(Exception):
        return image.format != "MPO" and getattr(image, "is_animated", False)
    return False


def _orientation(image):
    """1 to 8, as EXIF counts; 1, upright, where the file does not say it, or not in order."""
    with contextlib.suppress(Exception):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _significant_bits(start):
    """The bits that a PNG says its values have, from the start of its file; 0 where it does not say."""
    start = start.partition(b"IDAT")[0]
    at = start.find(b"sBIT")
    count = 3 if at > 0 and int.from_bytes(start[at - 4 : at]) > 2 else 1  # without those of alpha
    return max(start[at + 4 :][:count], default=0) if at > 0 else 0


def _flat(image):
    """The image in mode L or RGB, over white where it is transparent."""
    grey = image.mode in GREY
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"its values go from {values.min():g} to {values.max():g}; floats must lie in [0, 1]")
        return Image.fromarray(np.round(values * 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")


def scale(images, size, fitting):
    """Images (n, height, width, channels), resized to (height, width) with antialiasing, as `fitted`."""
    scaled = np.empty((len(images), *size, images.shape[3]), np.uint8)
    for number, out in enumerate(scaled):
        channels = np.moveaxis(images[number], 2, 0)
        out[:] = np.stack([fitted(Image.fromarray(one), size, fitting) for one in channels], axis=-1)
    return scaled
