"""``keys``: the keys that sensitive columns are encrypted with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import (
    JsonOption,
    clean,
    hint,
    print_json,
    run_with_context,
    say,
    settings,
)

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.maintenance.key_rotation import Count, Rotation

_ROTATE = """[bold]Examples[/]

  procomp-pay keys rotate
  procomp-pay keys rotate --check   how many rows still need an older key

With ENCRYPTION_KEYS: put a new key (keys new) in front of the older ones for every
process, restart them, then rotate. On the embedded default the new key is made
here. It can be stopped and run again, also beside a running serve.

An older key may go when --check counts none that need it, and a day is over: until
then it holds QR links and, on the embedded default, tokens that were signed with it.
Exit code 6: rows still need an older key, or none of the keys reads them."""


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys for the encrypted columns.")
    group.command("new", epilog="[bold]Examples[/]\n\n  procomp-pay keys new")(new)
    group.command("rotate", epilog=_ROTATE)(rotate)
    app.add_typer(group, name="keys")


def new() -> None:
    """Make a new random key for ENCRYPTION_KEYS and print it. Put it first; keep the older ones behind it."""
    from procomp_pay.storage.encryption.keyring import new_key

    typer.echo(new_key())


def rotate(
    check: Annotated[bool, typer.Option("--check", help="Only count; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put everything that is encrypted under the newest key."""
    using = settings()
    found = run_with_context(lambda ctx: _work(ctx, using, check=check, quiet=as_json), using=using)
    left: Count = found["left"]
    if as_json:
        shown = {name: value for name, value in found.items() if name != "left"}
        print_json(shown | {"rows": left.rows, "need_older_key": left.old, "unreadable": left.unreadable})
    else:
        _show(found, left, check=check)
    if left.old or left.unreadable:
        raise typer.Exit(6)


async def _work(ctx: AppContext, using: Settings, *, check: bool, quiet: bool) -> dict[str, Any]:
    from procomp_pay.cli.framework.progress import bar
    from procomp_pay.services.bootstrap import key_file
    from procomp_pay.services.maintenance import key_rotation as use_case

    made = False
    if not check and using.encryption_keys is None:
        made = await use_case.add_key_where_due(ctx, key_file(using))
    total = await use_case.size(ctx)
    with bar("looking" if check else "rotating", lambda: total, quiet=quiet) as seen:
        if check:
            done: Rotation | None = None
            left = await use_case.count(ctx, seen=seen)
        else:
            done = await use_case.rotate(ctx, seen=seen)
            left = done.left
    return {
        "keys": len(ctx.keyring),
        "new_key_made": made,
        "rotated": done.rotated if done else 0,
        "left": left,
    }


def _show(found: dict[str, Any], left: Count, *, check: bool) -> None:
    if found["new_key_made"]:
        say("A new key stands first in the key file; the older ones stay behind it. Back the file up.")
    if not check:
        typer.echo(f"✓ put under the newest key: {found['rotated']} of {left.rows}")
    if not (left.old or left.unreadable):
        typer.echo(f"✓ the newest key reads everything ({left.rows})")
    if found["keys"] == 1:
        say("There is one key: to change it, put a new one in front of it in ENCRYPTION_KEYS.")
        hint("procomp-pay keys new")
    if left.old:
        say(f"✗ still under an older key, which has to be kept: {left.old}", fg="red")
        if not check:
            say("  some process still writes with it: restart that one with the new keys")
        hint("procomp-pay keys rotate")
    for each in left.named:
        say(f"✗ none of the keys reads {clean(each)}", fg="red")
    if left.unreadable > len(left.named):
        say(f"  … and {left.unreadable - len(left.named)} more")
