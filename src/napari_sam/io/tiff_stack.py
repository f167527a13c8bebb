"""A stack in a TIFF file as an array that reads planes when they are asked for."""

from __future__ import annotations

import math
import os
import weakref
from contextlib import contextmanager
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam.errors import FileFormatError, ImageError
from napari_sam.io.images import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Convert = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


class TiffStack:
    """A stack in a TIFF file, of which indexing reads the planes asked for.

    The file is opened and its directories are parsed once.  Pages are read, not
    mapped into memory: where a mapped file is cut short, touching it kills the
    process.  Any thread may index it; a pickled copy opens the file again.

    Parameters
    ----------
    file : Path
        The file; must stay as it is.
    tif : tifffile.TiffFile
        The open file, which is closed with the stack.
    series : tifffile.TiffPageSeries
        The stack in it.
    pages : list
        The parsed pages of ``series``.
    convert : callable, optional
        Makes the colors that are meant of a page's pixels.
    """

    def __init__(
        self,
        file: Path,
        tif: Any,
        series: Any,
        pages: list[Any],
        convert: Convert | None = None,
    ) -> None:
        page_shape = tuple(series.keyframe.shape)
        self._file = file
        self._tif = tif
        self._series = series
        self._pages = pages
        self._convert = convert
        self._page_shape = page_shape
        self._lead: tuple[int, ...] = tuple(series.shape[: -len(page_shape)])
        self._is_raw = series.dataoffset is not None and series.keyframe.is_memmappable
        example = np.zeros(page_shape, series.dtype.newbyteorder("="))
        if convert is not None:
            example = convert(example)
        self.shape: tuple[int, ...] = (*self._lead, *example.shape)
        self.dtype: np.dtype[Any] = example.dtype
        # Seeking and reading belong together; decoding goes on in parallel.
        tif.filehandle.set_lock(True)
        self._pid = os.getpid()
        self._close = weakref.finalize(self, tif.close)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements once they are read."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Return a part, reading only the pages it lies on."""
        keys = key if isinstance(key, tuple) else (key,)
        if not all(
            isinstance(k, (int, np.integer, slice, EllipsisType)) for k in keys
        ) or any(isinstance(k, bool) for k in keys):
            # numpy's further ways of indexing, on what numpy knows.
            return np.asarray(self[...][key])
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            missing = self.ndim - len(keys) + 1
            keys = (*keys[:at], *[slice(None)] * missing, *keys[at + 1 :])
        n = len(self._lead)
        numbers = np.arange(math.prod(self._lead)).reshape(self._lead)[keys[:n]]
        inner = keys[n:]
        if np.ndim(numbers) == 0:
            return np.asarray(self._part(int(numbers), inner))
        # Cut out of a page what is wanted before the next one is read.
        shape = self._part_shape(inner)
        stack = np.empty((np.size(numbers), *shape), self.dtype)
        for at, number in enumerate(np.ravel(numbers)):
            stack[at] = self._part(int(number), inner)
        return stack.reshape(*np.shape(numbers), *shape)

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a TIFF stack is read from its file, never without a copy")
        return np.asarray(self[...], dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_again, (self._file, self._convert is not None)

    def _part_shape(self, inner: tuple[Any, ...]) -> tuple[int, ...]:
        shape = self.shape[len(self._lead) :]
        example = np.broadcast_to(np.zeros((), self.dtype), shape)[inner]
        return tuple(example.shape)

    def _part(self, number: int, inner: tuple[Any, ...]) -> npt.NDArray[Any]:
        if not (inner and self._is_raw and self._convert is None):
            return np.array(self._page(number)[inner], self.dtype)
        # Of pages that are not compressed, only the rows: seen from the side, a
        # stack is one row of every page.
        rows, first = _span(inner[0], self._page_shape[0])
        return np.array(self._page(number, rows)[first, *inner[1:]], self.dtype)

    def _page(self, number: int, rows: range | None = None) -> npt.NDArray[Any]:
        """Return the pixels of a page, or, of a raw one, of some rows."""
        if self._pid != os.getpid():
            # After a fork, the position in the file is shared with the parent.
            again = _opened_again(self._file, self._convert is not None)
            again._close.detach()
            self.__dict__.update(again.__dict__)
            self._close = weakref.finalize(self, self._tif.close)
        with readable(self._file):
            self._check_length(number)
            if self._is_raw:
                rows = range(self._page_shape[0]) if rows is None else rows
                pixels = self._raw(number, rows)
            else:
                pixels = self._decoded(number)
                check_shape(pixels, self._page_shape)
            self._check_length(number)
            return pixels if self._convert is None else self._convert(pixels)

    def _decoded(self, number: int) -> npt.NDArray[Any]:
        page = self._pages[number]
        if page is None:  # a plane that an OME file leaves out
            return np.zeros(self._page_shape, self.dtype)
        pixels: npt.NDArray[Any] = page.asarray()
        return pixels

    def _raw(self, number: int, rows: range) -> npt.NDArray[Any]:
        handle = self._tif.filehandle
        dtype = self._series.dtype.newbyteorder(self._tif.byteorder)
        n_rows, *row_shape = self._page_shape
        row_bytes = math.prod(row_shape) * dtype.itemsize
        start = (number * n_rows + rows.start) * row_bytes
        with handle.lock:
            handle.seek(self._series.dataoffset + start)
            content = handle.read(len(rows) * row_bytes)
        if len(content) < len(rows) * row_bytes:
            raise cut_short(self._file, os.fstat(handle.fileno()).st_size)
        pixels = np.frombuffer(content, dtype).reshape(len(rows), *row_shape)
        return pixels.astype(dtype.newbyteorder("="), copy=False)

    def _check_length(self, number: int) -> None:
        """Raise if a page lies beyond the end that the file has now."""
        size = os.fstat(self._tif.filehandle.fileno()).st_size
        if self._is_raw:
            page_bytes = math.prod(self._page_shape) * self._series.dtype.itemsize
            end = self._series.dataoffset + (number + 1) * page_bytes
        else:
            end = end_of_page(self._pages[number])
        if end > size:
            raise cut_short(self._file, size)


def _span(key: Any, length: int) -> tuple[range, Any]:
    """Return the run of rows that a key lies in, and the key within the run."""
    if not isinstance(key, slice):
        row = range(length)[key]  # which raises as numpy does
        return range(row, row + 1), 0
    chosen = range(length)[key]
    if not chosen:
        return range(0), slice(0)
    low, high = sorted((chosen[0], chosen[-1]))
    return range(low, high + 1), slice(None, None, chosen.step)


def end_of_page(page: Any) -> int:
    """Return where in its file the last byte of a page's pixels should be."""
    if page is None:
        return 0
    pairs = zip(page.dataoffsets, page.databytecounts, strict=True)
    return max((offset + count for offset, count in pairs), default=0)


def cut_short(file: Path, size: int) -> FileFormatError:
    """Return the error for a file that ends before its pixels do."""
    return FileFormatError(
        f"{file} has been cut short at {size:,} bytes; get the file again."
    )


def check_shape(pixels: Any, shape: tuple[int, ...]) -> None:
    """Raise if tifffile decoded something else than a damaged file announced."""
    if tuple(pixels.shape) != shape:
        raise ValueError(f"pixels have shape {pixels.shape} instead of {shape}")


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn whatever a damaged TIFF makes tifffile raise into one sentence."""
    try:
        yield
    except (FileFormatError, ImageError):
        raise
    except Exception as error:
        reason = one_line(error)
        if "imagecodecs" in str(error):
            raise FileFormatError(
                f"{file} is compressed in a way that needs a package that is missing"
                f" or too old ({reason}); run pip install --upgrade imagecodecs."
            ) from error
        if isinstance(error, NotImplementedError) or _is_unknown(reason):
            raise FileFormatError(
                f"{file} uses a kind of TIFF that is not supported ({reason}); the"
                " file may be sound, so save it anew in another program, without"
                " compression."
            ) from error
        if isinstance(error, FileNotFoundError):
            raise FileFormatError(
                f"There is no file {file} any more; put it back."
            ) from error
        if isinstance(error, MemoryError):
            raise ImageError(
                f"{file} does not fit into memory ({reason}); crop it, or save it as"
                " a stack of planes."
            ) from error
        raise FileFormatError(
            f"{file} cannot be read as TIFF ({reason}); it is damaged or"
            " uses an unsupported format, so get it again or save it anew."
        ) from error


def _is_unknown(reason: str) -> bool:
    """Whether tifffile says that it cannot do something, not that bytes are wrong."""
    text = reason.lower()
    signs = ("not supported", "not implemented", "not a known")
    return any(sign in text for sign in signs)


def _opened_again(file: Path, colors: bool) -> TiffStack:
    from napari_sam.io.tiff import read_tiff

    stack = read_tiff(file, colors=colors).data
    if not isinstance(stack, TiffStack):
        raise FileFormatError(f"{file} holds no stack any more; get the file again.")
    return stack
