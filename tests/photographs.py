"""A folder of photographs as people have them: twelve files, of every format that is read, in as many sizes."""

import numpy as np
from PIL import ExifTags, Image
from skimage import data as pictures
from sklearn.datasets import load_sample_image

CORRUPT = "surface/page.jpeg"


def write(folder):
    """{file: what a person sees in it, uint8 (height, width, 3)} of the eleven files that can be read; one more is CORRUPT."""
    for name in ("object", "surface"):
        (folder / name).mkdir(parents=True)
    seen = {
        "object/turned.jpg": pictures.chelsea(),
        "object/transparent.png": over_white(pictures.coffee()),
        "object/rocket.webp": pictures.rocket(),
        "object/astronaut.bmp": pictures.astronaut(),
        "object/moving.gif": load_sample_image("china.jpg"),
        "object/printed.tif": load_sample_image("flower.jpg"),
        "surface/deep.tiff": pictures.brick(),
        "surface/palette.png": np.linspace((0, 90, 200), (250, 120, 0), 100 * 140).reshape(100, 140, 3),
        "surface/gravel.jfif": pictures.gravel()[:300],
        "surface/moon.pgm": pictures.moon()[:200, :300],
        "surface/grass.ppm": pictures.grass()[:, :400],
    }
    seen = {name: np.stack([one] * 3, axis=-1) if one.ndim == 2 else one.astype(np.uint8) for name, one in seen.items()}
    image = {name: Image.fromarray(one) for name, one in seen.items()}
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # held upright: stored a quarter to the left, and turned by who shows it
    image["object/turned.jpg"].transpose(Image.Transpose.ROTATE_90).save(folder / "object/turned.jpg", exif=exif, quality=95)
    alpha = Image.fromarray(np.where(inside(seen["object/transparent.png"]), 255, 0).astype(np.uint8))
    image["object/transparent.png"].putalpha(alpha)
    more = [Image.new("RGB", image["object/moving.gif"].size)]
    image["object/moving.gif"].save(folder / "object/moving.gif", save_all=True, append_images=more)
    image["object/printed.tif"].convert("CMYK").save(folder / "object/printed.tif")
    Image.fromarray(seen["surface/deep.tiff"][..., 0] * np.uint16(257)).save(folder / "surface/deep.tiff")
    image["surface/palette.png"].quantize(64).save(folder / "surface/palette.png")
    for name in ("object/transparent.png", "object/rocket.webp", "object/astronaut.bmp", "surface/grass.ppm"):
        image[name].save(folder / name, lossless=True)
    image["surface/moon.pgm"].convert("L").save(folder / "surface/moon.pgm")
    image["surface/gravel.jfif"].convert("L").save(folder / "surface/gravel.jfif", format="JPEG", quality=95)
    Image.fromarray(pictures.page()).save(folder / CORRUPT)
    (folder / CORRUPT).write_bytes((folder / CORRUPT).read_bytes()[:2000])
    return seen


def inside(image):
    """bool (height, width): an ellipse in the middle."""
    height, width = image.shape[:2]
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return rows**2 + columns**2 < 0.9


def over_white(image):
    return np.where(inside(image)[..., None], image, 255)
