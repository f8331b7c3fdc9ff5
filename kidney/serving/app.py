"""The application: one model, its routes, and what surrounds them."""

from flask import Flask

from kidney.serving import access, api, documents, health, pages, problems, security, session
from kidney.serving.engine import Engine
from kidney.serving.keys import load_keys
from kidney.serving.settings import Settings, from_environment


def create_app(settings: Settings | None = None) -> Flask:
    """Open the model and return the application that serves it.

    Args:
        settings: None: from the environment.

    Raises:
        ArtifactError: the model is missing, foreign or broken.
        ConfigError: a KIDNEY_ variable has a value that cannot work.
    """
    settings = settings or from_environment()
    engine = Engine(settings)
    keys = load_keys(settings)

    app = documents.application(__name__, settings)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # classes keep the order of the card
    security.register(app, settings)
    access.register(app, settings, keys)
    session.register(app, settings, keys)
    problems.register(app, settings)
    app.register_api(api.blueprint(engine, settings))
    app.register_api(health.blueprint(engine))
    app.register_blueprint(documents.blueprint())
    app.register_blueprint(pages.blueprint(engine, settings))
    return app
