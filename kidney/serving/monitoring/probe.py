"""Ask the server of this machine whether it is ready: python -m kidney.serving.monitoring.probe.

For the health check of a container, which has no curl; the exit status is 0 if it is, else 1. A
module of its own, as it runs every few seconds and so imports the standard library only.
"""

import http.client
import os
import sys

_SECONDS = 4.0


def main() -> int:
    """Ask the server on KIDNEY_PORT; return the exit status."""
    port = int(os.environ.get("KIDNEY_PORT") or 8000)
    # This module heeds no HTTP_PROXY, which may be set to fetch the model.
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        server.request("GET", "/readyz")
        status = server.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)
        return 1
    print(f"/readyz: {status}")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
