"""``python -m napari_sam.cli`` is the same as ``napari-sam``."""

from __future__ import annotations

import sys

from napari_sam.cli import main

sys.exit(main())
