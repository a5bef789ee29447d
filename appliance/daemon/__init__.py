"""
Wiring and lifecycle: the parts joined, started, made ready, reloaded, drained, ended.

    keys        certificates and public keys that a configuration names      places      its HSMs
    wiring      settings in, one appliance out                               generation  what a reload replaces as a whole
    desks       local readers and remote terminals as one set of desks       observed    parts that tell the metrics
    check       everything that can be known without the HSM                 serve       the daemon's life
    listeners   sockets, own or systemd's                                    notify      what systemd is told
    vigil       whether systemd's watchdog is fed                            logs        one line of JSON for each event
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
