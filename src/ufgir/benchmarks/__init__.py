"""What models, training steps and loaders take in time and memory, measured side by side."""
