"""Signing in elsewhere: away to the issuer, and back with what it says.

What ties the two together is a cookie with one secret: who brings a state that is not made of it did not begin here.
"""

import hmac
import secrets

from starlette.responses import Response

from tercih.feedback.web import accounts
from tercih.feedback.web.signing import signed_in
from tercih.feedback.web.visits import Refused, Visit

BEGAN_COOKIE = "tercih-began"
BEGAN_SECONDS = 600


def away(visit: Visit) -> Response:
    """With an invitation in the address, it is kept for the way back."""
    issuer, invitation = visit.issuer, visit.path.get("secret", "")
    if not visit.site.by_address.allows(visit.address):
        raise Refused(429)
    if invitation and not accounts.is_open(visit.site.database, invitation):
        visit.site.by_address.failed(visit.address)
        raise Refused(410, "account.invitation")
    began = f"{secrets.token_urlsafe(32)}.{invitation}"
    response = visit.go(issuer.address(began, back(visit)))
    response.set_cookie(
        BEGAN_COOKIE, began, max_age=BEGAN_SECONDS, path="/oidc", httponly=True, samesite="lax", secure=visit.secure
    )
    return response


def away_invited(visit: Visit) -> Response:
    return away(visit)


def returned(visit: Visit) -> Response:
    """Whoever is known is signed in; others join by their invitation, or as raters where everybody may."""
    issuer, site = visit.issuer, visit.site
    if not site.by_address.allows(visit.address):
        raise Refused(429)
    try:
        subject = believed(visit)
    except Refused as refused:
        if refused.status == 403:
            site.by_address.failed(visit.address)
        raise
    link = accounts.digest(f"{issuer.url.rstrip('/')} {subject}")
    who = accounts.find_linked(site.database, link)
    if who is None:
        invitation = visit.request.cookies[BEGAN_COOKIE].partition(".")[2]
        if not invitation and not issuer.open:
            raise Refused(403, "oidc.unknown", host=issuer.host)
        who = accounts.join_linked(site.database, invitation or None, link, visit.language)
    response = signed_in(visit, who)
    response.delete_cookie(BEGAN_COOKIE, path="/oidc", httponly=True, samesite="lax", secure=visit.secure)
    return response


def believed(visit: Visit) -> str:
    """Whom the issuer vouches for."""
    began = visit.request.cookies.get(BEGAN_COOKIE, "")
    if not began or not hmac.compare_digest(made_of(began, "state").encode(), visit.query("state").encode()):
        raise Refused(403, "oidc.stale")
    if not visit.query("code"):  # the issuer, or whom it asked, said no
        raise Refused(403, "oidc.declined", host=visit.issuer.host)
    return visit.issuer.subject(began, back(visit), visit.query("code"))


def back(visit: Visit) -> str:
    return str(visit.request.url_for("returned"))


def made_of(began: str, name: str) -> str:
    """State, nonce and verifier are made of the one secret that the browser keeps; none of them tells another."""
    return hmac.new(began.encode("utf-8", "replace"), name.encode(), "sha256").hexdigest()
