"""The world of the payments tests."""

from tests.payments.conftest import sandbox, world  # noqa: F401
