"""
Wiring and lifecycle: the parts joined, started, made ready, reloaded, drained, ended.

    keys, places     certificates and public keys that a configuration names, and its HSMs
    wiring           settings in, one appliance out
    generation       what one reading of the configuration made, and a reload replaces as a whole
    desks, remote    local readers and remote terminals as one set of desks
    observed         parts of the use case that tell the metrics
    reception        the gateway's resources joined with the appliance; `condition` is how it is
    check            everything that can be known without the HSM
    serve, reload    the daemon's life
    listeners        sockets, our own or systemd's
    notify, vigil    what systemd is told, and whether its watchdog is fed
    logs             one line of JSON for each event
"""

from appliance.daemon.keys import load_chains, load_front_root, load_profile, load_token_key
from appliance.daemon.places import hsms
from appliance.daemon.wiring import Appliance, running

__all__ = [
    "Appliance",
    "hsms",
    "load_chains",
    "load_front_root",
    "load_profile",
    "load_token_key",
    "running",
]
