"""What can happen to a server, and what its clients may see of it."""

import dataclasses
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import onnx

from kidney.artifact.card import from_metadata, to_metadata
from kidney.artifact.integrity import seal
from load.ask import LOST, REFUSED
from load.served import Seen, seen, served

Line = tuple[str, bool]  # what was seen, and whether it had to be so

QUEUE = 32
DEADLINE = 10.0  # seconds
TIMES = 10  # the overload, in what the server can answer
OVERLOAD_CLIENTS = 200
_NAMES = {LOST: "lost", REFUSED: "connection refused"}
CALM = 5.0  # seconds
RECOVERED = 0.8  # of the rate before, the best of three; other work on the machine moves it
REFUSED_MS = 1000.0  # p99 of a 503, with clients and server on the same cores


def overload(model: Path, picture: Path, seconds: float) -> Iterator[Line]:
    """Ask ten times what the server can answer, then as before."""
    with served(model, queue=QUEUE, deadline_seconds=DEADLINE) as server:
        before = seen(server.ask(picture, clients=8, seconds=CALM))
        yield f"calm: {_told(before)}", before.counts().keys() == {200}
        memory = server.memory()
        rate = TIMES * before.rate()
        much = seen(server.ask(picture, clients=OVERLOAD_CLIENTS, seconds=seconds, rate=rate))
        yield (
            f"{TIMES} x, {rate:.0f} requests/s for {seconds:.0f} s: {_told(much)}",
            LOST not in much.counts(),
        )
        p99 = much.milliseconds(99)
        limit = DEADLINE * 1e3
        yield f"p99 of the accepted {p99:.0f} ms, deadline {limit:.0f} ms", p99 <= limit
        refused = much.milliseconds(99, 503)
        yield (
            f"503 after {much.milliseconds(50, 503):.0f} ms, p99 {refused:.0f} ms",
            refused <= REFUSED_MS,
        )
        calm = [seen(server.ask(picture, clients=8, seconds=CALM)) for _ in range(3)]
        after = max(calm, key=Seen.rate)
        right = all(found.counts().keys() == {200} for found in calm)
        right = right and after.rate() > RECOVERED * before.rate()
        yield f"calm again: {_told(after)}", right
        yield f"memory {memory:.0f} MB before, {server.memory():.0f} MB after", True


def drain(model: Path, picture: Path) -> Iterator[Line]:
    """Send SIGTERM under load: every request that was sent gets its answer."""
    with served(model, queue=QUEUE) as server:
        clients = server.ask(picture, clients=16, seconds=6)
        time.sleep(3)
        server.process.send_signal(signal.SIGTERM)
        began = time.perf_counter()
        status = server.process.wait()
        took = time.perf_counter() - began
        found = seen(clients)
    # A refused connection carried no request; a request that was sent has a response.
    right = status == 0 and LOST not in found.counts()
    yield f"SIGTERM under load: {_told(found)}, ended after {took:.1f} s", right


def swap(model: Path, picture: Path) -> Iterator[Line]:
    """Replace the model under load, by a broken file and by good ones."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(shutil.copy(model, name))
        with served(path, watch_seconds=0.5, queue=QUEUE) as server:
            memory = server.memory()
            seen(server.ask(picture, clients=4, seconds=3))
            warm = server.memory()
            clients = server.ask(picture, clients=4, seconds=18)
            for number in range(3):
                time.sleep(4)
                _replace(path, b"no model" if number == 1 else _renamed(model, number))
            found = seen(clients)
            time.sleep(1)
            after = server.memory()
            yield f"three new files under load: {_told(found)}", found.counts().keys() == {200}
            yield (
                f"memory {memory:.0f} MB, {warm:.0f} MB under load, {after:.0f} MB after the swaps",
                after < warm + 2 * model.stat().st_size / 1e6 + 20,
            )


def kill(model: Path, picture: Path) -> Iterator[Line]:
    """Kill one of two workers: the other one and its successor answer."""
    with served(model, workers=2, threads=1, queue=QUEUE) as server:
        time.sleep(2)
        clients = server.ask(picture, clients=8, seconds=8)
        time.sleep(2)
        victim = server.workers()[0]
        os.kill(victim, signal.SIGKILL)
        found = seen(clients)
        lost = found.counts().get(LOST, 0)
        last = found.statuses[found.starts > found.starts.max() - 3]
        yield f"SIGKILL of a worker: {_told(found)}", lost <= 8  # those that it had in its hands
        alive = server.workers()
        yield f"{len(alive)} workers after it", len(alive) == 2 and victim not in alive
        yield f"the last 3 s: {int((last != 200).sum())} not answered", bool((last == 200).all())


def _told(found: Seen) -> str:
    counts = ", ".join(
        f"{count} x {_NAMES.get(status, status)}"
        for status, count in sorted(found.counts().items())
    )
    return (
        f"{counts}; {found.rate():.1f}/s, p50 {found.milliseconds(50):.0f} ms, "
        f"p99 {found.milliseconds(99):.0f} ms"
    )


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name("new.onnx")
    new.write_bytes(data)
    new.replace(path)


def _renamed(model: Path, number: int) -> bytes:
    """Return the model with another run on its card."""
    proto = onnx.load(model)
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    card = dataclasses.replace(from_metadata(entries), run=f"load-{number}")
    onnx.helper.set_model_props(proto, to_metadata(card))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "kidney.onnx"
        onnx.save(proto, path)
        seal(path)
        return path.read_bytes()
