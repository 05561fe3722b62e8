"""Signing in through another service: OpenID Connect's authorization code with PKCE, state and nonce.

Imported only where an issuer is configured: Authlib and what it needs are an extra.
"""

import json
import logging
import time as clock
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from tercih.feedback.web.elsewhere import made_of
from tercih.feedback.web.visits import Refused

TIMEOUT = 10.0  # seconds
KEPT_SECONDS = 3600.0  # what the issuer says of itself
LEEWAY = 60  # seconds between two clocks
SIGNATURES = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
]  # none by a shared secret
LOCAL = ("localhost", "127.0.0.1", "::1")

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Issuer:
    """The service that vouches for people; `open` lets everybody in whom it knows, as raters.

    Of a token nothing is used but whom it is about. Where the issuer cannot be reached or cannot be understood, its
    methods raise Refused with 503 or 502; where it, or we, do not believe who somebody is, with 403.
    """

    url: str
    client_id: str
    secret: str = field(repr=False)
    open: bool = False
    now: Callable[[], float] = clock.time
    _about: Mapping[str, Any] = field(default_factory=dict)
    _keys: KeySet | None = None
    _read: float = 0.0

    def __post_init__(self) -> None:
        if not is_safe(self.url):
            raise ValueError(f"the issuer must be an https:// address, got {self.url!r}")

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def address(self, began: str, back: str) -> str:
        """Where the browser goes; `began` is the secret that its cookie keeps, `back` the address it returns to."""
        endpoint = self._say("authorization_endpoint")
        with self._client(back) as client:
            place: str = client.create_authorization_url(
                endpoint,
                state=made_of(began, "state"),
                nonce=made_of(began, "nonce"),
                code_verifier=made_of(began, "verifier"),
            )[0]
        return place

    def subject(self, began: str, back: str, code: str) -> str:
        """Whom the issuer means by the code that the browser brought back."""
        token = self._exchange(began, back, code)
        try:
            said = self._verified(token.get("id_token"))
            expected = {"iss": {"essential": True, "value": self._say("issuer")},
                        "aud": {"essential": True, "value": self.client_id}}  # fmt: skip
            about = {"nonce": made_of(began, "nonce"), "client_id": self.client_id,
                     "access_token": token.get("access_token")}  # fmt: skip
            claims = CodeIDToken(said.claims, said.header, expected, about)
            claims.validate(now=int(self.now()), leeway=LEEWAY)
            subject = claims["sub"]
            if not isinstance(subject, str) or not subject:
                raise ValueError("sub is empty")
        except (JoseError, ValueError, TypeError) as error:
            raise self._refused(f"its token: {error}") from None
        return subject

    def _exchange(self, began: str, back: str, code: str) -> Mapping[str, Any]:
        endpoint = self._say("token_endpoint")
        try:
            with self._client(back) as client:
                return dict(client.fetch_token(endpoint, code=code, code_verifier=made_of(began, "verifier")))
        except AuthlibBaseError as error:
            if error.error == "invalid_grant":
                raise self._refused(f"the code: {error}") from None
            raise self._strange(error) from None
        except httpx2.HTTPStatusError as error:
            raise self._strange(error) from None
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        except (ValueError, TypeError) as error:
            raise self._strange(error) from None

    def _verified(self, token: Any) -> jwt.Token:
        """Raises JoseError where the signature is not the issuer's. A key that is not known may be a new one."""
        registry = JWSRegistry(algorithms=SIGNATURES, strict_check_header=False)
        if not isinstance(token, str):
            raise ValueError("there is no id_token")
        try:
            return jwt.decode(token, self._key_set(), registry=registry)
        except InvalidKeyIdError:
            return jwt.decode(token, self._key_set(again=True), registry=registry)

    def _key_set(self, *, again: bool = False) -> KeySet:
        place = self._say("jwks_uri")
        if self._keys is None or again:
            keys = self._read_json(place).get("keys")
            try:
                signing = [key for key in keys or () if key["kty"] in ("RSA", "EC") and key.get("use", "sig") == "sig"]
                self._keys = KeySet.import_key_set({"keys": signing})
            except (JoseError, ValueError, TypeError, KeyError) as error:
                raise self._strange(error) from None
        return self._keys

    def _say(self, name: str) -> str:
        """What the issuer says of itself, read at most once an hour."""
        if not self._about or self.now() - self._read > KEPT_SECONDS:
            about = self._read_json(self.url.rstrip("/") + "/.well-known/openid-configuration")
            if str(about.get("issuer")).rstrip("/") != self.url.rstrip("/"):
                raise self._strange(f"it calls itself {about.get('issuer')!r}")
            self._about, self._keys, self._read = about, None, self.now()
        found = self._about.get(name)
        if not isinstance(found, str) or not is_safe(found):
            raise self._strange(f"its {name} is {found!r}")
        return found

    def _read_json(self, place: str) -> dict[str, Any]:
        try:
            answer = httpx2.get(place, timeout=TIMEOUT)
            answer.raise_for_status()
            found = answer.json()
        except (httpx2.HTTPStatusError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise self._strange(error) from None
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        if not isinstance(found, dict):
            raise self._strange(f"{place} is no object")
        return found

    def _client(self, back: str) -> Any:
        ways = self._about.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return OAuth2Client(
            self.client_id,
            self.secret,
            token_endpoint_auth_method="client_secret_basic" if "client_secret_basic" in ways else "client_secret_post",
            code_challenge_method="S256",
            redirect_uri=back,
            scope="openid",  # no name and no address is asked for
            timeout=TIMEOUT,
        )

    def _refused(self, why: object) -> Refused:
        logger.warning("%s: %s", self.host, why)
        return Refused(403, "oidc.refused", host=self.host)

    def _strange(self, why: object) -> Refused:
        logger.warning("%s: %s", self.host, why)
        return Refused(502, "oidc.unreachable", host=self.host)

    def _unreachable(self, why: object) -> Refused:
        logger.warning("%s: %s", self.host, why)
        return Refused(503, "oidc.unreachable", host=self.host)


def is_safe(place: str) -> bool:
    """Whether nobody on the way can read or change what is sent there."""
    try:
        parts = urlsplit(place)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL))
