"""Where the files of an evaluation go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ufgir.files import place_faults, typed_path
from ufgir.runs.folder import RunFolder

NAME = "evaluation.json"


@dataclass(frozen=True)
class Places:
    """The figures in one JSON file, everything else in a folder of the same name beside it."""

    json: Path

    @property
    def folder(self) -> Path:
        """`evaluation` beside `evaluation.json`."""
        return self.json.with_suffix("")

    def faults(self) -> list[str]:
        """Why nothing can be written there."""
        if self.folder.exists() and not self.folder.is_dir():
            return [f"out={self.json}: tables and pictures go into {self.folder}, which is a file; give another out=."]
        return place_faults("out", self.json)

    def file(self, name: str) -> Path:
        """A file of the folder, which is made where it is not there."""
        self.folder.mkdir(exist_ok=True)
        return self.folder / name


def typed_place(out: str) -> tuple[Places, list[str]]:
    """What `out=` names: a JSON file, or a folder for `evaluation.json`; and its faults."""
    path, faults = typed_path("out", out)
    if faults:
        return Places(path), faults
    if path.suffix == ".json":
        places = Places(path)
    elif path.is_dir():
        places = Places(path / NAME)
    else:
        return Places(path), [f"out={out}: expected a file that ends in .json, or a folder that is there already."]
    return places, places.faults()


def usual_place(
    folder: Path, trained: Mapping[str, Any], settings: list[dict[str, Any]], *, names_data: bool = False
) -> Places:
    """In `folder`: `evaluation.json`, or a name that tells how the test differs from that of the run.

    Weights that lie outside of a run's folder have no test of their own from which other data would differ.

    Args:
        folder: where results of the weights go.
        trained: settings of their training.
        settings: of each test; they differ in the keep rate only.
        names_data: the user named a data set, which may be another one of the same kind.
    """
    size, rates = settings[0]["image_size"], [config["keep_rate"] for config in settings]
    parts = ["evaluation"]
    if RunFolder(folder).results.is_file():
        parts += _other_data(trained, settings[0], names_data)
    if len(rates) > 1:
        parts.append("keep_rates")
    elif rates[0] != trained["keep_rate"]:
        parts.append(f"keep_rate_{rate_text(rates[0], '_')}")
    if size != trained["image_size"]:
        parts.append(f"image_size_{size}")
    return Places(folder / f"{'-'.join(parts)}.json")


def _other_data(trained: Mapping[str, Any], tested: Mapping[str, Any], names_data: bool) -> Iterator[str]:
    """How the tested images differ from the run's own."""
    old, new = trained["dataset"], tested["dataset"]
    if new["name"] != old["name"]:
        yield new["name"]
    elif names_data and old["root"] is not None and Path(new["root"]).absolute() != Path(old["root"]).absolute():
        yield Path(new["root"]).absolute().name
    if tested["protocol"] != trained["protocol"]:
        yield tested["protocol"]


def rate_text(rate: float | list[float], joint: str = " ") -> str:
    """A keep rate, or one for each stage, as text."""
    return joint.join(f"{number:g}" for number in (rate if isinstance(rate, list) else [rate]))
