"""What is said of a project that was opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.io.project import ProjectFolder, ProjectState


def told(folder: ProjectFolder, state: ProjectState) -> str:
    """Return what was opened or restored, in a sentence."""
    count = len(state.records)
    objects = "1 object" if count == 1 else f"{count} objects"
    if not folder.file.saved:
        text = f"{objects} restored"
    else:
        text = f"Opened {folder.path.name}: {objects}"
        if state.restored:
            changes = "change" if state.restored == 1 else f"{state.restored} changes"
            text += f", the last {changes} not saved before"
    if folder.is_read_only:
        return (
            f"{text}, for reading only, since {folder.reason}: what you write is kept"
            " in memory until you save it under another name."
        )
    return f"{text}."
