"""The workflows name what exists.

actionlint and zizmor in `make check` hold their safety: pinned actions, least rights, no expression
in a script, one run at a time.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.deploy_modules import ROOT

FOLDER = ROOT / ".github" / "workflows"
TEXTS = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.yml"))}
FLOWS: dict[str, Any] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [(flow, job) for flow in FLOWS for job in FLOWS[flow]["jobs"]]
ON = True  # YAML 1.1 reads the key `on` as this


def steps(flow: str, job: str) -> list[dict[str, Any]]:
    return FLOWS[flow]["jobs"][job].get("steps", [])


def scripts() -> Iterator[str]:
    for flow, job in JOBS:
        yield from (step["run"] for step in steps(flow, job) if "run" in step)


@pytest.mark.parametrize(("flow", "job"), JOBS)
def test_a_job_that_reaches_aws_has_an_environment_and_no_key(flow: str, job: str):
    found = FLOWS[flow]["jobs"][job]
    for step in steps(flow, job):
        if "configure-aws" in step.get("uses", ""):
            assert found["environment"] in ("build", "production", "training")
            assert step["with"]["role-to-assume"] == "${{ vars.AWS_ROLE_ARN }}"
            assert not [name for name in step["with"] if "key" in name]


def test_the_roles_of_the_template_are_for_these_environments():
    template = (ROOT / "deploy" / "template.yaml").read_text("utf-8")
    asked = {
        FLOWS[flow]["jobs"][job]["environment"]
        for flow, job in JOBS
        if "environment" in FLOWS[flow]["jobs"][job]
    }
    assert set(re.findall(r"\$\{GitHubSubject\}:environment:(\w+)", template)) == asked


def test_main_is_delivered_after_its_checks_and_taken_back_when_the_smoke_test_fails():
    jobs = FLOWS["cd"]["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"
    assert jobs["build"]["needs"] == "test"
    assert jobs["deploy"]["needs"] == "build"
    order = [step.get("run", "") for job in ("build", "deploy") for step in steps("cd", job)]
    places = [
        next(place for place, text in enumerate(order) if part in text)
        for part in ("push.sh", "deploy.py scan", "deploy.py deploy", "smoke.py", "rollback")
    ]
    assert places == sorted(places)
    last = steps("cd", "deploy")[-1]
    assert "rollback" in last["run"]
    assert last["if"] == "failure() && steps.smoke.outcome == 'failure'"


def test_what_the_checks_make_is_in_the_makefile():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    rows = FLOWS["ci"]["jobs"]["make"]["strategy"]["matrix"]["include"]
    asked = {row["target"] for row in rows}
    assert asked == {"check", "demo", "test", "slow"}
    asked |= set(re.findall(r"\bmake ([a-z]+)", "\n".join(scripts())))
    assert asked <= set(targets)


def test_the_scripts_that_workflows_run_are_there():
    text = "\n".join(scripts())
    named = set(re.findall(r"\b(?:deploy|scripts)/\w+\.(?:py|sh)\b", text))
    assert named >= {"deploy/deploy.py", "deploy/push.sh", "scripts/train_and_export.sh"}
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_the_choices_of_a_training_are_files_of_the_configuration():
    inputs = FLOWS["train"][ON]["workflow_dispatch"]["inputs"]
    for name in ("model", "data", "experiment"):
        known = {path.stem for path in (ROOT / "conf" / name).glob("*.yaml")} | {"none"}
        assert set(inputs[name]["options"]) <= known
        assert inputs[name]["default"] in inputs[name]["options"]


def test_scripts_are_found_by_the_makefile_check():
    """`make check` lints deploy/*.sh, deploy/instance/*.sh and scripts/*.sh."""
    outside = {
        path.relative_to(ROOT).parent
        for folder in ("deploy", "scripts", ".github")
        for path in (ROOT / folder).rglob("*.sh")
    }
    assert outside == {Path("deploy"), Path("deploy/instance"), Path("scripts")}
