"""Builds the keys of all objects in the bucket; no other module does.

The objects of a tenant are under ``tenants/{tenant}/``: the tenant chooses the names in ``files/``,
the service those in ``inputs/``, ``quarantine/``, ``results/`` and ``batches/``. ``jobs/`` has the
manifests of unfinished jobs, ``batches/`` those of unfinished batches.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

from shared.errors import InputNotFound, ObjectKeyInvalid

TENANTS, MANIFESTS, BATCH_MANIFESTS = "tenants/", "jobs/", "batches/"
MAX_KEY_BYTES = 1024  # S3's limit
#: They reverse the text after them, so that a name looks like another one (Unicode TR 36).
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
INSTALLATION, KEY_COPIES = "installation/name", "installation/keys.json"


def file_key(tenant: str, key: str) -> str:
    """Return the key of the object that a tenant calls ``key``.

    Raises ObjectKeyInvalid, which says what is wrong, for a character that is not accepted or a
    name that is too long. Raises InputNotFound, as for a missing object, if a proxy or server on
    the way could read the name as another path.
    """
    path = f"{TENANTS}{tenant}/files/{key}"
    decoded = key
    while True:
        _check(decoded)
        # A proxy may decode once too often. The result must be a plain name, too.
        if (again := unquote(decoded, errors="surrogateescape")) == decoded:
            break
        decoded = again
    if len(path.encode()) > MAX_KEY_BYTES:
        most = MAX_KEY_BYTES - len(path.encode()) + len(key.encode())
        raise ObjectKeyInvalid(f"an object key has at most {most} bytes in UTF-8")
    return path


def _check(key: str) -> None:
    for char in key:
        if char == "\\" or unicodedata.category(char) in {"Cc", "Cs"} or char in _DIRECTION:
            raise ObjectKeyInvalid(f"an object key must not hold the character U+{ord(char):04X}")
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise InputNotFound


def inputs_prefix(tenant: str) -> str:
    """Prefix of all uploaded photos of a tenant; the job id follows."""
    return f"{TENANTS}{tenant}/inputs/"


def input_key(tenant: str, job_id: str) -> str:
    """Key of an uploaded photo, kept for ``settings.input_ttl_s`` or until its job has ended."""
    return inputs_prefix(tenant) + job_id


def quarantine_prefix(tenant: str) -> str:
    """Prefix of all photos of a tenant in quarantine; the job id follows."""
    return f"{TENANTS}{tenant}/quarantine/"


def quarantine_key(tenant: str, job_id: str) -> str:
    """Key of a photo that may crash the engine process, kept for ``settings.quarantine_ttl_s``."""
    return quarantine_prefix(tenant) + job_id


def results_root(tenant: str) -> str:
    """Prefix of all results of a tenant; the job id follows."""
    return f"{TENANTS}{tenant}/results/"


def result_key(tenant: str, job_id: str, token: str, name: str) -> str:
    """Key of the result ``name`` of a run. The lease ``token`` keeps runs of a job apart."""
    return f"{results_prefix(tenant, job_id)}{token}/{name}"


def results_prefix(tenant: str, job_id: str) -> str:
    """Prefix of the results of all runs of a job."""
    return f"{results_root(tenant)}{job_id}/"


def job_prefixes(tenant: str, job_id: str) -> tuple[str, ...]:
    """Prefixes of all objects that are erased with a job."""
    return (
        input_key(tenant, job_id),
        quarantine_key(tenant, job_id),
        results_prefix(tenant, job_id),
    )


def manifest_key(tenant: str, job_id: str, generation: int) -> str:
    """Key of the manifest of a job, which is kept until the job has ended."""
    return f"{MANIFESTS}{tenant}/{job_id}.{generation}.json"


def batch_manifest_key(tenant: str, batch_id: str) -> str:
    """Key of the manifest of a batch, which is kept until the batch has ended."""
    return f"{BATCH_MANIFESTS}{tenant}/{batch_id}.json"


def erased_items_prefix(tenant: str, batch_id: str) -> str:
    """Prefix of the marks of items that were erased; the job id follows.

    They are kept as long as the manifest of the batch.
    """
    return f"{BATCH_MANIFESTS}{tenant}/{batch_id}.erased/"


def batch_prefix(tenant: str, batch_id: str) -> str:
    """Prefix of the results of a batch."""
    return f"{TENANTS}{tenant}/batches/{batch_id}/"


def batch_result_key(tenant: str, batch_id: str, generation: int, name: str) -> str:
    """Key of a result of a batch. Each ``generation`` of a batch has its own."""
    return f"{batch_prefix(tenant, batch_id)}{generation}/{name}"
