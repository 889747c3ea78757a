"""A large grid of runs that do nothing, on SLURM or on Ray, while runs die and the launcher is killed twice.

    PYTHONPATH=tests python tests/cluster/scale.py ENGINE RUNS [OVERRIDE ...]

It checks that each run was done once, and prints the seconds for each run and the memory of the launcher. Engines other
than `slurm` and `ray` do tiny trainings instead, undisturbed: they have no cluster whose processes could do nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from cluster.conftest import RayCluster, Slurm
from tiny import TINY, command, environment, make_data
from ufgir.config.compose import Composer
from ufgir.sweep.grid import jobs_of
from ufgir.sweep.status import plan_runs

STUB = Path(__file__).parent / "stub"
ENGINES = {
    "slurm": ["hydra/launcher=submitit_slurm_cpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"],
    "ray": ["hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=0", "hydra.launcher.ray.remote.num_cpus=1"],
    "basic": [],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
}


def finished() -> int:
    return sum(1 for _ in Path("outputs").glob("*/results.json"))


def memory_mb(process: int) -> list[float]:
    """Resident memory of a process; nothing if it has ended."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")]


def main(engine: str, runs: int, overrides: list[str]) -> None:
    words = [word for word in TINY if not word.startswith("trainer.max_epochs")]
    words += ["trainer.max_epochs=1", "seed=" + ",".join(map(str, range(1, runs + 1)))]
    folder = Path(tempfile.mkdtemp(prefix="ufgir-scale-"))
    folder.chmod(0o711)
    os.chdir(folder)
    make_data(Path("data"))
    cluster, planned = None, plan_runs(jobs_of(words), Composer())
    if engine in ("slurm", "ray"):
        Path("stub.json").write_text(
            json.dumps({" ".join(one.overrides): str(one.folder.path.absolute()) for one in planned})
        )
        os.environ |= {"UFGIR_STUB": str(folder / "stub.json"), "RAY_AUTH_MODE": "disabled"}
        os.environ["PYTHONPATH"] = f"{STUB}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        (folder / "cluster").mkdir(mode=0o711)
        cluster = Slurm(folder / "cluster", 1001) if engine == "slurm" else RayCluster(folder / "cluster")
        cluster.environment = environment()  # of Ray's workers
        cluster.start()
    if engine == "ray":
        ENGINES["ray"].append(f"hydra.launcher.ray.init.address='{cluster.address}'")
    start, memory, kills = time.monotonic(), [], [runs // 3, 2 * runs // 3] if cluster else []
    try:
        while finished() < runs:
            with Path("launcher.log").open("a") as log:
                line = command("train", "--multirun", *words, *ENGINES[engine], *overrides)
                launcher = subprocess.Popen(line, env=environment(), stdout=log, stderr=log)
                while launcher.poll() is None:
                    time.sleep(2)
                    memory += memory_mb(launcher.pid)
                    if kills and finished() >= kills[0]:
                        print(f"launcher killed after {finished()} runs")
                        kills.pop(0)
                        launcher.kill()
                launcher.wait()
        seconds = time.monotonic() - start
    finally:
        if cluster is not None:
            cluster.stop()
    if cluster is not None:
        done = Counter(Path("stub.json.log").read_text().split())
        assert len(done) == runs and set(done.values()) == {1}, f"done twice: {[n for n in done if done[n] > 1]}"
    assert {one.state for one in planned} == {"finished"}
    quarter = max(1, len(memory) // 4)
    early, late = (sum(part) / quarter for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    print(f"{engine}: {runs} runs, {seconds / runs:.2f} s each; launcher {early:.0f} MB early, {late:.0f} MB late")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
