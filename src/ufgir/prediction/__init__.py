"""From image files to classes: find them, decode them in the background, classify, write rows and sheets."""
