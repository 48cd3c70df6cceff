"""The keys of provenance manifests on this machine: those of the settings, or of the stack."""

from __future__ import annotations

from pydantic import SecretStr

from deploy.embedded.stack import default_folder, saved_provenance_key
from shared.errors import SettingsInvalid
from shared.provenance.signing_keys import PublicKeys, SigningKey
from shared.settings import Settings


def signing_key(settings: Settings) -> SigningKey:
    """Return the key with which a command signs. Raises SettingsInvalid if there is none."""
    key = SigningKey.of(_with_key(settings))
    if key is None:
        raise SettingsInvalid(
            "there is no key to sign with: set FACEMEND_PROVENANCE_KEY (openssl rand -base64 32 "
            "makes one), or run facemend up once, which makes its own"
        )
    return key


def known_keys(settings: Settings) -> PublicKeys:
    """Return the keys that a command knows; there may be none. Raises SettingsInvalid."""
    return PublicKeys.of(_with_key(settings))


def _with_key(settings: Settings) -> Settings:
    if settings.provenance_key and settings.provenance_key.get_secret_value():
        return settings
    saved = saved_provenance_key(default_folder())
    return settings.model_copy(update={"provenance_key": saved and SecretStr(saved)})
