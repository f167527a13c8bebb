"""The images under File > Open Sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_sam import samples

MANIFEST = PluginManifest.from_file(
    Path(samples.__file__).resolve().parent.parent / "napari.yaml"
)
CONTRIBUTED = {s.key: s for s in MANIFEST.contributions.sample_data or []}


def test_every_sample_is_in_the_menu() -> None:
    assert CONTRIBUTED.keys() == samples.SAMPLES.keys()
    for key, sample in samples.SAMPLES.items():
        assert CONTRIBUTED[key].display_name == sample.title


@pytest.mark.parametrize("key", sorted(CONTRIBUTED))
def test_sample_opens_through_its_command(key: str) -> None:
    commands = {c.id: c for c in MANIFEST.contributions.commands or []}
    module, name = commands[CONTRIBUTED[key].command].python_name.split(":")
    assert module == samples.__name__
    (data, arguments, kind), *others = getattr(samples, name)()
    assert not others
    assert kind == "image"
    assert data.dtype == np.uint8
    assert data.std() > 5
    n_axes = data.ndim - arguments["rgb"]
    assert n_axes in (2, 3)
    assert len(arguments["scale"]) == n_axes
    assert arguments["metadata"]["credit"]
    assert arguments["metadata"]["licence"] in ("CC0 1.0", "MIT")


def test_napari_takes_the_samples() -> None:
    from napari.layers import Layer

    for key, sample in samples.SAMPLES.items():
        layer = Layer.create(*samples.layer_data(key))
        assert layer.name == sample.title
        assert layer.rgb == (key == "histology")


def test_samples_are_credited_and_small() -> None:
    folder = Path(samples.__file__).parent
    credits = (folder / "README.md").read_text(encoding="utf-8")
    files = [s.path for s in samples.SAMPLES.values()]
    assert all(f"`{file.name}`" in credits for file in files)
    assert sum(file.stat().st_size for file in files) < 4_000_000
