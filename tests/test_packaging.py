"""What is built and installed: wheel, sdist and editable install."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="needs the source tree"
)

NEEDED = (
    "napari_sam/py.typed",
    "napari_sam/weights/mobile_sam.safetensors",
    "napari_sam/weights/mobile_sam_microscopy.safetensors",
    "napari_sam/weights/README.md",
    "napari_sam/weights/LICENSE-MIT",
    "napari_sam/weights/LICENSE-Apache-2.0",
    "napari_sam/samples/README.md",
    "napari_sam/samples/LICENSE-MIT",
    "napari_sam/samples/nuclei.png",
    "napari_sam/samples/chloroplasts.tif",
)

LOAD = """
import sys
sys.path.insert(0, {folder!r})
import napari_sam
assert napari_sam.__file__.startswith({folder!r}), napari_sam.__file__
from npe2 import PluginManifest
manifest = PluginManifest.from_distribution("napari-sam")
print(manifest.model_dump_json())
from napari_sam import samples
print(samples.nuclei()[0][0].shape)
print(all(m.path.is_file() for m in napari_sam.list_models()))
"""


def build(source: Path, out: Path, *kinds: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *kinds, "-o", out, source],
        check=True,
        capture_output=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist, and the wheel built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    build(ROOT, out)
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


def manifest_of(folder: Path) -> dict[str, object]:
    """Load the manifest of what is installed in a folder, as napari does."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(folder=str(folder))],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    text, shape, has_weights = done.stdout.strip().splitlines()
    assert shape == "(520, 696)"
    assert has_weights == "True"
    loaded: dict[str, object] = json.loads(text)
    return loaded


def check_manifest(manifest: dict[str, object]) -> None:
    assert manifest["name"] == "napari-sam"
    assert manifest["display_name"] == "napari-sam"
    contributions = manifest["contributions"]
    assert isinstance(contributions, dict)
    assert contributions["sample_data"]
    assert contributions["widgets"]


def test_wheel_holds_each_file_once(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        manifest = archive.read("napari_sam/napari.yaml")
    assert manifest == (ROOT / "napari.yaml").read_bytes()
    assert not [name for name, n in Counter(names).items() if n > 1]
    assert [n for n in names if n.endswith("napari.yaml")] == ["napari_sam/napari.yaml"]
    assert not set(NEEDED) - set(names)
    licences = [n for n in names if ".dist-info/licenses/" in n]
    assert len(licences) >= 3
    top = {n.split("/")[0] for n in names}
    assert {t for t in top if not t.endswith(".dist-info")} == {"napari_sam"}
    assert not [n for n in names if "__pycache__" in n]


def test_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 45_000_000  # two models of 20 MB


def test_sdist_builds_and_has_what_a_developer_needs(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for name in ("napari.yaml", "LICENSE", "constraints.txt", "tests/conftest.py",
                 "scripts/test", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md",
                 "mkdocs.yml", ".ci/run", ".github/workflows/ci.yml"):  # fmt: skip
        assert name in names, name
    assert not {n for n in names if n.startswith((".venv", "out/", "dist/"))}


def test_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index",
         "--target", tmp_path, wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    check_manifest(manifest_of(tmp_path))


def test_editable_install() -> None:
    direct = distribution("napari-sam").read_text("direct_url.json")
    if not direct or not json.loads(direct).get("dir_info", {}).get("editable"):
        pytest.skip("the package under test is not an editable install")
    check_manifest(manifest_of(ROOT / "src"))


def test_manifest_of_the_source_tree_is_the_one_at_the_root() -> None:
    link = ROOT / "src" / "napari_sam" / "napari.yaml"
    assert link.read_bytes() == (ROOT / "napari.yaml").read_bytes()


def test_console_script_is_declared() -> None:
    (script,) = distribution("napari-sam").entry_points.select(group="console_scripts")
    assert script.name == "napari-sam"
    assert callable(script.load())


def test_constraints_name_every_direct_dependency() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    extras = project["optional-dependencies"]
    for requirement in (*project["dependencies"], *extras["test"], *extras["dev"]):
        name = requirement.split(">=")[0].split("[")[0]
        assert name in pinned, name
    assert "torch==2.13.0" in lines
