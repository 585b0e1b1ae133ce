"""A local Kaspi: the Public QR API v3.9 as an HTTP emulator, with the buyer's phone and a control page."""

from .emulator import KaspiSandbox

__all__ = ["KaspiSandbox"]
