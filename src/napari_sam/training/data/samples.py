"""What training and evaluation read: an image and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_sam.types import RGBArray


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One plane with its ground truth.

    Parameters
    ----------
    name : str
        Where it comes from, for messages: the file's name, ``stem/3`` for the
        fourth plane of a stack.
    rgb : uint8 array (H, W, 3)
        The image as the model sees it; see :func:`napari_sam.core.imaging.to_rgb`.
    labels : int32 array (H, W)
        One number per object; 0 is background.
    """

    name: str
    rgb: RGBArray
    labels: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.rgb.shape[:2] != self.labels.shape or self.rgb.shape[2:] != (3,):
            raise ValueError(
                f"{self.name}: image {self.rgb.shape} and labels "
                f"{self.labels.shape} do not match"
            )
