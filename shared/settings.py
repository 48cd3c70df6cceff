"""All settings, typed and read once. No other module reads the environment.

The variable ``FACEMEND_<NAME>``, or a line of a ``.env`` file, sets a field. docs/operations.md
describes each setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.errors import SettingsInvalid

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
POOL_NAME = r"^[a-z0-9][a-z0-9-]{0,30}$"
PoolName = Annotated[str, Field(pattern=POOL_NAME)]
#: Which addresses that are not public a URL of a client may lead to.
PrivateAddresses = Literal["none", "loopback", "all"]
PRIVATE_ADDRESSES: tuple[PrivateAddresses, ...] = get_args(PrivateAddresses)
#: Seconds, at most 30 days, because photos of faces must not be kept for ever.
Kept = Annotated[int, Field(ge=1, le=2_592_000)]
_ON, _OFF = ("true", "1", "yes", "on", "t", "y"), ("false", "0", "no", "off", "f", "n", "")
_SPELLINGS = {**dict.fromkeys(_ON, "all"), **dict.fromkeys(_OFF, "none")}


class Settings(BaseSettings):
    """The settings of a process, made once by ``load_settings`` and passed in. Frozen."""

    model_config = SettingsConfigDict(
        env_prefix="FACEMEND_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # Redis: job records, queues, deliveries.
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    redis_password: SecretStr | None = None  # instead of the one in the URL; as it is
    redis_timeout_s: Seconds = 3.0
    redis_wait_replicas: Annotated[int, Field(ge=0, le=10)] = 0  # that a submission waits for

    # S3-compatible object storage.
    s3_endpoint_url: str | None = None  # None: AWS
    s3_public_endpoint_url: str | None = None  # for clients; default: s3_endpoint_url
    s3_region: str = "us-east-1"
    s3_bucket: str = "facemend"
    s3_access_key_id: SecretStr | None = None  # None: the provider chain of boto3
    s3_secret_access_key: SecretStr | None = Field(default=None, validate_default=True)
    s3_timeout_s: Seconds = 10.0
    url_ttl_s: Annotated[int, Field(ge=60, le=3600)] = 900

    # API.
    api_key_pepper: SecretStr = SecretStr("")
    api_bind: str = "127.0.0.1:8000"
    # /photos, if a proxy serves the API below that path; SCRIPT_NAME is its name in WSGI servers.
    api_prefix: str = Field("", validation_alias=AliasChoices("FACEMEND_API_PREFIX", "SCRIPT_NAME"))
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()  # whose X-Forwarded-… is believed
    api_threads: Count = 16
    api_timeout_s: Seconds = 2.5  # for all calls of a request to Redis and S3 together
    upload_timeout_s: Seconds = 60.0  # to receive a whole request
    upload_ttl_s: Annotated[int, Field(ge=60, le=86_400)] = 3_600  # to send and submit a photo
    max_upload_bytes: Count = 1_000_000_000  # of all bodies that are arriving; they are in TMPDIR
    rate_limit: Annotated[int, Field(ge=0)] = 6_000  # requests of one key in a window; 0: no limit
    rate_window_s: Count = 60
    max_queued_per_tenant: Count = 10_000
    max_queue_age_s: Annotated[float, Field(ge=0)] = 0.0  # 0: no limit
    max_wait_s: Annotated[int, Field(ge=1, le=60)] = 60

    # Limits of photos.
    max_input_bytes: Count = 20_000_000
    max_pixels: Count = 40_000_000
    max_output_pixels: Count = 100_000_000  # of a result with an enlarged background
    min_side_px: Count = 16
    max_side_px: Count = 16_384
    max_aspect: Annotated[float, Field(ge=1)] = 20.0
    fetch_timeout_s: Seconds = 60.0
    fetch_head_timeout_s: Seconds = 15.0  # until the body of the response begins
    fetch_min_bytes_per_s: Annotated[int, Field(ge=0)] = 1024  # 0: no limit
    allow_private_addresses: PrivateAddresses = "none"  # for input URLs and webhooks

    # Models.
    default_model: str = "facemend-starter"
    served_models: Annotated[tuple[str, ...], NoDecode] = ()  # empty: the default model
    models_dir: Path = Path.home() / ".cache" / "facemend" / "models"
    model_watch_s: Annotated[float, Field(ge=0)] = 2.0  # between looks at served files; 0: none
    models_url: str | None = None  # a mirror of the weights: https://…, s3://bucket/prefix or path
    accepted_licences: Annotated[tuple[str, ...], NoDecode] = ()
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    backend: Literal["auto", "torch", "onnxruntime", "openvino", "tensorrt"] = "auto"
    allow_fallback: bool = False  # use the next backend if one fails its self-check
    max_batch: Count = 16
    max_batch_wait_ms: Annotated[float, Field(ge=0)] = 5.0
    shadow_model: str | None = None  # restores jobs of the served models again, to be compared
    shadow_share: Annotated[float, Field(ge=0, le=1)] = 0.05  # of the jobs

    # Pools: groups of workers with queues of their own.
    pool: PoolName = "default"  # of this worker
    # model=pool+pool,model=pool: the pools that serve a model, the preferred one first.
    model_pools: Annotated[Mapping[str, tuple[PoolName, ...]], NoDecode] = {}

    # Worker and notifier.
    jobs_in_flight: Count = 4
    fetches_in_flight: Count = 16  # photos at URLs that a worker fetches ahead
    fetches_per_tenant: Count = 4
    fetches_per_host: Count = 8
    lease_s: Seconds = 10.0
    beat_s: Seconds = 2.5
    job_deadline_s: Seconds = 86_400.0
    drain_s: Seconds = 25.0
    stall_s: Seconds = 60.0  # an engine process without progress for this time is replaced
    engine_start_s: Seconds = 900.0  # to load and warm up the models
    webhook_timeout_s: Seconds = 15.0
    provenance_key: SecretStr | None = None  # Ed25519, signs manifests of results; None: none
    provenance_public_keys: Annotated[tuple[str, ...], NoDecode] = ()  # of earlier keys
    input_ttl_s: Kept = 86_400
    quarantine_ttl_s: Kept = 604_800  # photos that crashed the engine process, and their jobs
    result_ttl_s: Kept = 259_200
    result_cache: bool = True  # equal jobs of a tenant run once
    batch_archives: bool = True  # a ZIP of all pictures of a batch, beside the pictures
    sweep_s: Seconds = 3_600.0

    # Logs, metrics, traces and reports of errors.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0  # worker and notifier; 0: none
    metrics_bind: str = "0.0.0.0"  # noqa: S104  # containers publish it, or do not
    otlp_endpoint: str | None = None  # of an OpenTelemetry collector; None: no traces
    trace_share: Annotated[float, Field(ge=0, le=1)] = 1.0  # of the requests
    sentry_dsn: SecretStr | None = Field(  # None: no reports
        default=None, validation_alias=AliasChoices("sentry_dsn", "facemend_sentry_dsn")
    )

    @field_validator("s3_secret_access_key")
    @classmethod
    def _whole_pair(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if bool(value) != bool(info.data.get("s3_access_key_id")):
            raise ValueError("it goes with FACEMEND_S3_ACCESS_KEY_ID: set both or none")
        return value

    @field_validator("allow_private_addresses", mode="before")
    @classmethod
    def _read_boolean(cls, value: object) -> object:
        """``true`` → ``all``, ``false`` → ``none``: the earlier spelling."""
        return _SPELLINGS.get(str(value).lower(), value)

    @field_validator(
        "served_models",
        "accepted_licences",
        "trusted_proxies",
        "provenance_public_keys",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        """``a,b`` → ``("a", "b")``."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("model_pools", mode="before")
    @classmethod
    def _read_model_pools(cls, value: object) -> object:
        """``a=x+y,b=x`` → ``{"a": ("x", "y"), "b": ("x",)}``."""
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        if len({model for model, _, _ in pairs}) < len(pairs):
            raise ValueError("a model is named twice")
        return {model: tuple(pools.split("+")) for model, _, pools in pairs}


class _SettingsOfFile(Settings):
    """Settings that come from a file alone: those of another installation."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, dotenv_settings


def load_settings_of(file: Path) -> Settings:
    """Read the settings of another installation from a file of lines ``FACEMEND_…=…``.

    The environment does not count. Raises SettingsInvalid, as ``load_settings`` does.
    """
    with _errors_by_variable():
        return _SettingsOfFile(_env_file=file)


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment. ``overrides`` take precedence.

    Raises SettingsInvalid with the variable and the error of each wrong setting.
    """
    with _errors_by_variable():
        return Settings(**overrides)  # type: ignore[arg-type]  # checked by pydantic itself


@contextmanager
def _errors_by_variable() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        lines = [
            f"FACEMEND_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        ]
        raise SettingsInvalid("; ".join(lines)) from None
