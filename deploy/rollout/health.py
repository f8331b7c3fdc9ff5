"""Whether the server answers from outside, with the model that was deployed."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from rollout.stack import DeployError

_TRIES = 40
_PAUSE = 3.0


def check_health(
    url: str,
    model: str,
    say: Callable[[str], None],
    tries: int = _TRIES,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until URL/readyz is ready with the model.

    Args:
        url: of the server.
        model: SHA-256 that it has to name.
        say: called with a sentence for people.
        tries: how often it is asked.
        pause: called with seconds.

    Raises:
        DeployError: it is not, to the last.
    """
    said = ""
    for attempt in range(tries):
        if attempt:
            pause(_PAUSE)
        before, said = said, _ask(url, model)
        if not said:
            say(f"{url} is ready with the model {model[:12]}")
            return
        if said != before:
            say(f"{url}: {said}; waiting")
    raise DeployError(
        f"Expected {url}/readyz to name the model {model}, but: {said}.",
        "See that the name leads to the instance's address and that port 443 is open; the log "
        "group has the server's lines.",
    )


def _ask(url: str, model: str) -> str:
    """Return what is wrong; empty: nothing."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except (OSError, ssl.SSLError, ValueError) as error:
        return f"{getattr(error, 'reason', error)}"
    serves = found.get("sha256") if isinstance(found, dict) else None
    return "" if serves == model else f"it serves the model {serves}"
