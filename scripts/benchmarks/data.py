"""Ingest, validation, scan inference and loading against what they are made of."""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from benchmarks.timing import Row, seconds
from kidney.data.datamodule import KidneyDataModule
from kidney.data.ingest import ingest
from kidney.data.manifest import read_manifest
from kidney.data.phantom.files import CLASS_FOLDERS, write_class_folders
from kidney.data.readers.class_folders import read
from kidney.data.scans.describe import describe
from kidney.data.split import read_split
from kidney.imaging.appearance import thumbnail
from kidney.imaging.pictures import decode_picture
from kidney.models.classifier import KidneyClassifier
from kidney.models.prepare import prepare
from kidney.pipeline.data_stages import split_stage, validate_stage

CONF = str(Path(__file__).parents[2] / "conf")
KAGGLE_SLICES = 12_446
IMAGE_SIZE = 288  # of model=lite0


def data_rows() -> Iterator[Row]:
    """Measure on data/ct_kidney where it is ingested, else on the phantom."""
    with tempfile.TemporaryDirectory() as name:
        source = Path("data/ct_kidney/raw")
        if not source.is_dir():
            source = Path(name) / "source"
            write_class_folders(source, scans_per_class=5, size=512)
        pictures = [p for p in source.rglob("*.jpg") if "masks" not in p.parts]
        print(f"Slices of {source}: {len(pictures)}", flush=True)
        yield _stations_against_decoding(source, pictures, Path(name))
        yield _scans_of_the_whole_set(pictures)
        yield _loading_against_training(Path(name))


def _stations_against_decoding(source: Path, pictures: list[Path], workspace: Path) -> Row:
    files = [path.read_bytes() for path in pictures]
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("config", overrides=[f"workspace={workspace}"])
    folder, classes = workspace / "data/ct_kidney", CLASS_FOLDERS

    def links(raw: Path) -> None:
        """Put the files in place without copying: fetching is a matter of network and disk."""
        shutil.rmtree(raw)
        shutil.copytree(source, raw, copy_function=os.link)

    def stations() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        reader = partial(read, classes=classes, ignore=["masks"])
        ingest(folder, fetch=links, read=reader, origin="benchmark", classes=list(classes))
        validate_stage(cfg)

    bare = seconds(lambda: _decode_all(files))
    whole = seconds(stations)
    split_stage(cfg)
    return Row("ingest and validation, slices/s", "Pillow decoding on all cores", bare / whole)


def _decode_all(files: list[bytes]) -> None:
    def decode(data: bytes) -> int:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("L")).size

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sum(pool.map(decode, files))


def _scans_of_the_whole_set(pictures: list[Path]) -> Row:
    """Infer the scans of as many slices as the public set has, out of variants of those here."""
    small = [thumbnail(decode_picture(path.read_bytes())) for path in sorted(pictures)]
    turned = [np.rot90(looks, k, axes=(0, 1)) for k in range(4) for looks in small]
    noise = np.random.default_rng(0)
    variants = -(-KAGGLE_SLICES // len(turned))
    thumbnails = np.stack(
        [
            np.clip(looks + noise.normal(0, 4, looks.shape), 0, 255).astype(np.uint8)
            for _ in range(variants)
            for looks in turned
        ]
    )[:KAGGLE_SLICES]
    names = [f"Cyst/{number}.jpg" for number in range(KAGGLE_SLICES)]
    slices = pd.DataFrame({"path": names, "label": "cyst", "scan": "", "patient": ""})
    slices["phase"] = slices["plane"] = ""
    needed = seconds(lambda: describe(slices, thumbnails), repeats=1)
    return Row(f"scans of {KAGGLE_SLICES:,} slices, in {needed:.1f} s", "60 s", 60 / needed)


def _loading_against_training(workspace: Path) -> Row:
    folder = workspace / "data/ct_kidney"
    slices = read_manifest(folder)
    data = KidneyDataModule(
        folder=folder,
        slices=slices,
        classes=list(CLASS_FOLDERS),
        split=read_split(folder, "by_patient", slices),
        fold=0,
        validation_fold=None,
        prepare=partial(prepare, size=IMAGE_SIZE),
        batch_size=16,
        num_workers=2,
        seed=0,
        slices_per_scan=6,
    )
    data.setup()
    loader = data.train_dataloader()
    batches = len(loader)
    loading = seconds(lambda: [None for _ in loader], repeats=2) / batches
    classifier = KidneyClassifier(
        "tf_efficientnet_lite0", "none", IMAGE_SIZE, [-1], 0.0, len(CLASS_FOLDERS)
    ).train()
    images = torch.zeros(16, 1, IMAGE_SIZE, IMAGE_SIZE)

    def step() -> None:
        classifier.zero_grad()
        classifier.forward_head(classifier.embed(images)).square().mean().backward()

    training = seconds(step, repeats=5)
    return Row("an epoch over the slice cache", "its training steps, lite0", training / loading)
