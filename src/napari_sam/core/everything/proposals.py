"""Masks found by everything mode, waiting to be filtered, reviewed and written."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from napari_sam.core.atomic import replacing
from napari_sam.core.everything.selection import (
    Candidates,
    Thresholds,
    as_box,
    select,
    without_small_regions,
)
from napari_sam.core.masks import check_label_fits
from napari_sam.core.rle import RunLengths
from napari_sam.errors import FileFormatError
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FILE_VERSION = 1
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """One mask that everything mode found; see `Candidates` for the fields."""

    score: float
    stability: float
    area: int
    box: tuple[int, int, int, int]
    point: tuple[float, float]
    crop: int
    mask: MaskCrop


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """The masks found on a plane, best first, and those that thresholds hide.

    Besides the masks it shows it keeps every decoded mask above ``floor``, so
    `filter` can move the thresholds in both directions without inference.
    Immutable: `filter` and indexing return new objects that share the arrays.
    Make one with `from_candidates`.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the plane.
    crops : tuple of Region
        The regions that were encoded, the whole plane (or the drawn rectangle)
        first.
    floor : tuple of float
        The predicted IoU and the stability below which nothing was kept.
        Thresholds below these bring no further masks.
    thresholds : Thresholds
        What the shown masks satisfy.
    candidates : Candidates
        Every mask above the floor.
    shown : Candidates
        The masks that pass the thresholds, by descending score.
    scale : float, optional
        Input pixels per pixel of the plane at which it was searched in tiles; None if
        the model saw all of it, or a crop, at once.
    unread : tuple of str
        Where and why parts of the plane could not be read; nothing is proposed there.
    """

    shape: tuple[int, int]
    crops: tuple[Region, ...]
    floor: tuple[float, float]
    thresholds: Thresholds
    candidates: Candidates
    shown: Candidates
    scale: float | None = None
    unread: tuple[str, ...] = ()

    @staticmethod
    def from_candidates(
        candidates: Candidates,
        thresholds: Thresholds,
        *,
        shape: tuple[int, int],
        crops: Sequence[Region] = (),
        floor: tuple[float, float] = (0.0, 0.0),
        scale: float | None = None,
        unread: Sequence[str] = (),
    ) -> Proposals:
        """Return the proposals that pass the thresholds."""
        regions = tuple(crops) or (Region.whole(shape),)
        shown = candidates.take(select(candidates, thresholds, shape, regions))
        shown = without_small_regions(shown, thresholds, shape)
        return Proposals(
            shape,
            regions,
            floor,
            thresholds,
            candidates,
            shown,
            scale,
            tuple(unread),
        )

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def score(self) -> npt.NDArray[np.float32]:
        """Predicted IoU of each shown mask, float32 (N,)."""
        return self.shown.score

    @property
    def stability(self) -> npt.NDArray[np.float32]:
        """Stability score of each shown mask, float32 (N,)."""
        return self.shown.stability

    @property
    def area(self) -> npt.NDArray[np.int64]:
        """Area of each shown mask in pixels, int64 (N,)."""
        return self.shown.area

    @property
    def box(self) -> npt.NDArray[np.int32]:
        """``(row0, col0, row1, col1)`` of each shown mask, half-open, (N, 4)."""
        return self.shown.box

    @property
    def point(self) -> npt.NDArray[np.float32]:
        """Row and column of the point that found each shown mask, (N, 2)."""
        return self.shown.point

    @property
    def crop(self) -> npt.NDArray[np.int32]:
        """Index into ``crops`` for each shown mask, int32 (N,)."""
        return self.shown.crop

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Proposal: ...

    @overload
    def __getitem__(
        self, key: slice | Sequence[int] | npt.NDArray[Any]
    ) -> Proposals: ...

    def __getitem__(
        self, key: int | np.integer[Any] | slice | Sequence[int] | npt.NDArray[Any]
    ) -> Proposal | Proposals:
        """Return one proposal, or the chosen ones only.

        Proposals chosen by a slice, a boolean array or an index array forget
        the rest: filtering them cannot bring others back.
        """
        s = self.shown
        if isinstance(key, int | np.integer):
            i = range(len(s))[int(key)]
            row0, col0, row1, col1 = s.box[i].tolist()
            row, col = s.point[i].tolist()
            return Proposal(
                score=float(s.score[i]),
                stability=float(s.stability[i]),
                area=int(s.area[i]),
                box=(row0, col0, row1, col1),
                point=(row, col),
                crop=int(s.crop[i]),
                mask=s.masks[i].decode(),
            )
        index = np.arange(len(s))
        if isinstance(key, slice):
            index = index[key]
        elif len(key):
            index = index[np.asarray(key)]
        else:
            index = index[:0]
        chosen = s.take(index)
        return replace(self, candidates=chosen, shown=chosen)

    def iter_masks(self) -> Iterator[MaskCrop]:
        """Yield the shown masks, best first."""
        for runs in self.shown.masks:
            yield runs.decode()

    def filter(
        self,
        *,
        min_score: float | None = None,
        min_stability: float | None = None,
        min_area: float | None = None,
        max_area: float | None = None,
        max_overlap: float | None = None,
        max_crop_overlap: float | None = None,
        touching_border: bool | None = None,
        min_region_area: int | None = None,
    ) -> Proposals:
        """Return the proposals under other thresholds, without inference.

        Starts from everything above ``floor``, so a threshold may be lowered
        as well as raised.  What is not given stays as it is; see `Thresholds`
        for the meaning of each.

        Returns
        -------
        Proposals
            Possibly empty.
        """
        given = {
            "min_score": min_score,
            "min_stability": min_stability,
            "min_area": min_area,
            "max_area": max_area,
            "max_overlap": max_overlap,
            "max_crop_overlap": max_crop_overlap,
            "touching_border": touching_border,
            "min_region_area": min_region_area,
        }
        changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        return Proposals.from_candidates(
            self.candidates,
            replace(self.thresholds, **changes),
            shape=self.shape,
            crops=self.crops,
            floor=self.floor,
            scale=self.scale,
            unread=self.unread,
        )

    def to_labels(
        self,
        shape: tuple[int, int] | None = None,
        dtype: npt.DTypeLike = np.int32,
        overlap: Literal["score", "area"] = "area",
    ) -> npt.NDArray[Any]:
        """Return a label image; proposal ``i`` becomes label ``i + 1``.

        Parameters
        ----------
        shape : tuple of int, optional
            Height and width of the result; the plane's by default.
        dtype : dtype
            Integer type of the result.
        overlap : "score" or "area"
            Where masks overlap, the one of higher score is on top, or the
            smaller one (default).  A mask of which less than the smallest area is
            left, ``thresholds.min_area``, is missing and covers nothing.

        Returns
        -------
        array (H, W)
            0 is background.

        Raises
        ------
        LabelsError
            If ``dtype`` cannot hold the largest label.
        """
        if overlap not in ("score", "area"):
            raise ValueError(f"overlap must be 'score' or 'area', not {overlap!r}")
        shape = self.shape if shape is None else shape
        check_label_fits(dtype, max(1, len(self)))
        labels = np.zeros(shape, dtype)
        order = np.arange(len(self)) if overlap == "score" else self.smallest_first()
        for i in order.tolist():
            crop = self.shown.masks[i].decode()
            inside = crop.region.intersection(Region.whole(shape))
            if inside.is_empty:
                continue
            own = inside.shifted(-crop.region.row0, -crop.region.col0)
            free = crop.mask[own.slices] & (labels[inside.slices] == 0)
            if np.count_nonzero(free) >= max(1, self.thresholds.min_area):
                labels[inside.slices][free] = i + 1
        return labels

    def smallest_first(self) -> npt.NDArray[np.intp]:
        """Return the order in which masks take their pixels: parts before wholes."""
        return np.argsort(self.area, kind="stable")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the proposals, with the hidden ones, to an ``.npz`` file.

        The file is written aside and renamed, so a crash leaves no half file.

        Raises
        ------
        FileFormatError
            If the file cannot be written.
        """
        c = self.candidates
        arrays: dict[str, Any] = {
            "version": np.array(_FILE_VERSION),
            "shape": np.array(self.shape),
            "crops": np.array([as_box(r) for r in self.crops]),
            "floor": np.array(self.floor),
            "scale": np.array(self.scale or 0.0),
            "thresholds": np.array(
                [getattr(self.thresholds, f.name) for f in fields(Thresholds)], float
            ),
            "score": c.score,
            "stability": c.stability,
            "area": c.area,
            "box": c.box,
            "point": c.point,
            "crop": c.crop,
            "run_counts": np.array([m.runs.size for m in c.masks], np.int64),
            "runs": np.concatenate(
                [np.zeros(0, np.uint32), *(m.runs for m in c.masks)]
            ),
        }
        # As a file, since numpy adds its ending to other names.
        with replacing(path) as aside, aside.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Proposals:
        """Read proposals that `save` wrote.

        Raises
        ------
        FileFormatError
            If the file is missing, damaged or of another kind.
        """
        try:
            with Path(path).open("rb") as file:
                if not zipfile.is_zipfile(file):
                    raise ValueError("it is no complete .npz file")
                file.seek(0)
                with np.load(file, allow_pickle=False) as arrays:
                    return _from_arrays(arrays)
        except _UNREADABLE as error:
            raise FileFormatError(
                f"{os.fspath(path)} cannot be read as proposals ({error}); "
                "choose an .npz file that this program saved."
            ) from error


def _from_arrays(file: Any) -> Proposals:
    version = int(file["version"])
    if version != _FILE_VERSION:
        raise ValueError(f"version {version} is not {_FILE_VERSION}")
    box = file["box"]
    all_runs = np.split(file["runs"], np.cumsum(file["run_counts"])[:-1])
    masks = tuple(
        RunLengths(runs, Region(*b))
        for runs, b in zip(all_runs, box.tolist(), strict=False)
    )
    names = [f.name for f in fields(Thresholds)]
    thresholds = dict(zip(names, file["thresholds"].tolist(), strict=True))
    thresholds["touching_border"] = bool(thresholds["touching_border"])
    thresholds["min_region_area"] = int(thresholds["min_region_area"])
    height, width = file["shape"].tolist()
    return Proposals.from_candidates(
        Candidates(
            score=file["score"],
            stability=file["stability"],
            area=file["area"],
            box=box,
            point=file["point"],
            crop=file["crop"],
            masks=masks,
        ),
        Thresholds(**thresholds),
        shape=(height, width),
        crops=[Region(*r) for r in file["crops"].tolist()],
        floor=tuple(file["floor"].tolist()),
        # Files of before had none.
        scale=(float(file["scale"]) if "scale" in file else 0.0) or None,
    )
