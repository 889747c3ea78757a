"""Trained models for other programs: ONNX, torch.export and timm files, and repositories of the Hugging Face Hub."""
