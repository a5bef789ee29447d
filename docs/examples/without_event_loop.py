"""The same over the network, in one call: python without_event_loop.py URL CA CERTIFICATE KEY AUDIENCE DESK DEVICE."""

import sys
from pathlib import Path

from appliance.client import FaceCheck, Network, authenticate

url, authorities, certificate, key_file, audience, desk, device = sys.argv[1:]
appliance = Network(url, Path(authorities), Path(certificate), Path(key_file))
result = authenticate(appliance, audience, desk, "pinless", FaceCheck(device), evidence=True)
print(result.claims.sub, len(result.evidence or b""))
