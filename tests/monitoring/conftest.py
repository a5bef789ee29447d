"""What is watched: the rules, the dashboard, and a site with a daemon (`tests.daemon`)."""

from tests.daemon.conftest import site

__all__ = ["site"]
