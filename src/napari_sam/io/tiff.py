"""Read TIFF files: OME, ImageJ and plain, a stack plane by plane."""

from __future__ import annotations

import math
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_sam.errors import ImageError
from napari_sam.io.colors import cmyk_to_rgb, is_gray, palette_to_color
from napari_sam.io.image_file import PIXEL, ImageFile
from napari_sam.io.tiff_sizes import physical_sizes
from napari_sam.io.tiff_stack import (
    TiffStack,
    check_shape,
    cut_short,
    end_of_page,
    readable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam.io.tiff_stack import Convert

_WHITE_IS_ZERO, _PALETTE, _CMYK = 0, 3, 5
_FEW = 4  # planes or, if nobody says, perhaps channels


def read_tiff(file: Path, *, colors: bool = True) -> ImageFile:
    """Read the first image series of a TIFF file.

    Color channels come last, as axis ``S``.  See
    :func:`napari_sam.io.read_image` for the rest.
    """
    with readable(file), ExitStack() as closing:
        tif = tifffile.TiffFile(file)
        closing.callback(tif.close)
        series, pages = _first_series(tif, file)
        axes = series.axes.upper()
        convert = None
        if colors:
            convert, axes = _conversion(tif, series, axes)
        sizes = physical_sizes(tif)
        others = _other_series(tif)
        data: Any = _open(tif, series, pages, file, convert)
        if isinstance(data, TiffStack):
            closing.pop_all()  # it closes the file
    order, axes = _order(axes, data.shape, file)
    if order != tuple(range(len(order))):
        data = np.asarray(data).transpose(order)
    return ImageFile(
        data,
        axes,
        tuple(sizes.get(a, (1.0, PIXEL))[0] for a in axes if a != "S"),
        tuple(sizes.get(a, (1.0, PIXEL))[1] for a in axes if a != "S"),
        file.name.removesuffix(file.suffix).removesuffix(".ome"),
        axes.endswith("S"),
        notes=_notes(others, axes, data.shape),
    )


def read_tiff_notes(file: Path) -> tuple[tuple[int, ...], bool, tuple[str, ...]]:
    """Return shape, color and notes of what :func:`read_tiff` reads; no pixels.

    Returns
    -------
    shape : tuple of int
        Without the color channels.
    rgb : bool
        Whether it has any.
    notes : tuple of str
        As in :class:`~napari_sam.io.image_file.ImageFile`.
    """
    with readable(file), tifffile.TiffFile(file) as tif:
        series, _ = _first_series(tif, file)
        stored = series.axes.upper()
        _, axes = _conversion(tif, series, stored)
        shape = tuple(int(n) for n in series.shape)
        if axes != stored:
            # Made of a palette or of inks: three color channels, and last.
            shape = tuple(n for a, n in zip(stored, shape, strict=True) if a != "S") + (
                3,
            ) * axes.endswith("S")
        others = _other_series(tif)
    order, axes = _order(axes, shape, file)
    shape = tuple(shape[i] for i in order)
    rgb = axes.endswith("S")
    return shape[: len(shape) - rgb], rgb, _notes(others, axes, shape)


def _first_series(tif: Any, file: Path) -> tuple[Any, list[Any]]:
    """Return the first image series and its pages, all of them in the file."""
    if not tif.series or not tif.series[0].shape:
        raise ImageError(f"{file} holds no image; choose another file.")
    series = tif.series[0]
    pages = list(series.pages)
    _check_complete(series, pages, file)
    return series, pages


def _other_series(tif: Any) -> tuple[str, ...]:
    """Describe what else is in the file: series, and pages of another size or type."""
    return tuple(
        (f"{series.name}, " if series.name else "") + " x ".join(map(str, series.shape))
        for series in tif.series[1:]
    )


def _notes(
    others: tuple[str, ...], axes: str, shape: tuple[int, ...]
) -> tuple[str, ...]:
    lead = [(a, n) for a, n in zip(axes, shape, strict=True) if a not in "YXS"]
    return (*_notes_on_series(others), *_notes_on_axes(lead))


def _notes_on_series(others: tuple[str, ...]) -> tuple[str, ...]:
    """Say what else is in the file."""
    if not others:
        return ()
    listed = "; ".join(others[:3]) + ("; ..." if len(others) > 3 else "")
    one = len(others) == 1
    note = (
        f"the file holds {len(others)} more image{'' if one else 's'} or page"
        f"{'' if one else 's'} of another size, which {'is' if one else 'are'} not"
        f" read ({listed})"
    )
    return (note,)


def _notes_on_axes(lead: list[tuple[str, int]]) -> tuple[str, ...]:
    """Say where channels are, or may be, taken for planes of a stack."""
    notes = []
    for axis, length in lead:
        if axis == "C" and length > 1:
            notes.append(
                f"its {length} channels are taken for planes of a stack, each on its"
                " own"
            )
        elif axis in "QI" and 1 < length <= _FEW:
            notes.append(
                f"the file does not say what its axis of {length} is, so it is taken"
                " for a stack of planes; if these are channels, each is on its own"
            )
    return tuple(notes)


def _open(
    tif: Any, series: Any, pages: list[Any], file: Path, convert: Convert | None
) -> Any:
    """Return the pixels, of a stack without loading them all."""
    page_shape = tuple(series.keyframe.shape)
    n = len(page_shape)
    lead = tuple(series.shape[:-n])
    is_stack = (
        len(lead) > 0
        and tuple(series.shape[-n:]) == page_shape
        and len(pages) == math.prod(lead)
    )
    if is_stack:
        stack = TiffStack(file, tif, series, pages, convert)
        stack[(0,) * len(lead)]  # a codec that is missing is noticed here
        return stack
    pixels = series.asarray()
    tif.close()
    check_shape(pixels, tuple(series.shape))
    return pixels if convert is None else convert(pixels)


def _conversion(tif: Any, series: Any, axes: str) -> tuple[Convert | None, str]:
    """Return what makes colors of the pixels, and the axes after it."""
    page = series.keyframe
    if page.photometric == _CMYK and axes.count("S") == 1:
        at = axes.index("S") - len(axes)
        if series.shape[at] >= 4 and page.dtype.kind == "u" and page.dtype.itemsize < 4:
            return (
                lambda pixels: cmyk_to_rgb(np.moveaxis(pixels, at, -1)),
                axes.replace("S", "") + "S",
            )
    # ImageJ's tables are for the display: its pixels are intensities.
    if page.photometric == _PALETTE and not tif.is_imagej and "S" not in axes:
        colormap = page.colormap
        if colormap is not None and len(colormap) == 3:
            return (
                lambda pixels: palette_to_color(pixels, colormap),
                axes if is_gray(colormap) else axes + "S",
            )
    if (
        page.photometric == _WHITE_IS_ZERO
        and not tif.is_imagej
        and page.dtype.kind == "u"
        and "S" not in axes
    ):
        return np.invert, axes
    return None, axes


def _order(
    axes: str, shape: tuple[int, ...], file: Path
) -> tuple[tuple[int, ...], str]:
    """Return where each axis comes from, and the axes: rows, columns, color last."""
    if "Y" not in axes or "X" not in axes:
        raise ImageError(
            f"{file} holds an array with the axes {axes}, which is not an image;"
            " choose another file."
        )
    if "S" not in axes and axes[-1] == "C" and shape[-1] in (3, 4):
        axes = axes[:-1] + "S"
    color = "S" if "S" in axes and shape[axes.index("S")] in (3, 4) else ""
    # Two samples, or more than four, are channels rather than colors.
    axes = axes if color else axes.replace("S", "C" if "C" not in axes else "Q")
    order = [i for i, a in enumerate(axes) if a not in "YX" + color]
    order += [axes.index(a) for a in "YX" + color]
    return tuple(order), "".join(axes[i] for i in order)


def _check_complete(series: Any, pages: list[Any], file: Path) -> None:
    """Raise `FileFormatError` if pixels or pages lie beyond the end of the file.

    tifffile reads missing pixels as zeros and leaves missing pages out.
    """
    size = file.stat().st_size
    end = max(map(end_of_page, pages), default=0)
    if series.dataoffset is not None:
        end = max(end, series.dataoffset + series.nbytes)
    if end > size or any(offset >= size for offset in _page_offsets(file, size)):
        raise cut_short(file, size)


def _page_offsets(file: Path, size: int) -> Iterator[int]:
    """Yield where each page's directory should be, as the one before it says."""
    with file.open("rb") as stream:
        header = stream.read(16)
        order = "<" if header[:2] == b"II" else ">"
        is_big = header[2:4] in (b"+\0", b"\0+")
        count, entry, offset = ("Q", 20, "Q") if is_big else ("H", 12, "I")
        if not is_big and size >= 1 << 32:
            return  # such files break the format's rules in ways of their own
        n = struct.calcsize(offset)
        (place,) = struct.unpack_from(order + offset, header, 8 if is_big else 4)
        seen: set[int] = set()
        while place and place not in seen:
            seen.add(place)
            yield place
            stream.seek(place)
            (entries,) = struct.unpack(
                order + count, stream.read(struct.calcsize(count))
            )
            stream.seek(entries * entry, 1)
            (place,) = struct.unpack(order + offset, stream.read(n))
