"""Training: the LightningModule, its callbacks and loggers, checkpoints, and the life of a run."""
