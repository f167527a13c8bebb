"""Read an image file of any format that tifffile or imageio knows."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.errors import FileFormatError, ImageError
from napari_sam.io.image_file import PIXEL, ImageFile

if TYPE_CHECKING:
    import numpy.typing as npt

_TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".qptiff", ".svs")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_image(path: str | os.PathLike[str], *, colors: bool = True) -> ImageFile:
    """Read an image file.

    Parameters
    ----------
    path : path
        A TIFF (OME, ImageJ or plain), or any other format imageio reads.
    colors : bool
        Whether palettes and inks become the colors they mean.  Label images are
        read without, since their palette is for the display.

    Returns
    -------
    ImageFile
        For a TIFF stack ``data`` reads one plane at a time, so it may be larger
        than memory; the file must stay as it is while it is used.  ``notes`` say
        what else the file holds.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is a folder or a pipe, empty, cut short,
        damaged or of an unsupported format.
    ImageError
        If it was read but holds no image.
    """
    file = _named(path)
    if _is_tiff(file):
        from napari_sam.io.tiff import read_tiff

        image = read_tiff(file, colors=colors)
    else:
        image = _read_other(file, colors)
    if 0 in image.data.shape:
        raise ImageError(
            f"{file} holds an image of shape {image.shape} and so no pixels;"
            " choose another file."
        )
    return image


def read_notes(
    path: str | os.PathLike[str],
) -> tuple[tuple[int, ...], bool, tuple[str, ...]] | None:
    """Return shape, color and notes of what `read_image` reads, without its pixels.

    Parameters
    ----------
    path : path
        An image file.

    Returns
    -------
    tuple of shape, rgb and notes, or None
        As in :class:`~napari_sam.io.image_file.ImageFile`; None for a file of a format
        other than TIFF, which holds one image and nothing to note.

    Raises
    ------
    FileFormatError, ImageError
        As `read_image`.
    """
    file = _named(path)
    if not _is_tiff(file):
        return None
    from napari_sam.io.tiff import read_tiff_notes

    return read_tiff_notes(file)


def _is_tiff(file: Path) -> bool:
    start = _start(file)
    return start in _TIFF_STARTS or file.suffix.lower() in _TIFF_SUFFIXES


def _named(path: object) -> Path:
    try:
        return Path(os.fsdecode(path))  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(
            f"an image file is named by a path, not by {type(path).__name__};"
            " pass a str or Path"
        ) from error


def _start(file: Path) -> bytes:
    """Return the first four bytes of a file that can be read."""
    try:
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise FileFormatError(f"{file} is a folder; give one image file in it.")
        if not stat.S_ISREG(mode):
            # Opening a pipe would wait for its writer, a device may never end.
            raise FileFormatError(
                f"{file} is a pipe or a device; save the image as a file first."
            )
        with file.open("rb") as stream:
            start = stream.read(4)
    except FileNotFoundError as error:
        raise FileFormatError(f"There is no file {file}; check the path.") from error
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        name = f"{file}".replace("\0", "\\0")
        raise FileFormatError(
            f"{name} cannot be opened ({reason}); check its name and permissions."
        ) from error
    if not start:
        raise FileFormatError(f"{file} is empty; get the file again.")
    return start


def _read_other(file: Path, colors: bool) -> ImageFile:
    import imageio.v3 as iio

    try:
        # Bytes, because imageio leaves files open that it could not decode.
        content = file.read_bytes()
        mode = _mode(content, file.suffix)
        wanted: dict[str, Any] = {}
        if mode == "CMYK" and colors:
            wanted["mode"] = "RGB"
        elif mode == "P" and not colors:
            wanted["mode"] = "P"
        pixels = iio.imread(content, extension=file.suffix, **wanted)
    except Exception as error:
        # Decoders of any origin fail in ways of their own.
        if "Could not find a backend" in str(error):
            raise FileFormatError(
                f"{file} is no image of a format that is read here; if it is sound,"
                " export it as TIFF or OME-TIFF."
            ) from error
        raise FileFormatError(
            f"{file} cannot be read as an image ({one_line(error)}); it is damaged"
            " or of an unsupported format, so save it again, for example as TIFF."
        ) from error
    return _described(pixels, file)


def _mode(content: bytes, suffix: str) -> str | None:
    """Return how the pixels are stored, as Pillow calls it, if it reads the file."""
    import imageio.v3 as iio

    try:
        with iio.imopen(content, "r", extension=suffix, plugin="pillow") as opened:
            return str(opened.metadata(index=0, exclude_applied=False).get("mode"))
    except Exception:  # noqa: BLE001 - whoever reads it then says what is wrong
        return None


def _described(pixels: npt.NDArray[Any], file: Path) -> ImageFile:
    if pixels.ndim >= 3 and pixels.shape[-1] == 2:
        pixels = pixels[..., 0]  # gray with alpha
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
