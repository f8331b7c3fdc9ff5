"""The server against its own OpenAPI document: no failure, and no answer that it does not name."""

import hashlib
import os
from collections import Counter
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from kidney.serving.app import create_app
from kidney.serving.settings import Settings
from tests.helpers.upload_files import seeds

EXAMPLES = int(os.environ.get("KIDNEY_EXAMPLES", "25"))  # `make fuzz` asks for more
KEY = "a key of the tests, long enough to be one"
ANY_PACE = {"deadline": None, "suppress_health_check": list(HealthCheck)}
UPLOADS = st.deferred(lambda: st.sampled_from([data for kind in seeds().values() for data in kind]))
schemathesis.openapi.format("binary", UPLOADS | UPLOADS | UPLOADS | st.binary(max_size=200))


@pytest.fixture(params=[False, True], ids=["open", "with keys"])
def described(request: pytest.FixtureRequest, model: Path) -> schemathesis.BaseSchema:
    keys = (f"tests:{hashlib.sha256(KEY.encode()).hexdigest()}",)
    settings = Settings(model=model, threads=1, auth=request.param, api_keys=keys, rate_limit="")
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", create_app(settings))


@pytest.mark.parametrize(
    ("mode", "statuses"),
    [(GenerationMode.POSITIVE, {200}), (GenerationMode.NEGATIVE, {400})],
    ids=["as documented", "otherwise"],
)
def test_every_answer_is_documented(described, mode: GenerationMode, statuses: set[int]):
    answers: Counter[tuple[str, int]] = Counter()
    operations = [found.ok() for found in described.get_all_operations()]
    assert {operation.path for operation in operations} == {
        "/api/v1/predictions",
        "/api/v1/model",
        "/healthz",
        "/readyz",
    }
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # there is nothing to do otherwise

        @given(operation.as_strategy(generation_mode=mode))
        @settings(max_examples=EXAMPLES, derandomize=True, **ANY_PACE)
        def check(case: schemathesis.Case) -> None:
            # Bytes that are no slice are refused, although the document cannot say which are.
            response = case.call_and_validate(
                headers={"Authorization": f"Bearer {KEY}"},
                excluded_checks=[positive_data_acceptance],
            )
            answers[case.path, response.status_code] += 1

        check()
    assert statuses <= {status for path, status in answers if path == "/api/v1/predictions"}
