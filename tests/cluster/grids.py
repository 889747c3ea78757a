"""A grid of four tiny runs, started, watched and compared."""

import json
import subprocess
import time
from pathlib import Path

import yaml

from tiny import TINY, command, environment, run

MINE = ("--config-dir", "mine", "sweep=mine")


def write_grid(folder: Path) -> None:
    file = folder / "mine" / "sweep" / "mine.yaml"
    file.parent.mkdir(parents=True)
    words = [word for word in TINY if not word.startswith(("keep_rate", "trainer.max"))] + ["trainer.max_epochs=40"]
    content = {"name": "mine", "words": words, "union": [{"keep_rate": [0.25, 0.5], "seed": [1, 2]}]}
    file.write_text("# @package hydra.sweeper\n" + yaml.safe_dump(content))


def start(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        command("train", "--multirun", *MINE, *words), env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def sweep(*words: str, cwd: Path = Path()) -> subprocess.CompletedProcess:
    return run("train", "--multirun", *MINE, *words, cwd=cwd, timeout=600)


def status(*words: str) -> dict:
    shown = run("sweep", "status", *MINE, *words, "--json", cwd=Path())
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def results(root: Path = Path("outputs")) -> dict[str, dict]:
    """What two runs of the same name must share."""
    found = {file.parent.name: json.loads(file.read_text()) for file in root.glob("*/results.json")}
    return {
        name: {key: r.get(key) for key in ("status", "test_loss", "weights_sha256")}
        | {"rows": (root / name / "metrics.csv").read_text().count("\n")}
        for name, r in found.items()
    }


def wait_until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def processes() -> dict[str, int]:
    """Process of each run that is at work, from the record of its attempt."""
    records = {file.parent.name: json.loads(file.read_text()) for file in Path("outputs").glob("*/.attempt")}
    return {name: int(record["owner"].split()[1]) for name, record in records.items()}
