"""The aws command as far as a page needs it: words -> botocore's service models -> moto.

A service, an operation or an option that AWS does not have is a failure, and so is a value that
the operation would not take.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import jmespath
from botocore import xform_name
from botocore.model import Shape
from botocore.validate import ParamValidator

from tests.helpers.cloudformation import TEMPLATE

# What the command adds to the interface of AWS, and the options that it has.
ADDED = {
    ("cloudformation", "deploy"): {
        "--stack-name", "--template-file", "--capabilities", "--parameter-overrides",
    },
    ("logs", "tail"): {"--since", "--format", "--follow"},
}  # fmt: skip
NOT_IN_MOTO = {("cloudformation", "delete-stack")}  # it takes the network before what is in it
NO_FLAG_OF_THE_SERVICE = {"--query", "--output", "--region", "--profile"}


def split(words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return what stands before the options, and the words of each option."""
    before: list[str] = []
    options: dict[str, list[str]] = {}
    into = before
    for word in words:
        if word.startswith("--"):
            assert word not in options, f"{word} is given twice"
            into = options[word] = []
        else:
            into.append(word)
    return before, options


def aws(words: Sequence[str]) -> str:
    """Run one command, without its first word; return what it prints."""
    before, options = split(words)
    service, operation, *arguments = before
    if (service, operation) in ADDED:
        unknown = set(options) - ADDED[service, operation]
        assert not unknown, f"aws {service} {operation} has no {unknown}"
        answer = _deploy(options) if operation == "deploy" else _tail(arguments)
    elif operation == "wait":
        (waiter,) = arguments
        names = boto3.client(service).waiter_names
        assert waiter in [name.replace("_", "-") for name in names], f"no waiter {waiter}"
        return ""
    else:
        assert not arguments, f"aws {service} {operation} takes no {arguments}"
        answer = _call(service, operation, options)
    answer.pop("ResponseMetadata", None)
    found = jmespath.search(options["--query"][0], answer) if "--query" in options else answer
    if options.get("--output") == ["text"]:
        return "\t".join(map(str, found)) if isinstance(found, list) else str(found)
    return json.dumps(found, default=str)


def _call(service: str, operation: str, options: dict[str, list[str]]) -> dict[str, Any]:
    client = boto3.client(service)
    by_word = {xform_name(name, "-"): name for name in client.meta.service_model.operation_names}
    assert operation in by_word, f"aws {service} has no {operation}"
    shape = client.meta.service_model.operation_model(by_word[operation]).input_shape
    members = {f"--{xform_name(name, '-')}": name for name in shape.members}
    asked = {}
    for option, values in options.items():
        if option in NO_FLAG_OF_THE_SERVICE:
            continue
        assert option in members, f"aws {service} {operation} has no {option}"
        asked[members[option]] = _value(values, shape.members[members[option]])
    report = ParamValidator().validate(asked, shape)
    assert not report.has_errors(), report.generate_report()
    if (service, operation) in NOT_IN_MOTO:
        return {}
    try:
        return dict(getattr(client, xform_name(by_word[operation]))(**asked))
    except NotImplementedError:  # moto has no such thing; the models of AWS have taken it
        return {}


def _value(values: list[str], shape: Shape) -> Any:
    if shape.type_name == "boolean":
        assert not values
        return True
    if shape.type_name == "list":
        return values
    if shape.type_name == "map":  # KEY=VALUE,VALUE or KEY=JSON
        pairs = (value.split("=", 1) for value in values)
        return {
            key: json.loads(text) if text.startswith("[") else text.split(",")
            for key, text in pairs
        }
    (value,) = values
    return int(value) if shape.type_name in ("integer", "long") else value


def _deploy(options: dict[str, list[str]]) -> dict[str, Any]:
    """Make the stack; of a change only look at its names: moto would lose the instance."""
    client = boto3.client("cloudformation")
    (name,), (file,) = options["--stack-name"], options["--template-file"]
    given = dict(word.split("=", 1) for word in options["--parameter-overrides"])
    text = Path(file).read_text("utf-8")
    assert set(given) <= set(TEMPLATE["Parameters"])
    if name in {row["StackName"] for row in client.describe_stacks()["Stacks"]}:
        return {}
    made = client.create_stack(
        StackName=name,
        TemplateBody=text,
        Capabilities=options["--capabilities"],
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
    )
    return dict(made)


def _tail(arguments: list[str]) -> dict[str, Any]:
    (group,) = arguments
    found = boto3.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert found, f"there is no log group {group}"
    return {}
