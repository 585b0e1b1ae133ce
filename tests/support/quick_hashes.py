"""Hash PINs with little memory.

As in production, each of some thousand hashes and comparisons takes a quarter of a CPU second.
"""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher

from procomp_pay.services.operators import secrets

#: What production hashes with, and compares with where there is no account.
production_hasher, production_hash_of_nobody = secrets._hasher, secrets._OF_NOBODY


@cache
def _quick() -> PasswordHasher:
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def use() -> None:
    """Hash quickly in this process from now on.

    A hash names its parameters, so that any process can compare it.
    """
    secrets._hasher = _quick
    secrets._OF_NOBODY = _quick().hash(secrets.new_token())
