"""Who the client is behind a proxy: ``X-Forwarded-*`` counts from configured addresses alone."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from aiohttp import web

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
#: Proxies in a row that are looked through.
_MOST_HOPS = 20


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from.

    :param address: of the last machine that is not one of our proxies; empty where there is none.
    :param is_https: the client itself came by TLS.
    :param origin: the address that the client asked, where a proxy of ours says so.
    """

    address: str
    is_https: bool = False
    origin: str | None = None

    @property
    def network(self) -> str:
        """Whose budget it is: one customer has a whole /64 of IPv6 (RFC 6177)."""
        at = _address(self.address)
        if isinstance(at, ipaddress.IPv6Address):
            return str(ipaddress.IPv6Network((at, 64), strict=False))
        return self.address


class Proxies:
    """The proxies that are believed."""

    def __init__(self, trusted: list[_Network]) -> None:
        self._trusted = trusted

    def client(self, request: web.BaseRequest) -> Client:
        """Return the client of a request. Forwarding headers are believed from our own proxies alone."""
        peer = _address(request.remote or "")
        if peer is None or not self._is_ours(peer):
            return Client("" if peer is None else str(peer), request.secure)
        scheme = _last(request, "X-Forwarded-Proto").lower()
        host = _last(request, "X-Forwarded-Host")
        known = scheme in ("http", "https")
        return Client(
            str(self._behind(request, peer)),
            is_https=scheme == "https" if known else request.secure,
            origin=f"{scheme}://{host}" if known and _HOST.fullmatch(host) else None,
        )

    def _behind(self, request: web.BaseRequest, peer: _Address) -> _Address:
        """The right-most address that is none of ours: what stands left of it anybody may have written."""
        said = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        found = peer
        for part in said[: -_MOST_HOPS - 1 : -1]:
            at = _address(part.strip())
            if at is None:
                break
            found = at
            if not self._is_ours(at):
                break
        return found

    def _is_ours(self, at: _Address) -> bool:
        return any(at in network for network in self._trusted)


def proxies_of(settings: Settings) -> Proxies:
    """
    :raises ConfigurationError: ``TRUSTED_PROXIES`` has something that is no address and no network.
    """
    try:
        return Proxies(
            [
                ipaddress.ip_network(part.strip())
                for part in settings.trusted_proxies.split(",")
                if part.strip()
            ]
        )
    except ValueError:
        raise ConfigurationError(
            "TRUSTED_PROXIES is not a list of addresses and networks",
            next_step="write them with commas between: 127.0.0.1,10.0.0.0/8",
        ) from None


def _last(request: web.BaseRequest, name: str) -> str:
    """Return the value that the nearest proxy appended: the last one."""
    return ",".join(request.headers.getall(name, [])).rpartition(",")[2].strip()


@lru_cache(maxsize=1024)
def _address(text: str) -> _Address | None:
    """An address, with or without a port; IPv4 inside IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        at = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (at.ipv4_mapped or at) if isinstance(at, ipaddress.IPv6Address) else at


PROXIES = web.AppKey("proxies", Proxies)
_CLIENT = web.RequestKey("client", Client)


def client(request: web.Request) -> Client:
    """Return the client of a request, worked out once."""
    known = request.get(_CLIENT)
    if known is None:
        known = request[_CLIENT] = request.app[PROXIES].client(request)
    return known
