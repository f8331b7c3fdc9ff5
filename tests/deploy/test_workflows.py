"""The workflows: no person's text becomes a script, no tag moves, and what is named is there."""

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


def test_there_are_checks_a_delivery_and_a_training():
    assert set(FLOWS) == {"ci", "cd", "train"}
    assert set(FLOWS["ci"][ON]) == {"pull_request", "push", "workflow_call"}
    assert FLOWS["ci"][ON]["push"] == {"branches-ignore": ["main"]}
    assert FLOWS["cd"][ON] == {"push": {"branches": ["main"]}}
    assert set(FLOWS["train"][ON]) == {"workflow_dispatch"}


@pytest.mark.parametrize("flow", TEXTS)
def test_every_action_is_pinned_by_its_commit(flow: str):
    used = re.findall(r"uses: (\S+)(.*)", TEXTS[flow])
    assert used
    for action, rest in used:
        if action == "./.github/workflows/ci.yml":
            continue
        assert re.fullmatch(r"(actions|aws-actions)/[a-z-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", rest), action


@pytest.mark.parametrize(("flow", "job"), JOBS)
def test_a_job_has_no_more_rights_than_it_needs(flow: str, job: str):
    assert FLOWS[flow]["permissions"] == {}
    rights = FLOWS[flow]["jobs"][job]["permissions"]
    assert rights["contents"] == "read"
    with_aws = any("configure-aws" in step.get("uses", "") for step in steps(flow, job))
    assert set(rights) == ({"contents", "id-token"} if with_aws else {"contents"})
    for step in steps(flow, job):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize(("flow", "job"), JOBS)
def test_a_job_that_reaches_aws_has_an_environment_and_an_end(flow: str, job: str):
    found = FLOWS[flow]["jobs"][job]
    if "uses" in found:
        return
    assert found["timeout-minutes"]
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


def test_no_expression_stands_in_a_script():
    found = list(scripts())
    assert len(found) > 8
    assert not [text for text in found if "${{" in text]


@pytest.mark.parametrize("flow", FLOWS)
def test_runs_of_one_kind_do_not_cross(flow: str):
    assert FLOWS[flow]["concurrency"]["group"]
    groups = [FLOWS[name]["concurrency"]["group"] for name in FLOWS]
    assert len(set(groups)) == len(groups)
    if flow != "ci":  # a half-made deployment or model helps nobody
        assert FLOWS[flow]["concurrency"]["cancel-in-progress"] is False


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


def test_dependabot_looks_after_what_is_pinned():
    text = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text("utf-8"))
    kinds = {row["package-ecosystem"] for row in text["updates"]}
    assert kinds == {"github-actions", "pip", "docker"}


def test_scripts_are_found_by_the_makefile_check():
    """`make check` lints deploy/*.sh, deploy/instance/*.sh and scripts/*.sh."""
    outside = {
        path.relative_to(ROOT).parent
        for folder in ("deploy", "scripts", ".github")
        for path in (ROOT / folder).rglob("*.sh")
    }
    assert outside == {Path("deploy"), Path("deploy/instance"), Path("scripts")}
