"""A SLURM and a Ray cluster on this machine, for as long as the tests run."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cluster.grids import results, sweep, write_grid
from tiny import environment, make_data

os.environ["PATH"] += os.pathsep + "/usr/sbin"  # where distributions put SLURM's daemons

SLURM_CONF = """
ClusterName=ufgir
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={slurmd_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CryptoType=crypto/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
JobRequeue=0
KillWait=5
MinJobAge=300
InactiveLimit=0
MaxArraySize={largest_array}
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=spare Nodes={host} MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2
"""


class Slurm:
    """The daemons of a SLURM with one node of two cores, without accounting."""

    def __init__(self, folder: Path, largest_array: int = 3) -> None:
        self.folder, self.host = folder, socket.gethostname().partition(".")[0]
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(mode=0o711)
        (folder / "munge/key").write_bytes(os.urandom(128))
        (folder / "munge/key").chmod(0o600)
        self.conf = folder / "slurm.conf"
        ports = [_free_port(), _free_port()]
        text = SLURM_CONF.format(
            host=self.host, folder=folder, port=ports[0], slurmd_port=ports[1], largest_array=largest_array
        )
        self.conf.write_text(text)
        os.environ["SLURM_CONF"] = str(self.conf)

    def start(self) -> None:
        munge = self.folder / "munge"
        subprocess.run(
            ["munged", f"--key-file={munge}/key", f"--socket={munge}/socket", f"--pid-file={munge}/pid",
             f"--log-file={munge}/log", f"--seed-file={munge}/seed"], check=True,
        )  # fmt: skip
        subprocess.run(["slurmctld"], check=True)
        subprocess.run(["slurmd"], check=True)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        for _ in range(300):
            state = self("sinfo", "--noheader", "--format=%T", "--partition=debug").strip()
            if state in ("idle", "mixed", "allocated"):
                return
            time.sleep(0.1)
        raise RuntimeError((self.folder / "slurmctld.log").read_text()[-2000:])

    def __call__(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout

    def jobs(self, state: str = "all") -> list[str]:
        """Ids of jobs in a state, such as running."""
        return self("squeue", "--noheader", "--array", f"--states={state}", "--format=%i").split()

    def restart_controller(self) -> None:
        self("scontrol", "shutdown", "slurmctld")
        time.sleep(8)  # longer than the launcher waits between two questions
        subprocess.run(["slurmctld"], check=True)
        self.wait_until_up()

    def stop(self) -> None:
        self("scancel", "--user=root", "--full", "--signal=KILL")
        self("scancel", "--user=root")
        self("scontrol", "shutdown")
        time.sleep(1)
        for name in ("slurmctld.pid", "slurmd.pid", "munge/pid"):
            file = self.folder / name
            if file.is_file():
                subprocess.run(["kill", "-9", *file.read_text().split()], capture_output=True)


@pytest.fixture(scope="session")
def _slurm():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    missing = [name for name in ("slurmctld", "slurmd", "munged", "squeue") if shutil.which(name) is None]
    if missing or os.geteuid():
        pytest.skip(f"needs root and {', '.join(missing)}: apt-get install slurm-wlm munge")
    folder = Path(tempfile.mkdtemp(prefix="ufgir-slurm-"))
    folder.chmod(0o711)  # munge takes no socket in a private folder
    slurm = Slurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def slurm(_slurm):
    """SLURM without a job."""
    yield _slurm
    _slurm("scancel", "--user=root")
    _slurm("scontrol", "update", f"nodename={_slurm.host}", "state=resume")


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """What runs of the grid end with when they are run one after the other, each set of overrides once."""
    folder, known = tmp_path_factory.mktemp("expected"), {}
    make_data(folder / "data")
    write_grid(folder)

    def of(*words: str) -> dict[str, dict]:
        if words not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("UFGIR_TEST_PAUSE", "0")
                done = sweep(*words, f"output_root=expected{len(known)}", cwd=folder)
            assert done.returncode == 0, done.stderr
            known[words] = results(folder / f"expected{len(known)}")
        return known[words]

    return of


@pytest.fixture
def grid(here, monkeypatch):
    """The working directory, with tiny data and a grid of four runs."""
    write_grid(here)
    monkeypatch.setenv("PYTHONPATH", "mine", prepend=os.pathsep)
    monkeypatch.setenv("UFGIR_TEST_PAUSE", "1")
    return here


class RayCluster:
    """`ray start --head` and a second node, started in another folder and environment than the launcher."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in environment().items() if not k.startswith(("UFGIR_", "PYTHONPATH"))}

    def start(self) -> None:
        output = self._ray("start", "--head", f"--port={_free_port()}", "--num-cpus=1", "--include-dashboard=false")
        self.address = re.search(r"--address='([\d.:]+)'", output)[1]
        self.start_second_node()

    def start_second_node(self) -> None:
        for attempt in range(3):  # Ray gives a node some seconds to start, which a busy machine may not keep
            try:
                self._ray("start", f"--address={self.address}", "--num-cpus=1")
                return
            except subprocess.CalledProcessError:
                if attempt == 2:
                    raise

    def _ray(self, *words: str) -> str:
        command = [str(Path(sys.executable).parent / "ray"), *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=True, timeout=120
        ).stdout

    def stop(self) -> None:
        self._ray("stop", "--force")


@pytest.fixture
def ray_cluster(tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else a token of an earlier Ray on this machine keeps nodes out
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    cluster = RayCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
