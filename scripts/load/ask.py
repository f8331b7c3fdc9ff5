"""Many clients at a time: python scripts/load/ask.py HOST:PORT --file slice.jpg, answers as JSON.

A process of its own, so that clients and what measures them do not wait for each other.
"""

import argparse
import http.client
import json
import sys
import threading
import time
import uuid
from pathlib import Path

SECONDS = 60  # without an answer: the request counts as lost


def form(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request with one picture."""
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="slice.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def main() -> None:
    """Ask until the time is up; print a list of [second of the start, seconds, status]."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--path", default="/api/v1/predictions")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, help="requests/s of all; default: as fast as answers")
    arguments = parser.parse_args()
    body, headers = form(arguments.file.read_bytes())
    began = time.perf_counter()
    done: list[tuple[float, float, int]] = []

    def ask(number: int) -> None:
        client = http.client.HTTPConnection(arguments.address, timeout=SECONDS)
        pause = arguments.clients / arguments.rate if arguments.rate else 0.0
        due = began + pause * number / arguments.clients
        while (now := time.perf_counter()) < began + arguments.seconds:
            if now < due:
                time.sleep(due - now)
            start = time.perf_counter()
            due = max(due + pause, start)
            try:
                client.request("POST", arguments.path, body, headers)
                answer = client.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):  # lost
                client.close()
                status = 0
            done.append((start - began, time.perf_counter() - start, status))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(arguments.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
