"""Tables, figures and a page from finished runs.

    python -m ufgir.report runs=DIR_OR_CSV out=DIR [compare=paper]

runs     a folder with run folders anywhere below it, such as outputs; or a CSV with one row for each run
out      the folder to make; an earlier report there is replaced
compare  paper: set the published results beside these, cell by cell

<out>/index.html shows everything and needs no other file; table1, cells, differences, comparison (each .md, .csv and
.tex), runs.csv, tables/ and figures/ (.svg and .png) are for papers and further work.
"""

import sys
from collections.abc import Sequence

from ufgir.cli import DONE, SKIPPED, parse_words, run_command
from ufgir.config.messages import did_you_mean, nearest
from ufgir.errors import UserError
from ufgir.files import typed_path
from ufgir.reports.build import make_report, output_faults
from ufgir.reports.collect_csv import read_runs
from ufgir.reports.collect_folders import read_folders

WORDS = ("runs", "out", "compare")


def report(arguments: Sequence[str]) -> int:
    """Collect the runs and write the report.

    Returns:
        0, or 3 where inputs were skipped.
    """
    words, faults = parse_words(arguments, WORDS)
    uses = {"runs": "it names a folder of runs or a CSV file", "out": "it names the folder of the report"}
    faults += [f"{word}= is missing; {use}." for word, use in uses.items() if not words.get(word)]
    (runs, misread), (out, misplaced) = (typed_path(word, words.get(word, "")) for word in ("runs", "out"))
    faults += misread + misplaced
    if words.get("runs") and not misread and not runs.exists():
        near = nearest(runs.name, [path.name for path in runs.parent.iterdir()] if runs.parent.is_dir() else [])
        faults.append(f"runs={runs} does not exist.{did_you_mean([f'runs={runs.parent / name}' for name in near])}")
    if words.get("compare", "paper") != "paper":
        faults.append(f"compare={words['compare']} is not understood; it can be compare=paper.")
    if words.get("out") and not misread + misplaced:
        faults += output_faults(out, runs)
    if faults:
        raise UserError(*faults)
    collected = read_folders(runs) if runs.is_dir() else read_runs(runs)
    for line in collected.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    page = make_report(collected, out, source=runs.name, with_paper="compare" in words)
    print(f"report: {page}", flush=True)
    return SKIPPED if collected.skipped else DONE


if __name__ == "__main__":
    sys.exit(run_command(report, usage=__doc__))
