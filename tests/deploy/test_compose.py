"""deploy/compose.yaml, as far as it can be tested without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kidney.serving.guards.access import check_auth
from kidney.serving.settings import Settings, from_environment
from tests.helpers.dockerfile import DOCKERFILE, ROOT, stages, variables

COMPOSE = ROOT / "deploy" / "compose.yaml"
EXAMPLE = ROOT / "deploy" / "example.env"
ENTRY = "radiology:" + "8a" * 32
SECRETS = {
    "POSTGRES_PASSWORD": "a" * 64,
    "S3_SECRET_KEY": "b" * 64,
    "KIDNEY_API_KEYS": ENTRY,
    "KIDNEY_SESSION_SECRET": "c" * 64,
}


def stack(secrets: dict[str, str] = SECRETS) -> dict[str, Any]:
    """Return the file as compose reads it with these secrets in .env."""

    def fill(found: re.Match[str]) -> str:
        return secrets[found[1]]

    text = re.sub(r"\$\{(\w+):\?[^}]+\}", fill, COMPOSE.read_text("utf-8"))
    assert "$" not in text, "a variable without a message where it is not set"
    return yaml.safe_load(text)


SERVICES: dict[str, dict[str, Any]] = stack()["services"]


def test_the_example_names_every_secret_and_holds_none():
    lines = [line for line in EXAMPLE.read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    assert sorted(lines) == sorted(f"{name}=" for name in SECRETS)
    assert set(re.findall(r"\$\{(\w+)", COMPOSE.read_text("utf-8"))) == set(SECRETS)


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_built_here_or_pinned(name: str):
    service = SERVICES[name]
    if "build" in service:
        context = (COMPOSE.parent / service["build"]["context"]).resolve()
        assert context == ROOT
        assert (context / service["build"].get("dockerfile", "Dockerfile")).is_file()
        assert service["image"].endswith(":local")
    else:
        assert re.fullmatch(r"docker\.io/\S+/\S+:\d+\.\d+\S*", service["image"])


def test_nothing_listens_beyond_this_machine():
    ports = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert ports == {"server": ["127.0.0.1:8000:8000"], "mlflow": ["127.0.0.1:5000:5000"]}
    assert not [name for name, each in SERVICES.items() if "network_mode" in each]


def test_who_waits_for_whom_can_be_waited_for():
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            checked = "healthcheck" in SERVICES[other] or "build" in SERVICES[other]
            if wait["condition"] == "service_healthy":
                assert checked, f"{name} waits for ever for {other}"
                assert not SERVICES[other].get("healthcheck", {}).get("disable")
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"] == "no"


def test_what_we_build_runs_without_rights():
    for name in ("server", "mlflow", "bucket"):
        service = SERVICES[name]
        assert service["read_only"]
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_server_gets_settings_that_work():
    stage = stages(DOCKERFILE)[SERVICES["server"]["build"]["target"]]
    own = {name: str(value) for name, value in SERVICES["server"]["environment"].items()}
    environment = variables(stage) | own
    known = {f"KIDNEY_{name.upper()}" for name in vars(Settings())}
    assert {name for name in environment if name.startswith("KIDNEY_")} <= known
    settings = from_environment(environment)
    check_auth(settings)
    assert settings.model_from == "models:/kidney@champion"
    (volume,) = SERVICES["server"]["volumes"]
    assert settings.model.parent == Path(volume.split(":")[1])
    assert settings.port == int(SERVICES["server"]["ports"][0].split(":")[-1])
    # As long as a request that has begun may take, and what the server adds.
    assert (
        int(SERVICES["server"]["stop_grace_period"].rstrip("s")) >= settings.deadline_seconds + 10
    )


@pytest.mark.slow  # to import mlflow takes seconds
def test_mlflow_gets_variables_that_it_knows():
    import mlflow.cli
    from mlflow import environment_variables

    known = {each.envvar for each in mlflow.cli.server.params} | set(vars(environment_variables))
    names = {name for name in SERVICES["mlflow"]["environment"] if name.startswith("MLFLOW_")}
    assert len(names) == 5
    assert names <= known


def test_mlflow_and_the_database_agree():
    uri = SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    database = SERVICES["postgres"]["environment"]
    user, password, name = (database[f"POSTGRES_{part}"] for part in ("USER", "PASSWORD", "DB"))
    assert uri == f"postgresql+psycopg://{user}:{password}@postgres:5432/{name}"
    assert SERVICES["postgres"]["healthcheck"]["test"][1:] == [
        "pg_isready", "--username", user, "--dbname", name
    ]  # fmt: skip


def test_mlflow_and_the_store_agree():
    mlflow, store = SERVICES["mlflow"]["environment"], SERVICES["s3"]["environment"]
    assert {name: mlflow[name] for name in store} == store
    port = mlflow["MLFLOW_S3_ENDPOINT_URL"].rsplit(":", 1)[1]
    assert SERVICES["s3"]["healthcheck"]["test"][-1] == port
    bucket = mlflow["MLFLOW_ARTIFACTS_DESTINATION"].removeprefix("s3://")
    assert f'Bucket="{bucket}"' in SERVICES["bucket"]["command"][-1]
