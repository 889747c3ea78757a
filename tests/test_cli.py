"""What all commands share: the list of commands, --help, options, exit codes, tab completion."""

import os
import subprocess
import sys
import warnings

import pytest
from pydantic import BaseModel

from tiny import TINY
from ufgir import train
from ufgir.cli import COMMANDS, FAILED, INTERRUPTED, USER_ERROR, main, parse_options, run_command
from ufgir.errors import RunFailed, UfgirWarning, UserError


class Options(BaseModel):
    run: str
    batch_size: int = 8
    images: list[str] = []


def test_options_are_coerced_and_lists_collected():
    options = parse_options(Options, ["run=a=b, (c)", "batch_size=4", "images=x", "images=y"])
    assert (options.run, options.batch_size, options.images) == ("a=b, (c)", 4, ["x", "y"])


def test_all_errors_of_options_come_together():
    with pytest.raises(UserError) as caught:
        parse_options(Options, ["batchsize=4", "batch_size=four"])
    text = str(caught.value)
    for part in ("batchsize=4", "'batch_size'", "batch_size=four", "run"):
        assert part in text


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("no"), USER_ERROR), (RunFailed("broke"), FAILED), (KeyboardInterrupt(), INTERRUPTED),
     (PermissionError(13, "Permission denied", "file"), FAILED), (RuntimeError("CUDA out of memory"), FAILED)],
)  # fmt: skip
def test_errors_become_exit_codes(error, code, capsys):
    def fail(arguments):
        raise error

    assert run_command(fail, []) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_warning_is_one_line_and_printed_once(capsys):
    def warn(arguments):
        for _ in range(3):
            warnings.warn("slow", UfgirWarning, stacklevel=1)

    assert run_command(warn, []) == 0
    assert capsys.readouterr().err == "warning: slow\n"


def test_the_commands_are_listed(capsys):
    assert main([]) == 0
    assert set(COMMANDS) <= set(capsys.readouterr().out.split())
    assert main(["trian"]) == USER_ERROR and "'train'" in capsys.readouterr().err


def test_help_imports_nothing_that_takes_time():
    code = (
        "import os, runpy, sys\n"
        "os.environ.pop('HYDRA_FULL_ERROR', None)\n"
        f"for name in {[name for name in COMMANDS if name != 'train']}:\n"
        "    sys.argv = [name, '--help']\n"
        "    try:\n"
        "        runpy.run_module(f'ufgir.{name}', run_name='__main__', alter_sys=True)\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, name\n"
        "    assert not {'torch', 'lightning', 'timm', 'pandas', 'matplotlib'} & set(sys.modules), name\n"
        "assert 'HYDRA_FULL_ERROR' not in os.environ, 'it would hold for the Hydra app of a user, too'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [("ufgir tr", "train"), ("ufgir train reducer=ev", "reducer=evit"), ("ufgir train backbone=mi", "micro"),
     ("train/ufgir train reducer=ev", "reducer=evit")],
)  # fmt: skip
def test_tab_completion(line, expected, tmp_path):
    environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run(
        [sys.executable, "-m", "ufgir", "-sc", "query=bash"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert expected in done.stdout, done.stderr


def test_an_error_of_a_run_is_raised_once(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train"])
    monkeypatch.setattr(train, "train", lambda: None)
    train._ERRORS.append(RunFailed("broke"))
    with pytest.raises(RunFailed):
        train.main([])
    train.main([])


def test_hydras_own_flags(here, run_ufgir):
    shown = run_ufgir("train", "--cfg", "job", "+experiment=demo", "seed=7")
    assert shown.code == 0 and "keep_rate: 0.25" in shown.out and "seed: 7" in shown.out
    refused = run_ufgir("train", *TINY, "keep_rate=2", "seed=-1", "reducer.nam=x")
    assert refused.code == 2 and "reducer.nam" in refused.err and "Traceback" not in refused.err
    refused = run_ufgir("train", *TINY, "keep_rate=2", "seed=-1")
    assert refused.code == 2 and "keep_rate=2" in refused.err and "seed=-1" in refused.err
    assert {path.name for path in here.iterdir()} == {"data"}
