"""Find the client behind our proxies: ``X-Forwarded-*`` is believed from configured addresses only."""

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
#: The most proxies in a row that are followed.
_MOST_HOPS = 20


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request.

    :param address: of the last machine that is not one of our proxies; empty where it is not known.
    :param is_https: the client itself uses TLS.
    :param origin: scheme and host that the client requested, where one of our proxies says so.
    """

    address: str
    is_https: bool = False
    origin: str | None = None

    @property
    def network(self) -> str:
        """The network that shares a rate limit: one customer has a whole /64 of IPv6 (RFC 6177)."""
        at = _address(self.address)
        if isinstance(at, ipaddress.IPv6Address):
            return str(ipaddress.IPv6Network((at, 64), strict=False))
        return self.address


class Proxies:
    """The proxies whose forwarding headers are believed."""

    def __init__(self, trusted: list[_Network]) -> None:
        self._trusted = trusted

    def client(self, request: web.BaseRequest) -> Client:
        """Return the client of a request. Forwarding headers are believed from our own proxies alone."""
        peer = _address(request.remote or "")
        if peer is None or not self._is_ours(peer):
            return Client("" if peer is None else str(peer), request.secure)
        scheme = _last(request, "X-Forwarded-Proto").lower()
        host = _last(request, "X-Forwarded-Host")
        has_scheme = scheme in ("http", "https")
        return Client(
            str(self._behind(request, peer)),
            is_https=scheme == "https" if has_scheme else request.secure,
            origin=f"{scheme}://{host}" if has_scheme and _HOST.fullmatch(host) else None,
        )

    def _behind(self, request: web.BaseRequest, peer: _Address) -> _Address:
        """Return the right-most address that is not ours: the ones left of it can be forged."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        client_address = peer
        for part in forwarded[: -_MOST_HOPS - 1 : -1]:
            at = _address(part.strip())
            if at is None:
                break
            client_address = at
            if not self._is_ours(at):
                break
        return client_address

    def _is_ours(self, at: _Address) -> bool:
        return any(at in network for network in self._trusted)


def proxies_from(settings: Settings) -> Proxies:
    """
    :raises ConfigurationError: ``TRUSTED_PROXIES`` has something that is neither an address nor a network.
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
            next_step="separate them with commas: 127.0.0.1,10.0.0.0/8",
        ) from None


def _last(request: web.BaseRequest, name: str) -> str:
    """Return the value that the nearest proxy appended: the last one."""
    return ",".join(request.headers.getall(name, [])).rpartition(",")[2].strip()


@lru_cache(maxsize=1024)
def _address(text: str) -> _Address | None:
    """Parse an address with or without a port; an IPv4-mapped IPv6 address becomes the IPv4 address."""
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
    requesting = request.get(_CLIENT)
    if requesting is None:
        requesting = request[_CLIENT] = request.app[PROXIES].client(request)
    return requesting
