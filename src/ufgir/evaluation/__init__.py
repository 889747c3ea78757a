"""What a trained model is worth on a test table: which images, which classes, which mix-ups, at which keep rate."""
