"""The server against the runtime in it, and against a minimal server of Flask and torch."""

import http.client
import importlib.metadata
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from load.ask import form
from load.served import Served, other_server, seen, served
from loky import cpu_count

from benchmarks.timing import Row
from kidney.artifact.predictor import INPUT, session_options
from kidney.data.phantom.files import write_class_folders
from kidney.imaging.pictures import decode_picture

PROJECT = "kidney-tumor-identification"
ROUNDS = 5
CLIENTS = 16
SECONDS = 4.0  # of one saturation
IN_A_ROW = 10  # of one kind, before the other has its turn
READY, MEMORY, INSTALLED = 1.5, 2.5, 250.0  # seconds, times the model's file, MB


def http_rows(artifact: Path, checkpoint: Path | None) -> Iterator[Row]:
    """Measure a served artifact, and the same network in torch where there is its checkpoint.

    What is compared takes turns within one run: other work on the machine hits both.
    """
    if not artifact.is_file():
        sys.exit(f"Expected a model at {artifact}. Run make demo first, or give --artifact.")
    with tempfile.TemporaryDirectory() as name:
        write_class_folders(Path(name), scans_per_class=1, size=512)
        picture = sorted(Path(name).rglob("*.jpg"))[0]
        runs = _raw(artifact, decode_picture(picture.read_bytes()))
        ready = []
        for _ in range(3):
            with served(artifact) as server:
                ready.append(server.ready)
        with served(artifact) as server:
            began = server.memory()
            yield _lone(server, picture, runs)
            yield from _saturated(server, picture, runs, checkpoint)
            ended = server.memory()
    seconds = float(np.median(ready))
    yield Row(f"ready in {seconds:.2f} s", f"{READY} s", READY / seconds)
    size = artifact.stat().st_size / 1e6
    memory = f"resident memory {ended:.0f} MB, {began:.0f} before the first request"
    yield Row(memory, f"{MEMORY} x the model's {size:.0f} MB", MEMORY * size / ended)
    installed = installed_mb(PROJECT)
    yield Row(f"{installed:.0f} MB of dependencies", f"{INSTALLED:.0f} MB", INSTALLED / installed)


def _raw(artifact: Path, slice_: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return runs of the graph alone, one slice each: with the server's options and by default."""
    found: dict[str, Callable[[], object]] = {}
    by_default = onnxruntime.SessionOptions()
    by_default.intra_op_num_threads = cpu_count()
    for name, options in {
        "as served": session_options(cpu_count()),
        "by default": by_default,
    }.items():
        session = onnxruntime.InferenceSession(
            artifact, options, providers=["CPUExecutionProvider"]
        )
        batch = slice_[None, None]
        found[name] = lambda session=session, batch=batch: session.run(None, {INPUT: batch})
    return found


def _lone(server: Served, picture: Path, runs: dict[str, Callable[[], object]]) -> Row:
    body, headers = form(picture.read_bytes())
    client = http.client.HTTPConnection(server.address)

    def ask() -> None:
        client.request("POST", "/api/v1/predictions", body, headers)
        answer = client.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"Expected an answer, but got HTTP {answer.status}.")

    took: dict[str, list[float]] = {"http": [], **{name: [] for name in runs}}
    for _ in range(ROUNDS * 4):
        for name, work in {"http": ask, **runs}.items():
            for turn in range(IN_A_ROW):
                began = time.perf_counter()
                work()
                if turn > 1:  # the first ones find the other's things in the caches
                    took[name].append(time.perf_counter() - began)
    middle = {name: float(np.median(values)) * 1e3 for name, values in took.items()}
    raw = min(runs, key=lambda name: middle[name])
    return Row(
        f"one 512 x 512 JPEG over HTTP, p50 {middle['http']:.1f} ms",
        f"session.run {raw}, p50 {middle[raw]:.1f} ms",
        middle[raw] / middle["http"],
    )


def _saturated(
    server: Served, picture: Path, runs: dict[str, Callable[[], object]], checkpoint: Path | None
) -> Iterator[Row]:
    kinds: dict[str, Callable[[], float]] = {
        "ours": lambda: seen(server.ask(picture, clients=CLIENTS, seconds=SECONDS)).rate(),
        "one run after the other": lambda: _rate(runs["as served"], 1),
        "two runs at a time": lambda: _rate(runs["as served"], 2),
    }
    if checkpoint is None:
        rates = _rounds(kinds)
    else:
        command = [sys.executable, "-m", "gunicorn", "--threads", "8", "--no-control-socket",
                   "--chdir", "scripts", "benchmarks.eager_server:app"]  # fmt: skip
        with other_server(command, CHECKPOINT=str(checkpoint.absolute())) as eager:
            kinds["eager"] = lambda: seen(
                eager.ask(picture, clients=CLIENTS, seconds=SECONDS)
            ).rate()
            rates = _rounds(kinds)
    ours = rates["ours"]
    for raw in ("one run after the other", "two runs at a time"):
        ratio = float(np.median(ours / rates[raw]))
        against = f"session.run, {raw}, {np.median(rates[raw]):.1f} images/s"
        yield Row(f"{CLIENTS} clients, {np.median(ours):.1f} requests/s", against, ratio)
    if checkpoint is not None:
        ratio = float(np.median(ours / rates["eager"]))
        against = f"Flask and torch eager, {np.median(rates['eager']):.1f} requests/s"
        yield Row(f"{CLIENTS} clients, {np.median(ours):.1f} requests/s", against, ratio)


def _rounds(kinds: dict[str, Callable[[], float]]) -> dict[str, np.ndarray]:
    found = [{name: measure() for name, measure in kinds.items()} for _ in range(ROUNDS)]
    return {name: np.array([rates[name] for rates in found]) for name in kinds}


def _rate(run: Callable[[], object], at_once: int) -> float:
    """Return runs a second."""
    began = time.perf_counter()

    def work(_: int) -> int:
        count = 0
        while time.perf_counter() < began + SECONDS:
            run()
            count += 1
        return count

    with ThreadPoolExecutor(at_once) as pool:
        return sum(pool.map(work, range(at_once))) / (time.perf_counter() - began)


def installed_mb(project: str) -> float:
    """Return how much the files of a project's dependencies and of theirs take, without extras."""
    waiting, done, size = [project], set(), 0
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in done:
            continue
        done.add(name)
        found = importlib.metadata.distribution(name)
        if name != project:
            paths = (Path(str(file.locate())) for file in found.files or [])
            size += sum(path.stat().st_size for path in paths if path.is_file())
        for requirement in found.requires or []:
            if "extra ==" not in requirement and _applies(requirement):
                waiting.append(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
    return size / 1e6


def _applies(requirement: str) -> bool:
    """Tell whether this Python and system need it."""
    from packaging.requirements import Requirement

    marker = Requirement(requirement).marker
    return marker is None or marker.evaluate()
