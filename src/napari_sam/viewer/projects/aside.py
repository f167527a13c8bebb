"""Work on labels that are in the viewer and that nobody annotates at the moment.

As long as they are there, their folder stays open: no other window is offered what this
one still has, and who annotates them again goes on in the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.annotation.records import METADATA_KEY, ObjectRecords
from napari_sam.errors import FileFormatError
from napari_sam.io.project import is_project, open_folder
from napari_sam.viewer.coords import layer_shape

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_sam.io.project import PlaneProposals, ProjectFolder

_KEY = "napari_sam_kept_in"


@dataclass(frozen=True, slots=True, eq=False)
class Aside:
    """A folder that was put aside.

    Parameters
    ----------
    folder : ProjectFolder
        Open, and locked.
    proposals : tuple of PlaneProposals
        Those that were under review with it.
    is_blank : bool
        Whether nothing is left of what was written in it.
    """

    folder: ProjectFolder
    proposals: tuple[PlaneProposals, ...] = ()
    is_blank: bool = False

    def close(self, *, finished: bool = False, offered: bool = True) -> None:
        """Close the folder; what is blank is never offered."""
        self.folder.close(
            finished=finished or self.is_blank, offered=offered and not self.is_blank
        )


class AsideFolders:
    """The folders of labels that are in the viewer and not bound."""

    def __init__(self) -> None:
        self._held: dict[Path, Aside] = {}

    def put(self, aside: Aside) -> None:
        """Hold a folder open."""
        self._held[aside.folder.path.resolve()] = aside

    def take(self, layer: Labels) -> Aside | None:
        """Return the folder in which a layer's work is kept, ready to go on.

        None if there is none, or somebody else has it, or the layer is another by now.
        """
        path = linked_to(layer)
        if path is None:
            return None
        aside = self._held.pop(path.resolve(), None) or _reopened(path)
        if aside is None or _suits(aside.folder, layer):
            return aside
        aside.close()
        return None

    def let_go(self, path: Path) -> bool:
        """Close a folder, if it is held; what is in it is offered from now on."""
        aside = self._held.pop(path.resolve(), None)
        if aside is not None:
            aside.close()
        return aside is not None

    def close(self, *, finished: bool, offered: bool) -> None:
        """Close all folders."""
        for aside in self._held.values():
            aside.close(finished=finished, offered=offered)
        self._held.clear()


def link(layer: Labels, path: Path) -> None:
    """Note in a layer where its work is kept, for who annotates it next."""
    layer.metadata[_KEY] = (str(layer.unique_id), str(path))


def linked_to(layer: Labels) -> Path | None:
    """Return where a layer's work is kept; None for a copy of the layer."""
    found = layer.metadata.get(_KEY)
    if not isinstance(found, tuple) or found[0] != str(layer.unique_id):
        return None
    return Path(found[1])


def is_blank(layer: Labels | None) -> bool:
    """Whether a layer has neither objects nor pixels, as far as a look can tell."""
    if layer is None:
        return False
    records = ObjectRecords(layer.metadata.get(METADATA_KEY), layer.ndim)
    data = layer.data
    # Of an array on disk it is not asked, for that could take minutes.
    return not len(records) and isinstance(data, np.ndarray) and not data.any()


def _reopened(path: Path) -> Aside | None:
    if not is_project(path):
        return None
    try:
        folder = open_folder(path)
    except FileFormatError:
        return None
    try:
        if not folder.is_read_only:
            folder.go_on()
            return Aside(folder)
    except FileFormatError:
        pass
    folder.close(finished=False)
    return None


def _suits(folder: ProjectFolder, layer: Labels) -> bool:
    """Whether the folder can hold the layer's labels."""
    info = folder.file.labels
    return info.shape == layer_shape(layer) and info.dtype == layer.data.dtype.str
