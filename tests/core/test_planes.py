from __future__ import annotations

import os
from itertools import permutations

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from napari_sam.core.planes import choose_level, iter_planes, level_plane, read_plane
from napari_sam.errors import ImageError
from napari_sam.types import Plane


@st.composite
def arrays_and_planes(draw):
    ndim = draw(st.integers(2, 5))
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=ndim, max_size=ndim)))
    displayed = draw(st.sampled_from(list(permutations(range(ndim), 2))))
    index = tuple(
        None if axis in displayed else draw(st.integers(0, shape[axis] - 1))
        for axis in range(ndim)
    )
    return np.arange(np.prod(shape)).reshape(shape), Plane(displayed, index)


@given(arrays_and_planes(), st.booleans(), st.sampled_from(["numpy", "dask", "zarr"]))
@settings(max_examples=150, deadline=None)
def test_plane_pixels_are_where_the_plane_says(drawn, rgb, kind):
    data, plane = drawn
    if rgb:
        data = np.stack([data, -data, data * 2], axis=-1)
    source = {"numpy": lambda x: x, "dask": da.from_array, "zarr": zarr.array}[kind](
        data
    )
    found = read_plane(source, plane, rgb=rgb)
    assert isinstance(found, np.ndarray)
    assert found.shape[:2] == plane.shape(data.shape)
    for row, column in np.ndindex(found.shape[:2]):
        point = tuple(int(x) for x in plane.to_array_point(row, column))
        assert np.array_equal(found[row, column], data[point])


def test_only_the_chunks_under_a_dask_plane_are_computed():
    def block(block_info):
        where = block_info[None]["chunk-location"]
        if where[0] != 3:
            raise OSError(f"chunk {where} was read")
        return np.full(block_info[None]["chunk-shape"], where[1])

    data = da.map_blocks(block, chunks=((1,) * 8, (4, 4), (6,)), dtype=int)
    found = read_plane(data, Plane((1, 2), (3, None, None)))
    assert found.shape == (8, 6)
    assert found[0, 0] == 0
    assert found[7, 5] == 1
    with pytest.raises(ImageError, match=r"4 on axis 0.*chunk \(4, \d, 0\)") as caught:
        read_plane(data, Plane((1, 2), (4, None, None)))
    assert isinstance(caught.value.__cause__, OSError)


class CountingStore(MemoryStore):
    """A zarr store that remembers which chunks were read."""

    async def get(self, key, prototype=None, byte_range=None):
        if "c/" in key:
            self.__dict__.setdefault("read", set()).add(key)
        return await super().get(key, prototype, byte_range)


def test_only_the_chunks_under_a_zarr_plane_are_read():
    store = CountingStore()
    data = zarr.create_array(
        store, shape=(6, 5, 40, 30), chunks=(1, 1, 20, 30), dtype="u2"
    )
    data[:] = 1
    store.__dict__["read"] = set()
    read_plane(data, Plane((2, 3), (4, 2, None, None)))
    assert store.__dict__["read"] == {"c/4/2/0/0", "c/4/2/1/0"}
    store.__dict__["read"] = set()
    found = read_plane(data, Plane((3, 0), (None, 1, 25, None)))
    assert found.shape == (30, 6)
    assert store.__dict__["read"] == {f"c/{t}/1/1/0" for t in range(6)}


def test_numpy_planes_are_views():
    data = np.zeros((3, 4, 5))
    assert np.shares_memory(data, read_plane(data, Plane((2, 0), (None, 1, None))))


def test_a_damaged_chunk_is_one_sentence(tmp_path):
    data = zarr.create_array(
        tmp_path / "s", shape=(4, 64, 64), chunks=(1, 64, 64), dtype="u2"
    )
    data[:] = np.broadcast_to(np.arange(64), data.shape)
    chunk = tmp_path / "s" / "c" / "3" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    assert read_plane(data, Plane((1, 2), (2, None, None))).shape == (64, 64)
    with pytest.raises(ImageError, match="3 on axis 0 could not be read") as caught:
        read_plane(data, Plane((1, 2), (3, None, None)))
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("position", [-1, 3])
def test_a_plane_outside_the_image_is_one_sentence(position):
    with pytest.raises(ImageError, match=f"no position {position} on axis 1"):
        read_plane(np.zeros((2, 3, 4)), Plane((0, 2), (None, position, None)))


def test_an_image_without_pixels_is_one_sentence():
    with pytest.raises(ImageError, match=r"\(3, 0, 4\) and so no pixels"):
        read_plane(np.zeros((3, 0, 4)), Plane((1, 2), (1, None, None)))


def test_a_plane_of_other_dimensionality_is_a_programming_error():
    with pytest.raises(ValueError, match="does not fit"):
        read_plane(np.zeros((3, 4, 5)), Plane((0, 1), (None, None)))
    with pytest.raises(ValueError, match="does not fit"):
        read_plane(np.zeros((3, 4, 5)), Plane((1, 2), (0, None, None)), rgb=True)


def test_level_is_the_coarsest_that_fills_the_model():
    shapes = [(9, 8000, 6000), (9, 4000, 3000), (9, 2000, 1500), (9, 1000, 750)]
    assert choose_level(shapes, (1, 2)) == 2
    assert choose_level(shapes, (1, 2), side=1000) == 3
    assert choose_level(shapes, (2, 1), side=5000) == 0
    assert choose_level(shapes, (0, 2), side=1500) == 2
    assert choose_level([(300, 200), (150, 100)], (0, 1)) == 0
    assert choose_level([(1024, 1)], (0, 1)) == 0


@given(
    arrays_and_planes(),
    st.lists(st.sampled_from([1, 2, 3, 4, 8]), min_size=5, max_size=5),
    st.sampled_from([np.floor_divide, lambda a, b: -(-a // b)]),
)
def test_level_plane_lies_on_the_level_at_the_same_place(drawn, factors, rounding):
    data, plane = drawn
    scaled = tuple(n * 7 for n in data.shape)
    coarse = tuple(
        max(1, int(rounding(n, f))) for n, f in zip(scaled, factors, strict=False)
    )
    plane = Plane(
        plane.displayed, tuple(None if i is None else i * 7 for i in plane.index)
    )
    found = level_plane(plane, scaled, coarse)
    assert found.displayed == plane.displayed
    for i, j, n, m in zip(plane.index, found.index, scaled, coarse, strict=False):
        if i is None:
            assert j is None
        else:
            assert 0 <= j < m
            # The center of pixel i lies within pixel j.
            assert j * n <= (i + 0.5) * m < (j + 1) * n


def test_level_plane_ignores_a_channel_axis():
    plane = Plane((1, 2), (5, None, None))
    found = level_plane(plane, (10, 80, 80, 3), (5, 40, 40, 3))
    assert found == Plane((1, 2), (2, None, None))


def test_planes_along_an_axis():
    plane = Plane((1, 3), (0, None, 2, None))
    assert [p.index for p in iter_planes((3, 8, 4, 8), plane, 0)] == [
        (0, None, 2, None),
        (1, None, 2, None),
        (2, None, 2, None),
    ]
    assert len(list(iter_planes((3, 8, 4, 8), plane, 2))) == 4
    with pytest.raises(ValueError, match="displayed"):
        list(iter_planes((3, 8, 4, 8), plane, 1))


def test_a_mapped_file_cut_short_is_refused_before_it_is_touched(tmp_path):
    path = tmp_path / "a.raw"
    np.arange(6000, dtype=np.uint8).tofile(path)
    mapped = np.memmap(path, np.uint8, "r", offset=1000, shape=(5, 100, 10))
    first = Plane((1, 2), (0, None, None))
    for data in (mapped, mapped[:, ::2], np.asarray(mapped).reshape(5, 10, 100)):
        assert read_plane(data, first).size in (1000, 500)
    os.truncate(path, 5999)
    for data in (mapped, mapped[:, ::2], np.asarray(mapped).reshape(5, 10, 100)):
        with pytest.raises(ImageError, match="cut short at 5,999 bytes"):
            read_plane(data, first)
    path.unlink()
    assert read_plane(mapped, first).size == 1000
