"""The demo's folder: a configuration such as an operator would write, and its secrets as files."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LONGEST_FOLDER = 94
"""A unix socket's path has room for 107 characters."""

CONFIG = """\
# Written by `azsyncd demo`: all that it names is in this folder or on 127.0.0.1.
instance: demo

entra:
  tenant_id: {tenant_id}
  client_id: {client_id}
  credential:
    client_secret: {{file: {entra_secret}}}
  login_url: {login}
  graph_url: {graph}
  ca_file: {ca_file}

schedule:
  full_sync: ""
  delta_poll: 10s

notifications:
  mode: webhook
  public_url: https://127.0.0.1:{port}/notifications
  listen: 127.0.0.1:{port}
  tls: {{certificate: {{file: {webhook_file}}}, private_key: {{file: {webhook_file}}}}}

scope:
  users:
    members_of: [{{name: "Atlassian Users"}}]
  groups:
    include: [{{name: "atl-*"}}]

targets:
{targets}
state: {{path: {state}}}
admin: {{socket: {admin}}}
logging: {{level: info, format: json}}
"""

TARGET = """\
  {name}:
    type: {type}
    url: {url}
    auth: {auth}
{more}    limits: {{concurrency: 8, requests_per_second: 1000}}
    guard: {guard}
"""
GUARD = """&guard                     # a demo makes in minutes the changes of months
      deactivate: {count: 10000}
      disable: {count: 10000}
      rename: {count: 10000}
      update: {count: 10000}
      remove_member: {count: 10000}
      shrink_group: {count: 10000}"""
DEPARTMENT = """\
    accounts:
      attributes: {department: "{{ user.department }}"}
"""
KEEP_DEPARTMENTS = ("crowd", "cloud")
"""Products whose accounts have a place for it."""


def make_folder() -> Path:
    """A fresh folder that only we can read."""
    folder = Path(tempfile.mkdtemp(prefix="azsyncd-demo-"))
    if len(str(folder)) > LONGEST_FOLDER:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="azsyncd-demo-", dir="/tmp"))
    return folder


def reserve_port() -> socket.socket:
    """A free port of 127.0.0.1 that nobody else is given while the socket is open.

    The daemon can listen there all the same: two sockets with SO_REUSEADDR may be bound to one
    address as long as only one of them listens.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def write(folder: Path, ready: Mapping[str, Any], port: int) -> Path:
    """The secrets and `config.yaml`, as the sandbox says (the `ready` line); returns the file."""
    secret = _write_private(folder / "entra_secret", f"{ready['client_secret']}\n")
    targets, guard = "", GUARD
    for name, told in ready["targets"].items():
        targets += _target(folder, name, told, guard)
        guard = "*guard"
    paths = {
        "state": folder / "azsyncd.db",
        "admin": folder / "admin.sock",
        "ca_file": ready["ca_file"],
        "webhook_file": ready["webhook_file"],
        "entra_secret": secret,
    }
    file = folder / "config.yaml"
    file.write_text(
        CONFIG.format(
            tenant_id=ready["tenant_id"],
            client_id=ready["client_id"],
            targets=targets,
            port=port,
            **ready["addresses"],
            # A JSON text is a YAML text too, whatever is in the path.
            **{name: json.dumps(str(path)) for name, path in paths.items()},
        )
    )
    return file


def _target(folder: Path, name: str, told: Mapping[str, str], guard: str) -> str:
    """One target of the file; its secret is written beside it."""
    kind = "token" if "token" in told else "password"
    file = json.dumps(str(_write_private(folder / f"{name}_{kind}", f"{told[kind]}\n")))
    auth = f"{{token: {{file: {file}}}}}"
    if kind == "password":
        auth = f"{{username: {told['username']}, password: {{file: {file}}}}}"
    more = f"    directory_id: {told['directory_id']}\n" if "directory_id" in told else ""
    if told["type"] in KEEP_DEPARTMENTS:
        more += DEPARTMENT
    return TARGET.format(
        name=name, type=told["type"], url=told["url"], auth=auth, more=more, guard=guard
    )


def _write_private(path: Path, text: str) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path
