"""python -m app people add | list | role | password | disable | enable | sign-out: who may sign in at the desk.

Needs no running server; one takes a change over within about a second. A password is asked for on the terminal, or is
the first line of stdin; it is never a flag, which every user of the machine could read.
Exit code 0 done, 1 the people or the audit log cannot be read or written, or there is no such person, 2 wrong usage.
"""

import argparse
import getpass
import sys
from collections.abc import Callable
from functools import partial

from app.access.acts import audited, system_user
from app.access.command import with_settings
from app.access.passwords import LONGEST
from app.access.people import (
    Person,
    Role,
    add_person,
    change_password,
    change_role,
    disable_person,
    end_sessions,
    read_people,
)
from app.access.watched import AccessError
from app.settings import Settings

EXIT_DONE = 0
# Of a line on stdin; a file that was given by mistake is not read whole.
MAX_LINE = 8 * LONGEST

Change = Callable[[argparse.Namespace, Settings], Person]


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `people` to the commands of `python -m app`."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--home", metavar="DIR", help="the data root; STEELSIGHT_HOME unless set, else var")
    parts = commands.add_parser("people", help="who may sign in at the desk").add_subparsers(
        dest="people", required=True
    )
    listing = parts.add_parser("list", parents=[shared], help="everybody; no secrets")
    listing.set_defaults(run=with_settings(run_list))
    roles = "viewer looks, reviewer also decides on frames and coils, admin does everything"
    named: dict[str, tuple[str, str, Change]] = {
        "add": ("a new person, who signs in with a password", "person.add", _added),
        "role": ("what a person may do; all sessions of the person end", "person.role", _role_changed),
        "password": ("another password; all sessions of the person end", "person.password", _password_changed),
        "disable": ("let a person in no longer, within about a second", "person.disable", _disabled),
        "enable": ("let a person in again", "person.enable", partial(_disabled, disabled=False)),
        "sign-out": ("end all sessions of a person", "person.sign_out", _signed_out),
    }
    for command, (what, action, change) in named.items():
        part = parts.add_parser(command, parents=[shared], help=what)
        part.add_argument("name", metavar="NAME", help="as reviews and the audit log will name the person")
        if command == "add":
            part.add_argument("--role", type=Role, choices=list(Role), required=True, help=roles)
        if command == "role":
            part.add_argument("role", type=Role, choices=list(Role), help=roles)
        part.set_defaults(run=with_settings(partial(run_change, action=action, change=change)))


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """A line for each person on stdout."""
    people = read_people(settings.home)
    if not people:
        print("there is nobody; `python -m app people add NAME --role ROLE` adds somebody", file=sys.stderr)
    for each in people:
        state = "disabled" if each.disabled else "enabled"
        print(f"{each.name}  {each.role}  {state}  {'OpenID provider' if each.subject else 'password'}")
    return EXIT_DONE


def run_change(arguments: argparse.Namespace, settings: Settings, *, action: str, change: Change) -> int:
    """One act, and its line in the audit log."""
    person = change(arguments, settings)
    print(f"{person.name}: {person.role}, {'disabled' if person.disabled else 'enabled'}", file=sys.stderr)
    with audited(settings, system_user()) as note:
        note(action, person.name, {"role": person.role.value, "disabled": person.disabled})
    return EXIT_DONE


def _added(arguments: argparse.Namespace, settings: Settings) -> Person:
    return add_person(settings.home, arguments.name, arguments.role, _asked(arguments.name))


def _role_changed(arguments: argparse.Namespace, settings: Settings) -> Person:
    return change_role(settings.home, arguments.name, arguments.role)


def _password_changed(arguments: argparse.Namespace, settings: Settings) -> Person:
    return change_password(settings.home, arguments.name, _asked(arguments.name))


def _disabled(arguments: argparse.Namespace, settings: Settings, disabled: bool = True) -> Person:
    return disable_person(settings.home, arguments.name, disabled)


def _signed_out(arguments: argparse.Namespace, settings: Settings) -> Person:
    return end_sessions(settings.home, arguments.name)


def _asked(name: str) -> str:
    """A new password, typed twice at a terminal. Raises `AccessError`."""
    if not sys.stdin.isatty():
        try:
            return sys.stdin.readline(MAX_LINE).rstrip("\r\n")
        except UnicodeDecodeError:
            raise AccessError("stdin: expected the password as one line of UTF-8") from None
    try:
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Once more: ") != password:
            raise AccessError("the two are not the same; nothing was changed")
    except EOFError:
        raise AccessError("no password was given; nothing was changed") from None
    return password
