"""Settings of everything mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from napari_sam.core.everything.selection import Thresholds
from napari_sam.core.settings import Range, Settings, Share

if TYPE_CHECKING:
    from napari_sam.core.model_thresholds import ModelThresholds

Prompts = Literal["auto", "grid", "objects"]
"""Where the model is asked."""

LARGEST_SHARE = 0.4
"""Larger proposals are hidden: what fills most of a plane is its background."""
SMALLEST_AREA = 20
"""Smaller proposals are hidden, in pixels: they are specks."""


@dataclass(frozen=True, slots=True)
class EverythingSettings(Settings):
    """Settings of everything mode: of scripts, window and command line alike.

    The reference implementation's defaults, except where it says otherwise.  What
    depends on a model's scores is by default what the model says
    (:class:`~napari_sam.core.model_thresholds.ModelThresholds`).

    Parameters
    ----------
    prompts : {"auto", "grid", "objects"}
        Where the model is asked: on a grid, or where it sees objects; auto: where
        it sees objects if it can.  Objects need a model with a prompt head.
    points_per_side : int
        Points along each side of the grid.
    min_center : float, optional
        Where the model sees objects: lowest probability of an object's center.
    min_foreground : float, optional
        Of masks found on objects: lowest probability of foreground, on average
        over the mask.  Masks below are not kept.
    object_size : float, optional
        Diameter of the objects, where the model sees them, in pixels of the plane; by
        default it looks how large they are.  It is searched at the scale that shows
        them as large as is best, in tiles.
    pred_iou_thresh : float, optional
        Masks whose predicted IoU is not above this are hidden; by default 0.88 on a
        grid and 0.6 on objects, unless the model says otherwise.
    stability_score_thresh : float, optional
        Masks less stable than this are hidden; by default 0.95 on a grid and 0.8 on
        objects, unless the model says otherwise.
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
    min_area : float
        Masks of fewer pixels than this are hidden; 0 keeps all, as the reference.
    max_area_share : float
        Masks of more than this share of the plane are hidden.  Not in the
        reference: on most microscopy images the best-scored mask is the whole
        plane, which hides all others where overlaps are resolved by score.
        1 keeps it.
    pred_iou_floor, stability_score_floor : float, optional
        Masks below these are not kept at all; between floor and threshold they
        are hidden and come back when the threshold is lowered.
    """

    prompts: Prompts = "auto"
    points_per_side: Annotated[int, Range(1, 512)] = 32
    min_center: Share | None = None
    min_foreground: Share | None = None
    object_size: Annotated[float | None, Range(1)] = None
    pred_iou_thresh: Share | None = None
    stability_score_thresh: Share | None = None
    stability_score_offset: Annotated[float, Range(0, 100)] = 1.0
    box_nms_thresh: Share = 0.7
    crop_n_layers: Annotated[int, Range(0, 4)] = 0
    crop_nms_thresh: Share = 0.7
    crop_overlap_ratio: Annotated[float, Range(0, 0.95)] = 512 / 1500
    crop_n_points_downscale_factor: Annotated[int, Range(1, 64)] = 1
    min_mask_region_area: Annotated[int, Range(0)] = 0
    min_area: Annotated[float, Range(0)] = SMALLEST_AREA
    max_area_share: Share = LARGEST_SHARE
    pred_iou_floor: Share | None = None
    stability_score_floor: Share | None = None

    def floor(self, own: ModelThresholds, on_objects: bool) -> tuple[float, float]:
        """Return predicted IoU and stability below which nothing is kept.

        Parameters
        ----------
        own : ModelThresholds
            Of the model that is asked.
        on_objects : bool
            Whether it is asked where it sees objects.
        """
        score, stability, floor = own.limits(on_objects)
        return (
            min(
                chosen(self.pred_iou_floor, floor), chosen(self.pred_iou_thresh, score)
            ),
            min(
                chosen(self.stability_score_floor, floor),
                chosen(self.stability_score_thresh, stability),
            ),
        )

    def thresholds(
        self, shape: tuple[int, int], own: ModelThresholds, on_objects: bool
    ) -> Thresholds:
        """Return what the proposals of a plane of this shape start with.

        Parameters
        ----------
        shape : tuple of int
            Height and width.
        own : ModelThresholds
            Of the model that is asked.
        on_objects : bool
            Whether it is asked where it sees objects.
        """
        score, stability, _ = own.limits(on_objects)
        return Thresholds(
            min_score=chosen(self.pred_iou_thresh, score),
            min_stability=chosen(self.stability_score_thresh, stability),
            min_area=self.min_area,
            max_area=self.max_area_share * shape[0] * shape[1],
            max_overlap=self.box_nms_thresh,
            max_crop_overlap=self.crop_nms_thresh,
            min_region_area=self.min_mask_region_area,
        )

    def object_limits(self, own: ModelThresholds) -> tuple[float, float]:
        """Return how probable an object's center and foreground have to be.

        Parameters
        ----------
        own : ModelThresholds
            Of the model that is asked.
        """
        return (
            chosen(self.min_center, own.center),
            chosen(self.min_foreground, own.foreground),
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


def chosen(value: float | None, default: float) -> float:
    """Return what somebody chose, or else the default."""
    return default if value is None else value
