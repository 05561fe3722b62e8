"""A stand-in for an OpenID Connect issuer: a real HTTP server with real RSA keys, and levers for what goes wrong."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "tercih", "a secret of the client"


@dataclass
class StandIn:
    """`subject` signs in at once; `claims`, `key`, `header` and `say` put lies into its tokens and answers."""

    url: str = ""
    subject: str = "sub-1"
    key: Any = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}))
    published: Any = None
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "one"})
    claims: dict[str, Any] = field(default_factory=dict)
    say: dict[str, Any] = field(default_factory=dict)
    declines: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    exchanged: int = 0

    def about(self) -> dict[str, Any]:
        places = {"authorization": "authorize", "token": "token"}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | {
            f"{name}_endpoint": f"{self.url}/{place}" for name, place in places.items()
        }

    def keys(self) -> dict[str, Any]:
        return {"keys": [(self.published or self.key).as_dict(private=False)]}

    def authorize(self, asked: dict[str, str]) -> str:
        """The address that the browser is sent back to."""
        assert (asked["response_type"], asked["client_id"], asked["scope"]) == ("code", CLIENT, "openid")
        assert asked["code_challenge_method"] == "S256"
        if self.declines:
            return f"{asked['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': asked['state']})}"
        code = secrets.token_urlsafe()
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, sent: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """A code is good once, for who knows the client's secret and the verifier."""
        self.exchanged += 1
        if base64.b64decode(authorization.removeprefix("Basic ")).decode() != f"{CLIENT}:{SECRET}":
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(sent["code"], None)
        challenge = plain(hashlib.sha256(sent["code_verifier"].encode()).digest())
        if asked is None or challenge != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        if sent["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.url, "sub": self.subject, "aud": CLIENT, "nonce": asked["nonce"], "iat": now,
                  "exp": now + 300, "email": "ann@example.org", "name": "Ann Example"} | self.claims  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.header["alg"] in (
            "none",
            "HS256",
        ):  # as forgers do: unsigned, or by the public key as if it were a secret
            signed = ".".join(plain(json.dumps(each).encode()) for each in (self.header, claims))
            public = self.key.as_pem(private=False)
            mac = hmac.digest(public, signed.encode(), "sha256") if self.header["alg"] == "HS256" else b""
            signed += "." + plain(mac)
        else:
            signed = jwt.encode(self.header, claims, self.key, algorithms=[self.header["alg"]])
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": signed} | self.say.get("token", {})


def plain(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


@contextmanager
def running() -> Iterator[StandIn]:
    made = StandIn()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if place.path == "/authorize":
                asked = {name: values[0] for name, values in parse_qs(place.query).items()}
                self.send_response(302)
                self.send_header("Location", made.authorize(asked))
                self.end_headers()
                return
            found = {"/keys": made.keys, "/.well-known/openid-configuration": made.about}[place.path]()
            self.answer(*made.say.get(place.path, (200, found)))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            sent = {name: values[0] for name, values in parse_qs(body).items()}
            said = made.token(sent, self.headers.get("Authorization", ""))
            self.answer(*made.say.get("/token", said))

        def answer(self, status: int, found: Any) -> None:
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_port}"
        yield made
        server.shutdown()
