"""Start a planned run, once: a finished one is left alone, an interrupted one goes on."""

import traceback

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from ufgir.config import save_config
from ufgir.data import image_faults, write_tables
from ufgir.errors import RunFailed, UserError, behind
from ufgir.files import FULL, refusal
from ufgir.memory import enough_memory
from ufgir.models import ReducedViT
from ufgir.runs.announce import announce_results
from ufgir.runs.build import build_model
from ufgir.runs.life import live
from ufgir.runs.lighter import lighter_training
from ufgir.runs.plan import Plan
from ufgir.training.loggers import log_again

GOES_ON = "the same command goes on from the last whole epoch"


def start_run(plan: Plan) -> None:
    """Bring a run to its end, or say that it is there already.

    Raises:
        UserError: images or weights cannot be had, or another process works on this run.
        RunFailed: the run broke down; its results.json says why.
    """
    folder = plan.folder
    if rank_zero_only.rank != 0:  # a further process of a distributed run, which the first one has started
        with enough_memory(lighter_training(plan.config)):
            live(folder, plan.config, plan.source, make_model(plan))
        return
    if folder.is_finished():
        print(f"{folder.name} was finished before")
        log_again(folder.path, folder.id, plan.config, folder.read_results())
    else:
        with folder.occupied():
            if not folder.is_finished():  # by another process, just now
                with folder.attempt():
                    _live_or_leave_reason(plan, make_model(plan))
    announce_results(folder.name, folder.read_results())
    print(f"results: {folder.results}", flush=True)


def make_model(plan: Plan) -> ReducedViT:
    """Images in place, and the model as it starts: from the seed, and from weights where the configuration names some.

    Raises:
        UserError: unreadable images, or weights that cannot be had.
    """
    progress = plan.config["trainer"]["progress"]
    plan.source.prepare(progress)
    if faults := image_faults(plan.source, progress):
        raise UserError(*faults)
    L.seed_everything(plan.config["seed"], verbose=False)
    return build_model(plan.config, plan.source.num_classes)


def _live_or_leave_reason(plan: Plan, model: ReducedViT) -> None:
    folder = plan.folder
    try:
        save_config(plan.config, folder.config)
        folder.splits.mkdir(exist_ok=True)
        write_tables(plan.source.tables, folder.splits, plan.source.class_names)
        with enough_memory(lighter_training(plan.config)):
            live(folder, plan.config, plan.source, model)
    except UserError:
        raise
    except Exception as error:
        if any(isinstance(cause, KeyboardInterrupt) for cause in behind(error)):  # a save was cut short, says torch
            raise KeyboardInterrupt from error
        raise _left_behind(plan, error) from error


def _left_behind(plan: Plan, error: Exception) -> RunFailed:
    """What to tell of a run that broke down; its results.json says the same, if the disk takes it."""
    folder, refused = plan.folder, refusal(error)
    is_full = refused is not None and refused.errno in FULL
    if refused is not None:
        where = refused.filename or folder.path
        room = f"{where} cannot be written: {refused.strerror}. Make room there; {GOES_ON}."
        reason = room if is_full else f"{where}: {refused.strerror}."
    elif isinstance(error, RunFailed):
        reason = str(error)
    else:
        reason = f"{type(error).__name__}: {error}"
    folder.write_failure(reason, plan.config, counts=not is_full)  # what a full disk prevented may well be tried again
    if refused is not None or isinstance(error, RunFailed):
        return RunFailed(reason)
    traceback_file = folder.path / "traceback.txt"
    traceback_file.write_text("".join(traceback.format_exception(error)))
    return RunFailed(f"{reason}\nWhere it happened is in {traceback_file}.")
