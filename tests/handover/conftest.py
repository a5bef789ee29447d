"""The hand-over at a site with a daemon, and without one."""

from tests.daemon.conftest import daemon, folder, site

__all__ = ["daemon", "folder", "site"]
