"""Reading images: axes, scale, laziness, and files that cannot be read."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_sam import io
from napari_sam.errors import FileFormatError, ImageError
from napari_sam.io import ImageFile
from napari_sam.io.images import read_notes
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


def read_image(path: Any, **options: Any) -> ImageFile:
    """Read an image; what can be told without its pixels is the same."""
    image = io.read_image(path, **options)
    if not options and (told := read_notes(path)) is not None:
        assert told == (image.shape, image.rgb, image.notes)
    return image


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


def test_planar_color_comes_last(tmp_path: Path) -> None:
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
def test_stack_reads_only_what_is_indexed(
    tmp_path: Path, compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    data = pixels("TZYX")
    tifffile.imwrite(
        path, data, compression=compression, metadata={"axes": "TZYX"}, ome=True
    )
    image = read_image(path)
    assert isinstance(image.data, TiffStack)
    read: list[int] = []
    original = TiffStack._page
    monkeypatch.setattr(
        TiffStack,
        "_page",
        lambda self, i, *r: (read.append(i), original(self, i, *r))[1],
    )
    np.testing.assert_array_equal(image.data[1, 2], data[1, 2])
    assert read == [1 * LENGTHS["Z"] + 2]


def test_a_stack_seen_from_the_side_is_one_row_of_every_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    data = pixels("ZYX", "uint16")
    tifffile.imwrite(path, data, photometric="minisblack")
    stack = read_image(path).data
    rows: list[int] = []
    original = TiffStack._raw

    def counting(self: TiffStack, number: int, wanted: range) -> Any:
        rows.append(len(wanted))
        return original(self, number, wanted)

    monkeypatch.setattr(TiffStack, "_raw", counting)
    for key in (7, -1, slice(9, 3, -2), slice(20, 30)):
        rows.clear()
        np.testing.assert_array_equal(stack[:, key], data[:, key])
        assert sum(rows) <= 4 * 5


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_stack_is_parsed_once_and_closed_with_it(
    tmp_path: Path, compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels("ZYX"), compression=compression, photometric="minisblack"
    )
    opened: list[tifffile.TiffFile] = []
    original = tifffile.TiffFile.__init__

    def counting(self: tifffile.TiffFile, *args: Any, **kwargs: Any) -> None:
        opened.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", counting)
    stack = io.read_image(path).data
    for plane in range(4):
        np.testing.assert_array_equal(stack[plane], pixels("ZYX")[plane])
    (file,) = opened
    assert not file.filehandle.closed
    del stack
    gc.collect()
    assert file.filehandle.closed


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_stack_is_read_in_any_thread_and_process(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    data = np.random.default_rng(0).integers(0, 250, (40, 64, 64), np.uint8)
    tifffile.imwrite(path, data, compression=compression)
    stack = read_image(path).data
    order = np.random.default_rng(1).integers(0, 40, 400)
    with ThreadPoolExecutor(4) as pool:
        for i, plane in zip(order, pool.map(stack.__getitem__, order), strict=True):
            np.testing.assert_array_equal(plane, data[i])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack))[3], data[3])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_reader_has_a_position_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.arange(50, dtype=np.uint8).repeat(900).reshape(50, 30, 30)
    )
    code = """
        import os, sys
        from napari_sam.io import read_image
        stack = read_image(sys.argv[1]).data
        child = os.fork()
        wrong = sum(int((stack[i % 50] != i % 50).any()) for i in range(3000))
        if child == 0:
            os._exit(min(wrong, 1))
        sys.exit(wrong + os.waitpid(child, 0)[1])
        """
    done = run(code, path)
    assert (done.returncode, done.stderr) == (0, "")


def run(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which may be killed by a signal."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_cut_short_while_it_is_used_is_one_sentence(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    data = np.random.default_rng(0).integers(0, 250, (20, 200, 200), np.uint8)
    tifffile.imwrite(path, data, compression=compression)
    code = """
        import os, sys
        from napari_sam.core.planes import read_plane
        from napari_sam.errors import FileFormatError, ImageError
        from napari_sam.io import read_image
        from napari_sam.types import Plane
        stack = read_image(sys.argv[1]).data
        os.truncate(sys.argv[1], os.path.getsize(sys.argv[1]) // 2)
        for read in (lambda: stack[19],
                     lambda: read_plane(stack, Plane((1, 2), (19, None, None)))):
            try:
                read()
            except (FileFormatError, ImageError) as error:
                print(error)
        print(stack[0].sum())
        """
    done = run(code, path)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, left = done.stdout.splitlines()
    assert "has been cut short" in first
    assert "has been cut short" in second
    assert int(left) == data[0].sum()


_INDEX = st.one_of(
    st.integers(-2, 1),
    st.slices(2),
    st.slices(17),
    st.just(slice(None)),
    st.just(Ellipsis),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    keys=st.lists(_INDEX, max_size=4).filter(lambda k: k.count(Ellipsis) < 2),
    compression=st.sampled_from([None, "zlib"]),
)
def test_lazy_stack_is_indexed_like_numpy(
    tmp_path: Path, keys: list[int | slice], compression: str | None
) -> None:
    path = tmp_path / f"{compression}.ome.tif"
    data = pixels("TZYX", "uint16")[:2, :2]
    if not path.exists():
        tifffile.imwrite(
            path, data, compression=compression, metadata={"axes": "TZYX"},
            byteorder=">",
        )  # fmt: skip
    lazy = read_image(path).data
    assert isinstance(lazy, TiffStack)
    np.testing.assert_array_equal(lazy[tuple(keys)], data[tuple(keys)])


def test_lazy_stack_knows_the_other_ways_of_indexing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = pixels("ZYX")
    tifffile.imwrite(path, data, photometric="minisblack")
    lazy = read_image(path).data
    for key in (None, [0, 2], data > 100, (1, [3, 4]), (slice(None), None), True):
        np.testing.assert_array_equal(lazy[key], data[key])
    with pytest.raises(IndexError):
        lazy[4]
    with pytest.raises(IndexError):
        lazy[0, 0, 0, 0]
    assert (lazy.ndim, lazy.size, lazy.nbytes) == (3, data.size, data.nbytes)


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


@pytest.mark.parametrize("compression", ["lzw", "zstd", "jpeg"])
@pytest.mark.parametrize("axes", ["YX", "YXS", "ZYX"])
def test_usual_compressions_are_read(
    tmp_path: Path, compression: str, axes: str
) -> None:
    path = tmp_path / "a.tif"
    data = np.full_like(pixels(axes), 7)
    data[..., 4:12, 3:11] = 200
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    tifffile.imwrite(path, data, compression=compression, photometric=photometric)
    found = np.asarray(read_image(path).data).astype(int)
    assert np.abs(found - data).max() <= (20 if compression == "jpeg" else 0)


@pytest.mark.filterwarnings("ignore:The legacy:DeprecationWarning")
def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("YX"), compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        at = tif.pages[0].tags["Compression"].valueoffset
    for code in (32_908, 34_676, 4711):  # Pixar film, SGI log, none
        content[at : at + 2] = code.to_bytes(
            2, "big" if tif.byteorder == ">" else "little"
        )
        path.write_bytes(content)
        said = refusal(path)
        assert "not supported" in said
        assert "damaged" not in said
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE" + bytes(600))
    said = refusal(tmp_path / "a.czi")
    assert "damaged" not in said
    assert "OME-TIFF" in said


def test_missing_codecs_name_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("YX"), compression="zlib")

    def without(*_: object, **__: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", without)
    said = refusal(path)
    assert "pip install --upgrade imagecodecs" in said
    assert "damaged" not in said


def test_further_images_of_a_file_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(pixels("YX"), metadata={"axes": "YX", "Name": "overview"})
        tif.write(pixels("ZYX"), metadata={"axes": "ZYX", "Name": "stack"})
    (note,) = read_image(path).notes
    assert "1 more image" in note
    assert "stack, 4 x 17 x 23" in note
    path = tmp_path / "b.tif"
    with tifffile.TiffWriter(path) as tif:
        for size in (9, 7, 6, 5, 4):
            tif.write(np.zeros((size, 8), np.uint8), photometric="minisblack")
    (note,) = read_image(path).notes
    assert "4 more images or pages of another size" in note
    assert "7 x 8" in note


def test_channels_taken_for_planes_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("ZCYX"), imagej=True, metadata={"axes": "ZCYX"})
    (note,) = read_image(path).notes
    assert "3 channels are taken for planes" in note
    tifffile.imwrite(path, pixels("CYX"), photometric="minisblack")
    (note,) = read_image(path).notes
    assert "does not say what its axis of 3 is" in note
    tifffile.imwrite(path, pixels("ZYX"), imagej=True, metadata={"axes": "ZYX"})
    assert read_image(path).notes == ()


def colors_of(kind: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    table = rng.integers(0, 256, (8, 3), np.uint8)
    if kind == "gray":
        table[:] = table[:, :1]
    return table[rng.integers(0, 8, (20, 30))]


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_palettes_are_the_colors_they_mean(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    picture = Image.fromarray(colors_of("color")).quantize(8)
    picture.save(path)
    image = read_image(path)
    assert image.axes == "YXS"
    np.testing.assert_array_equal(image.data, np.asarray(picture.convert("RGB")))
    values = read_image(path, colors=False)
    assert values.axes == "YX"
    np.testing.assert_array_equal(values.data, np.asarray(picture))


def test_palettes_of_stacks_grays_and_imagej(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    indices = pixels("ZYX") % 8
    ramp = np.arange(256) * 257
    green = np.stack([0 * ramp, ramp, 0 * ramp]).astype(np.uint16)
    gray = np.stack([ramp[::-1]] * 3).astype(np.uint16)
    for colormap, expected in (
        (green, np.stack([0 * indices, indices, 0 * indices], -1)),
        (gray, 255 - indices),
    ):
        tifffile.imwrite(
            path, indices, photometric="palette", colormap=colormap, compression="zlib"
        )
        image = read_image(path)
        np.testing.assert_array_equal(image.data[2], expected[2])
        np.testing.assert_array_equal(np.asarray(image.data), expected)
        np.testing.assert_array_equal(
            read_image(path, colors=False).data[2], indices[2]
        )
        np.testing.assert_array_equal(
            pickle.loads(pickle.dumps(image.data))[1], expected[1]
        )
    # The table of an ImageJ file colors the display only.
    tifffile.imwrite(
        path, indices, imagej=True, colormap=green, metadata={"axes": "ZYX"}
    )
    assert read_image(path).axes == "ZYX"


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_inks_are_the_colors_they_mean(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    picture = Image.fromarray(colors_of("color")).convert("CMYK")
    picture.save(path, **({"quality": 100} if name == "a.jpg" else {}))
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB")).astype(int)
    image = read_image(path)
    assert image.axes == "YXS"
    assert image.data.shape == (20, 30, 3)
    assert np.abs(np.asarray(image.data).astype(int) - expected).max() <= 1


def test_planar_inks_and_white_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    inks = np.random.default_rng(0).integers(0, 65_536, (2, 4, 20, 30), np.uint16)
    tifffile.imwrite(path, inks, photometric="separated", planarconfig="separate")
    image = read_image(path)
    assert image.axes == "QYXS"
    share = 1 - inks / 65_535
    expected = np.moveaxis(share[:, :3] * share[:, 3:], 1, -1) * 65_535
    assert np.abs(np.asarray(image.data) - expected).max() <= 0.51
    tifffile.imwrite(path, pixels("YX"), photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path).data, 255 - pixels("YX"))


@pytest.mark.skipif(os.name != "posix", reason="needs pipes and devices")
@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "pipe or a device" in refusal(tmp_path / name)
    (tmp_path / f"zero{name}").symlink_to("/dev/zero")
    assert "pipe or a device" in refusal(tmp_path / f"zero{name}")


@pytest.mark.parametrize("path", [None, 3, b"\0", "a\0b.tif", "n" * 300, "", 2.5, []])
def test_what_is_no_path_is_one_sentence(path: Any) -> None:
    with pytest.raises((TypeError, FileFormatError), match=r"\w+ \w+"):
        read_image(path)


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
    with pytest.raises(TypeError, match="int"):
        ImageFile(7, "YX", (1.0, 1.0), ("pixel", "pixel"), "a")  # type: ignore[arg-type]
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
    color = read_image(shared_data / "plantseg_rgb3d/images/rgb_3D_0.tif")
    assert color.rgb == (color.data.shape[-1] in (3, 4))
