"""An object that is followed through the stack, as plain values.

Masks are kept as run lengths: a slice takes a few hundred bytes.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.records import plane_from_json, plane_to_json
from napari_sam.core.rle import RunLengths
from napari_sam.core.volumes.followed import Followed
from napari_sam.core.volumes.propagation import (
    PropagatedSlice,
    PropagationSettings,
    Source,
)
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Mapping


def followed_to_json(followed: Followed) -> dict[str, Any]:
    """Return it as plain values; not what its confidences are made of."""
    return {
        **plane_to_json(followed.base),
        "axis": followed.axis,
        "limits": list(followed.limits),
        "settings": asdict(followed.settings),
        "prompted": _masks_to_json(followed.prompted),
        "confirmed": _masks_to_json(followed.confirmed),
        "slices": [
            {
                "position": found.position,
                **_mask_to_json(found.mask),
                "confidence": found.confidence,
                "source": found.source.name,
                "ghost": found.is_ghost,
            }
            for found in followed.slices.values()
        ],
        "stale": sorted(followed.stale),
        "finished": [list(ends) for ends in followed.finished],
    }


def followed_from_json(value: dict[str, Any]) -> Followed:
    """Rebuild it; raises KeyError, TypeError or ValueError if damaged."""
    base, axis = plane_from_json(value), int(value["axis"])
    if axis not in range(base.ndim) or axis in base.displayed:
        raise ValueError(f"{base} lies in no stack along axis {axis}")
    start, stop = value["limits"]
    slices = [
        PropagatedSlice(
            int(one["position"]),
            _mask_from_json(one),
            float(one["confidence"]),
            Source[one["source"]],
            bool(one["ghost"]),
        )
        for one in value["slices"]
    ]
    return Followed(
        base,
        axis,
        (int(start), int(stop)),
        PropagationSettings(**value["settings"]),
        _masks_from_json(value["prompted"]),
        _masks_from_json(value["confirmed"]),
        {found.position: found for found in slices},
        frozenset(int(position) for position in value["stale"]),
        frozenset((_end(low), _end(high)) for low, high in value["finished"]),
    )


def _end(value: Any) -> int | None:
    return None if value is None else int(value)


def _masks_to_json(masks: Mapping[int, MaskCrop]) -> list[dict[str, Any]]:
    return [{"position": p, **_mask_to_json(mask)} for p, mask in masks.items()]


def _masks_from_json(values: list[dict[str, Any]]) -> dict[int, MaskCrop]:
    return {int(one["position"]): _mask_from_json(one) for one in values}


def _mask_to_json(mask: MaskCrop) -> dict[str, Any]:
    encoded, r = RunLengths.encode(mask), mask.region
    box = [r.row0, r.col0, r.row1, r.col1]
    return {"box": box, "runs": encoded.runs.tolist()}


def _mask_from_json(value: dict[str, Any]) -> MaskCrop:
    row0, col0, row1, col1 = (int(x) for x in value["box"])
    region = Region(row0, col0, row1, col1)
    runs = [int(n) for n in value["runs"]]
    if min(runs, default=0) < 0 or sum(runs) != math.prod(region.shape):
        raise ValueError(f"the runs of a mask are not those of {region}")
    return RunLengths(np.array(runs, np.uint32), region).decode()
