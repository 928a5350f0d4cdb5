"""Pixels upright, opaque and bright, of every depth; and refusals before anything large is decoded."""

import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from deconvlib import data
from deconvlib.data import decoding, files


def decoded(path, size=None):
    """The one image at `path`."""
    folder = files.Folder(path.parent)
    return decoding.stack([(folder, [path.name])], size)[0][0]


@pytest.mark.parametrize("form", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright(tmp_path, form, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8], upright[:8, 24:], upright[8:, :8] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # how a camera held otherwise stores it; the inverse of what a viewer does
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1),
        6: np.rot90(upright), 7: upright[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"a.{form}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, lossless=True, quality=95, subsampling=0)
    found = decoded(path)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 5
    np.testing.assert_array_equal(decoded(path, (16, 32)), found)


def test_damaged_exif_data_do_not_cost_the_image(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, exif=b"Exif\x00\x00no exif at all")
    assert decoded(path).shape == (8, 8, 3)


def test_what_is_transparent_lies_over_white(tmp_path):
    rng = np.random.default_rng(0)
    noise, alpha = rng.integers(256, size=(8, 8, 3), dtype=np.uint8), np.zeros((8, 8), np.uint8)
    alpha[:, 4:], alpha[0, :4] = 255, 128
    over = np.where(alpha[..., None] == 128, (noise * (128 / 255) + 255 * (127 / 255)), 255)
    expected = np.where(alpha[..., None] == 255, noise, over)
    Image.fromarray(np.dstack([noise, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([noise, alpha])).save(tmp_path / "rgba.webp", lossless=True, exact=True)
    for name in ("rgba.png", "rgba.webp"):
        np.testing.assert_allclose(decoded(tmp_path / name), expected, atol=1)
    Image.fromarray(np.dstack([noise[..., 0], alpha])).save(tmp_path / "la.png")
    np.testing.assert_allclose(decoded(tmp_path / "la.png")[..., 0], expected[..., 0], atol=1)
    palette = Image.fromarray(rng.integers(4, size=(8, 8), dtype=np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 200, 210, 220])
    numbers, colours = np.asarray(palette), np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [200, 210, 220]])
    colours[2] = 255
    for name in ("p.png", "p.gif"):
        palette.save(tmp_path / name, transparency=2)
        np.testing.assert_array_equal(decoded(tmp_path / name), colours[numbers])
    Image.fromarray(noise).save(tmp_path / "key.png", transparency=tuple(noise[3, 3].tolist()))
    assert (decoded(tmp_path / "key.png")[3, 3] == 255).all()


def test_printing_colours_become_those_of_a_screen(tmp_path):
    colours = {
        (0, 255, 255, 0): (255, 0, 0),
        (255, 255, 0, 0): (0, 0, 255),
        (0, 0, 0, 255): (0, 0, 0),
        (0, 0, 0, 0): (255,) * 3,
    }
    for ink, seen in colours.items():
        for name in ("a.jpg", "a.tif"):
            Image.new("CMYK", (8, 8), ink).save(tmp_path / name, quality=95)
            np.testing.assert_allclose(decoded(tmp_path / name)[4, 4], seen, atol=4)


def write_png(path, values, stated=None):
    """A PNG of 16 bits, grey or in colours, with transparency or without, with the chunk sBIT where `stated` is given."""
    kind = {(): 0, (3,): 2, (2,): 4, (4,): 6}[values.shape[2:]]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0))]
    colours, alpha = {0: (1, 0), 2: (3, 0), 4: (1, 1), 6: (3, 1)}[kind]
    chunks += [(b"sBIT", bytes([stated] * colours + [16] * alpha))] if stated else []
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    written = (struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))


def deep_folder(folder, top, stated=None, colours=False):
    """Two classes of two images whose values rise to `top` in one of them."""
    for name, share in (("cat", 1), ("dog", 0.5)):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            values = np.linspace(0, share * top, 48).astype(np.uint16).reshape(6, 8)
            values = np.stack([values, values // 2, values // 3], axis=-1) if colours else values
            write_png(folder / name / f"{number}.png", values[:, :: 1 - 2 * number], stated)
    return folder


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize(
    ("top", "stated", "depth"),
    [(4095, None, 12), (900, None, 10), (900, 12, 12), (16383, None, 14), (65535, None, 16), (65520, 12, 16), (250, None, 8)],
)
def test_values_of_more_than_8_bits_keep_their_upper_8(tmp_path, capsys, cache, top, stated, depth, colours):
    folder = deep_folder(tmp_path / "deep", top, stated, colours)
    values = np.linspace(0, top, 48).astype(np.uint16).reshape(6, 8)
    values = np.stack([values, values // 2, values // 3], axis=-1) if colours else values[..., None]
    for _ in range(2):  # decoded, then from the cache
        got = data.sample(folder, (6, 8, 3 if colours else 1), 4)
        np.testing.assert_array_equal(got.images[0], values >> (depth - 8))
        said = f"deep: 4 images of 16 bits hold values to {top}: read as {depth} bits\n"
        assert capsys.readouterr().out == ("" if depth == 16 else said)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_16_bits_and_colours_with_transparency(tmp_path, compression, order):
    values = np.random.default_rng(0).integers(0, 4096, (6, 8, 4), np.uint16)
    values[0, 0, 0] = 4095
    (tmp_path / "a").mkdir()
    tifffile.imwrite(tmp_path / "a/a.tif", values[..., :3], photometric="rgb", compression=compression, byteorder=order)
    np.testing.assert_array_equal(decoded(tmp_path / "a/a.tif"), values[..., :3] >> 4)
    tifffile.imwrite(tmp_path / "a/a.tif", values[..., 0], compression=compression, byteorder=order)
    np.testing.assert_array_equal(decoded(tmp_path / "a/a.tif")[..., 0], values[..., 0] >> 4)
    for opaque in (4095, 65535):
        values[..., 3] = np.where(values[..., 3] % 2, opaque, 0)
        write_png(tmp_path / "a.png", values)
        np.testing.assert_array_equal(decoded(tmp_path / "a.png"), np.where(values[..., 3:], values[..., :3] >> 4, 255))
        values[..., 3] = values[..., 3] > 0


@pytest.mark.parametrize(("top", "stated", "depth"), [(65535, None, 16), (4095, None, 12), (900, 12, 12)])
def test_grey_of_16_bits_with_transparency_keeps_its_upper_8_of_those_that_it_uses(tmp_path, top, stated, depth):
    values = np.random.default_rng(0).integers(0, top, (6, 8, 2), np.uint16, endpoint=True)
    values[0, 0, 0], values[0, 1, 0] = top, 255  # whose upper byte is 0
    values[..., 1] = np.where(values[..., 1] % 2, 65535, 0)
    values[0, :2, 1] = 65535
    write_png(tmp_path / "a.png", values, stated)
    found = decoded(tmp_path / "a.png")
    np.testing.assert_array_equal(found[..., 0], np.where(values[..., 1], values[..., 0] >> (depth - 8), 255))
    assert found[0, 1, 0] == 255 >> (depth - 8)


def test_both_parts_are_read_with_the_same_depth_and_the_cache_says_so_again(tmp_path, capsys):
    deep_folder(tmp_path / "deep/train", 4000)
    deep_folder(tmp_path / "deep/test", 800)
    said = "deep: 8 images of 16 bits hold values to 4000: read as 12 bits\n"
    for _ in range(2):
        dataset = data.load(tmp_path / "deep")
        assert dataset.x_train.max() == 4000 >> 4 and dataset.x_test.max() == 800 >> 4
        assert capsys.readouterr().out == said


@pytest.mark.parametrize("divided", [False, True])
def test_a_sample_is_read_with_the_depth_of_the_whole_collection(tmp_path, capsys, divided):
    folder = deep_folder(tmp_path / "deep" / ("train" if divided else ""), 800)
    write_png(folder / "cat/bright.png", np.full((6, 8), 4000, np.uint16))
    if divided:
        deep_folder(tmp_path / "deep/test", 800)
    count = 9 if divided else 5
    for seed in range(4):
        got = data.sample(tmp_path / "deep", (6, 8, 1), 1, seed=seed)
        assert (
            got.images.max()
            == {"cat/bright.png": 4000, "cat": 800, "dog": 400}[
                got.source[0] if "bright" in got.source[0] else got.source[0][:3]
            ]
            // 16
        )
        said = f"deep: {count} images of 16 bits hold values to 4000: read as 12 bits\n"
        assert capsys.readouterr().out == said


def test_floats_are_read_from_0_to_1(tmp_path):
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(decoded(tmp_path / "a.tif")[..., 0], np.round(values * 255))
    for wrong in (values * 2, values - 0.5, values * np.nan):
        Image.fromarray(wrong).save(tmp_path / "a.tif")
        with pytest.raises(ValueError, match=r"a.tif is not a readable image \(its values go from .*floats must lie in"):
            decoded(tmp_path / "a.tif")
    Image.fromarray(np.full((3, 4), 70000, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="its values go from 70000 to 70000; 0 to 65535 are read"):
        decoded(tmp_path / "a.tif")


def test_sizes_are_compared_before_anything_is_decoded(tmp_path, monkeypatch, write_images):
    folder = write_images(tmp_path / "pets")
    write_images(folder, count=1, size=(4, 4), classes=("dog",))
    monkeypatch.setattr(decoding._File, "pixels", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"differ in size \(2 sizes\).*pass image_size.*the notebook's parameter image_size"):
        data.load(folder)


@pytest.mark.parametrize("turned", [False, True])
def test_images_come_to_a_size_by_their_middle_or_squeezed(tmp_path, turned):
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6], wide[:, :2] = 200, 50
    stored = wide.swapaxes(0, 1) if turned else wide
    Image.fromarray(stored).save(tmp_path / "a.png")
    folder = [(files.Folder(tmp_path), ["a.png"])]
    images, said = decoding.stack(folder, (4, 4))
    assert (images == 200).all() and said == "fitting='crop': 1 of 1 images are cropped in the middle to 4 × 4 pixels"
    images, said = decoding.stack(folder, (4, 4), "squeeze")
    assert said == "fitting='squeeze': 1 of 1 images are squeezed to 4 × 4 pixels"
    row = images[0, :, 0, 0] if turned else images[0, 0, :, 0]
    assert row[0] < 80 and row[-1] < 40 and (row[1:3] > 180).all(), "both margins are there"
    for size in ((8, 16), (2, 4)):
        images, said = decoding.stack(folder, size[::-1] if turned else size)
        assert said == "", "the proportions are right"
        assert 0 < images[0, 0, 0, 0] < 100


def test_any_size_comes_to_any_other(tmp_path):
    for shape in ((1, 1), (1, 300), (300, 1), (97, 89), (33, 64)):
        Image.fromarray(np.full(shape, 77, np.uint8)).save(tmp_path / "a.png")
        for size in ((1, 1), (1, 7), (64, 64), (31, 17)):
            for fitting in ("crop", "squeeze"):
                images, _ = decoding.stack([(files.Folder(tmp_path), ["a.png"])], size, fitting)
                assert images.shape == (1, *size, 1) and (images == 77).all()


def test_the_first_frame_is_read_of_every_format_that_holds_several_and_previews_are_none(tmp_path):
    frames = [Image.fromarray(np.full((8, 6, 3), value, np.uint8)) for value in (0, 255)]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "one.gif")
    whole = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(whole[: whole.rindex(b"\x21\xf9") + 12])  # in the second frame
    names = sorted(path.name for path in tmp_path.iterdir())
    images, said = decoding.stack([(files.Folder(tmp_path), names)], None)
    assert (images == 0).all() and len(images) == 7
    assert said == "4 of 7 files hold several frames: the first is read"


def test_large_photographs_are_reduced_while_they_are_decoded(tmp_path):
    rng = np.random.default_rng(0)
    photograph = Image.fromarray(rng.integers(256, size=(6, 8, 3), dtype=np.uint8)).resize((800, 600), Image.Resampling.BICUBIC)
    photograph.save(tmp_path / "a.jpg", quality=95)
    photograph.save(tmp_path / "a.png")
    small = [decoded(tmp_path / name, (30, 40)).astype(int) for name in ("a.jpg", "a.png")]
    assert np.abs(small[0] - small[1]).mean() < 2
    small = [decoded(tmp_path / name, (300, 30)).astype(int) for name in ("a.jpg", "a.png")]
    assert np.abs(small[0] - small[1]).mean() < 2, "cropped, its longer side is needed"


def test_refuses_an_image_that_claims_more_than_any_has(tmp_path, monkeypatch, write_images, zipped):
    folder = write_images(tmp_path / "pets")
    archive = zipped(folder, tmp_path / "pets.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file, file.open("cat/huge.png", "w") as member:
        for _ in range(300):
            member.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"cat/huge.png is not a readable image \(its 315 MB are more than the 268"):
        data.load(archive)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6 and archive.stat().st_size < 1e6
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (folder / "cat/wide.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + idat)
    with pytest.raises(ValueError, match=r"cat/wide.png is not a readable image \(Image size \(3600000000 pixels\) exceeds"):
        data.load(folder, image_size=8)


def test_refuses_a_file_that_is_something_else(tmp_path, write_images):
    folder = write_images(tmp_path / "pets")
    (folder / "cat/0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\nshowpage\n")
    with pytest.raises(ValueError, match=r"cat/0.png is not a readable image \(no PNG, JPEG"):
        data.load(folder)
