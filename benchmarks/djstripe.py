"""Measure dj-stripe's webhook under the load of ``webhooks.py``, in a virtual environment of its own.

    python3 -m venv /tmp/djs && /tmp/djs/bin/pip install dj-stripe gunicorn 'psycopg[binary]'
    .venv/bin/python benchmarks/webhooks.py --dj-stripe /tmp/djs/bin/python

A smallest Django project is written to a temporary directory and migrated into a database of the same
server; gunicorn runs it with as many workers as `serve` has, with threads, kept connections and kept
database connections. Nothing reaches the network: what dj-stripe asks Stripe about is answered at once,
inside its own process.

Two ways of it are measured. Out of the box dj-stripe stores the event and what it is about before the 200.
With ``DJSTRIPE_WEBHOOK_EVENT_CALLBACK`` it only checks and stores, and leaves the rest to a queue that one
brings along; the callback here does nothing at all, so it is the least that dj-stripe can do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from webhook_world import SECRET, drive, of

_UUID = "6f0f3bb0-2f5c-4d8c-9c0f-0d6a5a3f1c11"
_THREADS = 8

_SETTINGS = """
import os

SECRET_KEY = "benchmark"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "desk"
USE_TZ = True
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "djstripe"]
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": None, **{database!r},
}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING_CONFIG = None
STRIPE_LIVE_MODE = False
STRIPE_TEST_SECRET_KEY = "sk_test_" + 24 * "0"
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
if os.environ.get("DESK_DEFERS"):
    DJSTRIPE_WEBHOOK_EVENT_CALLBACK = lambda trigger, api_key=None: None
"""

_URLS = """
import json
from pathlib import Path

import stripe
from django.urls import include, path

urlpatterns = [path("stripe/", include("djstripe.urls", namespace="djstripe"))]

EVENT = Path(__file__).with_name("event.json").read_text()


class AtOnce(stripe.HTTPClient):
    name = "at once"

    def request(self, method, url, headers, post_data=None):
        last = url.partition("?")[0].rpartition("/")[2]
        if last.startswith("pi_"):
            number = last.removeprefix("pi_benchmark")
            found = json.loads(EVENT.replace("NUMBER", number))["data"]["object"]
            found |= {"payment_method": None, "latest_charge": None}  # it would ask for these, too
        else:
            found = {"id": "acct_benchmark", "object": "account", "settings": {}} if last == "account" else {}
        return json.dumps(found), 200, {}


stripe.default_http_client = AtOnce()
"""

_PREPARE = f"""
import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)
from djstripe.models import WebhookEndpoint

WebhookEndpoint.objects.create(
    id="we_benchmark", secret={SECRET!r}, djstripe_uuid={_UUID!r}, url="https://desk.example.com/",
    enabled_events=["*"], status="enabled", livemode=False,
)
"""


def intake_of_djstripe(python: str, uri: str, text: str, workers: int, quick: bool) -> dict[str, float]:
    """Return the events per second that dj-stripe answers with 200: ``out_of_the_box`` and ``deferring``.

    :param python: the interpreter of an environment with dj-stripe, gunicorn and psycopg.
    :param uri: the server's, where a database ``djstripe`` is made. :param text: the event, as a template.
    """
    import psycopg

    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute("CREATE DATABASE djstripe")
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _write_project(home, of(uri, "djstripe"), text)
        env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": folder}
        subprocess.run([python, "-c", _PREPARE], env=env, cwd=home, check=True)
        first = 0
        for name, more in (("out_of_the_box", {}), ("deferring", {"DESK_DEFERS": "1"})):
            with _running(python, home, env | more, workers) as port:
                count = 500 if quick else 3000
                path = f"/stripe/webhook/{_UUID}/"
                drive(port, text, first, 100, path=path)  # warm
                flood = drive(port, text, first + 100, count, path=path)
            rates[name] = flood["deliveries"] / (flood["ended"] - flood["begun"])
            first += 100 + count
    return rates


def _write_project(home: Path, url: str, text: str) -> None:
    from psycopg.conninfo import conninfo_to_dict

    known = conninfo_to_dict(url)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    database = {name: known[key] for name, key in names.items() if key in known}
    (home / "settings.py").write_text(_SETTINGS.format(database=database))
    (home / "desk.py").write_text(_URLS)
    (home / "event.json").write_text(text)


@contextlib.contextmanager
def _running(python: str, home: Path, env: dict[str, str], workers: int) -> Iterator[int]:
    """Run gunicorn; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python, "-m", "gunicorn", "django.core.wsgi:get_wsgi_application()", "-b", f"127.0.0.1:{port}"]
    command += ["-w", str(workers), "-k", "gthread", "--threads", str(_THREADS), "--keep-alive", "75"]
    log_file = home / "gunicorn.log"
    with log_file.open("w") as file:
        process = subprocess.Popen(command, env=env, cwd=home, stdout=file, stderr=subprocess.STDOUT)
    try:
        if not _answers(process, port):
            raise SystemExit("dj-stripe did not start")  # noqa: TRY301 - its log is shown below
        yield port
    except SystemExit:
        print(log_file.read_text()[-2000:], file=sys.stderr)
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Return whether the process accepts connections within half a minute."""
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False
