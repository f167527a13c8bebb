"""Reading images: axes, scale, laziness, and files that cannot be read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_sam.errors import FileFormatError, ImageError
from napari_sam.io import ImageFile, read_image
from napari_sam.io.tiff import TiffStack
from napari_sam.io.units import full_name

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = ("uint8", "uint16", "int16", "float32", "float64")
LENGTHS = {"T": 2, "C": 3, "Z": 4, "Y": 17, "X": 23}


def pixels(axes: str, dtype: str = "uint8") -> np.ndarray[Any, Any]:
    shape = tuple({**LENGTHS, "S": 3}[a] for a in axes)
    values = np.arange(np.prod(shape)) % 251
    return values.reshape(shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TZYX", "TCZYX", "ZTYX", "YXS", "ZYXS"])
def test_ome_tiff(
    tmp_path: Path, axes: str, compression: str | None, dtype: str
) -> None:
    path = tmp_path / "image.ome.tif"
    data = pixels(axes, dtype)
    tifffile.imwrite(
        path,
        data,
        metadata={"axes": axes},
        compression=compression,
        photometric="rgb" if axes.endswith("S") else "minisblack",
    )
    image = read_image(path)
    assert image.axes == axes
    assert image.name == "image"
    assert image.rgb == axes.endswith("S")
    np.testing.assert_array_equal(np.asarray(image.data), data)
    assert image.units == ("pixel",) * len(image.shape)


def test_physical_sizes_of_ome(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    meta = {
        "axes": "TZYX",
        "PhysicalSizeX": 0.25,
        "PhysicalSizeY": 500,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 2.0,
        "TimeIncrement": 30,
        "TimeIncrementUnit": "min",
    }
    tifffile.imwrite(path, pixels("TZYX"), metadata=meta)
    image = read_image(path)
    assert image.scale == (30.0, 2.0, 500.0, 0.25)
    assert image.units == ("minute", "micrometer", "nanometer", "micrometer")


def test_physical_sizes_of_imagej(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        pixels("ZYX"),
        imagej=True,
        resolution=(4.0, 2.0),
        metadata={"axes": "ZYX", "unit": "\\u00B5m", "spacing": 3.0},
    )
    image = read_image(path)
    assert image.scale == (3.0, 0.5, 0.25)
    assert image.units == ("micrometer",) * 3


def test_printer_resolution_is_no_physical_size(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("YX"), resolution=(72, 72), resolutionunit="INCH")
    assert read_image(path).scale == (1.0, 1.0)


def test_resolution_per_centimetre_is_physical(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels("YX"), resolution=(20_000, 10_000), resolutionunit="CENTIMETER"
    )
    image = read_image(path)
    assert image.scale == pytest.approx((1.0, 0.5))
    assert image.units == ("micrometer", "micrometer")


def test_planar_colour_comes_last(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = pixels("YXS")
    tifffile.imwrite(
        path, np.moveaxis(data, -1, 0), photometric="rgb", planarconfig="separate"
    )
    image = read_image(path)
    assert image.axes == "YXS"
    np.testing.assert_array_equal(np.asarray(image.data), data)


def test_axes_without_a_meaning(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("ZYX"), photometric="minisblack")
    assert read_image(path).axes == "QYX"


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_stack_loads_only_what_is_indexed(
    tmp_path: Path, compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    data = pixels("TZYX")
    tifffile.imwrite(
        path, data, compression=compression, metadata={"axes": "TZYX"}, ome=True
    )
    image = read_image(path)
    if compression is None:
        assert isinstance(image.data, np.memmap)
    else:
        assert isinstance(image.data, TiffStack)
        read: list[int] = []
        original = TiffStack._page
        monkeypatch.setattr(
            TiffStack, "_page", lambda self, i: (read.append(i), original(self, i))[1]
        )
        np.testing.assert_array_equal(image.data[1, 2], data[1, 2])
        assert read == [1 * LENGTHS["Z"] + 2]


_INDEX = st.one_of(
    st.integers(-2, 1), st.slices(2), st.just(slice(None)), st.just(Ellipsis)
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(keys=st.lists(_INDEX, max_size=4).filter(lambda k: k.count(Ellipsis) < 2))
def test_lazy_stack_is_indexed_like_numpy(
    tmp_path: Path, keys: list[int | slice]
) -> None:
    path = tmp_path / "lazy.ome.tif"
    data = pixels("TZYX")[:2, :2]
    if not path.exists():
        tifffile.imwrite(path, data, compression="zlib", metadata={"axes": "TZYX"})
    lazy = read_image(path).data
    assert isinstance(lazy, TiffStack)
    np.testing.assert_array_equal(lazy[tuple(keys)], data[tuple(keys)])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("axes", ["YX", "YXS"])
def test_other_formats(tmp_path: Path, suffix: str, axes: str) -> None:
    path = tmp_path / f"image{suffix}"
    iio.imwrite(path, pixels(axes))
    image = read_image(path)
    assert (image.axes, image.rgb) == (axes, axes == "YXS")
    if suffix != ".jpg":
        np.testing.assert_array_equal(np.asarray(image.data), pixels(axes))


def test_tiff_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "image.dat"
    tifffile.imwrite(path, pixels("YX"))
    assert read_image(path).shape == (17, 23)


def refusal(path: Path) -> str:
    """Return the one sentence that reading the file ends in."""
    with pytest.raises((FileFormatError, ImageError)) as caught:
        read_image(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_missing_file(tmp_path: Path) -> None:
    assert "no file" in refusal(tmp_path / "a.tif")


def test_folder(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "empty" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg", "a", "a.docx"])
def test_garbage(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(5000))
    refusal(tmp_path / name)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "YXS"])
def test_tiff_cut_short(tmp_path: Path, axes: str, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(axes), compression=compression, ome=True)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[-1]
        end = page.dataoffsets[-1] + page.databytecounts[-1]
    whole = path.read_bytes()
    for length in (5, end // 10, end // 2, end - 1):
        path.write_bytes(whole[:length])
        refusal(path)


def test_compression_without_its_codec(tmp_path: Path) -> None:
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("imagecodecs is installed and reads it")
    path = tmp_path / "a.tif"
    Image.fromarray(pixels("YX")).save(path, compression="tiff_lzw")
    assert "pip install imagecodecs" in refusal(path)


def test_png_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    iio.imwrite(path, np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    refusal(path)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_tiff_never_raises_anything_else(tmp_path: Path, data: Any) -> None:
    source = tmp_path / "whole.tif"
    if not source.exists():
        tifffile.imwrite(source, pixels("ZYX"), compression="zlib", ome=True)
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path / "damaged.tif"
    path.write_bytes(content)
    try:
        np.asarray(read_image(path).data)
    except (FileFormatError, ImageError) as error:
        assert "\n" not in str(error)  # noqa: PT017 - most damage is harmless


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads all")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("YX"))
    path.chmod(0)
    assert "permissions" in refusal(path)


def test_inconsistent_description_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="axes"):
        ImageFile(np.zeros((2, 2)), "ZYX", (1.0, 1.0), ("pixel", "pixel"), "a")
    with pytest.raises(ValueError, match="scale"):
        ImageFile(np.zeros((2, 2)), "YX", (1.0,), ("pixel", "pixel"), "a")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("µm", "micrometer"),
        ("\\u00B5m", "micrometer"),
        ("Micron", "micrometer"),
        ("nm", "nanometer"),
        ("furlong", "pixel"),
        (None, "pixel"),
    ],
)
def test_units(text: str | None, name: str) -> None:
    assert full_name(text) == name


def test_real_stacks(shared_data: Path) -> None:
    image = read_image(shared_data / "plantseg_ovule_cells3d/images/sample_ovule.tif")
    assert image.shape == (32, 128, 128)
    assert image.axes == "QYX"
    colour = read_image(shared_data / "plantseg_rgb3d/images/rgb_3D_0.tif")
    assert colour.rgb == (colour.data.shape[-1] in (3, 4))
