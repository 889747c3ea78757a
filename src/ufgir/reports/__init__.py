"""From collected runs to a folder with tables, figures and a page; see `ufgir.report`."""
