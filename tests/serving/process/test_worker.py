import http.client
import signal
import subprocess
import sys

# Its worker is told to end while it sends an answer whose head has gone out.
CODE = """
import os, signal, time
from gunicorn.app.base import BaseApplication
from kidney.serving.process.run import _announce
from kidney.serving.process.worker import Worker

def answer(environ, start):
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    yield b"a"
    if environ["PATH_INFO"] == "/last":
        os.kill(os.getpid(), signal.SIGTERM)
        while found[-1].alive:
            time.sleep(0.001)
    yield b"b"

found = []

class Server(BaseApplication):
    def load_config(self):
        for name, value in {
            "bind": "127.0.0.1:0", "worker_class": Worker, "threads": 2, "keepalive": 60,
            "when_ready": _announce, "post_worker_init": found.append,
            "control_socket_disable": True,
        }.items():
            self.cfg.set(name, value)

    def load(self):
        return answer

Server().run()
"""


def test_a_connection_that_was_announced_as_kept_is_kept():
    server = subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        address = server.stdout.readline().split("http://")[1].strip()
        client = http.client.HTTPConnection(address, timeout=60)
        kept = []
        for path in ("/first", "/last", "/beyond"):
            client.request("GET", path)
            answer = client.getresponse()
            assert answer.read() == b"ab"
            kept.append(answer.getheader("Connection"))
        assert kept == ["keep-alive", "keep-alive", "close"]
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        server.stdout.close()
