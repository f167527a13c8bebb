"""Objects that lose pixels to others, against one after another."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.viewer.labels.object_changes import _regions


@given(st.data())
def test_the_box_of_each_label(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 6), min_size=30, max_size=30))
    labels = np.array(values, np.uint16).reshape(5, 6)
    wanted = data.draw(st.lists(st.integers(1, 9), unique=True))
    found = _regions(labels, wanted)
    assert set(found) == set(wanted)
    for label, region in found.items():
        rows, columns = np.nonzero(labels == label)
        if not rows.size:
            assert region.is_empty
            continue
        box = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        assert (region.row0, region.col0, region.row1, region.col1) == box
