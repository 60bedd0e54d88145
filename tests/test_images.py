"""Every kind of picture that people have, and every kind that is broken."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tasutils.errors import TasError
from tasutils.images import read_image


@pytest.fixture
def ramp(tmp_path):
    """Uint8 (4, 256, 3): red counts columns, green rows."""
    array = np.zeros((4, 256, 3), np.uint8)
    array[:, :, 0] = np.arange(256)
    array[:, :, 1] = np.arange(4)[:, None] * 60
    return array


def png_header(width, height):
    """A valid PNG up to its header chunk, without pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT" + b"\0" * 64


def one_line(error):
    return "\n" not in str(error.value) and len(str(error.value)) < 400


def test_plain_rgb(tmp_path, ramp):
    Image.fromarray(ramp).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png")
    assert got.dtype == np.uint8 and got.flags.writeable and np.array_equal(got, ramp)
    assert np.array_equal(read_image(str(tmp_path / "a.png")), ramp)
    assert np.array_equal(read_image(Image.fromarray(ramp)), ramp)


def test_arrays(ramp):
    copy = read_image(ramp)
    copy[0, 0, 0] = 9
    assert ramp[0, 0, 0] == 0
    assert np.array_equal(read_image(ramp.astype(np.uint16) * 257), ramp)
    assert np.array_equal(read_image(ramp / 255.0), ramp)
    assert np.array_equal(read_image(ramp[:, :, 0])[:, :, 2], ramp[:, :, 0])
    clear = np.dstack([ramp, np.zeros((4, 256), np.uint8)])
    assert (read_image(clear) == 255).all()
    assert read_image(np.eye(3, dtype=bool))[0, 0].tolist() == [255] * 3


def test_bad_arrays():
    for array in (
        np.zeros((2, 2, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.full((2, 2, 3), np.nan),
        np.full((2, 2, 3), 7.0), np.zeros((2, 2, 3), np.int32), np.zeros(5, np.uint8),
    ):  # fmt: skip
        with pytest.raises(TasError) as error:
            read_image(array)
        assert one_line(error)


def test_sixteen_bit_is_scaled_not_clipped(tmp_path):
    deep = np.linspace(0, 65535, 256).round().astype(np.uint16)[None].repeat(3, axis=0)
    for suffix in ("png", "tiff"):
        Image.fromarray(deep).save(tmp_path / f"deep.{suffix}")
        got = read_image(tmp_path / f"deep.{suffix}")
        assert got.shape == (3, 256, 3)
        assert got[0, :, 0].tolist() == list(range(256))


def test_float_tiff(tmp_path):
    gray = np.linspace(0, 1, 11, dtype=np.float32)[None].repeat(2, axis=0)
    gray[1, 5] = np.nan
    Image.fromarray(gray).save(tmp_path / "f.tiff")
    got = read_image(tmp_path / "f.tiff")
    assert np.abs(got[0, :, 0] - np.linspace(0, 255, 11)).max() < 0.51
    assert got[1, 5, 0] == 0


def test_gray_bilevel_palette_cmyk(tmp_path, ramp):
    picture = Image.fromarray(ramp)
    picture.convert("L").save(tmp_path / "l.png")
    assert read_image(tmp_path / "l.png").shape == ramp.shape
    picture.convert("1").save(tmp_path / "1.png")
    assert set(np.unique(read_image(tmp_path / "1.png"))) == {0, 255}
    picture.quantize(64).save(tmp_path / "p.png")
    assert np.abs(read_image(tmp_path / "p.png").astype(int) - ramp).mean() < 4
    red = Image.new("RGB", (32, 32), (250, 10, 10)).convert("CMYK")
    red.save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "cmyk.jpg").astype(int) - (250, 10, 10)).max() < 12


def test_transparency_is_laid_on_white(tmp_path):
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    half.putpixel((1, 1), (200, 0, 0, 255))
    half.putpixel((0, 1), (0, 0, 0, 128))
    half.save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png")
    assert got[0, 0].tolist() == [255] * 3 and got[1, 1].tolist() == [200, 0, 0]
    assert abs(int(got[1, 0, 0]) - 127) <= 1
    assert np.array_equal(read_image(np.asarray(half)), got), "an array as its file"
    palette = Image.new("P", (3, 3), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((2, 2), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    got = read_image(tmp_path / "p.png")
    assert got[0, 0].tolist() == [255] * 3 and got[2, 2].tolist() == [200, 100, 50]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path, orientation):
    picture = Image.new("RGB", (40, 24), "white")
    picture.paste("black", (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "r.jpg", exif=exif, quality=95)
    got = read_image(tmp_path / "r.jpg")
    assert got.shape == ((24, 40, 3) if orientation <= 4 else (40, 24, 3))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}
    corner |= {5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert got[corner[orientation]].max() < 40


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "green")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_truncated(tmp_path, rng, suffix):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    with pytest.raises(TasError, match=f"cut.{suffix}") as error:
        read_image(path)
    assert one_line(error)


def test_no_file(tmp_path):
    for name in ("absent.png", "."):
        with pytest.raises(TasError, match="no picture at"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("side", [9_500, 60_000])
def test_enormous_is_refused_before_decoding(tmp_path, side):
    (tmp_path / "big.png").write_bytes(png_header(side, side))
    with pytest.raises(TasError, match="million pixels"):
        read_image(tmp_path / "big.png")
