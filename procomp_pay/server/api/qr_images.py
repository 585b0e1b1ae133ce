"""QR pictures, and the page that a customer sees after a hosted payment page."""

from __future__ import annotations

import io

#: Pixels of one module of a PNG, and the quiet zone in modules that scanners need (ISO/IEC 18004).
_SCALE = 8
_BORDER = 4

THANKS = """<!doctype html>
<html lang="ru"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Спасибо · Рақмет · Thank you</title>
<style>
body{font:18px/1.5 system-ui,sans-serif;max-width:32em;margin:12vh auto;padding:0 1em;text-align:center}
p{margin:1.2em 0}</style></head><body>
<p lang="ru"><b>Спасибо!</b><br>Эту страницу можно закрыть: стойка регистрации сама увидит ваш платёж.</p>
<p lang="kk"><b>Рақмет!</b><br>Бұл бетті жаба беріңіз: тіркеу үстелі төлеміңізді өзі көреді.</p>
<p lang="en"><b>Thank you!</b><br>You may close this page; the desk sees your payment by itself.</p>
</body></html>
"""


def qr_picture(payload: str, kind: str) -> bytes:
    """A QR code as ``png`` or ``svg``."""
    import segno

    buffer = io.BytesIO()
    segno.make(payload, error="m", micro=False).save(buffer, kind=kind, scale=_SCALE, border=_BORDER)
    return buffer.getvalue()
