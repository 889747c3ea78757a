"""`python -m ufgir` lists the commands; `python -m ufgir COMMAND ...` is `python -m ufgir.COMMAND ...`."""

import sys

from ufgir.cli import main

sys.exit(main())
