"""Growing linked objects: whose pixels, in what order, and where they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import napari_sam as ns
from napari_sam.core.volumes import growing
from napari_sam.core.volumes.growing import GrownSlice, iter_grow, write_grown
from napari_sam.core.volumes.propagation import PropagatedSlice, Source
from napari_sam.errors import ImageError, LabelsError, ModelError
from napari_sam.samples import SAMPLES
from napari_sam.types import MaskCrop, Progress, Region

if TYPE_CHECKING:
    from napari_sam.models.sam1.sam import SamModel

STACKS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 5), st.just(6), st.just(7)),
    elements=st.integers(0, 3),
)  # fmt: skip


def everywhere(encode, prompted, limits, shape, settings, *, blocked):
    """Stand in for propagation: the object is everywhere, but for what is blocked."""
    assert settings.ghosts == 0
    for z in range(*limits):
        if z not in prompted:
            yield None
            mask = MaskCrop(~blocked(z), Region.whole(shape)).tight()
            yield PropagatedSlice(z, mask, 0.5, Source.MODEL)


@given(STACKS)
def test_free_pixels_only_and_those_through_most_slices_first(stack: np.ndarray):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "iter_propagate", everywhere)
        before = stack.copy()
        steps = list(iter_grow(lambda z: iter(()), stack))
    assert np.array_equal(stack, before)
    found = [s for s in steps if isinstance(s, GrownSlice)]
    grown = stack.copy()
    for one in found:
        part = grown[one.position][one.mask.region.slices][one.mask.mask]
        assert not part.any()
        assert one.id not in stack[one.position]
        write_grown(grown, [one])
    assert np.array_equal(grown[stack > 0], stack[stack > 0])
    areas = (stack[None] == np.arange(4)[:, None, None, None]).sum((2, 3))
    for one in found:
        own = areas[one.id]
        there = np.flatnonzero(own)
        if one.position < there[0]:
            assert own[there[0]] >= own.max() / 2
        elif one.position > there[-1]:
            assert own[there[-1]] >= own.max() / 2
    ids = [n for n in np.unique(stack).tolist() if n]
    extent = {n: int((stack == n).any((1, 2)).sum()) for n in ids}
    order = [one.id for one in found]
    assert [extent[n] for n in order] == sorted(map(extent.get, order), reverse=True)
    told = [s for s in steps if isinstance(s, Progress)]
    assert [p.done for p in told] == list(range(len(ids)))


def test_a_cell_goes_on_where_it_was_not_found(model: SamModel) -> None:
    stack = np.asarray(ns.read_image(SAMPLES["ovule"].path).data)[8:15, 16:112, 16:112]
    true = ns.propagate(
        stack, {3: np.array([30, 30, 60, 60], float)}, model=model, find_ends=False
    )
    labels = np.where(true.mask, 7, 0).astype(np.uint16)
    labels[:, :, 70:] = 2  # all of it is taken
    labels[[0, 1, 4, 6]] *= labels[[0, 1, 4, 6]] == 2
    before = labels.copy()
    told: list[Progress] = []
    grown = ns.grow(stack, labels, model=model, progress=told.append)
    assert np.array_equal(labels, before)
    assert grown.dtype == np.uint16
    assert np.array_equal(grown[labels > 0], labels[labels > 0])
    # The slice that was missing between, and the one after the end.
    cell = true.mask & (labels != 2)
    for z in (1, 4):
        both = (grown[z] == 7) & cell[z]
        assert both.sum() > 0.6 * ((grown[z] == 7) | cell[z]).sum()
    assert [p.total for p in told] == [2, 2]


def test_what_cannot_be_grown_is_said_in_a_sentence(model: SamModel) -> None:
    stack = np.zeros((3, 8, 9), np.uint8)
    with pytest.raises(LabelsError, match=r"\(3, 8, 8\) and the stack \(3, 8, 9\)"):
        ns.grow(stack, np.zeros((3, 8, 8), int), model=model)
    with pytest.raises(LabelsError, match="float64"):
        ns.grow(stack, np.zeros((3, 8, 9)), model=model)
    with pytest.raises(ImageError, match="three axes"):
        ns.grow(stack[0], stack, model=model)
    with pytest.raises(ModelError, match="not a name"):
        ns.grow(stack, stack, model="mobile-sam")  # type: ignore[arg-type]
    assert not ns.grow(stack, stack, model=model).any()
