"""The stack as moto makes it, and what the template promises beyond what moto knows."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.deploy.conftest import PARAMETERS, PROVIDER
from tests.helpers.cloudformation import TEMPLATE, TEXT

# What moto passes over, cfn-lint knows.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")


def properties(logical: str) -> dict[str, Any]:
    return TEMPLATE["Resources"][logical]["Properties"]


def actions(stack: Any, logical: str) -> dict[str, Any]:
    """What a role or a policy of the stack allows: the resources of each action."""
    client, name = boto3.client("iam"), resource(stack, logical)
    if logical.endswith("Policy"):
        version = client.get_policy_version(PolicyArn=name, VersionId="v1")
        documents = [version["PolicyVersion"]["Document"]]
    else:
        documents = [
            # which moto keeps as Python writes it
            ast.literal_eval(
                client.get_role_policy(RoleName=name, PolicyName=one)["PolicyDocument"]
            )
            for one in client.list_role_policies(RoleName=name)["PolicyNames"]
        ]
    found: dict[str, Any] = {}
    for statement in (statement for document in documents for statement in document["Statement"]):
        assert statement["Effect"] == "Allow"
        given = statement["Action"]
        for action in [given] if isinstance(given, str) else given:
            found.setdefault(action, []).append(statement["Resource"])
    return found


def resource(stack: Any, logical: str) -> str:
    rows = boto3.client("cloudformation").list_stack_resources(StackName=stack.name)
    (found,) = (
        row["PhysicalResourceId"]
        for row in rows["StackResourceSummaries"]
        if row["LogicalResourceId"] == logical
    )
    return str(found)


def test_the_machine_has_a_locked_door(made_stack: Any):
    client = boto3.client("ec2")
    (reservation,) = client.describe_instances(InstanceIds=[made_stack.instance_id])["Reservations"]
    (instance,) = reservation["Instances"]
    assert instance["InstanceType"] == "t4g.small"
    assert not instance.get("KeyName")
    (group,) = client.describe_security_groups(GroupIds=[resource(made_stack, "Firewall")])[
        "SecurityGroups"
    ]
    assert {row["FromPort"] for row in group["IpPermissions"]} == {80, 443}
    assert all(row["FromPort"] == row["ToPort"] for row in group["IpPermissions"])
    # what moto makes no use of
    asked = properties("Instance")
    assert asked["SecurityGroupIds"] == [{"Ref": "Firewall"}]
    assert asked["MetadataOptions"]["HttpTokens"] == "required"
    assert asked["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert asked["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True


def test_the_machine_begins_with_a_script_that_shell_understands(tmp_path: Path):
    script = tmp_path / "user-data.sh"
    script.write_text(properties("Instance")["UserData"]["Fn::Base64"])
    subprocess.run([Path(sys.executable).with_name("shellcheck"), script], check=True)
    assert "docker.service kidney-metrics.timer" in script.read_text()


def test_images_are_scanned_and_their_tags_stay(made_stack: Any):
    client = boto3.client("ecr")
    (found,) = client.describe_repositories(repositoryNames=[made_stack.repository])["repositories"]
    assert found["repositoryUri"] == made_stack.repository_uri
    asked = properties("Images")
    assert asked["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert asked["ImageTagMutability"] == "IMMUTABLE"
    rules = json.loads(asked["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert [rule["selection"]["countNumber"] for rule in rules] == [7, 30]


def test_models_are_kept_and_seen_by_nobody(made_stack: Any):
    client, bucket = boto3.client("s3"), made_stack.model_bucket
    assert properties("Models")["VersioningConfiguration"] == {"Status": "Enabled"}
    assert all(properties("Models")["PublicAccessBlockConfiguration"].values())
    rules = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    assert rules["Rules"]
    assert TEMPLATE["Resources"]["Models"]["DeletionPolicy"] == "Retain"
    (statement,) = properties("ModelsPolicy")["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_each_alarm_reaches_the_topic_and_says_what_it_means():
    alarms = [
        resource["Properties"]
        for resource in TEMPLATE["Resources"].values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    ]
    assert len(alarms) == 9
    for alarm in alarms:
        assert {"Ref": "Alarms"} in alarm["AlarmActions"]
        assert alarm["AlarmDescription"].endswith((".", "it.", "why."))
    client = boto3.client("cloudwatch", region_name="eu-central-1")
    model = client.meta.service_model.operation_model("PutMetricAlarm").input_shape
    tags = {name for alarm in alarms for name in alarm}
    assert tags <= set(model.members)


@pytest.mark.parametrize(
    ("logical", "environment"),
    [("BuildRole", "build"), ("DeployRole", "production"), ("TrainRole", "training")],
)
def test_a_role_is_for_one_environment_of_one_repository(
    made_stack: Any, logical: str, environment: str
):
    found = boto3.client("iam").get_role(RoleName=resource(made_stack, logical))["Role"]
    (statement,) = found["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Federated": PROVIDER}
    assert statement["Condition"]["StringEquals"] == {
        "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
        "token.actions.githubusercontent.com:sub": (
            f"{PARAMETERS['GitHubSubject']}:environment:{environment}"
        ),
    }


def test_each_role_may_do_its_part_only(made_stack: Any):
    build, deploy, train, machine = (
        actions(made_stack, name)
        for name in ("BuildPolicy", "DeployPolicy", "TrainPolicy", "InstanceRole")
    )
    for name in ("Build", "Deploy", "Train"):
        assert properties(f"{name}Role")["ManagedPolicyArns"] == [{"Ref": f"{name}Policy"}]
    assert "ecr:PutImage" in build
    assert not {"ssm:SendCommand", "s3:PutObject", "ssm:PutParameter"} & set(build)
    assert "ssm:SendCommand" in deploy
    assert not {"ecr:PutImage", "s3:PutObject"} & set(deploy)
    assert set(train) == {"cloudformation:DescribeStacks", "s3:PutObject"}
    assert not {"s3:PutObject", "ecr:PutImage", "ssm:PutParameter", "ssm:SendCommand"} & set(
        machine
    )
    for found in (build, deploy, train, machine):
        assert not [action for action in found if "*" in action]
    anything = {action for action, resources in deploy.items() if "*" in resources}
    assert anything == {"ssm:GetCommandInvocation"}  # which knows no resource
    ((instance, document),) = deploy["ssm:SendCommand"]
    assert instance.endswith(f"instance/{made_stack.instance_id}")
    assert document.endswith("document/AWS-RunShellScript")
    assert {action for action, resources in build.items() if "*" in resources} == {
        "ecr:GetAuthorizationToken"
    }


def test_without_github_there_are_no_roles_for_it(aws: None):  # noqa: ARG001
    client = boto3.client("cloudformation")
    client.create_stack(
        StackName="alone",
        TemplateBody=TEXT,
        Parameters=[
            {"ParameterKey": "DomainName", "ParameterValue": "kidney.example.org"},
            {"ParameterKey": "Architecture", "ParameterValue": "amd64"},
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    rows = client.list_stack_resources(StackName="alone")["StackResourceSummaries"]
    kinds = {row["LogicalResourceId"]: row for row in rows}
    assert "InstanceRole" in kinds
    assert not {"BuildRole", "DeployRole", "TrainRole"} & set(kinds)
    found = boto3.client("ec2").describe_instances(
        InstanceIds=[kinds["Instance"]["PhysicalResourceId"]]
    )
    assert found["Reservations"][0]["Instances"][0]["InstanceType"] == "t3.small"
