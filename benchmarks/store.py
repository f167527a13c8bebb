"""What an embedding costs to keep, and what a hit saves.

Encoding and hits take turns in one process, so that other load on the machine
weighs on all of them; compare the ratios, not the times.

    python benchmarks/store.py [--rounds N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.imaging import to_rgb
from napari_sam.models import load_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_sam.core.model import Model


class Times:
    """Seconds of named operations."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def of(self, operation: str) -> Iterator[None]:
        """Time what is done within."""
        start = time.perf_counter()
        yield
        self.seconds[operation].append(time.perf_counter() - start)


def measure(
    model: Model, pixels: npt.NDArray[np.uint16], folder: Path, times: Times
) -> None:
    """Time the first visit of a plane and those after it."""
    with times.of("normalize"):
        rgb = to_rgb(pixels)
    store = EmbeddingStore(folder)
    with times.of("hash"):
        key = Engine(model, store).key(rgb)
    with times.of("encode"):
        embedding = model.encode_rgb(rgb).embedding
    with times.of("write to disk"):
        store.put(key, embedding)
    # A new store has nothing in RAM, as at the start of a session.
    store = EmbeddingStore(folder)
    with times.of("is it there?"):
        found = key in store
    with times.of("hit on disk"):
        from_disk = store.get(key)
    with times.of("hit in RAM"):
        from_ram = store.get(key)
    if not found or from_disk is None or from_ram is None:
        raise SystemExit("the store lost an entry")
    engine = Engine(model, store)
    with times.of("plane again"):
        engine.encode(rgb, key=key)
    with times.of("plane in use"):
        engine.encode(rgb, key=key)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    from skimage import data

    model = load_model("mobile-sam", device="cpu")
    rng = np.random.default_rng(0)
    sizes = (512, 1024, 2048)
    times = {size: Times() for size in sizes}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(rounds):
            for size in sizes:
                tiled = np.tile(data.camera(), (size // 512, size // 512))
                noise = rng.integers(0, 200, tiled.shape, dtype=np.uint16)
                pixels = tiled * np.uint16(20) + noise
                measure(model, pixels, folder, times[size])
        store = EmbeddingStore(folder)
        for path in folder.glob("*.safetensors"):
            store.get(path.stem)
        info = store.info()

    print(f"RAM per slice   {info.ram_bytes / info.ram_entries / 2**20:.3f} MiB")
    print(f"disk per slice  {info.bytes / info.entries / 2**20:.3f} MiB")
    print(f"\nmedian of {rounds} rounds: ms, and share of encoding")
    print(f"{'':14}" + "".join(f"{f'{size}² uint16':>20}" for size in sizes))
    for operation in times[sizes[0]].seconds:
        row = f"{operation:14}"
        for size in sizes:
            value = median(times[size].seconds[operation])
            share = value / median(times[size].seconds["encode"])
            row += f"{value * 1e3:11.3f} {share:8.5f}"
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
