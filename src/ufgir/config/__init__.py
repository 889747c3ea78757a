"""A run's config: composed from `conf/` and the command line, checked, completed and identified."""

from ufgir.config.compose import compose_run
from ufgir.config.identity import axes, cell, file_digest, run_hash, slug, tables_digest
from ufgir.config.jobs import jobs_of, sound_jobs
from ufgir.config.machine import machine_faults, processes
from ufgir.config.messages import did_you_mean, nearest
from ufgir.config.settings import resolve, save_config

__all__ = [
    "axes",
    "cell",
    "compose_run",
    "did_you_mean",
    "file_digest",
    "jobs_of",
    "machine_faults",
    "nearest",
    "processes",
    "resolve",
    "run_hash",
    "save_config",
    "slug",
    "sound_jobs",
    "tables_digest",
]
