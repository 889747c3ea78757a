"""The project as a user gets it: set up by `make`, or installed from a wheel. Its packages import one way."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import util
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ufgir.config.compose import Composer

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "ufgir"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Each package may import those of earlier layers; modules at the top are commands, which may import all.
LAYERS = [
    {"errors", "utils"}, {"reducers"}, {"config", "data", "models"}, {"training"}, {"inference", "sweep"},
    {"export", "report"},
]  # fmt: skip


def pins(file: str) -> dict[str, str]:
    """Package -> version in a file of constraints."""
    return dict(line.split("==") for line in (ROOT / file).read_text().splitlines() if not line.startswith("#"))


def test_every_dependency_is_pinned_within_its_bounds():
    pinned = pins("constraints.txt")
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    for requirement in map(Requirement, PROJECT["dependencies"] + extras):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_the_oldest_versions_are_the_lower_bounds():
    needed = map(Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])
    bounds = {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in needed}
    oldest = {name: Version(version) for name, version in pins("tests/oldest.txt").items()}
    assert {name: Version(bound.removeprefix(">=")) for name, bound in bounds.items()}.items() <= oldest.items()


def imports_at_the_top(file: Path) -> set[str]:
    """The packages of ours that a module imports when it is imported itself."""
    nodes = ast.parse(file.read_text()).body
    names = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {name.split(".")[1] for name in names if name and name.startswith("ufgir.")}


def test_imports_point_one_way():
    levels = {name: level for level, names in enumerate(LAYERS) for name in names}
    for package, level in levels.items():
        for file in (SOURCE / package).rglob("*.py"):
            wrong = {name for name in imports_at_the_top(file) - {package} if levels.get(name, 9) >= level}
            assert file.name == "__main__.py" or not wrong, f"{file.relative_to(ROOT)} imports {wrong}"
    for file in (SOURCE / "reducers").glob("*.py"):
        assert not re.search(r"^(import|from) (timm|lightning|ufgir\.models)", file.read_text(), flags=re.M), file


@pytest.mark.parametrize("file", sorted((ROOT / "conf").glob("*/*.yaml")), ids=lambda f: f"{f.parent.name}={f.stem}")
def test_every_file_is_composed(file):
    assert Composer().compose([f"{file.parent.name}={file.stem}"])


@pytest.mark.filterwarnings(r"ignore:\s+'hydra/:UserWarning")  # the launchers' packages are of Hydra 1.0
@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "hydra").glob("*/*.yaml")), ids=lambda f: f.stem)
def test_every_launcher_is_composed(file):
    from hydra import compose, initialize_config_dir

    if not util.find_spec(f"hydra_plugins.hydra_{file.stem.partition('_')[0]}_{file.parent.name}"):
        pytest.skip("not installed")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose("train", [f"hydra/{file.parent.name}={file.stem}"], return_hydra_config=True)


def test_too_old_python_is_refused(tmp_path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.12"\nexit 1\n')
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    made = subprocess.run(["make", "demo"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert made.returncode == 2 and not (tmp_path / ".venv").exists()
    assert "3.11" in made.stderr and "Python 3.10.12" in made.stderr and "PYTHON=" in made.stderr


@pytest.mark.slow
def test_an_installed_wheel_works_elsewhere(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("conf", "sweeps"):
        assert {f"ufgir/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / folder).rglob("*.yaml")} <= packed
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(install, check=True)

    def ufgir(*words: str) -> str:
        command = [sys.executable, site / "bin" / "ufgir", *words]
        environment = os.environ | {"PYTHONPATH": str(site)}
        return subprocess.run(command, check=True, cwd=empty, env=environment, capture_output=True, text=True).stdout

    assert "\n  train" in ufgir()
    assert "image_size: 96" in ufgir("train", "experiment=demo", "reducer=topk", "--cfg", "job")
    assert "1 run" in ufgir("sweep", "plan", "sweep=demo", "reducer=none", "seed=1")
    assert list(empty.iterdir()) == []
