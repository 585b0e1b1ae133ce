"""Settings, from the environment, a ``.env`` file and built-in defaults."""

from procomp_pay.config.settings import (
    LOOPBACK,
    STRIPE_API,
    JwtAlgorithm,
    KaspiScheme,
    LogFormat,
    Network,
    ProviderMode,
    Settings,
    load_settings,
    sandbox_run_file,
)

__all__ = [
    "LOOPBACK",
    "STRIPE_API",
    "JwtAlgorithm",
    "KaspiScheme",
    "LogFormat",
    "Network",
    "ProviderMode",
    "Settings",
    "load_settings",
    "sandbox_run_file",
]
