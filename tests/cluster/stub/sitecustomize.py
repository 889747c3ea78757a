"""With this folder in PYTHONPATH, jobs of SLURM and tasks of Ray do not train: each run only leaves its results.

One in twenty dies instead. UFGIR_STUB names a JSON file with the folder of each run, by its overrides.
"""

import os
import random
import signal
import sys
from pathlib import Path
from types import ModuleType

if "UFGIR_STUB" in os.environ and {"submitit.core._submit", "default_worker.py"} & {
    word.rpartition("/")[2] for word in sys.orig_argv
}:

    def run(config, overrides):
        import json

        from ufgir.training.run_folder import RunFolder

        stub = os.environ["UFGIR_STUB"]
        with open(stub) as file:
            folder = RunFolder(Path(json.load(file)[" ".join(overrides)]))
        with folder.lock():
            folder.begin_attempt()
            if random.random() < 0.05:
                os.kill(os.getpid(), signal.SIGKILL)
            folder.write_results({"status": "finished", "test_top1": 50.0})
            with open(f"{stub}.log", "a") as log:
                log.write(f"{folder.name}\n")
        return 50.0

    from ufgir.config.schema import RunConfig

    RunConfig.load = staticmethod(lambda values: None)  # its checks import torch, which takes longer than all the rest
    module = ModuleType("ufgir.training.run")
    module.run = run
    sys.modules[module.__name__] = module
