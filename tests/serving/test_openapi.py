import re

import pytest

from kidney.serving.app import create_app
from kidney.serving.settings import Settings

DOCUMENT = "/api/v1/openapi.json"


def test_every_failure_is_documented_as_a_problem(client):
    document = client.get(DOCUMENT).get_json()
    assert document["openapi"].startswith("3.1")
    post = document["paths"]["/api/v1/predictions"]["post"]
    assert list(post["responses"]) == [
        "200", "400", "401", "403", "405", "408", "413", "415", "422", "429", "500", "503",
    ]  # fmt: skip
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                assert answer["description"]
                assert "X-Request-ID" in answer["headers"]
                kind = "application/json" if status == "200" else "application/problem+json"
                assert list(answer["content"]) == [kind]


def test_the_document_says_how_to_send_files(client):
    document = client.get(DOCUMENT).get_json()
    form = document["components"]["schemas"]["Uploads"]
    assert form["required"] == ["file"]
    assert form["properties"]["file"]["items"] == {"type": "string", "format": "binary"}
    parameters = document["paths"]["/api/v1/predictions"]["post"]["parameters"]
    values = {one["name"]: one["schema"]["const"] for one in parameters}
    assert values == {"overlay": "png", "evidence": "maps", "pixels": "png"}
    assert not any(one["required"] or "default" in one["schema"] for one in parameters)


@pytest.mark.parametrize("auth", [True, False])
def test_the_document_asks_for_keys_where_the_server_does(model, auth):
    app = create_app(Settings(model=model, auth=auth, api_keys=("k:" + "0" * 64,)))
    with app.test_request_context():
        document = app.api_doc
    paths = document["paths"]
    asked = [path for path, one in paths.items() if "security" in next(iter(one.values()))]
    assert asked == (["/api/v1/predictions", "/api/v1/model"] if auth else [])
    assert bool(document["components"]["securitySchemes"]) == auth


def test_the_page_brings_all_that_it_needs_and_has_no_script_in_it(client):
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page.text)
    links = re.findall(r'(?:src|href|data-document)="([^"]+)"', page.text)
    assert len(links) >= 5
    for link in links:
        assert link.startswith("/")
        assert client.get(link).status_code == 200
