"""Kaspi's timers, scaled."""

from __future__ import annotations

import math
from dataclasses import dataclass

POLLING_INTERVAL = 5
SCAN_WAIT = 180
CONFIRMATION_WAIT = 65
REMOTE_LIFE = 24 * 60 * 60
REMOTE_STATUS_GAP = 10


@dataclass(frozen=True)
class Timers:
    """Durations in seconds of the caller's clock.

    The first three stand in Kaspi's answers as whole seconds. They are divided by the scale and rounded up,
    never below one second, and the emulator itself lives by the rounded values: what is reported is what
    happens. The last two are never reported and are divided exactly.
    """

    polling_interval: int
    scan_wait: int
    confirmation_wait: int
    remote_life: float
    remote_status_gap: float

    @classmethod
    def scaled(cls, scale: float) -> Timers:
        """Return Kaspi's 5 / 180 / 65 seconds, 24 hours and 10 seconds, each `scale` times shorter.

        Raises ValueError unless the scale is a finite number above zero.
        """
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"time_scale must be above zero, not {scale}")

        def whole(seconds: int) -> int:
            return max(1, math.ceil(seconds / scale))

        return cls(
            polling_interval=whole(POLLING_INTERVAL),
            scan_wait=whole(SCAN_WAIT),
            confirmation_wait=whole(CONFIRMATION_WAIT),
            remote_life=REMOTE_LIFE / scale,
            remote_status_gap=REMOTE_STATUS_GAP / scale,
        )
