"""`tercih serve`: the web application in which people compare."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.routing import Mount

from tercih.config import ConfigError, from_command_line
from tercih.feedback.database import Database
from tercih.feedback.web import accounts
from tercih.feedback.web.api import api
from tercih.feedback.web.app import create_app
from tercih.records import Clip

if TYPE_CHECKING:
    from tercih.feedback.web.oidc import Issuer

OIDC_SECRET = "TERCIH_OIDC_SECRET"


@dataclass(frozen=True, kw_only=True, slots=True)
class Serve:
    """Pages for raters and leads, until Ctrl-C. The first start prints a link that makes an admin, once."""

    database: str = "tercih.db"
    """An SQLite file, made if it is missing, or the URL of a PostgreSQL database."""
    host: str = "127.0.0.1"
    """The address to listen at; 0.0.0.0 lets other machines in: put a proxy with https before it."""
    port: int = 8000
    clips: Path | None = None
    """The folder that clips lie in: videos, and the steps that a worker draws them from."""
    oidc_issuer: str = ""
    """The https address of an OpenID Connect issuer by which people may sign in; with --oidc-client-id, and the
    client's secret in TERCIH_OIDC_SECRET."""
    oidc_client_id: str = ""
    """The name under which this server is registered there."""
    oidc_open: bool = False
    """Let everybody in whom the issuer knows, as raters; else the first sign-in needs an invitation."""


def serve(arguments: Sequence[str]) -> int:
    config = from_command_line(Serve, arguments, program="tercih serve")
    if config.clips is not None and not config.clips.is_dir():
        raise ValueError(f"there is no folder of clips {config.clips}")
    issuer = issuer_of(config)
    with Database(config.database) as database:
        everywhere = config.host in ("0.0.0.0", "::")
        address = f"http://{'localhost' if everywhere else config.host}:{config.port}"
        secret = accounts.first_admin(database)
        if secret is not None:
            print(f"Nobody is admin yet. This link makes you one, once:\n  {address}/join/{secret}", flush=True)
        else:
            print(f"Labelling at {address}", flush=True)
        uvicorn.run(
            create_app(
                database,
                clips=config.clips,
                more=[Mount("/api", api(database, keep=keeper_of(config.clips)))],
                issuer=issuer,
            ),
            host=config.host,
            port=config.port,
            log_level="warning",
            access_log=False,  # addresses of people, and secrets of links, stay out of logs
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    return 0


def keeper_of(folder: Path | None) -> Callable[[bytes], Clip] | None:
    """What takes clips' steps from programs on other machines; NumPy is imported when the first one comes."""
    if folder is None:
        return None

    def keep(content: bytes) -> Clip:
        from tercih.data.steps import MOST_SENT, keep_steps, read_steps

        return keep_steps(folder, read_steps(BytesIO(content), MOST_SENT))

    return keep


def issuer_of(config: Serve) -> "Issuer | None":
    """Authlib is imported only where it is needed."""
    if not config.oidc_issuer:
        if config.oidc_client_id or config.oidc_open:
            raise ConfigError("--oidc-client-id and --oidc-open need --oidc-issuer")
        return None
    if not config.oidc_client_id:
        raise ConfigError("--oidc-issuer needs --oidc-client-id, the name under which this server is registered there")
    secret = os.environ.get(OIDC_SECRET, "")
    if not secret:
        raise ConfigError(f"put the secret of client {config.oidc_client_id} into {OIDC_SECRET}")
    try:
        from tercih.feedback.web.oidc import Issuer
    except ModuleNotFoundError as error:
        raise ConfigError(f'--oidc-issuer needs {error.name}; pip install "tercih[oidc]"') from None
    try:
        return Issuer(url=config.oidc_issuer, client_id=config.oidc_client_id, secret=secret, open=config.oidc_open)
    except ValueError as error:
        raise ConfigError(f"--oidc-issuer: {error}") from None
