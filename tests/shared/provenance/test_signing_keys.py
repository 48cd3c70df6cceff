from __future__ import annotations

import base64
from typing import Any

import pytest

from shared.errors import SettingsInvalid
from shared.provenance.signing_keys import PublicKeys, SigningKey, key_id, new_signing_key
from shared.settings import Settings


def settings(**fields: Any) -> Settings:
    return Settings(_env_file=None, **fields)


def test_the_id_of_a_key_is_its_thumbprint() -> None:
    # the example of RFC 8037, appendix A.3
    public = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert key_id(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_key_signs_what_its_public_key_verifies() -> None:
    found = settings(provenance_key=new_signing_key())
    key = SigningKey.of(found)
    assert key is not None
    signature = key.sign(b"text")
    assert PublicKeys.of(found).verify(key.id, signature, b"text")
    assert not PublicKeys.of(found).verify(key.id, signature, b"Text")
    assert not PublicKeys.of(found).verify("other", signature, b"text")


def test_earlier_keys_stay_published_after_a_rotation() -> None:
    old = SigningKey.of(settings(provenance_key=new_signing_key()))
    assert old is not None
    earlier = base64.b64encode(old.public).decode()
    now = settings(provenance_key=new_signing_key(), provenance_public_keys=earlier)
    keys = PublicKeys.from_jwks(PublicKeys.of(now).as_jwks())
    assert len(keys) == 2
    assert keys.verify(old.id, old.sign(b"text"), b"text")


def test_without_a_key_nothing_is_signed() -> None:
    assert SigningKey.of(settings()) is None
    assert SigningKey.of(settings(provenance_key="")) is None
    assert PublicKeys.of(settings()).as_jwks() == {"keys": []}


@pytest.mark.parametrize("text", ["abc", "*" * 43, "A" * 44 + "AAAA"])
def test_a_wrong_key_is_a_wrong_setting_and_is_not_repeated(text: str) -> None:
    with pytest.raises(SettingsInvalid) as error:
        SigningKey.of(settings(provenance_key=text))
    assert "FACEMEND_PROVENANCE_KEY" in error.value.detail
    assert text not in error.value.detail


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}])
def test_a_file_that_is_no_key_set_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="JWK"):
        PublicKeys.from_jwks(document)


def test_keys_of_other_kinds_are_ignored() -> None:
    document = {"keys": [{"kty": "RSA"}, {"kty": "OKP", "crv": "X25519", "x": "AAAA"}, 1]}
    assert len(PublicKeys.from_jwks(document)) == 0


def test_a_broken_key_in_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes"):
        PublicKeys.from_jwks({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]})
