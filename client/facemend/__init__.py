"""Facemend's client: restore the faces in photos by a Facemend service.

>>> from facemend import Client
>>> with Client("https://facemend.example", "fm_live_…") as client:  # doctest: +SKIP
...     client.restore("photo.jpg").save("restored.png")

A name is imported when it is first used, so that importing this package loads neither httpx nor
pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facemend.async_client import AsyncClient, AsyncRestored
    from facemend.client import Client, Restored
    from facemend.errors import (
        ClientError,
        Conflict,
        Forbidden,
        IdempotencyInProgress,
        IdempotencyMismatch,
        InputProblem,
        InvalidRequest,
        JobCanceled,
        JobFailed,
        MethodNotAllowed,
        ModelUnavailable,
        NotFound,
        PayloadTooLarge,
        ProblemError,
        QueueFull,
        RateLimited,
        ResultDamaged,
        ServiceError,
        SignatureInvalid,
        Unauthorized,
        Unavailable,
        UnexpectedAnswer,
        Unreachable,
        UnsupportedMediaType,
        WaitTimeout,
    )
    from facemend.folder.run import PhotoOutcome, Report
    from facemend.models import (
        Batch,
        BatchItem,
        Detection,
        Event,
        Face,
        FoundFace,
        Problem,
        Restoration,
        RestorationPage,
        Result,
        StoredImage,
        Token,
        Upload,
    )
    from facemend.parameters import Options, Output, Webhook
    from facemend.webhooks import WebhookEvent, verify_webhook

__all__ = [
    "AsyncClient",
    "AsyncRestored",
    "Batch",
    "BatchItem",
    "Client",
    "ClientError",
    "Conflict",
    "Detection",
    "Event",
    "Face",
    "Forbidden",
    "FoundFace",
    "IdempotencyInProgress",
    "IdempotencyMismatch",
    "InputProblem",
    "InvalidRequest",
    "JobCanceled",
    "JobFailed",
    "MethodNotAllowed",
    "ModelUnavailable",
    "NotFound",
    "Options",
    "Output",
    "PayloadTooLarge",
    "PhotoOutcome",
    "Problem",
    "ProblemError",
    "QueueFull",
    "RateLimited",
    "Report",
    "Restoration",
    "RestorationPage",
    "Restored",
    "Result",
    "ResultDamaged",
    "ServiceError",
    "SignatureInvalid",
    "StoredImage",
    "Token",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "UnsupportedMediaType",
    "Upload",
    "WaitTimeout",
    "Webhook",
    "WebhookEvent",
    "verify_webhook",
]

_NAMES = {
    "async_client": ("AsyncClient", "AsyncRestored"),
    "client": ("Client", "Restored"),
    "errors": (
        "ClientError",
        "Conflict",
        "Forbidden",
        "IdempotencyInProgress",
        "IdempotencyMismatch",
        "InputProblem",
        "InvalidRequest",
        "JobCanceled",
        "JobFailed",
        "MethodNotAllowed",
        "ModelUnavailable",
        "NotFound",
        "PayloadTooLarge",
        "ProblemError",
        "QueueFull",
        "RateLimited",
        "ResultDamaged",
        "ServiceError",
        "SignatureInvalid",
        "Unauthorized",
        "Unavailable",
        "UnexpectedAnswer",
        "Unreachable",
        "UnsupportedMediaType",
        "WaitTimeout",
    ),
    "folder.run": ("PhotoOutcome", "Report"),
    "models": (
        "Batch",
        "BatchItem",
        "Detection",
        "Event",
        "Face",
        "FoundFace",
        "Problem",
        "Restoration",
        "RestorationPage",
        "Result",
        "StoredImage",
        "Token",
        "Upload",
    ),
    "parameters": ("Options", "Output", "Webhook"),
    "webhooks": ("WebhookEvent", "verify_webhook"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
