"""Object records: which prompts made which object, on which planes, how surely.

They turn into plain JSON-able values, which travel in the metadata of the Labels
layer, in projects and in label files.  Training on the user's own labels reads them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.lineage import Lineage
from napari_sam.core.annotation.prompts import (
    PointItem,
    PromptItems,
    ShapeItem,
    items_on,
)
from napari_sam.types import Plane

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari_sam.types import MaskCrop

METADATA_KEY = "napari_sam"
VERSION = 4
"""Of the plain values; older ones, which know no lineage before 4, are read."""


class Source(StrEnum):
    """Where an object's first mask came from.

    Attributes
    ----------
    PROMPTS
        The user's clicks, boxes and outlines.
    PREFILL
        A confident proposal of `EverythingMode.prefill`, accepted by itself.
    EVERYTHING
        A proposal of everything mode.
    """

    PROMPTS = "prompts"
    PREFILL = "prefill"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class PlaneMask:
    """An object's mask on one plane, as it was written.

    Parameters
    ----------
    plane : Plane
        Which plane.
    digest : str
        `digest_of` its pixels, to see whether the user has changed them since; empty
        if not known.
    confirmed : bool
        Whether a person has looked at the object on this plane.
    score : float
        Predicted IoU; NaN if not known.
    """

    plane: Plane
    digest: str = ""
    confirmed: bool = True
    score: float = float("nan")

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **plane_to_json(self.plane),
            "digest": self.digest,
            "confirmed": self.confirmed,
            "score": _rounded(self.score),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> PlaneMask:
        """Rebuild it; raises KeyError, TypeError or ValueError if damaged."""
        return PlaneMask(
            plane_from_json(value),
            str(value.get("digest", "")),
            bool(value.get("confirmed", True)),
            _number(value.get("score")),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ObjectRecord:
    """How an object came to be.

    Parameters
    ----------
    label : int
        Its number in the labels.
    items : PromptItems
        The prompts, as they stood in the prompt layers.
    model : str
        Name of the model that answered.
    score : float
        Lowest predicted IoU of its masks; NaN if not known.
    source : Source
        Where its first mask came from.
    corrections : int
        How many answers the user did not leave as they were: how often the
        model answered other prompts of this object on a plane it had already
        answered on.  Prompts placed before the first answer, the first prompts
        on another plane, and another level of the same answer are none.
        Corrections made after the object was picked again are added.
    corrected : bool
        Whether the user changed a proposal, so that the mask is not the one
        that ``source`` gave.  Always False for prompts.
    masks : tuple of PlaneMask
        Where it has a mask, one entry per plane.
    stability : float
        Stability score of a proposal's mask; NaN if not known.
    fingerprint : str
        Checksum of the weights of the model that answered; empty if not known.
    """

    label: int
    items: PromptItems
    model: str
    score: float
    source: Source = Source.PROMPTS
    corrections: int = 0
    corrected: bool = False
    masks: tuple[PlaneMask, ...] = ()
    stability: float = float("nan")
    fingerprint: str = ""

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Where it has a mask, so that image and labels can be cut out."""
        return tuple(m.plane for m in self.masks)

    @property
    def confirmed(self) -> bool:
        """Whether a person has looked at it on every plane and accepted it.

        False for what everything mode wrote in one go and nobody has reviewed.
        """
        if not self.masks:
            return self.source is not Source.EVERYTHING
        return all(m.confirmed for m in self.masks)

    @property
    def ndim(self) -> int | None:
        """Number of axes of its prompts' positions and planes, None without any."""
        sizes = [self.items.ndim, *(p.ndim for p in self.planes)]
        return max((n for n in sizes if n is not None), default=None)

    def renumbered(
        self, label: int, parts: Iterable[tuple[PlaneMask, ObjectRecord]]
    ) -> ObjectRecord:
        """Return the record of another number.

        Parameters
        ----------
        label : int
            The number.
        parts : iterable of (PlaneMask, ObjectRecord)
            Its masks, and the record that each is of: the prompts on its plane come
            with it.
        """
        own = tuple(parts)
        prompts = [items_on(record.items, mask.plane) for mask, record in own]
        items = PromptItems(
            tuple(p for part in prompts for p in part.points),
            tuple(s for part in prompts for s in part.shapes),
        )
        masks = tuple(mask for mask, _ in own)
        return replace(self, label=label, masks=masks, items=items)

    def by(self, model: str, fingerprint: str) -> ObjectRecord:
        """Return the record of an object that another model answered for."""
        return replace(self, model=model, fingerprint=fingerprint)

    def confirm(self, planes: Iterable[Plane] | None = None) -> ObjectRecord:
        """Return the record of an object that a person has looked at.

        Parameters
        ----------
        planes : iterable of Plane, optional
            Where; on all planes by default.
        """
        seen = set(self.planes if planes is None else planes)
        return replace(
            self,
            masks=tuple(
                replace(m, confirmed=m.confirmed or m.plane in seen) for m in self.masks
            ),
        )

    def corrected_by_hand(self) -> ObjectRecord:
        """Return the record of an object that the user has painted on."""
        return replace(self, corrected=True)

    def with_masks(self, masks: Iterable[PlaneMask]) -> ObjectRecord:
        """Return the record with these masks in place of those on the same planes.

        A mask without pixels, told by its empty digest, leaves its plane.
        """
        # The transposed view of a plane has the same pixels.
        merged = {m.plane.index: m for m in self.masks}
        for mask in masks:
            if mask.digest:
                merged[mask.plane.index] = mask
            else:
                merged.pop(mask.plane.index, None)
        return replace(self, masks=tuple(merged.values()))

    def mask_on(self, plane: Plane) -> PlaneMask | None:
        """Return its mask on a plane, also if that is shown transposed."""
        return next((m for m in self.masks if m.plane.index == plane.index), None)

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return {
            "model": self.model,
            "fingerprint": self.fingerprint,
            "score": _rounded(self.score),
            "stability": _rounded(self.stability),
            "source": str(self.source),
            "corrections": self.corrections,
            "corrected": self.corrected,
            "masks": [m.to_json() for m in self.masks],
            **items_to_json(self.items),
        }

    @staticmethod
    def from_json(label: int, value: dict[str, Any]) -> ObjectRecord:
        """Rebuild a record; raises KeyError, TypeError or ValueError if damaged.

        Records of version 1 know neither corrections nor planes: their planes
        are those of their prompts.  Those of version 2 were confirmed on all planes
        or none, and knew a digest of the first.
        """
        items = items_from_json(value)
        source = Source(value["source"])
        score = _number(value.get("score"))
        if "masks" in value:
            masks = tuple(PlaneMask.from_json(m) for m in value["masks"])
        else:
            planes = tuple(plane_from_json(p) for p in value.get("planes", ()))
            planes = planes or items.planes()
            confirmed = bool(value.get("confirmed", source is not Source.EVERYTHING))
            digest = str(value.get("digest", ""))
            masks = tuple(
                PlaneMask(plane, "" if number else digest, confirmed, score)
                for number, plane in enumerate(planes)
            )
        return ObjectRecord(
            label,
            items,
            str(value["model"]),
            score,
            source,
            int(value.get("corrections", 0)),
            bool(value.get("corrected", False)),
            masks,
            _number(value.get("stability")),
            str(value.get("fingerprint", "")),
        )


def digest_of(mask: MaskCrop) -> str:
    """Return a short checksum of a mask's pixels and place; empty for no pixels."""
    tight = mask.tight()
    if tight.region.is_empty:
        return ""
    r = tight.region
    place = f"{r.row0},{r.col0},{r.row1},{r.col1};".encode()
    return f"{zlib.crc32(np.packbits(tight.mask).tobytes(), zlib.crc32(place)):08x}"


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _axes(value: Any) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)


def plane_to_json(plane: Plane) -> dict[str, Any]:
    """Return a plane as plain values."""
    return {"axes": list(plane.displayed), "index": list(plane.index)}


def plane_from_json(value: Any) -> Plane:
    """Rebuild a plane; raises KeyError, TypeError or ValueError if damaged."""
    index = tuple(None if i is None else int(i) for i in value["index"])
    return Plane(_axes(value["axes"]), index)


def items_to_json(items: PromptItems) -> dict[str, Any]:
    """Return prompts as plain values."""
    return {
        "points": [
            {"at": list(p.position), "positive": p.positive, "axes": list(p.axes)}
            for p in items.points
        ],
        "shapes": [
            {
                "kind": s.kind,
                "vertices": s.vertices.tolist(),
                "positive": s.positive,
                "axes": list(s.axes),
            }
            for s in items.shapes
        ],
    }


def items_from_json(value: Any) -> PromptItems:
    """Rebuild prompts; raises KeyError, TypeError or ValueError if damaged."""
    points = tuple(
        PointItem(
            tuple(float(x) for x in p["at"]), bool(p["positive"]), _axes(p["axes"])
        )
        for p in value["points"]
    )
    shapes = tuple(
        ShapeItem(
            np.asarray(s["vertices"], dtype=float),
            str(s["kind"]),
            bool(s["positive"]),
            _axes(s["axes"]),
        )
        for s in value["shapes"]
    )
    return PromptItems(points, shapes)


class ObjectRecords:
    """Records by label, in the order in which the objects were first written.

    Beside them the lineage of the objects, which those without a record have, too.

    Parameters
    ----------
    stored : mapping, optional
        What `to_json` gave; entries that cannot be read are passed over.
    ndim : int, optional
        Only records of labels with so many axes are taken.

    Attributes
    ----------
    lineage : Lineage
        Which objects are daughters of which.
    """

    def __init__(self, stored: Any = None, ndim: int | None = None) -> None:
        self._records: dict[int, ObjectRecord] = {}
        plain = stored if isinstance(stored, dict) else {}
        self.lineage = Lineage.from_json(plain.get("lineage"))
        objects = plain.get("objects")
        for label, value in objects.items() if isinstance(objects, dict) else ():
            try:
                record = ObjectRecord.from_json(int(label), value)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                # Written by somebody else: the labels are still good.
                continue
            if ndim is None or record.ndim in (None, ndim):
                self._records[record.label] = record
        # Kept as it is stored: thousands of records are not turned into plain
        # values again for each new one.
        self._plain = {str(n): r.to_json() for n, r in self._records.items()}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[ObjectRecord]:
        """Yield the records in the order in which the objects were first written."""
        return iter(tuple(self._records.values()))

    def get(self, label: int) -> ObjectRecord | None:
        """Return the record of a label, if there is one."""
        return self._records.get(label)

    def apply(self, after: Mapping[int, ObjectRecord | None]) -> None:
        """Add, replace or forget (None) the records of these labels."""
        for label, record in after.items():
            if record is None:
                self._records.pop(label, None)
                self._plain.pop(str(label), None)
            else:
                self._records[label] = record
                self._plain[str(label)] = record.to_json()

    def to_json(self) -> dict[str, Any]:
        """Return all records as plain values, which later changes go into too."""
        plain = {"version": VERSION, "objects": self._plain}
        lineage = self.lineage.to_json()
        return {**plain, "lineage": lineage} if lineage else plain
