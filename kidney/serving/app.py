"""The application: one model, its routes, and what surrounds them."""

from flask import Flask
from prometheus_client import CollectorRegistry

from kidney.serving import api, feedback, openapi, problems, web
from kidney.serving.guards import access, admission, rates, security, session
from kidney.serving.guards.keys import load_keys
from kidney.serving.inference.engine import Engine
from kidney.serving.inference.warm_up import answer_sample
from kidney.serving.monitoring import health, logs, metrics
from kidney.serving.monitoring.drift import RecentInputs
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
    registry = CollectorRegistry()
    observer = metrics.observer(registry, RecentInputs(registry))
    engine = Engine(settings, observer, answer_sample)
    keys = load_keys(settings)
    store = feedback.open_store(settings)

    app = openapi.application(__name__, settings)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # classes keep the order of the card
    logs.register(app)
    metrics.register(app, registry, engine)
    security.register(app, settings)
    access.register(app, settings, keys)
    rates.register(app, settings)
    problems.register(app, settings)
    admission.register(app, settings, keys)
    session.register(app, settings, keys)
    app.extensions["kidney.engine"] = engine
    app.register_api(api.blueprint(engine, settings, store))
    app.register_api(health.blueprint(engine))
    if store:
        app.register_api(feedback.blueprint(engine, settings, store))
    if store and settings.history_days:
        app.register_blueprint(feedback.history(settings, store))
    app.register_blueprint(openapi.blueprint())
    app.register_blueprint(web.blueprint(engine, settings))
    return app
