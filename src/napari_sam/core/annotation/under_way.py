"""What is not in the labels yet: objects under way, and what was turned down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_sam.core.annotation.followed_json import (
    followed_from_json,
    followed_to_json,
)
from napari_sam.core.annotation.records import (
    items_from_json,
    items_to_json,
    plane_from_json,
    plane_to_json,
)
from napari_sam.errors import SettingsError
from napari_sam.types import MaskLevel, Plane

if TYPE_CHECKING:
    from napari_sam.core.annotation.prompts import PromptItems
    from napari_sam.core.volumes.followed import Followed

ProposalKey = tuple[Plane, tuple[int, int, int, int], tuple[float, float], int]
"""Plane, box, point and area of a proposal: the same whatever the thresholds."""


@dataclass(frozen=True, slots=True)
class KeptObject:
    """An object that is not written yet.

    Parameters
    ----------
    items : PromptItems
        Its prompts.
    label : int, optional
        Its number, if it corrects an object that is in the labels.
    level : MaskLevel
        Which of the model's nested answers it is.
    is_accepted : bool
        Whether the user has accepted it; its answers are still missing.
    followed : Followed, optional
        What was found of it on other slices.
    """

    items: PromptItems
    label: int | None = None
    level: MaskLevel = MaskLevel.AUTO
    is_accepted: bool = False
    followed: Followed | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "label": self.label,
            "level": self.level.name,
            "accepted": self.is_accepted,
            "followed": self.followed and followed_to_json(self.followed),
            **items_to_json(self.items),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> KeptObject:
        """Rebuild it; raises KeyError, TypeError or ValueError if damaged."""
        label = value["label"]
        return KeptObject(
            items_from_json(value),
            None if label is None else int(label),
            MaskLevel[value["level"]],
            bool(value["accepted"]),
            _followed(value.get("followed")),
        )


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What is under way at one moment.

    Parameters
    ----------
    sequence : int
        Number of the last transaction before it; after a later one the objects may be
        in the labels.
    objects : tuple of KeptObject
        The oldest first.
    rejected : tuple of ProposalKey
        Proposals that the user has turned down.
    """

    sequence: int = 0
    objects: tuple[KeptObject, ...] = ()
    rejected: tuple[ProposalKey, ...] = ()

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(
            {
                "sequence": self.sequence,
                "objects": [one.to_json() for one in self.objects],
                "rejected": [
                    {**plane_to_json(plane), "box": box, "point": point, "area": area}
                    for plane, box, point, area in self.rejected
                ],
            }
        )

    @staticmethod
    def from_text(text: str | bytes) -> UnderWay:
        """Rebuild it; raises KeyError, TypeError or ValueError if damaged."""
        value = json.loads(text)
        return UnderWay(
            int(value["sequence"]),
            tuple(KeptObject.from_json(one) for one in value["objects"]),
            tuple(_key(one) for one in value["rejected"]),
        )


def _followed(value: dict[str, Any] | None) -> Followed | None:
    try:
        return None if value is None else followed_from_json(value)
    except (KeyError, TypeError, ValueError, OverflowError, SettingsError):
        # It can be found again; the prompts cannot.
        return None


def _key(value: dict[str, Any]) -> ProposalKey:
    row0, col0, row1, col1 = (int(x) for x in value["box"])
    row, col = (float(x) for x in value["point"])
    return (
        plane_from_json(value),
        (row0, col0, row1, col1),
        (row, col),
        int(value["area"]),
    )
