"""Images and labels in and out of files."""

from __future__ import annotations

from napari_sam.io.image_file import ImageFile
from napari_sam.io.images import read_image
from napari_sam.io.labels import write_labels
from napari_sam.io.preview import write_preview

__all__ = ["ImageFile", "read_image", "write_labels", "write_preview"]
