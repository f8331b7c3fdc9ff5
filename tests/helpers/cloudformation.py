"""The template, read."""

from typing import Any

import yaml

from tests.helpers.deploy_modules import DEPLOY

TEXT = (DEPLOY / "template.yaml").read_text("utf-8")


class Loader(yaml.SafeLoader):
    """Reads !Ref and the like as a mapping of one key."""


def _short_form(loader: Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _short_form)
TEMPLATE: dict[str, Any] = yaml.load(TEXT, Loader)
