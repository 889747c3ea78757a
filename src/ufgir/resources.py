"""Where the configuration files lie, the user's own among them."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def conf_dir() -> Path:
    """Folder of the configuration groups: the checkout's `conf/` or, in an installed wheel, the packed copy of it."""
    checkout = PACKAGE.parents[1] / "conf"
    return checkout if PACKAGE.parent.name == "src" and (checkout / "train.yaml").is_file() else PACKAGE / "conf"


def sweep_dirs() -> list[Path]:
    """Folders of grids: the checkout's `sweeps/` or the packed copy of it, then the user's own."""
    return [conf_dir().parent / "sweeps", *(folder / "sweeps" for folder in user_folders())]


def user_folders() -> list[Path]:
    """Folders named by `UFGIR_PATH`, each with `conf/<group>/*.yaml` and `reducers/*.py` of someone's own."""
    return [Path(folder).absolute() for folder in os.environ.get("UFGIR_PATH", "").split(os.pathsep) if folder]


def search_path(*, with_sweeps: bool = False) -> list[str]:
    """The word that makes Hydra look for configuration in the user's folders too; none without such folders."""
    folders = [folder / "conf" for folder in user_folders()] + (sweep_dirs() if with_sweeps else [])
    folders = [f"file://{folder}" for folder in folders if folder.is_dir()]
    return [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []


def group_files(group: str) -> list[Path]:
    """The choices of a config group: its YAML files, by name."""
    folders = [conf_dir(), *(folder / "conf" for folder in user_folders())]
    files = {file.stem: file for folder in reversed(folders) for file in (folder / group).glob("*.yaml")}
    return [files[name] for name in sorted(files)]
