"""Sample images that ship with the package; ``README.md`` here has their credits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam.io import read_image

LayerData = tuple[Any, dict[str, Any], str]
"""What npe2 expects of sample data: pixels, layer arguments, layer type."""

_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample image.

    Parameters
    ----------
    key : str
        What the command line and the manifest call it.
    title : str
        Name of its layer.
    file : str
        File beside this module.
    credit : str
        Where it comes from.
    licence : str
        Licence of the image.
    """

    key: str
    title: str
    file: str
    credit: str
    licence: str

    @property
    def path(self) -> Path:
        """Where the file is."""
        return _FOLDER / self.file


SAMPLES = {
    sample.key: sample
    for sample in (
        Sample(
            "nuclei",
            "Nuclei (fluorescence)",
            "nuclei.png",
            "2018 Data Science Bowl, BBBC038 (Caicedo et al. 2019)",
            "CC0 1.0",
        ),
        Sample(
            "histology",
            "Tissue (H&E)",
            "histology.png",
            "2018 Data Science Bowl, BBBC038 (Caicedo et al. 2019)",
            "CC0 1.0",
        ),
        Sample(
            "phase_contrast",
            "Cells (phase contrast)",
            "phase_contrast.png",
            "Usiigaci (Tsai et al. 2019), (c) Okinawa Institute of Science &"
            " Technology",
            "MIT",
        ),
        Sample(
            "ovule",
            "Ovule (confocal stack)",
            "ovule.tif",
            "PlantSeg (Wolny et al. 2020), (c) Heidelberg Collaboratory for Image"
            " Processing",
            "MIT",
        ),
        Sample(
            "chloroplasts",
            "Chloroplasts (EM stack)",
            "chloroplasts.tif",
            "WSU_PlantBio_ML, (c) Aaron Brookhouse",
            "MIT",
        ),
    )
}


def layer_data(key: str) -> LayerData:
    """Return a sample as napari takes it.

    Parameters
    ----------
    key : str
        One of `SAMPLES`.

    Returns
    -------
    tuple
        Pixels, uint8 (H, W), (H, W, 3) or (Z, H, W); arguments of the layer,
        with the credit in ``metadata``; ``"image"``.
    """
    sample = SAMPLES[key]
    image = read_image(sample.path)
    pixels = np.asarray(image.data)
    arguments: dict[str, Any] = {
        "name": sample.title,
        "rgb": image.rgb,
        "scale": image.scale,
        "units": image.units,
        "metadata": {"credit": sample.credit, "licence": sample.licence},
    }
    if not image.rgb:
        # A few bright specks would leave the rest dark.
        low, high = np.percentile(pixels, (0.1, 99.8))
        arguments["contrast_limits"] = (float(low), float(high))
    return pixels, arguments, "image"


def nuclei() -> list[LayerData]:
    """Fluorescence nuclei, (520, 696)."""
    return [layer_data("nuclei")]


def histology() -> list[LayerData]:
    """Stained tissue, RGB (256, 320, 3)."""
    return [layer_data("histology")]


def phase_contrast() -> list[LayerData]:
    """Phase-contrast cells, (768, 768)."""
    return [layer_data("phase_contrast")]


def ovule() -> list[LayerData]:
    """Confocal stack of cell walls, (32, 128, 128)."""
    return [layer_data("ovule")]


def chloroplasts() -> list[LayerData]:
    """Electron-microscopy stack of plant cells, (10, 512, 512)."""
    return [layer_data("chloroplasts")]
