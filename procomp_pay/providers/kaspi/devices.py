"""List Kaspi's trade points, and register the device that payments are booked on."""

from __future__ import annotations

import re

from procomp_pay.domain.errors import OutcomeUnknown, Refused
from procomp_pay.providers.kaspi.client import KaspiCalls
from procomp_pay.providers.kaspi.public_api import KaspiPublicApi

_DEVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class KaspiDevices:
    """Trade points and devices. Trade points are created in the Kaspi Pay app, devices here."""

    def __init__(self, calls: KaspiCalls) -> None:
        self._calls = calls

    async def trade_points(self) -> list[tuple[int, str]]:
        """Return number and name of each trade point.

        :raises ConfigurationError: there is none yet.
        """
        return await KaspiPublicApi(self._calls).trade_points()

    async def register(self, device_id: str, trade_point: int) -> str:
        """Register a device; return its token, a secret. The same arguments give the same token.

        :raises Refused: Kaspi does not accept the name.
        """
        if not _DEVICE_ID.fullmatch(device_id):
            raise Refused(
                "A device's name consists of 1 to 64 Latin letters, digits, - and _",
                next_step="use a name such as desk-1",
            )
        data = await self._calls.post(
            "/device/register", {"DeviceId": device_id, "TradePointId": trade_point}
        )
        token = data.get("DeviceToken")
        if not token:
            raise OutcomeUnknown(
                "Kaspi's answer has no DeviceToken", next_step="register the same name again"
            )
        return str(token)

    async def delete(self, token: str) -> None:
        """Delete a device: payments can no longer be made with its token.

        :raises ConfigurationError: Kaspi does not know the device.
        """
        await self._calls.post("/device/delete", {"DeviceToken": token})
