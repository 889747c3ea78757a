"""Tables, figures and a page from finished runs; the command is `python -m ufgir.report`."""
