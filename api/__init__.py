"""The HTTP API. ``create_app`` makes it from its services; importing this does nothing else.

Knows no torch, numpy or OpenCV: it admits, records and answers, and the workers do the rest.
"""

from __future__ import annotations

from api import auth, context, payload, problems, rate_limit, request_log
from api.context import Services
from api.jobs.submission import MULTIPART_OVERHEAD_BYTES
from api.openapi import SECURITY_SCHEMES, Application, info
from api.routes import deliveries, events, models, operations, restorations, usage
from api.web import pages

__all__ = ["Services", "create_app"]


def create_app(services: Services) -> Application:
    """Wire routes, errors, keys and headers.

    Raises LookupError if a route is missing from the scope table.
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
    app.url_map.merge_slashes = False  # //v1 is not found, and is not redirected either
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_input_bytes + MULTIPART_OVERHEAD_BYTES
    context.bind(app.extensions, services)
    request_log.install(app)
    problems.install(app)
    auth.install(app)
    rate_limit.install(app)
    pages.install(app)
    for blueprint in (
        restorations.blueprint,
        events.blueprint,
        deliveries.blueprint,
        models.blueprint,
        usage.blueprint,
        operations.blueprint,
    ):
        app.register_api(blueprint)
    app.register_blueprint(pages.blueprint)
    auth.check_table(app)
    app.generate_spec_json()
    return app
