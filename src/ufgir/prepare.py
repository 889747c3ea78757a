"""Turn the raw Ultra-FGVC release into split CSVs; with `weights`, download pretrained weights ahead.

    python -m ufgir.prepare raw=DIR out=DIR [dataset=NAME] [copy=true]

raw      the unpacked release, or the folder of one of its sets
out      where <out>/<set>/{train,val,train_val,test}.csv and <out>/<set>/images are made
dataset  only this set: cotton80, soylocal, soygene, soyageing or soyglobal (default: all that are found)
copy     copy the images; by default <out>/<set>/images links to them

Weights: `python -m ufgir.prepare weights backbone=NAME`; `python -m ufgir.prepare weights --help` tells more.
"""

import sys
from collections.abc import Sequence

from ufgir.data.ultra_fgvc import SETS, prepare_release
from ufgir.errors import UserError, did_you_mean
from ufgir.utils import expand_path

KEYS = ("raw", "out", "dataset", "copy")


def prepare(arguments: Sequence[str]) -> int:
    """Run the command. Returns the exit code: 0 done, 3 done but for folders of unknown sets.

    Raises:
        UserError: with all wrong arguments, or all errors of all sets.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    errors = [f"{key}={value} is not understood. The arguments are {', '.join(KEYS)}.{did_you_mean(key, KEYS)}"
              for key, value in given.items() if key not in KEYS]
    errors += [f"{key}=DIR is missing." for key in ("raw", "out") if not given.get(key)]
    raw, out = (expand_path(key, given.get(key, "")) for key in ("raw", "out"))
    if given.get("raw") and not raw.is_dir():
        errors.append(f"raw={raw} is not a folder.")
    if (name := given.get("dataset")) not in (None, *SETS):
        errors.append(f"dataset={name} is not one of {', '.join(SETS)}.{did_you_mean(name, SETS)}")
    if given.get("copy", "false") not in ("true", "false"):
        errors.append(f"copy={given['copy']} is not one of true, false.")
    if errors:
        raise UserError(*errors)
    done = prepare_release(raw, out, name, given.get("copy") == "true")
    print(f"{'set':<10}" + "".join(f"{key:>10}" for key in SETS["cotton80"].counts) + "  as in the paper")
    for name, counts in done.counts.items():
        verdict = "yes" if counts == SETS[name].counts else f"no, {', '.join(map(str, SETS[name].counts.values()))}"
        print(f"{name:<10}" + "".join(f"{count:>10}" for count in counts.values()) + f"  {verdict}"
              + (", was there already" if name in done.existing else ""))
    print("\nNext:")
    for name, counts in done.counts.items():
        dataset = name if counts == SETS[name].counts else "csv"
        print(f"  python -m ufgir.train dataset={dataset} dataset.root={out / name}")
    for folder in done.unknown:
        print(f"left out: {folder} has no name of a set. Give raw={folder} dataset=NAME.", file=sys.stderr)
    return 3 if done.unknown else 0


if __name__ == "__main__":
    from ufgir import prepare_weights
    from ufgir.cli import run_command

    if sys.argv[1:2] == ["weights"]:
        sys.exit(run_command(prepare_weights.prepare_weights, sys.argv[2:], usage=prepare_weights.__doc__))
    sys.exit(run_command(prepare, usage=__doc__))
