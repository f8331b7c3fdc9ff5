"""Deploy and roll back: the order of the steps, and what happens when one fails."""

import time
from collections.abc import Callable

from rollout.command import run_on_instance
from rollout.health import check_health
from rollout.images import check_scan, find_image
from rollout.models import check_model
from rollout.records import (
    Release,
    lock,
    lock_holder,
    read_history,
    read_release,
    write_release,
)
from rollout.stack import DeployError, Stack

Say = Callable[[str], None]
Pause = Callable[[float], None]


def deploy(
    stack: Stack,
    image: str | None,
    model: str | None,
    *,
    threshold: str,
    url: str | None = None,
    say: Say,
    pause: Pause = time.sleep,
) -> Release:
    """Let an image and a model serve; where they do not, what was before serves again.

    Args:
        stack: where.
        image: tag, digest or URI; None: the deployed one.
        model: SHA-256; None: the deployed one.
        threshold: severity of the image's scan from which it is refused.
        url: where the server is asked; None: the stack's.
        say: called with a sentence for people.
        pause: called with seconds to wait.

    Returns:
        What serves now.

    Raises:
        DeployError: nothing was changed, or what was before serves again; the message says which.
    """
    with lock(stack):
        current, version = read_release(stack)
        image = image or (current.image if current else None)
        model = model or (current.model if current else None)
        if not image or not model:
            raise DeployError(
                f"Expected an image and a model for the first deployment of {stack.name}.",
                "Give --image TAG and --model SHA256.",
            )
        wanted = Release(find_image(stack, image), model, before=version)
        check_scan(stack, wanted.image, threshold, say, pause)
        check_model(stack, wanted.model)
        # Also where it is deployed already: the instance may be a new one, or keys have changed.
        run_on_instance(stack, wanted, say, pause)
        try:
            check_health(url or stack.url, wanted.model, say, pause=pause)
        except DeployError as error:
            raise _back(stack, wanted, current, error, say, pause) from error
        if wanted.same(current):
            say(f"{wanted} was deployed before; nothing new to note")
        else:
            write_release(stack, wanted)
        return wanted


def roll_back(
    stack: Stack, *, url: str | None = None, say: Say, pause: Pause = time.sleep
) -> Release:
    """Let serve what the deployed release replaced; again: what that one replaced.

    Raises:
        DeployError: there is nothing to go back to, or it does not serve.
    """
    with lock(stack):
        releases = dict(read_history(stack))
        current = releases[max(releases)] if releases else None
        before = releases.get(current.before) if current and current.before else None
        if before is None:
            raise DeployError(
                f"Expected {stack.name} to have an earlier release, but it has none.",
                "Deploy one: --image TAG --model SHA256.",
            )
        say(f"Back to {before}, of {before.at}")
        run_on_instance(stack, before, say, pause)
        check_health(url or stack.url, before.model, say, pause=pause)
        write_release(stack, before)
        return before


def report(stack: Stack) -> list[str]:
    """Return lines on what serves, what did, and who deploys now."""
    history = read_history(stack)
    lines = [f"{stack.name}: {stack.url} on {stack.instance_id}"]
    lines += [f"  {release.at} {release}, by {release.by}" for _, release in history[:5]]
    lines += [] if history else ["  nothing is deployed yet"]
    if holder := lock_holder(stack):
        lines.append(f"  a deployment runs: {holder}")
    return lines


def _back(
    stack: Stack,
    failed: Release,
    before: Release | None,
    error: DeployError,
    say: Say,
    pause: Pause,
) -> DeployError:
    if before is None or failed.same(before):
        return DeployError(
            error.problem, f"There is no other release to go back to. {error.remedy}"
        )
    say(f"{failed} does not serve; back to {before}")
    try:
        run_on_instance(stack, before, say, pause)
    except DeployError as second:
        return DeployError(
            f"{error.problem} And the way back failed: {second.problem}", second.remedy
        )
    return DeployError(error.problem, f"{before} serves again. {error.remedy}")
