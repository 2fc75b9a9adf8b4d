"""What each command of `python -m curriculum people` does: who is here, who leads, a way on for who forgot the PIN.

A PIN is read from the terminal without showing it, or from standard input: what stands in a command line, others can see.
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import sys
from datetime import datetime
from typing import Any

from curriculum import people
from curriculum.errors import ConfigError
from curriculum.home import Home
from curriculum.store import Store

Result = dict[str, Any]


def people_list(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open_or_snapshot(home, owner="people list") as store:
        found = people.list_people(store)
    rows = [{name: _plain(value) for name, value in dataclasses.asdict(person).items()} for person in found]
    lines = [
        f"{person.name}: {person.role}, signs in with {'nothing yet' if person.signs_in == 'not yet' else person.signs_in}, "
        f"{person.labels:,} labels, last seen {f'{person.last_seen:%Y-%m-%d %H:%M}' if person.last_seen else 'never'}"
        for person in found
    ]
    return {"people": rows}, "\n".join(lines) or "Nobody yet: `people add NAME`, or the start page. The first one leads."


def people_add(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    pin = _read_pin(options.name)
    with Store.open(home, owner="people add") as store:
        name = people.register(store, options.name, pin, options.role)
        role = people.role_of(store, name)
    return {"name": name, "role": role}, f"{name} can sign in now; role: {role}"


def people_role(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open(home, owner="people role") as store:
        people.set_role(store, options.name, options.role)
    return {"name": options.name, "role": options.role}, f"{options.name}'s role is {options.role} now"


def people_reset_pin(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    pin = _read_pin(options.name) if options.choose else None
    with Store.open(home, owner="people reset-pin") as store:
        people.reset_pin(store, options.name, pin)
    then = "signs in with the new PIN" if pin else "chooses a new PIN under First time here: best at once, before anybody else does"
    return {"name": options.name, "pin": "new" if pin else None}, f"{options.name} is signed out everywhere and {then}"


def _read_pin(name: str) -> str:
    """From the terminal twice, without showing it; else the first line of standard input."""
    if not sys.stdin.isatty():
        return people.check_pin(sys.stdin.readline().rstrip("\r\n"), name)
    pin = people.check_pin(getpass.getpass(f"A PIN for {name}: "), name)
    if getpass.getpass("The same again: ") != pin:
        raise ConfigError("the two PINs differ", todo="Call the command again.")
    return pin


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
