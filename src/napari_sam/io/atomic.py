"""Write files so that a reader sees the old one or the new one, never a half."""

from napari_sam.core.atomic import replacing

__all__ = ["replacing"]
