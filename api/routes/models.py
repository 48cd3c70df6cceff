"""/v1/models: what may be asked for, and what live workers say of it."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.context import services
from api.jobs.admission import known_models
from api.openapi import answers
from shared.contract.restorations import ModelList, ModelView
from shared.jobs.store import ServedModel

blueprint = APIBlueprint(
    "models", __name__, url_prefix="/v1", abp_tags=[Tag(name="models", description="Restorers.")]
)


@blueprint.get(
    "/models",
    operation_id="models",
    summary="Models that may be asked for",
    responses=answers(ModelList, 200),
)
def models() -> Response:
    """Models that may be asked for; `loaded` when a live worker serves them."""
    found = services()
    live = {model.name: model for model in found.store.served_models()}
    default = found.settings.default_model
    data = [_view(name, live.get(name), default) for name in sorted(known_models(found))]
    return Response(ModelList(data=data).model_dump_json(), content_type="application/json")


def _view(name: str, live: ServedModel | None, default: str) -> ModelView:
    return ModelView(
        name=name,
        default=name == default,
        loaded=live is not None,
        size_px=live and live.size_px,
        sha256=live and live.sha256,
        licence=live and live.licence,
        precision=live and live.precision,
        backend=live and live.backend,
        ms_per_face=live and live.ms_per_face,
        task=live and live.task,
    )
