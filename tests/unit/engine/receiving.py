"""Small servers that take messages: a webhook, and a mail server as far as smtplib needs one."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiohttp import web


@dataclass
class Received:
    """What came to a webhook; `status` is what it answers."""

    url: str = ""
    status: int = 200
    bodies: list[Any] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        """`state title` of each alert."""
        return [f"{a['state']} {a['title']}" for body in self.bodies for a in body["alerts"]]


@asynccontextmanager
async def webhook(path: str = "/hook/s3cret-path") -> AsyncIterator[Received]:
    """An HTTP server on a free port."""
    received = Received()

    async def take(request: web.Request) -> web.Response:
        received.calls.append(f"{request.method} {request.path_qs}")
        text = await request.text()
        if received.status == 200 and text:
            received.bodies.append(json.loads(text))
        return web.Response(status=received.status, text=f"you asked for {request.path_qs}")

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    received.url = f"http://127.0.0.1:{port}{path}"
    try:
        yield received
    finally:
        await runner.cleanup()


@dataclass
class Mailbox:
    """What came to a mail server. `refuse`: by command, the line that it answers instead."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def mail_server(
    tls: ssl.SSLContext | None = None, *, at_once: bool = False, starttls: bool = False
) -> AsyncIterator[Mailbox]:
    """A mail server on a free port; with TLS at once, or by STARTTLS."""
    box = Mailbox()
    talks: set[asyncio.Task[Any]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await _talk(box, reader, writer, tls if starttls else None, at_once)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            talks.discard(task)
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls if at_once else None)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def _talk(
    box: Mailbox,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    tls: ssl.SSLContext | None,
    encrypted: bool,
) -> None:
    async def say(line: str) -> None:
        writer.write(f"{line}\r\n".encode())
        await writer.drain()

    await say("220 mail.test ESMTP")
    sender, to = "", []
    while line := (await reader.readline()).decode().strip():
        verb = line.split(":")[0].split()[0].upper()
        if verb in box.refuse:
            await say(box.refuse[verb])
        elif verb == "EHLO":
            await say("250-mail.test")
            if tls is not None and not encrypted:
                await say("250-STARTTLS")
            await say("250 AUTH PLAIN")
        elif verb == "STARTTLS":
            await say("220 go")
            await writer.start_tls(tls)  # type: ignore[arg-type]
            encrypted = True
        elif verb == "AUTH":
            box.logins.append(base64.b64decode(line.split()[2]).decode())
            await say("235 welcome")
        elif verb == "MAIL":
            sender, to = line.partition("<")[2].partition(">")[0], []
            await say("250 ok")
        elif verb == "RCPT":
            to.append(line.partition("<")[2].partition(">")[0])
            await say("250 ok")
        elif verb == "DATA":
            await say("354 go on")
            content = await reader.readuntil(b"\r\n.\r\n")
            box.mails.append(
                email.message_from_bytes(content[:-3], policy=email.policy.default)  # type: ignore[arg-type]
            )
            box.envelopes.append((sender, to))
            box.encrypted.append(encrypted)
            await say("250 taken")
        elif verb == "QUIT":
            await say("221 bye")
            return
        else:
            await say("250 ok")
