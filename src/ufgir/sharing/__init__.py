"""A trained model for others: the files of its repository on the Hugging Face Hub, and the way there."""
