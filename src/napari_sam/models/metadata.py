"""What a weights file says about itself, read without loading it.

A safetensors file carries a table of short texts.  Ours are:

================ =============================================================
``name``         what the model is called in menus and scripts
``description``  one line for a menu
``licence``      licence of the weights
``use_for``      which images to choose it for
``base``         name of the model it was made from
``trained_on``   what it learnt from
``architecture`` what the network is; ``vit_t_512`` is ``vit_t`` with an input of
                 512 pixels a side
``encoder``      fingerprint of its image encoder, see
                 :func:`napari_sam.models.sam1.checkpoint.encoder_fingerprint`
``thresholds``   when to believe its scores, JSON of
                 :class:`~napari_sam.core.model_thresholds.ModelThresholds`
================ =============================================================

Others may be there and are kept.  A file without any is loaded as SAM's own are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURE = "architecture"
THRESHOLDS = "thresholds"
_LONGEST = 200


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts in the header of a weights file.

    Reads the header only and imports no torch.

    Parameters
    ----------
    path : Path
        A weights file of any kind.

    Returns
    -------
    dict of str to str
        Empty for a file without such texts, of another kind, or damaged:
        loading it will say what is wrong.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def one_line(text: str) -> str:
    """Return a text of unknown origin as one printable line for a menu."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1].rstrip() + "…"
