"""What is done with a trained model: test it again, classify images, and draw what becomes of their patches."""
