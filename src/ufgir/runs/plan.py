"""From the words on the command line to a run that can start, or to all that is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ufgir.config import compose_run, file_digest, machine_faults, processes, resolve, run_hash, slug, tables_digest
from ufgir.data import Source, collect, image_faults
from ufgir.errors import UserError
from ufgir.files import folder_faults
from ufgir.reducers import users_file
from ufgir.runs.folder import RunFolder


@dataclass(frozen=True)
class Plan:
    """A run that may start."""

    folder: RunFolder
    config: dict[str, Any]  # resolved
    source: Source


def plan_run(overrides: Sequence[str]) -> Plan:
    """Compose and check everything about a run; nothing is written and no weights are loaded.

    Args:
        overrides: the words of the command line, `key=value`.

    Raises:
        UserError: all faults of configuration, machine, tables and images together.
    """
    composed, faults = compose_run(list(overrides))
    if composed is None:
        raise UserError(*faults)
    config = resolve(composed)
    source, data_faults = collect(config["dataset"], protocol=config["protocol"], seed=config["seed"])
    faults += data_faults + machine_faults(config)
    if source is not None:
        faults += batch_faults(config, source)
        plan = None if faults else Plan(run_folder(config, source), config, source)
        is_finished = plan is not None and plan.folder.is_finished()
        if source.render is None and not is_finished:
            faults += image_faults(source, config["trainer"]["progress"])
        faults += [] if is_finished else output_faults(config)
    if faults:
        raise UserError(*faults)
    # From here on absolute, so that the run can be evaluated from any folder; until here in the words of the user.
    config["dataset"]["root"] = str(Path(config["dataset"]["root"]).expanduser().absolute())
    return plan


def output_faults(config: dict[str, Any]) -> list[str]:
    """Why no run folder can be made, before weights are loaded and images are read."""
    return folder_faults("output_root", Path(config["output_root"]).expanduser(), deep=True)


def batch_faults(config: dict[str, Any], source: Source) -> list[str]:
    """What is wrong with batches for the images and processes that there are."""
    batch, images, shares = config["optim"]["batch_size"], len(source.train), processes(config["trainer"])
    faults = []
    if batch > images:
        faults.append(f"optim.batch_size={batch}: the training set has {images} images. Give at most {images}.")
    if batch % shares:
        fitting = max(1, round(batch / shares)) * shares
        faults.append(
            f"optim.batch_size={batch} cannot be shared evenly by {shares} processes (trainer.devices times "
            f"trainer.num_nodes). Did you mean optim.batch_size={fitting}?"
        )
    elif config["plugins"]["head"]["name"] == "cla" and batch == shares > 1:
        faults.append(
            f"optim.batch_size={batch} leaves one image to each of {shares} processes, and the BatchNorm of the CLA "
            f"head needs two. Give at least optim.batch_size={2 * shares}."
        )
    for word, table, batches in (
        ("limit_train_batches", source.train, images // batch),
        ("limit_test_batches", source.test, -(-len(source.test) // batch)),
    ):
        limit = config["trainer"][word]
        if isinstance(limit, float) and batches and int(limit * batches) < 1:
            faults.append(
                f"trainer.{word}={limit:g}: that is less than one of the {batches} batches of {len(table)} images. "
                f"Give a whole number of batches, such as trainer.{word}=1."
            )
    return faults


def run_folder(config: dict[str, Any], source: Source) -> RunFolder:
    """The folder of a run: named by its resolved configuration and the contents of its tables and files."""
    checkpoint = config["backbone"]["checkpoint"]
    code = users_file(config["reducer"]["name"])
    digests = [_digest(str(file)) if file else None for file in (checkpoint, code)]
    identity = run_hash(config, _tables_digest(source), *digests)
    return RunFolder(Path(config["output_root"]).expanduser() / f"{slug(config)}-{identity}")


# A sweep asks for the same files and tables thousands of times.
_digest = cache(file_digest)


@cache
def _tables_digest(source: Source) -> str:
    return tables_digest(source.tables)
