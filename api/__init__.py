"""The HTTP API. ``create_app`` makes the application; importing this package does nothing.

The API accepts jobs, stores them and shows them. It never decodes a photo: workers do.
"""

from __future__ import annotations

from api import auth, context, payload, problems, rate_limit, request_log
from api.context import Services
from api.jobs.submission import MULTIPART_OVERHEAD_BYTES
from api.openapi import SECURITY_SCHEMES, Application, info
from api.routes import (
    batches,
    deliveries,
    detections,
    events,
    models,
    operations,
    provenance,
    queues,
    restorations,
    tokens,
    uploads,
    usage,
)
from api.web import pages

__all__ = ["Services", "create_app"]


def create_app(services: Services) -> Application:
    """Make the Flask application: routes, error handling, API keys, limits, logs and pages.

    Raises LookupError if the routes and the table of scopes differ.
    """
    app = Application(
        __name__,
        static_folder="web/static",
        template_folder="web/templates",
        info=info(),
        security_schemes=SECURITY_SCHEMES,
        doc_ui=False,
        validation_error_callback=payload.refuse_parameters,
    )
    app.url_map.merge_slashes = False  # //v1 is not found; no redirect
    app.url_map.strict_slashes = False  # a slash at the end changes nothing
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_input_bytes + MULTIPART_OVERHEAD_BYTES
    context.bind(app.extensions, services)
    request_log.install(app)  # before the other hooks: they use the request id
    problems.install(app)
    auth.install(app)
    rate_limit.install(app)
    pages.install(app)
    for blueprint in (
        restorations.blueprint,
        detections.blueprint,
        events.blueprint,
        uploads.blueprint,
        batches.blueprint,
        tokens.blueprint,
        deliveries.blueprint,
        models.blueprint,
        usage.blueprint,
        queues.blueprint,
        operations.blueprint,
        provenance.blueprint,
    ):
        app.register_api(blueprint)
    app.register_blueprint(pages.blueprint)
    auth.check_table(app)
    app.generate_spec_json()
    return app
