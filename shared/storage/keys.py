"""Where everything lies in the object storage: the only makers of keys.

A tenant's objects lie under ``tenants/{tenant}/``: ``files/`` is what the tenant names itself,
``inputs/`` and ``results/`` are ours. ``jobs/`` has the manifests of unfinished jobs.
"""

from __future__ import annotations

import unicodedata

from shared.errors import InputNotFound

TENANTS, MANIFESTS = "tenants/", "jobs/"
INSTALLATION, KEY_COPIES = "installation/name", "installation/keys.json"


def file_key(tenant: str, key: str) -> str:
    """Where the object is that a tenant calls ``key``.

    Raises InputNotFound for a name that could mean another place to somebody on the way: the
    same answer as for a name that is not there.
    """
    hidden = any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in key)
    if hidden or not key or set(key) & {"\\", "%"} or not unicodedata.is_normalized("NFC", key):
        raise InputNotFound
    if any(part in {"", ".", ".."} for part in key.split("/")) or len(key.encode()) > 768:
        raise InputNotFound
    return f"{TENANTS}{tenant}/files/{key}"


def inputs_prefix(tenant: str) -> str:
    """Before all photos that were uploaded for jobs; the job's id follows."""
    return f"{TENANTS}{tenant}/inputs/"


def input_key(tenant: str, job_id: str) -> str:
    """Where an uploaded photo is kept, ``settings.input_ttl_s`` or until its job has ended."""
    return inputs_prefix(tenant) + job_id


def results_root(tenant: str) -> str:
    """Before everything that runs have stored; the job's id follows."""
    return f"{TENANTS}{tenant}/results/"


def result_key(tenant: str, job_id: str, token: str, name: str) -> str:
    """Where a run stores ``name``. The lease token in it keeps a fenced run's out of the way."""
    return f"{results_prefix(tenant, job_id)}{token}/{name}"


def results_prefix(tenant: str, job_id: str) -> str:
    """Before all that the runs of a job have stored."""
    return f"{results_root(tenant)}{job_id}/"


def job_prefixes(tenant: str, job_id: str) -> tuple[str, ...]:
    """All that erasing a job has to list and delete."""
    return (input_key(tenant, job_id), results_prefix(tenant, job_id))


def manifest_key(tenant: str, job_id: str, generation: int) -> str:
    """Where the manifest of a job is kept until the job has ended."""
    return f"{MANIFESTS}{tenant}/{job_id}.{generation}.json"
