"""Object records of a project: a line of JSON each, and what a journal changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_sam.core.annotation.lineage import Lineage
from napari_sam.core.annotation.records import ObjectRecord, ObjectRecords

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_sam.core.annotation.journal import Entry


def read_objects(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the records by label, and how many lines cannot be read."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}, 1
    stored, unread = {}, 0
    for line in lines:
        try:
            value = json.loads(line)
            label = int(value.pop("label"))
            ObjectRecord.from_json(label, value)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            unread += 1
            continue
        stored[str(label)] = value
    return stored, unread


def objects_text(records: Mapping[str, dict[str, Any]]) -> str:
    """Return the records as the file has them."""
    return "".join(
        json.dumps({"label": int(label), **record}, allow_nan=False) + "\n"
        for label, record in records.items()
    )


def apply_entry(records: ObjectRecords, entry: Entry) -> None:
    """Let records say what they say after a transaction of the journal.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError, OverflowError
        If it is damaged; nothing has changed then.
    """
    changes = {
        label: None if r is None else ObjectRecord.from_json(label, r)
        for label, r in entry.records.items()
    }
    records.apply(changes)
    if entry.lineage is not None:
        records.lineage = Lineage.from_json(entry.lineage)
