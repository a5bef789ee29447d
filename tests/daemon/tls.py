"""How a client at a site speaks TLS."""

import ssl

from appliance.simulator.network_pki import CA
from tests.daemon.process import Site


def client_context(site: Site, name: str | None, *, newest: bool = True) -> ssl.SSLContext:
    """Return the context of the client called *name*, or of nobody; of an older TLS where it is not the *newest*."""
    folder = site.folder / "tls"
    context = ssl.create_default_context(cafile=folder / CA)
    if not newest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if name is not None:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}-key.pem")
    return context
