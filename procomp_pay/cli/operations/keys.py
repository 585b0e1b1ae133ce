"""``keys``: create and rotate the keys of the encrypted columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import load_settings, run_with_context
from procomp_pay.cli.framework.options import JsonOption, command_group

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.maintenance.key_rotation import Count, Rotation

_ROTATE = """[bold]Examples[/]

  procomp-pay keys rotate
  procomp-pay keys rotate --check   count the rows that still need an older key

With ENCRYPTION_KEYS: put a new key (keys new) before the older ones for every
process, restart them, then rotate. On the embedded default this command creates
the new key. It can be stopped and repeated, even beside a running serve.

Remove an older key when --check finds no row that needs it, and one day later: until
then it is needed for QR links and, on the embedded default, for signed tokens.

Exit code 6: rows still need an older key, or no key can decrypt them."""


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = command_group("Create and rotate encryption keys.")
    group.command("new", epilog="[bold]Examples[/]\n\n  procomp-pay keys new")(new)
    group.command("rotate", epilog=_ROTATE)(rotate)
    app.add_typer(group, name="keys")


def new() -> None:
    """Print a new random key for ENCRYPTION_KEYS.

    Put it first, before the older ones.
    """
    from procomp_pay.storage.encryption.keyring import new_key

    typer.echo(new_key())


def rotate(
    check: Annotated[bool, typer.Option("--check", help="Only count; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Re-encrypt everything with the newest key."""
    settings = load_settings()
    result = run_with_context(lambda ctx: _work(ctx, settings, check=check, quiet=as_json), settings=settings)
    left: Count = result["left"]
    if as_json:
        shown = {name: value for name, value in result.items() if name != "left"}
        console.print_json(
            shown | {"rows": left.rows, "need_older_key": left.old, "unreadable": left.unreadable}
        )
    else:
        _show(result, left, check=check)
    if left.old or left.unreadable:
        raise typer.Exit(6)


async def _work(ctx: AppContext, settings: Settings, *, check: bool, quiet: bool) -> dict[str, Any]:
    from procomp_pay.cli.framework.progress import bar
    from procomp_pay.services.bootstrap import key_file
    from procomp_pay.services.maintenance import key_rotation as use_case

    created = False
    if not check and settings.encryption_keys is None:
        created = await use_case.add_key_where_due(ctx, key_file(settings))
    total = await use_case.size(ctx)
    with bar("counting" if check else "rotating", lambda: total, quiet=quiet) as on_progress:
        if check:
            rotation: Rotation | None = None
            left = await use_case.count(ctx, on_progress=on_progress)
        else:
            rotation = await use_case.rotate(ctx, on_progress=on_progress)
            left = rotation.left
    return {
        "keys": len(ctx.keyring),
        "new_key_made": created,
        "rotated": rotation.rotated if rotation else 0,
        "left": left,
    }


def _show(result: dict[str, Any], left: Count, *, check: bool) -> None:
    if result["new_key_made"]:
        console.say("A new key was put first in the key file, before the older ones. Back up the file.")
    if not check:
        typer.echo(f"✓ re-encrypted with the newest key: {result['rotated']} of {left.rows}")
    if not (left.old or left.unreadable):
        typer.echo(f"✓ everything is encrypted with the newest key ({left.rows})")
    if result["keys"] == 1:
        console.say("There is one key. To change it, put a new one before it in ENCRYPTION_KEYS.")
        console.hint("procomp-pay keys new")
    if left.old:
        console.say(f"✗ still encrypted with an older key, which must be kept: {left.old}", fg="red")
        if not check:
            console.say("  a process still uses it: restart that process with the new keys")
        console.hint("procomp-pay keys rotate")
    for row in left.named:
        console.say(f"✗ no key can decrypt {console.clean(row)}", fg="red")
    if left.unreadable > len(left.named):
        console.say(f"  … and {left.unreadable - len(left.named)} more")
