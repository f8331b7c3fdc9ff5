"""Images in the stack's repository: which one is meant, and what its scan has found."""

import re
import time
from collections.abc import Callable

import boto3

from rollout.stack import DeployError, Stack, told

SEVERITIES = ("UNDEFINED", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")
_PAUSE = 5.0  # between two looks at a scan
_LOOKS = 120


def find_image(stack: Stack, image: str) -> str:
    """Return REPOSITORY_URI@DIGEST of an image that is there.

    Args:
        stack: whose repository it has to be in.
        image: a tag, sha256:DIGEST, or the whole URI with one of them.

    Raises:
        DeployError: it is of another repository, or there is none.
    """
    named = image.removeprefix(stack.repository_uri).lstrip("@:")
    if re.fullmatch(r"sha256:[0-9a-f]{64}", named):
        one = {"imageDigest": named}
    elif re.fullmatch(r"[\w.-]{1,128}", named):
        one = {"imageTag": named}
    else:
        raise DeployError(
            f"Expected an image of {stack.repository_uri}, but got {image!r}.",
            f"Give its tag, or {stack.repository_uri}@sha256:DIGEST.",
        )
    missing = f"Push it to {stack.repository_uri} first; `git rev-parse HEAD` is the tag of CI."
    with told(f"the image {named} in {stack.repository}", missing):
        details = boto3.client("ecr").describe_images(
            repositoryName=stack.repository, imageIds=[one]
        )["imageDetails"]
    return f"{stack.repository_uri}@{details[0]['imageDigest']}"


def check_scan(
    stack: Stack,
    image: str,
    threshold: str,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Wait for the scan of the image, and see that nothing is at or above the threshold.

    Args:
        stack: whose repository it is in.
        image: REPOSITORY_URI@DIGEST.
        threshold: one of SEVERITIES.
        say: called with a sentence for people.
        pause: called with seconds.

    Raises:
        DeployError: a finding is too severe, or there is no scan.
    """
    client = boto3.client("ecr")
    digest = image.partition("@")[2]
    for look in range(_LOOKS):
        try:
            found = client.describe_image_scan_findings(
                repositoryName=stack.repository, imageId={"imageDigest": digest}
            )
            status = found["imageScanStatus"]["status"]
        except client.exceptions.ScanNotFoundException:
            status = "none yet"  # it begins some seconds after the push
        if status in ("COMPLETE", "ACTIVE"):  # the second is what Amazon Inspector says
            break
        if status not in ("none yet", "IN_PROGRESS", "PENDING"):
            said = found["imageScanStatus"].get("description", "")
            raise _no_scan(image, f"it is {status} {said}".strip())
        if look % 6 == 0:
            say(f"The scan of the image is {status.lower().replace('_', ' ')}; waiting")
        pause(_PAUSE)
    else:
        raise _no_scan(image, "it did not end in 10 minutes")
    counts: dict[str, int] = found["imageScanFindings"].get("findingSeverityCounts", {})
    told_counts = ", ".join(
        f"{counts[name]} {name}" for name in reversed(SEVERITIES) if name in counts
    )
    say(f"The scan found {told_counts or 'nothing'}")
    severe = SEVERITIES[SEVERITIES.index(threshold) :]
    if sum(counts.get(name, 0) for name in severe):
        worst = [
            row["name"]
            for key in ("findings", "enhancedFindings")
            for row in found["imageScanFindings"].get(key, ())
            if row["severity"] in severe and "name" in row
        ]
        raise DeployError(
            f"Expected no finding at or above {threshold} in {image}, but its scan has "
            f"{told_counts}: {', '.join(worst[:10])}.",
            "Build the image again on a newer base; or, where none is of concern, raise "
            "--threshold and say why in the commit.",
        )


def _no_scan(image: str, what: str) -> DeployError:
    return DeployError(
        f"Expected the scan of {image} to be complete, but {what}.",
        "Start it with `aws ecr start-image-scan` and deploy again.",
    )
