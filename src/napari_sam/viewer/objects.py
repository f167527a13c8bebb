"""Which prompts made which object, kept beside the labels.

The book is mirrored as plain JSON-able values in ``labels.metadata``, so that it
travels with the layer and an adopted layer brings its prompts along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.viewer.prompts import PointItem, PromptItems, ShapeItem

if TYPE_CHECKING:
    from napari.layers import Labels

METADATA_KEY = "napari_sam"
_VERSION = 1


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
    source : str
        ``"prompts"`` or ``"everything"``.
    """

    label: int
    items: PromptItems
    model: str
    score: float
    source: str = "prompts"

    @property
    def ndim(self) -> int | None:
        """Number of axes of the prompts' positions, None without prompts."""
        sizes = [len(p.position) for p in self.items.points]
        sizes += [s.vertices.shape[-1] for s in self.items.shapes]
        return max(sizes, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return {
            "model": self.model,
            "score": None if np.isnan(self.score) else round(self.score, 4),
            "source": self.source,
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
        """Rebuild a record; raises KeyError, TypeError or ValueError if damaged."""
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
        score = value.get("score")
        return ObjectRecord(
            label,
            PromptItems(points, shapes),
            str(value["model"]),
            float("nan") if score is None else float(score),
            str(value["source"]),
        )


def _axes(value: Any) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)


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
            except (KeyError, TypeError, ValueError):
                # Written by somebody else: the labels are still good.
                continue
            if record.ndim in (None, layer.ndim):
                self._records[record.label] = record

    def __len__(self) -> int:
        return len(self._records)

    def get(self, label: int) -> ObjectRecord | None:
        """Return the record of a label, if there is one."""
        return self._records.get(label)

    def put(self, *records: ObjectRecord) -> None:
        """Add or replace records."""
        for record in records:
            self._records[record.label] = record
        self._mirror()

    def drop(self, *labels: int) -> None:
        """Forget labels; unknown ones are ignored."""
        for label in labels:
            self._records.pop(label, None)
        self._mirror()

    def _mirror(self) -> None:
        self._layer.metadata[METADATA_KEY] = {
            "version": _VERSION,
            "objects": {str(n): r.to_json() for n, r in self._records.items()},
        }
