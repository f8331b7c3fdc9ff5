"""The checkout in which the commands of the pages are followed."""

from tests.pipeline.conftest import make_checkout

__all__ = ["make_checkout"]
