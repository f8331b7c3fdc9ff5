"""Push, deploy, health and rollback against the stack in moto and a machine that does as told."""

import dataclasses
from typing import Any

import boto3
import pytest

from tests.deploy.conftest import Outside, push, scan
from tests.helpers.deploy_modules import images, records, script, stacks, steps
from tests.helpers.machine import Machine

QUIET = {"say": lambda _: None, "pause": lambda _: None}
pytestmark = pytest.mark.usefixtures("ssm")


def deploy(stack: Any, outside: Outside, image: str | None, model: str | None, **more: Any) -> Any:
    options = {"threshold": "CRITICAL", "url": outside.url, **QUIET, **more}
    return steps.deploy(stack, image, model, **options)


@pytest.fixture
def deployed(stack: Any, outside: Outside, two_models: tuple[str, str]) -> tuple[str, str]:
    """The image and the model of a first deployment."""
    image = push(stack, "first")
    deploy(stack, outside, "first", two_models[0])
    return image, two_models[0]


def test_the_first_deployment_serves_the_image_of_a_tag_with_the_model(
    stack: Any, machine: Machine, deployed: tuple[str, str]
):
    image, model = deployed
    assert machine.running == {"kidney-blue": image}
    assert machine.routed == "kidney-blue"
    assert machine.settings("kidney-blue")["KIDNEY_MODEL_SHA256"] == model
    release, _ = records.read_release(stack)
    assert (release.image, release.model) == deployed
    assert release.at
    assert release.by
    assert records.lock_holder(stack) is None


def test_the_next_one_takes_over_and_goes_back_step_by_step(
    stack: Any,
    machine: Machine,
    outside: Outside,
    deployed: tuple[str, str],
    two_models: tuple[str, str],
):
    second = push(stack, "second")
    deploy(stack, outside, second, None)  # the model stays
    deploy(stack, outside, None, two_models[1])  # the image stays
    assert machine.running[machine.routed] == second
    assert machine.settings(machine.routed)["KIDNEY_MODEL_SHA256"] == two_models[1]
    wanted = [(second, two_models[0]), deployed]
    for image, model in wanted:
        back = steps.roll_back(stack, url=outside.url, **QUIET)
        assert (back.image, back.model) == (image, model)
        assert machine.running == {machine.routed: image}
        assert machine.settings(machine.routed)["KIDNEY_MODEL_SHA256"] == model
    with pytest.raises(stacks.DeployError, match="no"):
        steps.roll_back(stack, url=outside.url, **QUIET)
    assert len(records.read_history(stack)) == 5
    third = push(stack, "third")
    deploy(stack, outside, third, None)
    back = steps.roll_back(stack, url=outside.url, **QUIET)
    assert (back.image, back.model) == deployed  # not to what was taken back


def test_what_does_not_answer_from_outside_is_taken_back(
    stack: Any, machine: Machine, outside: Outside, deployed: tuple[str, str]
):
    broken = push(stack, "broken")
    outside.broken_images.add(broken)
    with pytest.raises(stacks.DeployError, match="HTTP 502") as error:
        deploy(stack, outside, "broken", None)
    assert "serves again" in error.value.remedy
    assert machine.running == {machine.routed: deployed[0]}
    assert records.read_release(stack)[0].image == deployed[0]
    assert records.lock_holder(stack) is None


def test_what_does_not_become_ready_never_takes_over(
    stack: Any, machine: Machine, outside: Outside, deployed: tuple[str, str]
):
    push(stack, "second")
    machine.let("dies")
    with pytest.raises(stacks.DeployError, match="kidney-blue serves as before") as error:
        deploy(stack, outside, "second", None)
    assert "the model is broken" in error.value.problem  # the last lines of its log
    assert machine.running == {"kidney-blue": deployed[0]}
    assert records.read_release(stack)[0].image == deployed[0]
    machine.let("dies", False)
    deploy(stack, outside, "second", None)
    assert list(machine.running) == ["kidney-green"]


def test_a_first_deployment_that_fails_has_nothing_to_go_back_to(
    stack: Any, outside: Outside, two_models: tuple[str, str]
):
    outside.broken_images.add(push(stack, "first"))
    with pytest.raises(stacks.DeployError) as error:
        deploy(stack, outside, "first", two_models[0])
    assert "no other release" in error.value.remedy
    assert records.read_release(stack) == (None, None)


def test_the_same_again_changes_nothing(
    stack: Any, machine: Machine, outside: Outside, deployed: tuple[str, str]
):
    assert machine.calls
    deploy(stack, outside, *deployed)
    assert not [call for call in machine.calls if call.startswith(("docker run", "docker pull"))]
    assert len(records.read_history(stack)) == 1


def test_a_second_deployment_at_a_time_is_refused(
    stack: Any, machine: Machine, outside: Outside, deployed: tuple[str, str]
):
    assert machine.calls
    with records.lock(stack), pytest.raises(stacks.DeployError, match=r"one runs: .* since 20"):
        deploy(stack, outside, *deployed)
    assert not machine.calls
    deploy(stack, outside, *deployed)


def test_the_lock_of_a_killed_deployment_is_ended_by_hand(stack: Any):
    boto3.client("ssm").put_parameter(Name="/kidney/lock", Value="x since y", Type="String")
    assert script.main(["status", "--stack", "kidney"]) == 0
    assert script.main(["unlock", "--stack", "kidney"]) == 0
    assert records.lock_holder(stack) is None
    assert script.main(["unlock", "--stack", "kidney"]) == 0


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("nowhere", "ImageNotFoundException"),
        ("sha256:" + "0" * 64, "ImageNotFoundException"),
        ("docker.io/library/nginx:1", "Expected an image of"),
        ("a tag", "Expected an image of"),
    ],
)
def test_an_image_that_is_not_there_is_named(
    stack: Any, machine: Machine, outside: Outside, image: str, said: str
):
    with pytest.raises(stacks.DeployError, match=said) as error:
        deploy(stack, outside, image, "0" * 64)
    assert image.rpartition(":")[2] in error.value.problem
    assert stack.repository_uri in error.value.remedy
    assert not machine.calls


@pytest.mark.parametrize(("model", "said"), [("0" * 64, "404"), ("champion", "SHA-256")])
def test_a_model_that_is_not_there_is_named(
    stack: Any, machine: Machine, outside: Outside, model: str, said: str
):
    push(stack, "first")
    with pytest.raises(stacks.DeployError, match=said) as error:
        deploy(stack, outside, "first", model)
    assert not machine.calls
    assert "deploy.py model" in error.value.remedy


def test_an_image_with_severe_findings_is_refused(
    stack: Any, machine: Machine, outside: Outside, deployed: tuple[str, str]
):
    assert machine.calls
    with pytest.raises(stacks.DeployError, match="CVE-9999-9999") as error:  # moto finds it, HIGH
        deploy(stack, outside, *deployed, threshold="HIGH")
    assert "1 HIGH" in error.value.problem
    assert not machine.calls


def test_a_scan_that_has_not_begun_is_waited_for(stack: Any):
    image = push(stack, "one", scanned=False)
    waited: list[float] = []

    def later(seconds: float) -> None:
        waited.append(seconds)
        scan(stack, image.partition("@")[2])

    images.check_scan(stack, image, "CRITICAL", QUIET["say"], later)
    assert len(waited) == 1


def test_an_image_that_is_never_scanned_is_refused(stack: Any):
    image = push(stack, "one", scanned=False)
    with pytest.raises(stacks.DeployError, match="did not end"):
        images.check_scan(stack, image, "CRITICAL", **QUIET)


def test_an_instance_that_is_not_there_yet_is_told(
    stack: Any, outside: Outside, two_models: tuple[str, str]
):
    push(stack, "first")
    other = dataclasses.replace(stack, instance_id="i-0123456789abcdef0")
    with pytest.raises(stacks.DeployError, match="InvalidInstanceId") as error:
        deploy(other, outside, "first", two_models[0])
    assert "wait some minutes" in error.value.remedy


@pytest.mark.usefixtures("aws")
def test_a_stack_of_another_template_or_none_is_told():
    with pytest.raises(stacks.DeployError, match="nowhere"):
        stacks.read_stack("nowhere")
    boto3.client("cloudformation").create_stack(
        StackName="other",
        TemplateBody='{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}',
    )
    with pytest.raises(stacks.DeployError, match="ModelBucket"):
        stacks.read_stack("other")


def test_the_commands_say_what_they_do_and_end_with_a_status(
    stack: Any,
    outside: Outside,
    two_models: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
):
    push(stack, "first")
    push(stack, "second")
    at = ["--stack", "kidney"]
    assert script.main(["scan", *at, "--image", "first"]) == 0
    assert script.main(["scan", *at, "--image", "first", "--threshold", "HIGH"]) == 1
    assert script.main(["deploy", *at, "--image", "first"]) == 1  # which model?
    assert "--model SHA256" in capsys.readouterr().err
    url = ["--url", outside.url]
    model = ["--model", two_models[0]]
    assert script.main(["deploy", *at, *url, "--image", "first", *model]) == 0
    assert script.main(["deploy", *at, *url, "--image", "second"]) == 0
    said = capsys.readouterr()
    assert "kidney-green serves" in said.err  # what the machine says is passed on
    assert two_models[0][:12] in said.out
    assert script.main(["rollback", *at, *url]) == 0
    assert script.main(["status", *at]) == 0
    said = capsys.readouterr().out
    assert said.count(two_models[0][:12]) == 4
    assert "kidney.example.org" in said
