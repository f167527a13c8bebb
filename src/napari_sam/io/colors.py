"""Pixels as the colors that a file means by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]


def palette_to_color(indices: Pixels, colormap: Pixels) -> Pixels:
    """Colors of palette indices.

    Parameters
    ----------
    indices : uint array (..., H, W)
        Which entry of the palette each pixel is.
    colormap : uint16 array (3, N)
        Red, green and blue of the entries, as TIFF's ``ColorMap``.

    Returns
    -------
    uint8 array
        (..., H, W) if the palette holds only grays, else (..., H, W, 3).
    """
    # Some programs write values up to 255 where the format wants 65,535.
    shift = 8 if colormap.max(initial=0) > 255 else 0
    table = (colormap >> shift).astype(np.uint8).T
    colors = table[np.minimum(indices, len(table) - 1)]
    return colors[..., 0] if is_gray(colormap) else colors


def is_gray(colormap: Pixels) -> bool:
    """Whether a palette holds only grays."""
    return bool((colormap == colormap[:1]).all())


def cmyk_to_rgb(pixels: Pixels) -> Pixels:
    """RGB of inks on white paper: ``(1 - ink)(1 - black)`` of the full range.

    Parameters
    ----------
    pixels : uint8 or uint16 array (..., 4 or more)
        Cyan, magenta, yellow, black; further samples are left out.
    """
    full = int(np.iinfo(pixels.dtype).max)
    paper = full - pixels[..., :4].astype(np.uint32)
    rgb = (paper[..., :3] * paper[..., 3:] + full // 2) // full
    return rgb.astype(pixels.dtype)
