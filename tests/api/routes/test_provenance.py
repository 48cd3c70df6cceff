from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask.testing import FlaskClient
from pydantic import SecretStr

from api import Services, create_app
from shared.provenance.signing_keys import PublicKeys, SigningKey, new_signing_key
from tests.api.conftest import Authorised, CheckedClient

PATH = "/.well-known/facemend-keys.json"


def test_without_a_key_the_set_is_empty(anonymous: FlaskClient) -> None:
    assert anonymous.get(PATH).get_json() == {"keys": []}


def test_the_public_keys_are_published_and_never_the_private_one(services: Services) -> None:
    secret = new_signing_key()
    settings = services.settings.model_copy(update={"provenance_key": SecretStr(secret)})
    app = create_app(replace(services, settings=settings))
    app.test_client_class = CheckedClient
    response = app.test_client().get(PATH)
    key = SigningKey.of(settings)
    assert key is not None
    keys = PublicKeys.from_jwks(response.get_json())
    assert keys.verify(key.id, key.sign(b"text"), b"text")
    assert secret not in response.text
    assert "max-age" in response.headers["Cache-Control"]


def test_a_result_shows_its_manifest(client: Authorised, submit: Any, succeed: Any) -> None:
    job_id = submit(client).get_json()["id"]
    succeed("acme", job_id)
    assert client.get(f"/v1/restorations/{job_id}").get_json()["result"]["manifest"] is None
