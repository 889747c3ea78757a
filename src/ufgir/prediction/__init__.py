"""From images to classes: classify, write rows and sheets."""
