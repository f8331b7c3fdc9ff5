"""The pages for people: send slices, read the result; and what makes the page an app of a phone."""

import datetime

from flask import Blueprint, Response, current_app, render_template, request
from werkzeug.wrappers import Response as Answer

from kidney.artifact.overlay import RAMP
from kidney.imaging.windows import WINDOWS
from kidney.serving.inference.engine import Engine
from kidney.serving.inference.uploads import read_uploads, uploaded_files
from kidney.serving.schemas import FIELD
from kidney.serving.settings import Settings
from kidney.serving.web.results import shown_studies
from kidney.serving.web.words import SLOTS, percent


def blueprint(engine: Engine, settings: Settings) -> Blueprint:
    """Return the page at /, and the manifest and the service worker beside it.

    With a script the page sends files to the API and shows the answer itself; without one its form
    comes here.
    """
    routes = Blueprint("pages", __name__)

    @routes.app_context_processor
    def common() -> dict[str, object]:
        return {"card": engine.model.card, "percent": percent, "ramp": RAMP, "slots": SLOTS}

    @routes.get("/")
    def upload() -> str:
        # Pairs: the order of the presets is told by nothing else.
        windows = [(name, (window.center, window.width)) for name, window in WINDOWS.items()]
        return render_template("upload.html", windows=windows)

    @routes.post("/")
    def result() -> str:
        uploads = uploaded_files(request.files.getlist(FIELD), settings.max_files)
        studies, reading = read_uploads(engine, settings, uploads)
        return render_template(
            "result.html",
            card=reading.model.card,
            sha256=reading.model.sha256,
            time=datetime.datetime.now(datetime.UTC),
            studies=shown_studies(studies, reading),
        )

    @routes.get("/manifest.webmanifest")
    def manifest() -> Answer:
        response = current_app.send_static_file("manifest.webmanifest")
        response.mimetype = "application/manifest+json"
        return response

    @routes.get("/service-worker.js")
    def service_worker() -> Response:
        # From the root: a service worker rules over what lies below its own address.
        return current_app.send_static_file("service-worker.js")

    return routes
