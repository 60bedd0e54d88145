"""Reading pictures: whatever their format, out comes uint8 (H, W, 3) RGB or one clear line."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

MAX_PIXELS = 89_478_485  # Pillow's own warning level: 1 GiB / 4 / 3 bytes
MAX_BYTES = 1 << 30
#: what is tried on a file, whatever its name: EPS, for one, would be a program for Ghostscript
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000")
_EXIF_ORIENTATION = 0x0112
_TOO_LARGE = f"is larger than {MAX_PIXELS / 1e6:.0f} million pixels, shrink it first"


def read_image(source: "str | Path | PilImage | NDArray[Any]") -> NDArray[np.uint8]:
    """A picture as uint8 (H, W, 3) RGB, upright; the source is only read.

    16-bit values are scaled to 8 bit, transparency is laid on white, of an animation the first
    frame is taken. Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of bool, uint8, uint16 or
    of floats in 0..1. Raises TasError for what is no whole picture of at most `MAX_PIXELS`.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if not isinstance(source, str | os.PathLike):
        with _told("picture"):
            return _from_pil(source, "picture")
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # the home of nobody
        path = Path(source)
    if not is_file(path):
        raise TasError(f"no picture at {path}; give the path of one file")
    return decode_image(file_bytes(path), str(path))


def pixel_digest(image: NDArray[np.uint8]) -> str:
    """Digest (hex, 16 characters) of a picture's pixels, uint8 (H, W, 3), and their shape."""
    digest = sha256(f"{image.shape} ".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:16]


def file_bytes(path: Path) -> BinaryIO:
    """The bytes of a picture's file, from which no more can be asked for than there are."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TasError(f"{path} is larger than {MAX_BYTES >> 20} MiB, shrink it first")
        return io.BytesIO(path.read_bytes())
    except OSError as error:
        raise TasError(f"cannot read {path} ({error.strerror}); check the path") from None


def is_file(path: Path) -> bool:
    """Whether there is a file; a name longer than any file's is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def decode_image(file: "Path | BinaryIO", name: str) -> NDArray[np.uint8]:
    """A picture as `read_image` gives it, from a file or from its bytes; `name` is for errors."""
    from PIL import Image

    with _told(name), Image.open(file, formats=FORMATS) as image:
        return _from_pil(image, name)


def image_size(path: Path) -> tuple[int, int]:
    """The (H, W) in px of a picture as `read_image` gives it, from the file's header alone."""
    from PIL import Image

    if not is_file(path):
        raise TasError(f"no picture at {path}; check the path")
    with _told(str(path)), Image.open(path, formats=FORMATS) as image:
        turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
        return image.size if turned else image.size[::-1]


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Pillow's warnings kept quiet, and one line for the many types that it raises."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except TasError:
        raise
    except Image.DecompressionBombError as error:
        raise TasError(f"{name} {_TOO_LARGE}") from error
    except Image.UnidentifiedImageError as error:
        raise TasError(f"{name} is no picture that Pillow can read; convert it to PNG") from error
    except Exception as error:
        brief = str(error)[:120] or type(error).__name__
        raise TasError(f"cannot decode {name} ({brief}); it is damaged or truncated") from error


def _from_pil(image: "PilImage", name: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    check_size(image.width, image.height, name)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_array(_deep_gray(np.asarray(image)))
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _deep_gray(gray: NDArray[Any]) -> NDArray[np.float64]:
    """Gray (H, W) of more than 8 bit in 0..1: of the usual ranges the least that holds it."""
    top = float(np.max(gray, where=np.isfinite(gray), initial=0))
    usual = (1.0, 255.0, 65535.0) if np.issubdtype(gray.dtype, np.floating) else (65535.0, 2.0**31)
    clean = np.nan_to_num(gray.astype(np.float64), nan=0.0, posinf=top, neginf=0.0)
    return clean.clip(0) / next((most for most in usual if top <= most), top)


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    from PIL import Image

    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise TasError(f"a picture array is (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")
    check_size(array.shape[1], array.shape[0], "picture array")
    pixels = _to_uint8(array)
    if array.shape[2] == 4:
        return _from_pil(Image.fromarray(pixels), "picture array")
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")


def _to_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    most = {"bool": 1, "uint8": 255, "uint16": 65535}.get(array.dtype.name, 1)
    if array.dtype.kind not in "buf" or array.dtype.itemsize > 2 and array.dtype.kind == "u":
        raise TasError(f"a picture array is bool, uint8, uint16 or float, not {array.dtype}")
    if array.dtype.kind == "f" and not ((array >= 0) & (array <= 1)).all():
        raise TasError("a picture array of floats must lie in 0..1; divide by its maximum")
    return array if most == 255 else np.rint(array * (255 / most)).astype(np.uint8)


def require_annotated_size(
    path: Path, image: NDArray[np.uint8], size_hw: tuple[int, int] | None
) -> None:
    """Raise TasError if a picture (H, W, 3) has not the (H, W) that its annotations say."""
    if size_hw is not None and image.shape[:2] != size_hw:
        swapped = " (width and height swapped)" if image.shape[:2] == size_hw[::-1] else ""
        sides = f"{image.shape[1]} x {image.shape[0]} px"
        said = f"its annotations say {size_hw[1]} x {size_hw[0]}{swapped}"
        raise TasError(f"{path}: the picture is {sides}, {said}; get one of them again")


def check_size(width: int, height: int, name: str) -> None:
    """Raise TasError for a picture of more than `MAX_PIXELS`, or of none."""
    if width * height > MAX_PIXELS:
        raise TasError(f"{name} {_TOO_LARGE}; it is {width} x {height}")
    if width * height == 0:
        raise TasError(f"{name} has no pixels ({width} x {height}); give a picture")
