"""Everything mode: find all objects of a plane without a prompt.

SAM's automatic mask generation (Kirillov et al., "Segment Anything", 2023,
section 5 and appendix B; reference code ``SamAutomaticMaskGenerator``): a grid
of single-point prompts, three masks each, kept if the model believes in them
and if they are stable under a change of threshold; the same on overlapping
crops if asked for; duplicates are suppressed.

A model that sees where objects are (:mod:`napari_sam.core.centres`) is asked
there instead of on the grid, and once more where it sees objects that no mask
covers.  Everything else is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import numpy as np

from napari_sam.core.asking import make_questions
from napari_sam.core.decoding import decode_candidates
from napari_sam.core.grid import is_whole, plan_searches
from napari_sam.core.proposals import Proposals
from napari_sam.core.selection import Candidates, Thresholds
from napari_sam.core.steps import finish
from napari_sam.errors import SettingsError
from napari_sam.types import Plane, Progress, ProgressCallback, Region

if TYPE_CHECKING:
    from napari_sam.core.model import EncodedPlane
    from napari_sam.types import RGBArray

T = TypeVar("T")
Prompts = Literal["auto", "grid", "objects"]
Encode = Callable[["RGBArray"], "EncodedPlane"]
ShouldStop = Callable[[], bool]

_CHUNK = 8
"""Points between two progress reports, some tenths of a second on two cores."""


@dataclass(frozen=True, slots=True)
class EverythingSettings:
    """Settings of everything mode, with the reference implementation's defaults.

    Parameters
    ----------
    prompts : {"auto", "grid", "objects"}
        Where the model is asked: on a grid, or where it sees objects, which
        needs a model with a prompt head.  ``"auto"`` takes the objects if the
        model sees them.
    points_per_side : int
        The grid has this many points along each side.
    min_centre : float
        Where the model sees objects: lowest probability of an object's centre.
    pred_iou_thresh : float
        Masks whose predicted IoU is not above this are hidden.
    stability_score_thresh : float
        Masks less stable than this are hidden.
    stability_score_offset : float
        By how much the logit threshold is moved to measure stability.
    box_nms_thresh : float
        Overlap of boxes above which the lower-scored mask is hidden.
    crop_n_layers : int
        Layer ``i`` repeats the search on ``4**i`` overlapping crops.
    crop_nms_thresh : float
        The same as ``box_nms_thresh``, between crops.
    crop_overlap_ratio : float
        Overlap of the crops of the first layer, as a part of the shorter side.
    crop_n_points_downscale_factor : int
        In layer ``i`` the grid has ``points_per_side`` over this to the power
        of ``i`` points along each side.
    min_mask_region_area : int
        Holes and pieces smaller than this many pixels are removed from masks.
    max_area_share : float
        Masks of more than this share of the plane are hidden.  Not in the
        reference: on most microscopy images the best-scored mask is the whole
        plane, which hides all others where overlaps are resolved by score.
        1 keeps it.
    pred_iou_floor, stability_score_floor : float
        Masks below these are not kept at all; between floor and threshold they
        are hidden and come back when the threshold is lowered.
    """

    prompts: Prompts = "auto"
    points_per_side: int = 32
    min_centre: float = 0.2
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    max_area_share: float = 0.9
    pred_iou_floor: float = 0.6
    stability_score_floor: float = 0.6

    def __post_init__(self) -> None:
        if self.prompts not in get_args(Prompts):
            raise SettingsError(
                f"prompts is {self.prompts!r}; choose from "
                f"{', '.join(get_args(Prompts))}."
            )
        _check("points_per_side", self.points_per_side, 1, 512)
        _check("stability_score_offset", self.stability_score_offset, 0, 100)
        _check("crop_n_layers", self.crop_n_layers, 0, 4)
        _check("crop_overlap_ratio", self.crop_overlap_ratio, 0, 0.95)
        _check(
            "crop_n_points_downscale_factor",
            self.crop_n_points_downscale_factor,
            1,
            64,
        )
        _check("min_mask_region_area", self.min_mask_region_area, 0, math.inf)
        for name in (
            "min_centre",
            "pred_iou_thresh",
            "stability_score_thresh",
            "box_nms_thresh",
            "crop_nms_thresh",
            "max_area_share",
            "pred_iou_floor",
            "stability_score_floor",
        ):
            _check(name, getattr(self, name), 0, 1)

    @property
    def floor(self) -> tuple[float, float]:
        """Predicted IoU and stability below which nothing is kept."""
        return (
            min(self.pred_iou_floor, self.pred_iou_thresh),
            min(self.stability_score_floor, self.stability_score_thresh),
        )

    def thresholds(self, shape: tuple[int, int]) -> Thresholds:
        """Return what the proposals of a plane of this shape start with."""
        return Thresholds(
            min_score=self.pred_iou_thresh,
            min_stability=self.stability_score_thresh,
            max_area=self.max_area_share * shape[0] * shape[1],
            max_overlap=self.box_nms_thresh,
            max_crop_overlap=self.crop_nms_thresh,
            min_region_area=self.min_mask_region_area,
        )

    @property
    def total_points(self) -> int:
        """Number of prompts in a run on a grid."""
        return sum(
            4**layer * self.side_points(layer) ** 2
            for layer in range(self.crop_n_layers + 1)
        )

    def side_points(self, layer: int) -> int:
        """Return the points along each side of the grid in a crop layer."""
        factor: int = self.crop_n_points_downscale_factor**layer
        return max(1, self.points_per_side // factor)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        limits = f"{low} or more" if high == math.inf else f"from {low} to {high}"
        raise SettingsError(f"{name} is {value}; choose a value {limits}.")


def iter_everything(
    rgb: RGBArray,
    encode: Encode,
    settings: EverythingSettings | None = None,
    *,
    region: Region | None = None,
    plane: EncodedPlane | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, Proposals]:
    """Find all objects of a plane; yield progress, return proposals.

    Drive it with `run`, or with ``next`` and take the value of
    ``StopIteration``.  Closing it abandons everything; to keep what has been
    found so far, make ``should_stop`` return True.

    Parameters
    ----------
    rgb : uint8 array (H, W, 3)
        The plane.
    encode : callable
        Encodes an RGB array (a crop of ``rgb`` or all of it).
    settings : EverythingSettings, optional
        SAM's defaults if not given.
    region : Region, optional
        A drawn rectangle.  The grid of points covers it instead of the plane,
        and only masks that lie wholly inside it are found.  If the rectangle
        with a margin of a quarter of its longer side is at most half as long
        as the plane, that window is encoded by itself, at higher resolution;
        otherwise the embedding of the whole plane is used.
    plane : EncodedPlane, optional
        The whole plane, if it is encoded already.  If it stands for a larger
        image than ``rgb`` (a coarse level of a pyramid), masks come at the size
        of that image and no window is encoded by itself.
    should_stop : callable, optional
        Asked after every few points.

    Yields
    ------
    Progress
        In points.

    Returns
    -------
    Proposals
        Every mask above the floor, filtered by the settings' thresholds.

    Raises
    ------
    PromptError
        If the region lies outside the image.
    SettingsError
        If crop layers are wanted of a coarse level of a pyramid.
    """
    return (
        yield from _search(
            rgb, encode, settings or EverythingSettings(), region, plane, should_stop
        )
    )[0]


def _search(
    rgb: RGBArray,
    encode: Encode,
    settings: EverythingSettings,
    region: Region | None = None,
    plane: EncodedPlane | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, tuple[Proposals, bool]]:
    """Do what `iter_everything` does; return also whether it came to its end."""
    size = (int(rgb.shape[0]), int(rgb.shape[1]))
    shape = size if plane is None else plane.frame.image_size
    if shape != size and settings.crop_n_layers > 0:
        raise SettingsError(
            f"crop_n_layers is {settings.crop_n_layers}, which needs the image at "
            f"full resolution, but only a level of {size[0]} x {size[1]} is loaded; "
            "set it to 0."
        )
    searches = plan_searches(
        shape,
        region,
        sides=[settings.side_points(i) for i in range(settings.crop_n_layers + 1)],
        overlap_ratio=settings.crop_overlap_ratio,
        can_crop=shape == size,
    )
    stopped = should_stop or (lambda: False)
    found: list[Candidates] = []
    done = 0
    is_finished = True
    for number, search in enumerate(searches):
        # Windows to come count like the grids they may get.
        ahead = sum(s.side**2 for s in searches[number + 1 :])
        if not stopped():
            yield Progress(done, done + search.side**2 + ahead, "encoding")
        if stopped():
            is_finished = False
            break
        if plane is not None and search.window == Region.whole(shape):
            encoded = plane
        else:
            encoded = encode(np.ascontiguousarray(rgb[search.window.slices]))
        questions = make_questions(
            encoded,
            search,
            settings.prompts,
            min_centre=settings.min_centre,
            covering=settings.thresholds(shape),
        )
        while len(chunk := questions.take(_CHUNK)):
            new = decode_candidates(
                encoded,
                chunk,
                origin=(search.window.row0, search.window.col0),
                crop=number,
                offset=settings.stability_score_offset,
                floor=settings.floor,
                on_objects=questions.on_objects,
            )
            # Those cut by the window are no proposals but are no gap either.
            questions.answered(new)
            found.append(new.take(is_whole(new.box, search, shape)))
            done += len(chunk)
            total = done + questions.left + ahead
            yield Progress(done, total, f"{done:,} of {total:,} points")
            if stopped():
                is_finished = done == total
                break
    proposals = Proposals.from_candidates(
        Candidates.concatenate(found),
        settings.thresholds(shape),
        shape=shape,
        crops=[s.window for s in searches],
        floor=settings.floor,
    )
    return proposals, is_finished


def iter_everything_stack(
    planes: Iterable[tuple[Plane, Callable[[], RGBArray]]],
    encode: Encode,
    settings: EverythingSettings | None = None,
    *,
    region: Region | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress | tuple[Plane, Proposals], None, None]:
    """Find all objects of many planes, one plane after another.

    Each plane is yielded as soon as it is finished, so cancelling, by
    ``should_stop`` or by closing, keeps the finished planes; the plane at work
    is dropped, as half of its objects would pass for all of them.

    Parameters
    ----------
    planes : iterable of (Plane, callable)
        The planes and functions that read each as RGB uint8 (H, W, 3); only one
        plane is loaded at a time.
    encode, settings, region, should_stop
        As for `iter_everything`.

    Yields
    ------
    Progress or (Plane, Proposals)
        Progress counts points over all planes; its total is 0 if ``planes`` has
        no length.
    """
    settings = settings or EverythingSettings()
    stopped = should_stop or (lambda: False)
    n_planes = len(planes) if isinstance(planes, Sized) else 0
    for number, (plane, read) in enumerate(planes):
        if stopped():
            return
        prefix = f"plane {number + 1}" + (f" of {n_planes}" if n_planes else "")
        steps = _search(read(), encode, settings, region, None, should_stop)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                proposals, is_finished = end.value
                break
            # As if every plane had as many points as this one.
            yield Progress(
                number * step.total + step.done,
                n_planes * step.total,
                f"{prefix}: {step.text}",
            )
        if not is_finished:
            return
        yield plane, proposals


def run(
    steps: Generator[Progress, None, T], progress: ProgressCallback | None = None
) -> T:
    """Run a generator to its end and return its value.

    Parameters
    ----------
    steps : generator of Progress
        For example `iter_everything`.
    progress : callable, optional
        Called with each `Progress`.  An exception it raises ends the run.
    """
    return finish(steps, progress)
