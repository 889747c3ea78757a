"""Tables, figures and a page from finished runs.

    python -m ufgir.report runs=DIR_OR_CSV out=DIR [sweep=NAME] [compare=paper]

runs     a folder with run folders anywhere below it, such as outputs; a CSV file with one row for each run; or
         published, the runs that the paper's authors published
out      the folder to make; an earlier report there is replaced
sweep    the grids that were planned, names or files separated by commas: their missing runs are listed, too
compare  paper: set the published results beside these, cell by cell

<out>/index.html shows everything and needs no other file; table1, cells, differences, comparison, missing (each .md,
.csv and .tex), runs.csv, tables/ and figures/ (.svg and .pdf) are for papers and further work.
Exit code 3: some inputs, such as failed runs or damaged files, were skipped.
"""

import sys
from typing import Literal

from pydantic import BaseModel

from ufgir.cli import DONE, SKIPPED, parse_options, run_command


class Options(BaseModel):
    runs: str
    out: str
    sweep: str = ""
    compare: Literal["paper"] | None = None


def main(argv: list[str]) -> int:
    """Collect the runs and write the report; 3 where inputs were skipped."""
    options = parse_options(Options, argv)
    from ufgir.errors import UserError, did_you_mean
    from ufgir.report.collect import published, read_csv, read_folders
    from ufgir.report.page import check_out, make_report
    from ufgir.utils import expand_path

    runs, out = expand_path("runs", options.runs), expand_path("out", options.out)
    is_published = options.runs == "published"  # runs=./published is a folder of this name
    if not is_published and not runs.exists():
        near = [path.name for path in runs.parent.iterdir()] if runs.parent.is_dir() else []
        raise UserError(f"runs={options.runs}: no such file or folder.{did_you_mean(runs.name, near)}")
    check_out(out, None if is_published else runs)
    collected = published() if is_published else read_folders(runs) if runs.is_dir() else read_csv(runs)
    for line in collected.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    source = "the authors' published runs" if is_published else runs.name or str(runs)
    sweeps = [name for name in options.sweep.split(",") if name]
    page = make_report(collected, out, source=source, compare=options.compare is not None, sweeps=sweeps)
    print(f"report: {page}", flush=True)
    return SKIPPED if collected.skipped else DONE


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
