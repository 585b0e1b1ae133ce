"""procomp-pay: the payment desk of ProComp."""

import os
import sys

# The rules of time zones are those of the package tzdata, never the host's files: Almaty moved to UTC+5 on
# 2024-03-01, and a host whose files are older would put a day's money into another day. Set for a zoneinfo
# that is imported later (--help does not wait for it) and for workers; reset for one that is there already.
os.environ["PYTHONTZPATH"] = ""
if _zoneinfo := sys.modules.get("zoneinfo"):
    _zoneinfo.reset_tzpath(())
    _zoneinfo.ZoneInfo.clear_cache()
