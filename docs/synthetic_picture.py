"""Draw the picture of the drawn images.

``PYTHONPATH=synthetic/src python docs/synthetic_picture.py``
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from napari_sam_synthetic import KINDS, generate

OUT = Path(__file__).resolve().parent / "images" / "synthetic.png"
DRAWN, SHOWN, GAP = 448, 128, 4
SEEDS = (33, 29, 31)
OUTLINE = (255, 220, 0)


def tile(kind: str, seed: int, *, outlined: bool) -> Image.Image:
    """Return one image, with the outlines of its objects if asked."""
    sample = generate(kind, seed, DRAWN)
    pixels = sample.rgb.copy()
    if outlined:
        edges = find_boundaries(sample.labels, mode="thick")
        pixels[edges] = OUTLINE
    return Image.fromarray(pixels).resize((SHOWN, SHOWN), Image.Resampling.BOX)


def main() -> None:
    """A column for each kind; the last row shows the outlines of the one before."""
    rows = [*((seed, False) for seed in SEEDS), (SEEDS[-1], True)]
    step = SHOWN + GAP
    size = (len(KINDS) * step - GAP, len(rows) * step - GAP)
    sheet = Image.new("RGB", size, "white")
    for column, kind in enumerate(KINDS):
        for number, (seed, outlined) in enumerate(rows):
            picture = tile(kind, seed, outlined=outlined)
            sheet.paste(picture, (column * step, number * step))
    sheet.quantize(224).save(OUT, optimize=True)
    print(f"{OUT.name}: {np.round(OUT.stat().st_size / 1e3)} kB")


if __name__ == "__main__":
    main()
