"""How large objects are, against what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam.core.steps import finish
from napari_sam.core.volumes.measure import iter_measure
from napari_sam.types import Plane

XY = Plane((1, 2), (0, None, None))


def test_a_ball_has_the_volume_and_surface_of_a_ball() -> None:
    z, y, x = np.ogrid[-20:21, -20:21, -20:21]
    labels = np.where(z**2 + y**2 + x**2 <= 15**2, 7, 0)
    found = finish(iter_measure(labels, XY, 0, 7, (0.5, 0.5, 0.5)))
    assert found.volume == pytest.approx(4 / 3 * math.pi * 7.5**3, rel=0.02)
    assert found.surface == pytest.approx(4 * math.pi * 7.5**2, rel=0.1)
    assert (found.first, found.last) == (5, 35)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.uint8, (4, 5, 6), elements=st.integers(0, 2)),
    st.sampled_from([(1, 2), (2, 1), (0, 2), (0, 1)]),
    st.tuples(*[st.floats(0.1, 3)] * 3),
)
def test_slices_and_volume(labels, displayed, scale) -> None:
    (axis,) = {0, 1, 2} - set(displayed)
    plane = Plane(displayed, tuple(0 if a == axis else None for a in range(3)))
    found = finish(iter_measure(labels, plane, axis, 2, scale))
    where = np.argwhere(labels == 2)
    if not len(where):
        assert found is None
        return
    assert found.voxels == len(where)
    assert found.volume == pytest.approx(len(where) * math.prod(scale))
    assert found.first == where[:, axis].min()
    assert found.last == where[:, axis].max()
    assert math.isnan(found.surface) == (found.first == found.last)
