"""Which prompts made which object, kept beside the labels.

The book is mirrored as plain JSON-able values in ``labels.metadata``, so that it
travels with the layer and an adopted layer brings its prompts along.  It is also
what training on the user's own labels reads: see `ObjectRecord`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.types import Plane
from napari_sam.viewer.prompts import PointItem, PromptItems, ShapeItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.layers import Labels

    from napari_sam.types import MaskCrop

METADATA_KEY = "napari_sam"
_VERSION = 2


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
        Predicted IoU of the accepted mask; NaN if not known.
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
    confirmed : bool
        Whether a person has looked at this object and accepted it.  False for
        what everything mode wrote in one go and nobody has reviewed.
    planes : tuple of Plane
        Where it has a mask, so that image and labels can be cut out.
    stability : float
        Stability score of a proposal's mask; NaN if not known.
    digest : str
        `digest_of` what was written, to see whether the user has changed it
        since; empty if not known.
    """

    label: int
    items: PromptItems
    model: str
    score: float
    source: Source = Source.PROMPTS
    corrections: int = 0
    corrected: bool = False
    confirmed: bool = True
    planes: tuple[Plane, ...] = ()
    stability: float = float("nan")
    digest: str = ""

    @property
    def ndim(self) -> int | None:
        """Number of axes of its prompts' positions and planes, None without any."""
        sizes = [len(p.position) for p in self.items.points]
        sizes += [s.vertices.shape[-1] for s in self.items.shapes]
        sizes += [p.ndim for p in self.planes]
        return max(sizes, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return {
            "model": self.model,
            "score": _rounded(self.score),
            "stability": _rounded(self.stability),
            "source": str(self.source),
            "corrections": self.corrections,
            "corrected": self.corrected,
            "confirmed": self.confirmed,
            "digest": self.digest,
            "planes": [
                {"axes": list(p.displayed), "index": list(p.index)} for p in self.planes
            ],
            "points": [
                {"at": list(p.position), "positive": p.positive, "axes": list(p.axes)}
                for p in self.items.points
            ],
            "shapes": [
                {
                    "kind": s.kind,
                    "vertices": s.vertices.tolist(),
                    "positive": s.positive,
                    "axes": list(s.axes),
                }
                for s in self.items.shapes
            ],
        }

    @staticmethod
    def from_json(label: int, value: dict[str, Any]) -> ObjectRecord:
        """Rebuild a record; raises KeyError, TypeError or ValueError if damaged.

        Records of version 1 know neither corrections nor planes: their planes
        are those of their prompts.
        """
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
        items = PromptItems(points, shapes)
        source = Source(value["source"])
        planes = tuple(_plane(p) for p in value.get("planes", ())) or items.planes()
        return ObjectRecord(
            label,
            items,
            str(value["model"]),
            _number(value.get("score")),
            source,
            int(value.get("corrections", 0)),
            bool(value.get("corrected", False)),
            bool(value.get("confirmed", source is not Source.EVERYTHING)),
            planes,
            _number(value.get("stability")),
            str(value.get("digest", "")),
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


def _plane(value: Any) -> Plane:
    index = tuple(None if i is None else int(i) for i in value["index"])
    return Plane(_axes(value["axes"]), index)


class ObjectBook:
    """All records of one Labels layer, mirrored in its metadata."""

    def __init__(self, layer: Labels) -> None:
        self._layer = layer
        self._records: dict[int, ObjectRecord] = {}
        stored = layer.metadata.get(METADATA_KEY)
        objects = stored.get("objects") if isinstance(stored, dict) else None
        for label, value in objects.items() if isinstance(objects, dict) else ():
            try:
                record = ObjectRecord.from_json(int(label), value)
            except (KeyError, TypeError, ValueError, AttributeError):
                # Written by somebody else: the labels are still good.
                continue
            if record.ndim in (None, layer.ndim):
                self._records[record.label] = record
        # Kept as it is stored: thousands of records are not turned into plain
        # values again for each new one.
        self._stored = {str(n): r.to_json() for n, r in self._records.items()}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[ObjectRecord]:
        """Yield the records in the order in which the objects were first written."""
        return iter(tuple(self._records.values()))

    def get(self, label: int) -> ObjectRecord | None:
        """Return the record of a label, if there is one."""
        return self._records.get(label)

    def put(self, *records: ObjectRecord) -> None:
        """Add or replace records."""
        for record in records:
            self._records[record.label] = record
            self._stored[str(record.label)] = record.to_json()
        self._mirror()

    def drop(self, *labels: int) -> None:
        """Forget labels; unknown ones are ignored."""
        for label in labels:
            self._records.pop(label, None)
            self._stored.pop(str(label), None)
        self._mirror()

    def restore(
        self,
        records: Sequence[ObjectRecord],
        before: Sequence[ObjectRecord | None],
    ) -> None:
        """Let the book say what it said before these records were put."""
        for record, old in zip(records, before, strict=True):
            if old is None:
                self.drop(record.label)
            else:
                self.put(old)

    def _mirror(self) -> None:
        self._layer.metadata[METADATA_KEY] = {
            "version": _VERSION,
            "objects": self._stored,
        }
