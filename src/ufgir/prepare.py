"""Turn the raw Ultra-FGVC release into split CSVs; with `weights`, fetch pretrained weights ahead.

    python -m ufgir.prepare raw=DIR out=DIR [dataset=NAME] [copy=true]

raw      the unpacked release, or the folder of one of its sets
out      where <out>/<set>/{train,val,train_val,test}.csv and <out>/<set>/images are made
dataset  only this set: cotton80, soylocal, soygene, soyageing or soyglobal (default: all that are found)
copy     copy the images; by default <out>/<set>/images links to them

Pretrained weights are fetched ahead by `python -m ufgir.prepare weights backbone=NAME`; `weights --help` tells more.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ufgir.cli import DONE, SKIPPED, parse_words, run_command
from ufgir.config.messages import did_you_mean, nearest
from ufgir.data.raw_set import read_set, set_counts
from ufgir.data.tables import SPLITS, Tables, read_tables, write_tables
from ufgir.data.ultra_fgvc import DEPTH, SETS, find_sets
from ufgir.errors import UserError
from ufgir.files import saving, typed_path
from ufgir.prepare_weights import __doc__ as weights_usage
from ufgir.prepare_weights import prepare_weights

WORDS = ("raw", "out", "dataset", "copy")
COUNTS = ("classes", *SPLITS)


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    raw: Path
    out: Path
    dataset: str | None = None
    copy: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with its words (default: those of the command line).

    Returns:
        the exit code: 0 done, 1 some weights could not be had, 2 the user's mistake, 3 done but for a folder of an
        unknown set, or weights that only their authors have.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments[:1]) == ["weights"]:
        return run_command(prepare_weights, arguments[1:], usage=weights_usage)
    return run_command(lambda words: prepare(parse(words)), arguments, usage=__doc__)


def parse(arguments: Sequence[str]) -> Request:
    """Read words of the form `key=value`.

    Raises:
        UserError: with all faults of the words.
    """
    given, faults = parse_words(arguments, WORDS)
    faults += [f"{word}=DIR is missing; {use}" for word, use in
               {"raw": "it names the unpacked release", "out": "it names the folder to write to"}.items()
               if not given.get(word)]
    (raw, misread), (out, misplaced) = (typed_path(word, given.get(word, "")) for word in ("raw", "out"))
    faults += misread + misplaced
    if given.get("raw") and not misread and not raw.is_dir():
        faults.append(f"raw={raw} is no folder")
    dataset = given.get("dataset")
    if dataset is not None and dataset not in SETS:
        faults.append(f"dataset={dataset} is unknown; the sets are {', '.join(SETS)}."
                      f"{did_you_mean(nearest(dataset, SETS))}")
    if given.get("copy", "false") not in ("true", "false"):
        faults.append(f"copy={given['copy']} must be true or false")
    if faults:
        raise UserError(*faults)
    return Request(raw, out, dataset, given.get("copy") == "true")


def prepare(request: Request) -> int:
    """Read, check and write all sets; nothing is written unless all are sound.

    Returns:
        the exit code, 0 or 3.

    Raises:
        UserError: with all faults of all sets.
    """
    release, faults = find_sets(request.raw, request.out, request.dataset)
    if not release.sets:
        raise UserError(*faults, _nothing_found(request))
    complete = {name: stages for name, stages in release.sets.items() if set(stages) == set(SETS[name].stages)}
    tables = {}
    for name, stages in complete.items():
        tables[name], found = read_set(name, stages)
        faults += found or _conflict(request.out / name, tables[name])
    if faults:
        raise UserError(*faults)
    for name, stages in complete.items():
        if (request.out / name).exists():
            print(f"{request.out / name} is there already, with the same tables")
        else:
            _write(tables[name], stages, request.out / name, request.copy)
    _report(tables, request.out)
    for folder in release.unknown:
        print(f"left out: {folder}, whose name tells no set; name it with raw={folder} dataset=NAME", file=sys.stderr)
    return SKIPPED if release.unknown else DONE


def _nothing_found(request: Request) -> str:
    wanted = request.dataset or "any of the five sets"
    return (f"raw={request.raw} holds no folder of {wanted}: looked, {DEPTH} levels deep, for a folder with images/ "
            "whose name, or that of a folder around it, is like COTTON, SoyLocal (soybean200), SoyGene, SoyAgeing/R1 "
            "or SoyGlobal (soybean2000). raw=FOLDER_OF_ONE_SET dataset=NAME takes any name")


def _conflict(target: Path, tables: Tables) -> list[str]:
    """Why an earlier result cannot stay."""
    if not target.exists():
        return []
    there, _ = read_tables(target)
    same = {split: table.values.tolist() for split, table in there.items()} == {
        split: table.values.tolist() for split, table in tables.items()}
    if not same:
        return [f"{target} exists and holds something else; remove it or give another out="]
    if not (target / "images" / tables["test"]["dir"].iloc[0]).is_file():
        return [f"{target} is there already, but its images are not where they were; remove it and run this again"]
    return []


def _write(tables: Tables, stages: dict[str, Path], target: Path, copy: bool) -> None:
    """Write one set whole or not at all."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    advice = "" if copy else "Where links are not possible, use copy=true."
    try:
        with saving("out", target, advice):
            draft.mkdir(parents=True)
            write_tables(tables, draft)
            for stage, folder in stages.items():
                images = draft / "images" / stage / "images" if stage else draft / "images"
                images.parent.mkdir(parents=True, exist_ok=True)
                if copy:
                    print(f"copying {folder / 'images'}", flush=True)
                    shutil.copytree(folder / "images", images)
                else:
                    images.symlink_to(os.path.abspath(folder / "images"), target_is_directory=True)
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _report(tables: dict[str, Tables], out: Path) -> None:
    """Print the counts beside the paper's, and how to train on each set."""
    print(f"{'set':<10}" + "".join(f"{what:>10}" for what in COUNTS) + "  as in the paper")
    commands = []
    for name, found in tables.items():
        counts, expected = set_counts(found), SETS[name].counts
        verdict = "yes" if counts == expected else f"no, {', '.join(f'{expected[what]}' for what in COUNTS)}"
        print(f"{name:<10}" + "".join(f"{counts[what]:>10}" for what in COUNTS) + f"  {verdict}")
        dataset = name if counts == expected else "csv"
        commands.append(f"python -m ufgir.train dataset={dataset} dataset.root={out / name}")
    print("\nNext:", *commands, sep="\n  ")


if __name__ == "__main__":
    sys.exit(main())
