"""Objects from COCO and SA-1B JSON files.

COCO (Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014) keeps
the objects of many images in one file, SA-1B (Kirillov et al., "Segment
Anything", ICCV 2023) those of one image.  An object is a list of polygons or
runs in column-major order, as numbers or packed into a string as pycocotools
does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.rle import RunLengths
from napari_sam.errors import DataError
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class CocoImage:
    """The objects of one image.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image in pixels.
    objects : tuple
        COCO's ``segmentation`` of each: polygons, or a mapping of ``size`` and
        ``counts``.
    """

    shape: tuple[int, int]
    objects: tuple[Any, ...]

    def labels(self) -> npt.NDArray[np.int32]:
        """Return a label image, (H, W), objects numbered from 1 as in the file.

        Where objects overlap, the smaller one is on top.

        Raises
        ------
        DataError
            If an object's outline is not as COCO has it.
        """
        masks = [decode(o, self.shape) for o in self.objects]
        labels = np.zeros(self.shape, np.int32)
        for i in sorted(range(len(masks)), key=lambda i: -masks[i].area):
            labels[masks[i].region.slices][masks[i].mask] = i + 1
        return labels


def read_annotations(file: Path) -> list[tuple[str, CocoImage]]:
    """Return file name and objects of every image in a COCO or SA-1B file.

    Crowds (``iscrowd``) are left out, since they are not one object.

    Raises
    ------
    DataError
        If the file is not of either format.
    """
    if not file.is_file():
        raise DataError("cannot be read as JSON (it is no file)")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot be read as JSON ({error})") from error
    try:
        if "images" in content:
            images = content["images"]
        else:
            images = [dict(content["image"], id=None)]
        objects: dict[Any, list[Any]] = {image["id"]: [] for image in images}
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd"):
                key = annotation["image_id"] if "images" in content else None
                objects[key].append(annotation["segmentation"])
        return [
            (
                str(image["file_name"]),
                CocoImage(_shape(image), tuple(objects[image["id"]])),
            )
            for image in images
        ]
    except (
        KeyError, TypeError, ValueError, AttributeError, OverflowError,
    ) as error:  # fmt: skip
        raise DataError(
            f"is neither a COCO nor an SA-1B file ({type(error).__name__}: {error})"
        ) from error


def _shape(image: dict[str, Any]) -> tuple[int, int]:
    height, width = int(image["height"]), int(image["width"])
    if height < 1 or width < 1:
        raise ValueError(f"an image of {height} x {width} pixels")
    return height, width


def decode(segmentation: Any, shape: tuple[int, int]) -> MaskCrop:
    """Return the mask of one object.

    Parameters
    ----------
    segmentation : list of polygons, or mapping
        Polygons are ``[x0, y0, x1, y1, ...]`` with pixel corners at whole
        numbers; a mapping has ``size`` (height, width) and ``counts``.
    shape : tuple of int
        Height and width of the image.

    Raises
    ------
    DataError
        If it is neither, or does not fit the image.
    """
    try:
        if isinstance(segmentation, dict):
            return _runs(segmentation, shape)
        return _polygons(segmentation, shape)
    except (
        KeyError, IndexError, TypeError, ValueError, OverflowError,
    ) as error:  # fmt: skip
        raise DataError(
            f"an outline cannot be read ({type(error).__name__}: {error})"
        ) from error


def _runs(segmentation: dict[str, Any], shape: tuple[int, int]) -> MaskCrop:
    height, width = (int(n) for n in segmentation["size"])
    counts = segmentation["counts"]
    runs = np.array(unpack(counts) if isinstance(counts, str) else counts, np.int64)
    if (height, width) != shape or runs.sum() != height * width or (runs < 0).any():
        raise ValueError(f"runs of {runs.sum()} pixels in an image of {shape}")
    columns = RunLengths(runs.astype(np.uint32), Region(0, 0, width, height)).decode()
    return MaskCrop.from_full(columns.mask.T)


def unpack(text: str) -> list[int]:
    """Return the run lengths in a string that pycocotools wrote.

    Each number is written five bits at a time, lowest first, as characters from
    ``0``, with bit 5 set if more follow; from the fourth on as the difference
    from the one before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text.encode():
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def _polygons(polygons: Sequence[Sequence[float]], shape: tuple[int, int]) -> MaskCrop:
    from skimage.draw import polygon

    # From pixel corners to pixel centers at whole numbers.
    outlines = [
        np.asarray(flat, np.float64).reshape(-1, 2)[:, ::-1] - 0.5 for flat in polygons
    ]
    if not all(np.isfinite(outline).all() for outline in outlines):
        raise ValueError("a corner is not at a finite place")
    corners = np.concatenate([*outlines, np.zeros((0, 2))])
    if not corners.size:
        return MaskCrop.from_full(np.zeros((0, 0), bool))
    # Only the box around the object, of an image that may be large.
    low = np.clip(np.floor(corners.min(axis=0)), 0, shape).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, shape).astype(int)
    region = Region(*low.tolist(), *np.maximum(low, high).tolist())
    mask = np.zeros(region.shape, bool)
    for outline in outlines:
        rows, columns = (outline - low).T
        mask[polygon(rows, columns, region.shape)] = True
    return MaskCrop(mask, region).tight()
