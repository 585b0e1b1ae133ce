"""Export the type of an open transaction, for services, which pass it on and write no SQL."""

from sqlmodel.ext.asyncio.session import AsyncSession

__all__ = ["AsyncSession"]
