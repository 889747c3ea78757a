"""What the sweeper hands to an engine."""

import os
import pickle
import subprocess
import sys

from hydra.core.plugins import Plugins

from hydra_plugins.ufgir_sweeper import GridSweeper


def test_a_worker_that_inherits_no_environment_knows_the_grid(monkeypatch, tmp_path):
    """As those of a Ray cluster that was started before: all that they get of the launcher is the pickled job."""
    sent = {}
    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda self, **given: sent.update(given))
    GridSweeper("mine", [], [], False, 1).setup(hydra_context=None, task_function=os.system, config=None)
    (tmp_path / "job").write_bytes(pickle.dumps(sent["task_function"]))
    worker = f"import pickle; pickle.load(open({str(tmp_path / 'job')!r}, 'rb'))('echo grid $UFGIR_SWEEP')"
    environment = {name: value for name, value in os.environ.items() if name != "UFGIR_SWEEP"}
    done = subprocess.run([sys.executable, "-c", worker], env=environment, capture_output=True, text=True)
    assert done.stdout == "grid mine\n", done.stderr
