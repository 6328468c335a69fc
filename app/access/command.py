"""python -m app keys create | list | revoke: who may use the API. Needs no running server; one takes it over at once.

Exit code 0 done, 1 the keys or the audit log cannot be read or written, or there is no such key, 2 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from app.access.acts import audited, system_user
from app.access.keys import MAX_RATE, Key, create_key, read_keys, revoke_key
from app.access.principal import Scope
from app.access.watched import AccessError
from app.settings import MOST_DAYS, Settings, SettingsError, load

EXIT_DONE, EXIT_FAULT, EXIT_USAGE = 0, 1, 2


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `keys` to the commands of `python -m app`."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--home", metavar="DIR", help="the data root; STEELSIGHT_HOME unless set, else var")
    parts = commands.add_parser("keys", help="keys of the API").add_subparsers(dest="keys", required=True)

    create = parts.add_parser("create", parents=[shared], help="make a key; its token is printed once, on stdout")
    create.add_argument("name", metavar="NAME", help="who will use it, such as line-1-cameras")
    create.add_argument(
        "--scope", required=True, nargs="+", action="extend", type=Scope, choices=list(Scope), help="what it may do"
    )
    create.add_argument(
        "--camera", nargs="+", action="extend", metavar="ID", help="inspects frames of these cameras alone"
    )
    create.add_argument("--expires", type=_days, metavar="DAYS", help="ends after so many days; never unless set")
    create.add_argument(
        "--rate", type=_rate, metavar="N", help="requests a minute, 0 for no bound; the server's setting unless set"
    )
    create.set_defaults(run=with_settings(run_create))

    listing = parts.add_parser("list", parents=[shared], help="all keys; no secrets")
    listing.set_defaults(run=with_settings(run_list))

    revoke = parts.add_parser("revoke", parents=[shared], help="end a key within about a second")
    revoke.add_argument("id", metavar="ID", help="as `list` shows it")
    revoke.set_defaults(run=with_settings(run_revoke))


def run_create(arguments: argparse.Namespace, settings: Settings) -> int:
    """The token alone goes to stdout, so that a script can take it from there."""
    expires = None
    if arguments.expires is not None:
        expires = (datetime.now(UTC) + timedelta(days=arguments.expires)).replace(microsecond=0)
    made = None
    try:
        with audited(settings, system_user()) as note:
            made = create_key(
                settings.home,
                arguments.name,
                arguments.scope,
                cameras=arguments.camera,
                rate_per_minute=arguments.rate,
                expires_at=expires,
            )
            note("key.create", made[0].id, _told(made[0]))
    except AccessError:
        # Nobody was shown it, and the log does not know of it.
        if made is not None:
            revoke_key(settings.home, made[0].id)
        raise
    key, token = made
    print(f"key {key.id} of {key.name}: {_described(key)}", file=sys.stderr)
    print("its token, which is shown this once:", file=sys.stderr, flush=True)
    print(token)
    return EXIT_DONE


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """A line for each key on stdout."""
    keys = read_keys(settings.home)
    if not keys:
        print("there is no key; `python -m app keys create NAME --scope SCOPE` makes one", file=sys.stderr)
    now = datetime.now(UTC)
    for key in keys:
        print(f"{key.id}  {key.state(now):7}  {key.name}  {_described(key)}")
    return EXIT_DONE


def run_revoke(arguments: argparse.Namespace, settings: Settings) -> int:
    """The key ends in any case: a log that cannot be written is no reason to let it live."""
    key = revoke_key(settings.home, arguments.id)
    print(f"key {key.id} of {key.name} is revoked", file=sys.stderr)
    with audited(settings, system_user()) as note:
        note("key.revoke", key.id, {"name": key.name})
    return EXIT_DONE


def with_settings(run: Callable[[argparse.Namespace, Settings], int]) -> Callable[[argparse.Namespace], int]:
    """Hands a command the settings, and turns what fails into one line on stderr."""

    def with_them(arguments: argparse.Namespace) -> int:
        try:
            return run(arguments, load(os.environ, {"home": arguments.home}))
        except SettingsError as error:
            print(f"error: {error}", file=sys.stderr)
            return EXIT_USAGE
        except AccessError as error:
            print(f"error: {error}", file=sys.stderr)
            return EXIT_FAULT

    return with_them


def _described(key: Key) -> str:
    parts = [f"may {', '.join(key.scopes)}"]
    if key.cameras is not None:
        parts.append(f"cameras {', '.join(key.cameras)}")
    if key.rate_per_minute is not None:
        parts.append(f"{key.rate_per_minute} requests a minute" if key.rate_per_minute else "no bound on requests")
    parts.append(f"made {key.created_at:%Y-%m-%d}")
    parts.append(f"ends {key.expires_at:%Y-%m-%dT%H:%M:%SZ}" if key.expires_at else "never ends")
    return "; ".join(parts)


def _told(key: Key) -> dict[str, object]:
    """What the audit log says of a new key."""
    told: dict[str, object] = key.model_dump(mode="json", exclude={"id", "sha256", "revoked_at"}, exclude_none=True)
    return told


def _days(given: str) -> float:
    days = float(given)
    if not 0 < days <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"received {given}; expected days above 0, at most {MOST_DAYS}")
    return days


def _rate(given: str) -> int:
    rate = int(given)
    if not 0 <= rate <= MAX_RATE:
        raise argparse.ArgumentTypeError(f"received {given}; expected 0 to {MAX_RATE}")
    return rate
