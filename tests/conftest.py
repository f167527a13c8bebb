"""Fixtures shared by all tests: the real model, real images, the window."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING

import pytest

from encoded_once import EncodedOnce
from gate import Gate

# napari colors labels with numba, whose first parallel call sets the threads of the
# OpenMP that torch uses, too: two of them wait for each other where there is one core.
if "OMP_NUM_THREADS" in os.environ:
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari_sam.models.registry import ModelSpec
    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.models.sam1.sam import SamModel

NO_DISPLAY = (
    sys.platform == "linux"
    and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
) or os.environ.get("QT_QPA_PLATFORM") == "offscreen"

SHARED = Path(__file__).resolve().parents[2] / "shared"

QUICK = {"core", "io"}
"""Folders of many quick tests."""

DISPLAYS = pytest.StashKey[list["subprocess.Popen[bytes]"]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several processes a display of its own, so that no focus is lost.

    With one process, or without Xvfb, the display is the caller's.
    """
    config.stash[DISPLAYS] = []
    if NO_DISPLAY or not hasattr(config, "workerinput") or not shutil.which("Xvfb"):
        return
    reader, writer = os.pipe()
    screen = ["-screen", "0", "1600x1000x24", "-nolisten", "tcp", "-ac"]
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), *screen],
        pass_fds=[writer],
        stderr=subprocess.DEVNULL,
    )
    config.stash[DISPLAYS].append(server)
    os.close(writer)
    with os.fdopen(reader) as told:
        number = told.readline().strip()
    if not number:
        return
    os.environ["DISPLAY"] = f":{number}"
    if shutil.which("openbox"):
        manager = subprocess.Popen(
            ["openbox", "--sm-disable"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        config.stash[DISPLAYS].append(manager)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the displays of this process."""
    for process in reversed(config.stash.get(DISPLAYS, [])):
        process.terminate()
        process.wait()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no garbage while everything is imported, and never again in that."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of the window where none can be shown; divide all of them.

    With several processes (``scripts/test``), each takes whole files, in this order.
    Those that take longest come first, so that no process waits for the last one.
    """
    of_window = {item for item in items if item.get_closest_marker("gui") is not None}
    if NO_DISPLAY:
        skip = pytest.mark.skip(reason="needs a display: run scripts/test")
        for item in of_window:
            item.add_marker(skip)
    items.sort(key=lambda item: (item not in of_window, item.path.parent.name in QUICK))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the development data folder, or skip without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the development data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """Return the folder of real images with ground truth, or skip without it."""
    return shared / "data"


@pytest.fixture(scope="session")
def encoded_once() -> Iterator[EncodedOnce]:
    """Encode an image for the first test that asks for it, and not for the others."""
    from napari_sam.models.sam1 import encoding, sam
    from napari_sam.models.sam1 import view_encoder as views

    memory = EncodedOnce(encoding.iter_features)
    with pytest.MonkeyPatch.context() as patch:
        for module in (sam, views):
            patch.setattr(module, "iter_features", memory)
        yield memory


@pytest.fixture(scope="module")
def encodes_itself(encoded_once: EncodedOnce) -> Iterator[None]:
    """Have the tests of a file encode: they are about how that is done."""
    encoded_once.is_on = False
    yield
    encoded_once.is_on = True


@pytest.fixture(scope="session")
def model(_bundled: tuple[ModelSpec, ...], encoded_once: EncodedOnce) -> SamModel:
    """Return the default model asked like SAM, with an input of 512 pixels, on the CPU.

    It sees the small images of these tests as well as at 1024 pixels, in a third of the
    time, and has the three masks and the grid that any SAM has.
    """
    from napari_sam.models import DEFAULT_MODEL
    from napari_sam.models.sam1.sam import SamModel

    network = _small_network(
        next(spec.path for spec in _bundled if spec.name == DEFAULT_MODEL)
    )
    network.prompt_head = network.blend = None
    return SamModel.from_network(network, name="small", device="cpu")


@pytest.fixture(scope="session")
def _small(
    _bundled: tuple[ModelSpec, ...],
    encoded_once: EncodedOnce,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ModelSpec, ...]:
    """Write the bundled models with an input of 512 pixels."""
    from napari_sam.models.metadata import read_metadata
    from napari_sam.models.sam1.checkpoint import save_network

    folder, found = tmp_path_factory.mktemp("weights"), []
    for spec in _bundled:
        path = folder / spec.path.name
        save_network(_small_network(spec.path), path, read_metadata(spec.path))
        found.append(replace(spec, path=path))
    return tuple(found)


@pytest.fixture(scope="module")
def small_models(_small: tuple[ModelSpec, ...]) -> Iterator[None]:
    """Have the names of the bundled models mean them with an input of 512 pixels.

    For tests that encode much and are not about how well.
    """
    from napari_sam.models import registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_BUNDLED", _small)
        yield


def _small_network(path: Path) -> SamNetwork:
    """Return a bundled network that sees an image in 512 pixels."""
    from napari_sam.models.image_encoders import tiny_vit_name
    from napari_sam.models.sam1.checkpoint import SamNetwork, load_network
    from napari_sam.models.sam1.tiny_vit import TinyViT

    whole = load_network(path)
    network = SamNetwork(
        TinyViT(), tiny_vit_name(512), 512, whole.prompt_head, whole.blend
    )
    network.load_state_dict(whole.state_dict())
    network.thresholds = whole.thresholds
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def _bundled() -> tuple[ModelSpec, ...]:
    """Return the bundled models, whatever a file of tests takes for them."""
    from napari_sam.models import registry

    return registry._BUNDLED


@pytest.fixture(scope="session")
def mobile_sam(_bundled: tuple[ModelSpec, ...], encoded_once: EncodedOnce) -> SamModel:
    """Return the bundled MobileSAM on the CPU."""
    from napari_sam.models.sam1.sam import SamModel

    path = next(spec.path for spec in _bundled if spec.name == "mobile-sam")
    return SamModel.from_file(path, name="mobile-sam", device="cpu")


@pytest.fixture(scope="session")
def quick_events() -> Iterator[None]:
    """Have napari look at the signature of a callback once, not at each connection.

    There are more than a thousand connections in a viewer, most of them from emitter
    to emitter; `inspect.signature` takes a seventh of the time of a test with one.
    """
    from napari.utils.events.event import EmitterGroup, EventEmitter

    check = EventEmitter._check_signature
    known: dict[tuple[object, bool], bool] = {}

    def check_once(callback: Callable[..., object]) -> bool:
        code = getattr(callback, "__code__", None)
        if isinstance(callback, EventEmitter):
            code = type(callback).__call__
        elif code is None or hasattr(callback, "__wrapped__"):
            return check(callback)
        key = code, isinstance(callback, MethodType)
        if key not in known:
            known[key] = check(callback)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventEmitter, "_check_signature", staticmethod(check_once))
        # Without it, ``in`` goes through the names one by one.
        patch.setattr(
            EmitterGroup,
            "__contains__",
            lambda self, name: name in self.emitters,
            raising=False,
        )
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test out of the user's cache and settings folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_SAM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Mount a file system, or skip where that is not permitted.

    Of 64 KiB, or of as many as a parameter says.
    """
    size = f"size={getattr(request, 'param', 64)}k"
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("needs mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return what holds each propagation after three slices, until it is opened."""
    from napari_sam.core.volumes import engine

    gate = Gate()
    monkeypatch.setattr(engine, "iter_propagate", gate.iter_propagate)
    return gate


@pytest.fixture(autouse=True, scope="module")
def _no_search_for_garbage_among_modules() -> Iterator[None]:
    """Take what lives on after a file out of the garbage collector's sight.

    napari's fixture has it search three times a test, each time through all that torch
    and napari have imported: a second and a half.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where each test has its state folder."""
    return tmp_path_factory.mktemp("states")


@pytest.fixture(autouse=True)
def state_folder(_states: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the unsaved work of a test to itself; return where it is kept."""
    # Not numbered: that would read the names of all the folders before it.
    folder = Path(tempfile.mkdtemp(dir=_states))
    monkeypatch.setenv("NAPARI_SAM_STATE_DIR", str(folder))
    return folder / "journals"
