"""Training: the LightningModule, its schedule, what is recorded, and files with weights."""
