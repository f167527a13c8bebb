"""Read TIFF files: OME, ImageJ and plain, a stack plane by plane."""

from __future__ import annotations

import math
import struct
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_sam.errors import FileFormatError, ImageError
from napari_sam.io.image_file import PIXEL, ImageFile
from napari_sam.io.images import one_line
from napari_sam.io.units import full_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CENTIMETER = 3
_Size = dict[str, tuple[float, str]]


def read_tiff(file: Path) -> ImageFile:
    """Read the first image series of a TIFF file.

    Colour channels come last, as axis ``S``.  See
    :func:`napari_sam.io.read_image` for the rest.
    """
    with _readable(file), tifffile.TiffFile(file) as tif:
        if not tif.series or not tif.series[0].shape:
            raise ImageError(f"{file} holds no image; choose another file.")
        series = tif.series[0]
        _check_complete(series, file)
        axes = series.axes.upper()
        data: Any = _open(tif, series, file)
        _check_shape(data, tuple(series.shape))
        sizes = _sizes(tif)
    data, axes = _arranged(data, axes, file)
    return ImageFile(
        data,
        axes,
        tuple(sizes.get(a, (1.0, PIXEL))[0] for a in axes if a != "S"),
        tuple(sizes.get(a, (1.0, PIXEL))[1] for a in axes if a != "S"),
        file.name.removesuffix(file.suffix).removesuffix(".ome"),
        axes.endswith("S"),
    )


class TiffStack:
    """A stack in a TIFF file, of which indexing loads the planes asked for.

    Compressed pages cannot be mapped into memory; this reads them one by one
    and opens the file anew each time, so that it may be used in any thread.

    Parameters
    ----------
    file : Path
        The file; must stay in place.
    shape : tuple of int
        Leading axes, then the axes of one page.
    dtype : dtype
        Of the pixels.
    n_page_axes : int
        How many trailing axes a page has.
    """

    def __init__(
        self, file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], n_page_axes: int
    ) -> None:
        self._file = file
        self.shape = shape
        self.dtype = dtype
        self._lead = shape[:-n_page_axes]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Return a part, loading only the pages it lies on."""
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            missing = self.ndim - len(keys) + 1
            keys = (*keys[:at], *[slice(None)] * missing, *keys[at + 1 :])
        n = len(self._lead)
        numbers = np.arange(math.prod(self._lead)).reshape(self._lead)[keys[:n]]
        pages = [self._page(int(i)) for i in np.ravel(numbers)]
        stack = np.array(pages, self.dtype)
        shape = (*np.shape(numbers), *self.shape[n:])
        inner = (slice(None),) * np.ndim(numbers) + keys[n:]
        return np.asarray(stack.reshape(shape)[inner])

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a TIFF stack is read from its file, never without a copy")
        return np.asarray(self[()], dtype)

    def _page(self, number: int) -> npt.NDArray[Any]:
        with _readable(self._file), tifffile.TiffFile(self._file) as tif:
            pixels: npt.NDArray[Any] = tif.series[0].pages[number].asarray()
            _check_shape(pixels, self.shape[len(self._lead) :])
        return pixels


def _open(tif: Any, series: Any, file: Path) -> Any:
    """Return the pixels, of a stack without loading them all."""
    page_shape = tuple(series.keyframe.shape)
    n = len(page_shape)
    lead = tuple(series.shape[:-n])
    is_stack = (
        len(lead) > 0
        and tuple(series.shape[-n:]) == page_shape
        and len(series.pages) == math.prod(lead)
    )
    if not is_stack:
        return series.asarray()
    if series.dataoffset is not None and series.keyframe.is_memmappable:
        return series.asarray(out="memmap")
    series.pages[0].asarray()  # a codec that is missing is noticed here
    return TiffStack(file, tuple(series.shape), series.dtype, n)


def _check_shape(pixels: Any, shape: tuple[int, ...]) -> None:
    """Raise if tifffile decoded something else than a damaged file announced."""
    if tuple(pixels.shape) != shape:
        raise ValueError(f"pixels have shape {pixels.shape} instead of {shape}")


def _arranged(data: Any, axes: str, file: Path) -> tuple[Any, str]:
    """Return data and axes with rows, columns and then colour last."""
    if "Y" not in axes or "X" not in axes:
        raise ImageError(
            f"{file} holds an array with the axes {axes}, which is not an image;"
            " choose another file."
        )
    if "S" not in axes and axes[-1] == "C" and data.shape[-1] in (3, 4):
        axes = axes[:-1] + "S"
    colour = "S" if "S" in axes and data.shape[axes.index("S")] in (3, 4) else ""
    # Two samples, or more than four, are channels rather than colours.
    axes = axes if colour else axes.replace("S", "C" if "C" not in axes else "Q")
    lead = "".join(a for a in axes if a not in "YX" + colour)
    wanted = lead + "YX" + colour
    if wanted == axes:
        return data, axes
    order = [i for i, a in enumerate(axes) if a not in "YX" + colour]
    order += [axes.index(a) for a in "YX" + colour]
    return np.asarray(data).transpose(order), wanted


def _check_complete(series: Any, file: Path) -> None:
    """Raise `FileFormatError` if pixels or pages lie beyond the end of the file.

    tifffile reads missing pixels as zeros and leaves missing pages out.
    """
    size = file.stat().st_size
    if any(offset >= size for offset in _page_offsets(file, size)):
        raise FileFormatError(
            f"{file} has been cut short at {size:,} bytes; get the file again."
        )
    for page in series.pages:
        if page is None:  # a plane that an OME file leaves out
            continue
        offsets, counts = page.dataoffsets, page.databytecounts
        if any(o + n > size for o, n in zip(offsets, counts, strict=True)):
            raise FileFormatError(
                f"{file} has been cut short at {size:,} bytes; get the file again."
            )


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


def _sizes(tif: Any) -> _Size:
    """Return step and unit of the axes whose physical size the file tells."""
    if tif.is_ome and tif.ome_metadata:
        return _ome_sizes(tif.ome_metadata)
    if tif.is_imagej:
        return _imagej_sizes(tif)
    tags = tif.pages[0].tags
    # Inches are what a printer would use, such as the 72 dpi that any program
    # writes; only microscopes write pixels per centimetre.
    if tags.valueof("ResolutionUnit", 0) != _CENTIMETER:
        return {}
    steps = _resolution(tif)
    return {a: (s * 1e4, "micrometer") for a, s in steps.items()}


def _ome_sizes(xml: str) -> _Size:
    pixels = ET.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return {}
    found: _Size = {}
    for axis, name, default in (
        *((a, f"PhysicalSize{a}", "µm") for a in "XYZ"),
        ("T", "TimeIncrement", "s"),
    ):
        step = _positive(pixels.get(name))
        if step is not None:
            found[axis] = (step, full_name(pixels.get(f"{name}Unit", default)))
    return found


def _imagej_sizes(tif: Any) -> _Size:
    meta = tif.imagej_metadata or {}
    unit = full_name(meta.get("unit"))
    found: _Size = {a: (s, unit) for a, s in _resolution(tif).items()}
    if "unit" not in meta and tif.pages[0].tags.valueof("ResolutionUnit", 0) > 1:
        found = {}
    spacing = _positive(meta.get("spacing"))
    if spacing is not None:
        found["Z"] = (spacing, unit)
    interval = _positive(meta.get("finterval"))
    if interval is not None:
        found["T"] = (interval, full_name(meta.get("tunit", "s")))
    return found


def _resolution(tif: Any) -> dict[str, float]:
    """Return pixel sizes from the resolution tags, in their unit."""
    steps = {}
    for axis in "XY":
        top, bottom = tif.pages[0].tags.valueof(f"{axis}Resolution", (0, 0))
        if top > 0 and bottom > 0:
            steps[axis] = bottom / top
    return steps


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn whatever a damaged TIFF makes tifffile raise into one sentence."""
    try:
        yield
    except (FileFormatError, ImageError):
        raise
    except Exception as error:
        if "imagecodecs" in str(error):
            raise FileFormatError(
                f"{file} is compressed in a way that needs another package"
                f" ({one_line(error)}); run pip install imagecodecs."
            ) from error
        raise FileFormatError(
            f"{file} cannot be read as TIFF ({one_line(error)}); it is damaged or"
            " uses an unsupported format, so get it again or save it anew."
        ) from error
