"""Writing labels: what comes back, and files that must not be half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sam.errors import FileFormatError, LabelsError, SamError
from napari_sam.io import ImageFile, read_image, write_labels
from napari_sam.io.label_files import read_labels

if TYPE_CHECKING:
    from pathlib import Path

AXES = ["YX", "ZYX", "TYX", "CYX", "TZYX", "ZCYX", "ZTYX", "TZCYX", "CTZYX"]
SPACE = ["pixel", "nanometer", "micrometer", "millimeter"]
TIME = ["second", "minute", "millisecond"]


@st.composite
def described_labels(draw: Any) -> tuple[np.ndarray[Any, Any], ImageFile]:
    axes = draw(st.sampled_from(AXES))
    # Readers drop leading axes of length one, so there are none.
    shape = tuple(draw(st.integers(1 if a in "YX" else 2, 5)) for a in axes)
    top = draw(st.sampled_from([0, 1, 255, 256, 65_535, 65_536, 2**32 - 1]))
    dtype = draw(st.sampled_from([np.uint32, np.int64]))
    labels = np.zeros(shape, dtype)
    labels.flat[draw(st.integers(0, labels.size - 1))] = top
    steps = st.floats(1e-3, 1e3)
    one = draw(st.sampled_from(SPACE))
    mixed = draw(st.booleans())
    scale, units = [], []
    for a in axes:
        if a == "C":
            unit = "pixel"
        elif a == "T":
            unit = draw(st.sampled_from(["pixel", *TIME]))
        else:
            unit = draw(st.sampled_from(SPACE)) if mixed else one
        units.append(unit)
        scale.append(1.0 if unit == "pixel" else draw(steps))
    image = ImageFile(np.zeros(shape, "u1"), axes, tuple(scale), tuple(units), "a")
    return labels, image


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=described_labels(), name=st.sampled_from(["a.tif", "a.ome.tif", "b.TIFF"]))
def test_round_trip(
    tmp_path: Path, case: tuple[np.ndarray[Any, Any], ImageFile], name: str
) -> None:
    labels, image = case
    path = tmp_path / name
    write_labels(path, labels, image)
    back = read_image(path)
    np.testing.assert_array_equal(np.asarray(back.data), labels)
    fits = labels.max() <= 65_535
    assert np.asarray(back.data).dtype == (np.uint16 if fits else np.uint32)
    assert back.axes == image.axes
    assert back.scale == pytest.approx(image.scale, rel=1e-5)
    assert back.units == image.units
    assert os.listdir(tmp_path).count(name) == 1
    assert not any(f.startswith(".") for f in os.listdir(tmp_path))


_METERS = {"meter": 1.0, "millimeter": 1e-3, "micrometer": 1e-6, "nanometer": 1e-9,
           "picometer": 1e-12, "femtometer": 1e-15, "kilometer": 1e3}  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    exponents=st.lists(st.floats(-14, 5), min_size=3, max_size=3),
    unit=st.sampled_from(["meter", "millimeter", "micrometer", "nanometer", "pixel"]),
)
def test_sizes_of_any_magnitude_are_kept(
    tmp_path: Path, exponents: list[float], unit: str
) -> None:
    scale = tuple(10**e for e in exponents)
    shape = (2, 3, 4)
    image = ImageFile(np.zeros(shape), "ZYX", scale, (unit,) * 3, "a")
    write_labels(tmp_path / "a.tif", np.ones(shape, int), image)
    back = read_image(tmp_path / "a.tif")
    meters = [
        s * _METERS.get(u, 1) for s, u in zip(back.scale, back.units, strict=True)
    ]
    expected = [s * _METERS.get(unit, 1) for s in scale]
    assert meters == pytest.approx(expected, rel=1e-5)
    assert (unit == "pixel") == (back.units[0] == "pixel")


def test_electron_microscopy_in_meters(tmp_path: Path) -> None:
    image = ImageFile(
        np.zeros((2, 5, 6)), "ZYX", (4e-8, 2e-10, 2e-10), ("meter",) * 3, "em"
    )
    write_labels(tmp_path / "a.tif", np.ones((2, 5, 6), int), image)
    back = read_image(tmp_path / "a.tif")
    assert back.scale == pytest.approx((40_000, 200, 200))
    assert back.units == ("picometer",) * 3
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_imagej


def test_an_axis_without_a_meaning_keeps_its_size(tmp_path: Path) -> None:
    image = ImageFile(
        np.zeros((2, 4, 5)), "QYX", (3.0, 0.5, 0.5), ("micrometer",) * 3, "a"
    )
    write_labels(tmp_path / "a.tif", np.ones((2, 4, 5), int), image)
    assert read_image(tmp_path / "a.tif").scale == pytest.approx((3.0, 0.5, 0.5))


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_size_is_refused(tmp_path: Path, step: float) -> None:
    image = ImageFile(np.zeros((4, 5)), "YX", (1.0, step), ("micrometer",) * 2, "a")
    with pytest.raises(LabelsError, match=r"^[^\n]*no size of a pixel[^\n]*\.$"):
        write_labels(tmp_path / "a.tif", np.ones((4, 5), int), image)
    assert not list(tmp_path.iterdir())


def test_a_unit_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    image = ImageFile(np.zeros((4, 5)), "YX", (1.0, 2.0), ("furlong",) * 2, "a")
    with pytest.raises(LabelsError, match="furlong"):
        write_labels(tmp_path / "a.tif", np.ones((4, 5), int), image)
    assert not list(tmp_path.iterdir())


_ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-1, 3), max_size=3),
    st.lists(st.lists(st.integers(-1, 3), min_size=2, max_size=2), max_size=3),
    st.sampled_from([object(), {}, b"x", np.zeros((2, 2), complex), np.ones((2, 2))]),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    path=st.one_of(_ANYTHING, st.just("a.tif")),
    labels=_ANYTHING,
    like=st.one_of(st.none(), _ANYTHING),
)
def test_any_arguments_end_in_a_file_or_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any, labels: Any, like: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    try:
        write_labels(path, labels, like)
    except (SamError, TypeError, ValueError) as error:
        assert " " in str(error)  # noqa: PT017 - some arguments are right
        assert sorted(os.listdir(tmp_path)) == before


def test_fiji_gets_a_hyperstack(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    image = ImageFile(
        np.zeros((2, 5, 6)), "ZYX", (2.0, 0.5, 0.5), ("micrometer",) * 3, "a"
    )
    write_labels(path, np.ones((2, 5, 6), np.int32), image)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_imagej
        assert tif.imagej_metadata["slices"] == 2
        assert tif.imagej_metadata["unit"] == "um"
        assert tif.imagej_metadata["spacing"] == 2.0


def test_color_image_gives_axes_without_color(tmp_path: Path) -> None:
    image = ImageFile(
        np.zeros((4, 5, 3), "u1"), "YXS", (1.0,) * 2, ("pixel",) * 2, "a", True
    )
    write_labels(tmp_path / "a.tif", np.ones((4, 5), int), image)
    assert read_image(tmp_path / "a.tif").axes == "YX"


def test_axes_without_a_meaning_become_z(tmp_path: Path) -> None:
    image = ImageFile(np.zeros((2, 4, 5)), "QYX", (1.0,) * 3, ("pixel",) * 3, "a")
    write_labels(tmp_path / "a.tif", np.ones((2, 4, 5), int), image)
    assert read_image(tmp_path / "a.tif").axes == "ZYX"


def test_one_plane_of_a_stack(tmp_path: Path) -> None:
    image = ImageFile(
        np.zeros((3, 4, 5)), "ZYX", (2.0, 0.5, 0.25), ("micrometer",) * 3, "a"
    )
    write_labels(tmp_path / "a.tif", np.ones((4, 5), int), image)
    back = read_image(tmp_path / "a.tif")
    assert (back.axes, back.scale) == ("YX", (0.5, 0.25))


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((4, 5)),
        np.full((4, 5), -1),
        np.full((4, 5), 2**32),
        np.zeros(4, int),
        np.zeros((0, 5), int),
        np.zeros((2, 2, 2, 2, 2, 2), int),
    ],
    ids=["float", "negative", "too large", "1-D", "empty", "6-D"],
)
def test_unusable_labels(tmp_path: Path, labels: np.ndarray[Any, Any]) -> None:
    with pytest.raises(LabelsError, match=r"^[^\n]+\.$"):
        write_labels(tmp_path / "a.tif", labels)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_no_integers_are_no_labels(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 5), dtype))
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=np.ones((4, 5), dtype))
    group.attrs["ome"] = {"multiscales": [{"datasets": [{"path": "0"}]}]}
    for name in ("a.tif", "a.zarr"):
        with pytest.raises(LabelsError, match=rf"a\..* of type {dtype}, .*\.$"):
            read_labels(tmp_path / name)


def test_labels_of_another_shape(tmp_path: Path) -> None:
    image = ImageFile(np.zeros((4, 5)), "YX", (1.0,) * 2, ("pixel",) * 2, "nuclei")
    with pytest.raises(LabelsError, match="nuclei"):
        write_labels(tmp_path / "a.tif", np.zeros((4, 6), int), image)


@pytest.mark.parametrize("name", ["a.png", "a", "a.npy"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileFormatError, match=r"a\.tif"):
        write_labels(tmp_path / name, np.zeros((4, 5), int))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be written"):
        write_labels(tmp_path / "no" / "a.tif", np.zeros((4, 5), int))


def test_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(FileFormatError, match="folder"):
        write_labels(tmp_path / "a.tif", np.zeros((4, 5), int))


def test_failure_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    write_labels(path, np.ones((4, 5), int))
    old = path.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_labels(path, np.full((4, 5), 2))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def run(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.skipif(os.name != "posix", reason="needs file size limits")
def test_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_labels(path, np.ones((4, 5), int))
    old = path.read_bytes()
    code = """
        import resource, sys
        import numpy as np
        from napari_sam.errors import FileFormatError
        from napari_sam.io import write_labels
        labels = np.random.default_rng(0).integers(0, 60_000, (512, 512))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write_labels(sys.argv[1], labels)
        except FileFormatError as error:
            print(error)
        """
    with run(code, str(path)) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "cannot be written" in said
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    code = """
        import sys
        import numpy as np
        from napari_sam.io import write_labels
        i = 0
        while True:
            i += 1
            write_labels(sys.argv[1], np.full((300, 301), i % 60_000 + 1))
            print(i, flush=True)
        """
    for lines in (1, 2, 3, 5):
        with run(code, str(path)) as process:
            for _ in range(lines):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)
        labels = np.asarray(read_image(path).data)
        assert labels.shape == (300, 301)
        assert len(np.unique(labels)) == 1
