"""The certificates that peers have shown over the network: their ends are known to nobody else here before somebody is locked out."""

from appliance.gateway.condition import CertificateEnd
from appliance.gateway.peers import Certificate, Credentials, Directory


class ShownCertificates:
    """Of each peer the one that was shown last since the start."""

    def __init__(self) -> None:
        self._last: dict[str, Certificate] = {}

    def saw(self, alias: str, shown: Credentials | None) -> None:
        """Note what the peer *alias* has *shown*; an account has no end."""
        if isinstance(shown, Certificate):
            self._last[alias] = shown

    def ends(self, directory: Directory) -> tuple[CertificateEnd, ...]:
        """Return when they end, by the peers' aliases; what is none of the peer's in *directory* any more is forgotten."""
        self._last = {
            alias: shown
            for alias, shown in self._last.items()
            if (peer := directory.whose(shown)) is not None and peer.alias == alias
        }
        return tuple(
            CertificateEnd(name=alias, not_after=shown.not_after.timestamp())
            for alias, shown in self._last.items()
        )
