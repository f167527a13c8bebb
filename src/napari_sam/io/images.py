"""Read an image file of any format that tifffile or imageio knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.errors import FileFormatError, ImageError
from napari_sam.io.image_file import PIXEL, ImageFile

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

_TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".qptiff", ".svs")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_image(path: str | os.PathLike[str]) -> ImageFile:
    """Read an image file.

    Parameters
    ----------
    path : path
        A TIFF (OME, ImageJ or plain), or any other format imageio reads.

    Returns
    -------
    ImageFile
        For a TIFF stack ``data`` loads one plane at a time, so it may be larger
        than memory; the file must stay in place while it is used.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is a folder, empty, cut short, damaged
        or of an unsupported format.
    ImageError
        If it was read but holds no image.
    """
    file = Path(path)
    start = _start(file)
    if start in _TIFF_STARTS or file.suffix.lower() in _TIFF_SUFFIXES:
        from napari_sam.io.tiff import read_tiff

        image = read_tiff(file)
    else:
        image = _read_other(file)
    if 0 in image.data.shape:
        raise ImageError(
            f"{file} holds an image of shape {image.shape} and so no pixels;"
            " choose another file."
        )
    return image


def _start(file: Path) -> bytes:
    """Return the first four bytes of a file that can be read."""
    if file.is_dir():
        raise FileFormatError(f"{file} is a folder; give one image file in it.")
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
    except FileNotFoundError as error:
        raise FileFormatError(f"There is no file {file}; check the path.") from error
    except OSError as error:
        raise FileFormatError(
            f"{file} cannot be opened ({error.strerror}); check its permissions."
        ) from error
    if not start:
        raise FileFormatError(f"{file} is empty; get the file again.")
    return start


def _read_other(file: Path) -> ImageFile:
    import imageio.v3 as iio

    try:
        # Bytes, because imageio leaves files open that it could not decode.
        pixels = iio.imread(file.read_bytes(), extension=file.suffix)
    except Exception as error:
        # Decoders of any origin fail in ways of their own.
        raise FileFormatError(
            f"{file} cannot be read as an image ({one_line(error)}); it is damaged"
            " or of an unsupported format, so save it again, for example as TIFF."
        ) from error
    return _described(pixels, file)


def _described(pixels: npt.NDArray[Any], file: Path) -> ImageFile:
    if pixels.ndim >= 3 and pixels.shape[-1] == 2:
        pixels = pixels[..., 0]  # grey with alpha
    is_rgb = pixels.ndim >= 3 and pixels.shape[-1] in (3, 4)
    n = pixels.ndim - is_rgb
    if n < 2:
        raise ImageError(
            f"{file} holds an array of shape {pixels.shape}, which is not an image;"
            " choose another file."
        )
    axes = "Q" * (n - 2) + "YX" + "S" * is_rgb
    return ImageFile(pixels, axes, (1.0,) * n, (PIXEL,) * n, file.stem, is_rgb)


def one_line(error: BaseException) -> str:
    """Return what an error says, in one short line without a final stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text[:117] + "..." if len(text) > 120 else text).rstrip(".")
