"""The project as a user gets it: top level, licence, set-up by `make`, and the wheel."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOLDERS = {".ci", "conf", "docs", "notebooks", "src", "sweeps", "tests"}
FILES = {".gitignore", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "README.md"}
FILES |= {"constraints.txt", "pyproject.toml"}
FAST_TESTS = "-m pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile"
PAPER = "Cross-Layer Cache Aggregation for Token Reduction in Ultra-Fine-Grained Image Recognition"
AUTHORS = "Edwin Arkel Rios, Jansen Christopher Yuanda, Vincent Leon Ghanz, Cheng-Wei Yu, Bo-Cheng Lai, Min-Chun Hu"

# Stands in for uv and for Python $VERSION: notes how it was called, and makes an environment that contains itself.
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> calls
case "$*" in
    *"venv "*) for folder; do :; done; mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" ;;
    *"pip install"*) exit "${INSTALL_STATUS:-0}" ;;
    --version) echo "Python $VERSION" ;;
    -c*) exec "$REAL_PYTHON" -c "import sys; sys.version_info = tuple(map(int, '$VERSION'.split('.'))); $2" ;;
esac
"""
DEMO = "python -m ufgir.train experiment=demo"

# Run with an installed wheel: where the package and its configuration lie, what is there and what it composes to.
COMPOSE = """
import json, ufgir
from ufgir.config import compose_run
from ufgir.resources import conf_dir
files = sorted(path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*") if path.is_file())
config, faults = compose_run(["experiment=demo", "reducer=topk"])
print(json.dumps([ufgir.__file__, str(conf_dir()), files, faults, config["reducer"]["name"], config["image_size"]]))
"""


def project_files() -> list[Path]:
    """The files of the checkout that git tracks or would add, relative to its root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


def make(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    """`make` in a folder, with none of the variables of a `make` that may have started the tests."""
    environment.setdefault("PATH", os.environ["PATH"])
    return subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def setup(tmp_path):
    """Runs `make` in `tmp_path` with the real Makefile and stand-ins for uv and Python: its result and their calls."""
    (tmp_path / "tests").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tests/oldest.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for name in ("uv", "python3", "python3.11"):
        (bin_dir / name).write_text(STAND_IN)
        (bin_dir / name).chmod(0o755)

    def run(*words: str, **environment: str) -> tuple[subprocess.CompletedProcess, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        path = f"{bin_dir}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "REAL_PYTHON": sys.executable, "VERSION": "3.11.0"} | environment
        result = make(tmp_path, *words, **environment)
        return result, [call for call in calls.read_text().splitlines() if " -c " not in call]

    return run


def test_top_level_has_exactly_the_agreed_entries():
    files = project_files()
    assert {file.parts[0] for file in files if len(file.parts) > 1} == FOLDERS
    assert {file.name for file in files if len(file.parts) == 1} == FILES


def test_no_file_names_a_machine_or_a_registry():
    unwanted = re.compile(r"(?<![\w./])/(home|root|work|opt|tmp|Users)/|(pypi|pythonhosted|download\.pytorch)\.org")
    found = []
    for file in project_files():
        text = (ROOT / file).read_bytes().decode(errors="ignore")
        found += [f"{file}: {match.group()}" for match in unwanted.finditer(text)]
    assert found == []


def test_licence_and_citation():
    licence = (ROOT / "LICENSE").read_text()
    assert licence.startswith("MIT License\n\nCopyright (c) 2026 the ufgir contributors\n")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["license"], citation["version"]) == (PROJECT["license"], PROJECT["version"])
    paper = citation["preferred-citation"]
    assert paper["title"] == PAPER
    assert ", ".join(f"{person['given-names']} {person['family-names']}" for person in paper["authors"]) == AUTHORS


def pins(file: str) -> dict[str, str]:
    """Package -> version in a file of constraints."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", line)] == []
    return dict(line.split("==") for line in lines)


def test_every_direct_dependency_is_pinned_within_its_bounds():
    pinned = pins("constraints.txt")
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    for requirement in map(Requirement, PROJECT["dependencies"] + extras):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_the_oldest_versions_are_the_lower_bounds():
    needed = map(Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])
    bounds = {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in needed}
    assert all(bound.startswith(">=") for bound in bounds.values())
    oldest = {name: Version(version) for name, version in pins("tests/oldest.txt").items()}
    assert {name: Version(bound.removeprefix(">=")) for name, bound in bounds.items()}.items() <= oldest.items()


def test_help_lists_every_target():
    (declared,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    listed = re.findall(r"^make (\S+) +\S", make(ROOT, "help").stdout, flags=re.MULTILINE)
    assert listed == declared.split()


def test_continuous_integration_runs_the_test_targets():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line.startswith("make")]
    assert commands == ["make test", "make test-slow || make test-slow ARGS=--last-failed"]
    printed = make(ROOT, "--dry-run", "test", "test-slow").stdout
    assert re.findall("-m pytest.*", printed) == [f"{FAST_TESTS} ", '-m pytest -m "slow and not gpu" --timeout=1200 ']


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["uv venv --seed --python python3 .venv", "uv pip install --python .venv/bin/python"]),
        (["UV="], ["python3 -m venv .venv", "python -m pip install"]),
    ],
)
def test_first_target_installs_and_the_next_does_not(setup, tmp_path, words, expected):
    result, calls = setup("demo", *words)
    options = " --constraint constraints.txt --editable .[dev,launchers,dashboards,export]"
    assert (result.returncode, calls) == (0, [expected[0], expected[1] + options, DEMO]), result.stderr
    assert setup("demo", *words)[1] == [DEMO]
    os.utime(tmp_path / "constraints.txt", (2**32, 2**32))
    assert setup("demo", *words)[1] == calls


def test_the_oldest_versions_have_an_environment_of_their_own(setup, tmp_path):
    options = "--constraint tests/oldest.txt --editable .[dev]"
    install = f"uv pip install --python .venv-oldest/bin/python {options}"
    expected = ["uv venv --seed --python python3.11 .venv-oldest", install, f"python {FAST_TESTS}"]
    assert setup("test-oldest", "CONSTRAINTS=/dev/null")[1] == expected
    assert setup("test-oldest")[1] == expected[2:]
    os.utime(tmp_path / "tests" / "oldest.txt", (2**32, 2**32))
    assert setup("test-oldest", "PYTHON=python3")[1] == [expected[0].replace("3.11", "3"), *expected[1:]]
    assert not (tmp_path / ".venv").exists()


def test_interrupted_installation_starts_anew(setup, tmp_path):
    result, calls = setup("test", INSTALL_STATUS="1")
    assert result.returncode == 2 and not any("pytest" in call for call in calls)
    (tmp_path / ".venv" / "half").touch()
    result, calls = setup("test")
    assert (result.returncode, len(calls), calls[-1]) == (0, 3, f"python {FAST_TESTS}")
    assert not (tmp_path / ".venv" / "half").exists()


def test_too_old_python_is_refused(setup, tmp_path):
    result, _ = setup("demo", VERSION="3.10.12")
    assert result.returncode == 2 and not (tmp_path / ".venv").exists()
    assert "ufgir needs Python 3.11 or newer, and python3 is: Python 3.10.12." in result.stderr
    assert "make demo PYTHON=python3.11" in result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built by the installed hatchling."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_wheel_carries_configuration_and_sweeps(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("ufgir-")}
    assert {name.split("/")[0] for name in packed} == {path.name for path in (ROOT / "src").iterdir()}
    for folder in ("conf", "sweeps"):
        files = {f"ufgir/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*.*")}
        assert files and {name for name in packed if name.startswith(f"ufgir/{folder}/")} == files


@pytest.mark.slow
def test_installed_wheel_composes_elsewhere(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(install, check=True)
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", COMPOSE]
    output = subprocess.run(command, check=True, cwd=empty, env=environment, stdout=subprocess.PIPE, text=True).stdout
    package, conf, files, *composed = json.loads(output)
    assert (Path(package).parent, Path(conf)) == (site / "ufgir", site / "ufgir" / "conf")
    assert files == sorted(path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml"))
    assert composed == [[], "topk", 96]
    assert list(empty.iterdir()) == []
