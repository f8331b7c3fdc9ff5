"""The variables of the server: what they set, and what each refuses."""

import pytest

from kidney.errors import ConfigError
from kidney.serving.settings import Settings, from_environment


def test_the_environment_sets_the_limits(model):
    environment = {
        "KIDNEY_MODEL": str(model),
        "KIDNEY_MODEL_FROM": "kidney@champion",
        "KIDNEY_MODEL_SHA256": "a" * 64,
        "KIDNEY_THREADS": "3",
        "KIDNEY_MAX_UPLOAD_BYTES": "1000",
        "KIDNEY_MAX_FILES": "2",
        "KIDNEY_MAX_PIXELS": "",
    }
    expected = Settings(
        model=model,
        model_sha256="a" * 64,
        model_from="kidney@champion",
        threads=3,
        max_upload_bytes=1000,
        max_files=2,
    )
    assert from_environment(environment) == expected
    assert from_environment({}) == Settings()


COUNT, SHA256 = "a whole number above 0", "64 hexadecimal digits"


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("MAX_FILES", ("0", "-1", "many", "1.5", "²"), COUNT),
        ("MODEL_SHA256", ("abc", "g" * 64, "0" * 63), SHA256),
        ("RATE_LIMIT", ("many", "0/minute", "5", "5/fortnight"), "a rate"),
        ("CORS_ORIGINS", ("*", "https://a.b, nothing"), "origins"),
        ("PORT", ("65536", "-1", "http"), "a port, 0 to 65535"),
        ("PROXIES", ("10",), "a whole number, 0 to 9"),
        ("DEADLINE_SECONDS", ("0",), "seconds, more than 0"),
        ("WATCH_SECONDS", ("inf",), "seconds, 0 or more"),
        ("AUTH", ("perhaps",), "on or off"),
    ],
)
def test_an_invalid_value_names_its_variable(name: str, values: tuple[str, ...], expected: str):
    for value in values:
        with pytest.raises(ConfigError, match=f"Expected KIDNEY_{name} to be {expected}") as error:
            from_environment({f"KIDNEY_{name}": value})
        assert repr(value) in error.value.problem
        assert "unset it" in error.value.remedy


def test_values_are_read_as_people_write_them():
    found = from_environment(
        {
            "KIDNEY_AUTH": "OFF",
            "KIDNEY_RATE_LIMIT": "off",
            "KIDNEY_WATCH_SECONDS": "0",
            "KIDNEY_API_KEYS": "a:1, b:2 c:3",
            "KIDNEY_MODEL_SHA256": "A" * 64,
            "KIDNEY_CORS_ORIGINS": "https://a.b,http://c:80",
        }
    )
    assert (found.auth, found.rate_limit, found.watch_seconds) == (False, "", 0)
    assert found.api_keys == ("a:1", "b:2", "c:3")
    assert found.model_sha256 == "a" * 64
    assert found.cors_origins == ("https://a.b", "http://c:80")
