"""Where the configuration files lie."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def conf_dir() -> Path:
    """Folder of the configuration groups: the checkout's `conf/` or, in an installed wheel, the packed copy of it."""
    checkout = PACKAGE.parents[1] / "conf"
    return checkout if PACKAGE.parent.name == "src" and (checkout / "train.yaml").is_file() else PACKAGE / "conf"
