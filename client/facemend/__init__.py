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
    from facemend.async_client import (
        AsyncClient as AsyncClient,
    )
    from facemend.async_client import (
        AsyncRestored as AsyncRestored,
    )
    from facemend.client import (
        Client as Client,
    )
    from facemend.client import (
        Restored as Restored,
    )
    from facemend.errors import (
        ClientError as ClientError,
    )
    from facemend.errors import (
        Conflict as Conflict,
    )
    from facemend.errors import (
        Forbidden as Forbidden,
    )
    from facemend.errors import (
        IdempotencyInProgress as IdempotencyInProgress,
    )
    from facemend.errors import (
        IdempotencyMismatch as IdempotencyMismatch,
    )
    from facemend.errors import (
        InputProblem as InputProblem,
    )
    from facemend.errors import (
        InvalidRequest as InvalidRequest,
    )
    from facemend.errors import (
        JobCanceled as JobCanceled,
    )
    from facemend.errors import (
        JobFailed as JobFailed,
    )
    from facemend.errors import (
        MethodNotAllowed as MethodNotAllowed,
    )
    from facemend.errors import (
        ModelUnavailable as ModelUnavailable,
    )
    from facemend.errors import (
        NotFound as NotFound,
    )
    from facemend.errors import (
        PayloadTooLarge as PayloadTooLarge,
    )
    from facemend.errors import (
        ProblemError as ProblemError,
    )
    from facemend.errors import (
        QueueFull as QueueFull,
    )
    from facemend.errors import (
        RateLimited as RateLimited,
    )
    from facemend.errors import (
        ResultDamaged as ResultDamaged,
    )
    from facemend.errors import (
        ServiceError as ServiceError,
    )
    from facemend.errors import (
        SignatureInvalid as SignatureInvalid,
    )
    from facemend.errors import (
        Unauthorized as Unauthorized,
    )
    from facemend.errors import (
        Unavailable as Unavailable,
    )
    from facemend.errors import (
        UnexpectedAnswer as UnexpectedAnswer,
    )
    from facemend.errors import (
        Unreachable as Unreachable,
    )
    from facemend.errors import (
        UnsupportedMediaType as UnsupportedMediaType,
    )
    from facemend.errors import (
        WaitTimeout as WaitTimeout,
    )
    from facemend.models import (
        Event as Event,
    )
    from facemend.models import (
        Face as Face,
    )
    from facemend.models import (
        Problem as Problem,
    )
    from facemend.models import (
        Restoration as Restoration,
    )
    from facemend.models import (
        RestorationPage as RestorationPage,
    )
    from facemend.models import (
        Result as Result,
    )
    from facemend.models import (
        StoredImage as StoredImage,
    )
    from facemend.parameters import (
        Options as Options,
    )
    from facemend.parameters import (
        Output as Output,
    )
    from facemend.parameters import (
        Webhook as Webhook,
    )
    from facemend.webhooks import (
        WebhookEvent as WebhookEvent,
    )
    from facemend.webhooks import (
        verify_webhook as verify_webhook,
    )

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
    "models": (
        "Event",
        "Face",
        "Problem",
        "Restoration",
        "RestorationPage",
        "Result",
        "StoredImage",
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
