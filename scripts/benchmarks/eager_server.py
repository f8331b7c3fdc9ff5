"""What ours is measured against: a minimal server of Flask, Pillow and torch eager.

gunicorn --bind 127.0.0.1:PORT --threads 8 benchmarks.eager_server:app, with CHECKPOINT set.
"""

import os
from pathlib import Path

import numpy as np
import torch
from flask import Flask, jsonify, request
from PIL import Image

from kidney.models.checkpoint import load_checkpoint

app = Flask(__name__)
torch.set_num_threads(os.cpu_count() or 1)
classifier = load_checkpoint(Path(os.environ["CHECKPOINT"])).classifier


@app.get("/")
def ready():
    """Answer once the network is there."""
    return jsonify(status="ready")


@app.post("/api/v1/predictions")
def predictions():
    """Answer with the probabilities of one picture."""
    with Image.open(request.files["file"].stream) as picture:
        slice_ = np.asarray(picture.convert("L"))
    with torch.inference_mode():
        outputs = classifier(torch.from_numpy(slice_.copy())[None, None])
    return jsonify(probabilities=outputs[0][0].tolist())
