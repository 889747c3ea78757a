"""Start a planned run, once: a finished one is left alone, an interrupted one goes on."""

import traceback

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from ufgir.config import save_config
from ufgir.data import image_faults, write_tables
from ufgir.errors import RunFailed, UserError
from ufgir.models import ReducedViT
from ufgir.runs.announce import announce_results
from ufgir.runs.build import build_model
from ufgir.runs.life import live
from ufgir.runs.plan import Plan
from ufgir.training.loggers import log_again


def start_run(plan: Plan) -> None:
    """Bring a run to its end, or say that it is there already.

    Raises:
        UserError: images or weights cannot be had, or another process works on this run.
        RunFailed: the run broke down; its results.json says why.
    """
    folder = plan.folder
    if rank_zero_only.rank != 0:  # a further process of a distributed run, which the first one has started
        live(folder, plan.config, plan.source, make_model(plan))
        return
    if folder.is_finished():
        print(f"{folder.name} was finished before")
        log_again(folder.path, folder.id, plan.config, folder.read_results())
    else:
        model = make_model(plan)
        with folder.occupied():
            if not folder.is_finished():  # by another process, while this one loaded the weights
                _live_or_leave_reason(plan, model)
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
    save_config(plan.config, folder.config)
    folder.splits.mkdir(exist_ok=True)
    write_tables(plan.source.tables, folder.splits, plan.source.class_names)
    try:
        live(folder, plan.config, plan.source, model)
    except UserError:
        raise
    except Exception as error:
        if _came_of_ctrl_c(error):
            raise KeyboardInterrupt from error
        reason = str(error) if isinstance(error, RunFailed) else f"{type(error).__name__}: {error}"
        before = folder.read_results() or {"attempts": 0}
        folder.write_results(
            {
                "status": "failed",
                "reason": reason,
                "attempts": before.get("attempts", 1) + 1,  # so that a sweep does not try for ever
                "seed": plan.config["seed"],
                "config": plan.config,
            }
        )
        if isinstance(error, RunFailed):
            raise
        traceback_file = folder.path / "traceback.txt"
        traceback_file.write_text(traceback.format_exc())
        raise RunFailed(f"{reason}\nWhere it happened is in {traceback_file}.") from error


def _came_of_ctrl_c(error: BaseException | None) -> bool:
    """Whether an error was raised while Ctrl-C was being handled, as torch does when a save is cut short."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
