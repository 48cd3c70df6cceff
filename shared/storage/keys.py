"""Keys of all objects in the bucket. No other module builds one.

The objects of a tenant are under ``tenants/{tenant}/``: the tenant chooses the names in ``files/``,
the service those in ``inputs/`` and ``results/``. ``jobs/`` has the manifests of unfinished jobs.
"""

from __future__ import annotations

import unicodedata

from shared.errors import InputNotFound

TENANTS, MANIFESTS = "tenants/", "jobs/"
INSTALLATION, KEY_COPIES = "installation/name", "installation/keys.json"


def file_key(tenant: str, key: str) -> str:
    """Return the key of the object that a tenant calls ``key``.

    Raises InputNotFound, as for a missing object, if a proxy or server on the way could read the
    name as another path.
    """
    hidden = any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in key)
    if hidden or not key or set(key) & {"\\", "%"} or not unicodedata.is_normalized("NFC", key):
        raise InputNotFound
    if any(part in {"", ".", ".."} for part in key.split("/")) or len(key.encode()) > 768:
        raise InputNotFound
    return f"{TENANTS}{tenant}/files/{key}"


def inputs_prefix(tenant: str) -> str:
    """Prefix of all uploaded photos of a tenant; the job id follows."""
    return f"{TENANTS}{tenant}/inputs/"


def input_key(tenant: str, job_id: str) -> str:
    """Key of an uploaded photo, kept for ``settings.input_ttl_s`` or until its job has ended."""
    return inputs_prefix(tenant) + job_id


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
    return (input_key(tenant, job_id), results_prefix(tenant, job_id))


def manifest_key(tenant: str, job_id: str, generation: int) -> str:
    """Key of the manifest of a job, which is kept until the job has ended."""
    return f"{MANIFESTS}{tenant}/{job_id}.{generation}.json"
