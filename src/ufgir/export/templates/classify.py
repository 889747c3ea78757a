"""Classify image files with onnxruntime, numpy and pillow: python classify.py IMAGE ..."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

about = json.loads((Path(__file__).parent / "preprocessing.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(Path(__file__).parent / about["model"])
side, start, end = about["resize"], about["crop_start"], about["crop_start"] + about["crop"]
unreadable = 0
for path in sys.argv[1:]:
    try:
        image = ImageOps.exif_transpose(Image.open(path))
        if image.mode[0] in "IF":
            raise ValueError("it has more than 8 bits for each channel; save it with 8")
    except (OSError, ValueError) as error:
        unreadable += 1
        print(f"{path} cannot be read: {error}", file=sys.stderr)
        continue
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    image = image.resize((side, side), Image.Resampling.BICUBIC).crop((start, start, end, end))
    pixels = (np.asarray(image) / 255 - about["mean"]) / about["std"]  # (S, S, 3)
    images = pixels.transpose(2, 0, 1)[None].astype(np.float32)  # (1, 3, S, S)
    (logits,) = session.run(None, {"images": images})[0]  # (classes,)
    likeliness = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(path, about["class_names"][logits.argmax()], f"{likeliness.max():.4f}", sep="\t")
sys.exit(1 if unreadable else 0)
