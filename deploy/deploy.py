"""Let an image and a model serve on the stack of deploy/template.yaml.

python deploy/deploy.py model --stack kidney kidney.onnx
python deploy/deploy.py deploy --stack kidney --image TAG --model SHA256
python deploy/deploy.py rollback --stack kidney
"""

import argparse
import json
import sys
from pathlib import Path

from rollout.images import SEVERITIES, check_scan, find_image
from rollout.models import upload_model
from rollout.records import Release, unlock
from rollout.stack import Stack, read_stack
from rollout.steps import deploy, report, roll_back

from kidney.errors import KidneyError


def main(arguments: list[str] | None = None) -> int:
    """Read the arguments, act; return 0, 1 where that failed, 130 where interrupted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in _VERBS.items():
        one = verbs.add_parser(verb, help=text)
        one.add_argument("--stack", required=True, help="name of the CloudFormation stack")
        if verb == "model":
            one.add_argument("file", type=Path, help="kidney.onnx")
        if verb in ("scan", "deploy"):
            one.add_argument(
                "--image", required=verb == "scan", help="tag, digest or URI; default: as deployed"
            )
            one.add_argument(
                "--threshold",
                choices=SEVERITIES,
                default="CRITICAL",
                help="severity from which a finding stops it; default: CRITICAL",
            )
        if verb == "deploy":
            one.add_argument(
                "--model", help="SHA-256 of a model in the bucket; default: as deployed"
            )
        if verb in ("deploy", "rollback"):
            one.add_argument(
                "--url", help="where the server is asked; default: the stack's address"
            )
    options = parser.parse_args(arguments)
    try:
        _act(read_stack(options.stack), options)
    except KidneyError as error:
        print(f"deploy.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deploy.py: interrupted; what the instance was told goes on there", file=sys.stderr)
        return 130
    return 0


_VERBS = {
    "model": "put a kidney.onnx into the stack's bucket and print its SHA-256",
    "scan": "wait for the scan of an image, and fail where it found something severe",
    "deploy": "let an image and a model serve, or go back",
    "rollback": "let serve what the deployed release replaced",
    "status": "say what serves",
    "unlock": "end the lock of a deployment that was killed",
}


def _act(stack: Stack, options: argparse.Namespace) -> None:
    if options.verb == "model":
        print(upload_model(stack, options.file))
    elif options.verb == "scan":
        check_scan(stack, find_image(stack, options.image), options.threshold, _say)
    elif options.verb == "deploy":
        release = deploy(
            stack,
            options.image,
            options.model,
            threshold=options.threshold,
            url=options.url,
            say=_say,
        )
        print(_as_json(stack, release))
    elif options.verb == "rollback":
        print(_as_json(stack, roll_back(stack, url=options.url, say=_say)))
    elif options.verb == "unlock":
        unlock(stack)
    else:
        print("\n".join(report(stack)))


def _as_json(stack: Stack, release: Release) -> str:
    return json.dumps({"url": stack.url, "image": release.image, "model": release.model})


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
