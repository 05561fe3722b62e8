"""Coming and going: invitation, login, logout, language."""

from starlette.responses import Response

from tercih.feedback.web import accounts
from tercih.feedback.web.accounts import AccountError
from tercih.feedback.web.languages import LANGUAGES
from tercih.feedback.web.visits import COOKIE, LANGUAGE_COOKIE, Refused, Visit, local

YEAR = 365 * 86_400


def login_form(visit: Visit) -> Response:
    return visit.go("/") if visit.session else visit.page("login.html", wrong="", login="")


def login(visit: Visit) -> Response:
    """Wrong passwords are counted for the name and for the address; both are told the same."""
    name, site = visit.field("login"), visit.site
    by_login, by_address = accounts.digest(accounts.plain(name)), visit.address
    if not site.by_login.allows(by_login) or not site.by_address.allows(by_address):
        raise Refused(429)
    who = accounts.check_password(site.database, name, visit.field("password"))
    if who is None:
        site.by_login.failed(by_login)
        site.by_address.failed(by_address)
        return visit.page("login.html", 422, wrong=visit.say("login.wrong"), login=name[:200])
    site.by_login.succeeded(by_login)
    return signed_in(visit, who)


def join_form(visit: Visit) -> Response:
    if not visit.site.by_address.allows(visit.address):
        raise Refused(429)
    if not accounts.is_open(visit.site.database, visit.path["secret"]):
        visit.site.by_address.failed(visit.address)
        raise Refused(410, "account.invitation")
    return visit.page("join.html", wrong="", login="")


def join(visit: Visit) -> Response:
    name = visit.field("login")
    if not visit.site.by_address.allows(visit.address):
        raise Refused(429)
    try:
        who = accounts.join(visit.site.database, visit.path["secret"], name, visit.field("password"), visit.language)
    except AccountError as error:
        if error.word == "account.invitation":
            visit.site.by_address.failed(visit.address)
            raise Refused(410, error.word) from None
        return visit.page("join.html", 422, wrong=visit.say(error.word), login=name[:200])
    return signed_in(visit, who)


def signed_in(visit: Visit, who: str) -> Response:
    if visit.session is not None:
        accounts.close_session(visit.site.database, visit.session.digest)
    secret = accounts.open_session(visit.site.database, who)
    response = visit.go("/")
    response.set_cookie(
        COOKIE, secret, max_age=int(accounts.SESSION_SECONDS), httponly=True, samesite="lax", secure=visit.secure
    )
    return response


def logout(visit: Visit) -> Response:
    accounts.close_session(visit.site.database, visit.who.digest)
    response = visit.go("/login")
    response.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=visit.secure)
    return response


def language(visit: Visit) -> Response:
    chosen = visit.field("language")
    if chosen not in LANGUAGES:
        raise Refused(422)
    if visit.session is not None:
        accounts.set_language(visit.site.database, visit.session.rater, chosen)
    response = visit.go(local(visit.field("back")))
    response.set_cookie(LANGUAGE_COOKIE, chosen, max_age=YEAR, httponly=True, samesite="lax", secure=visit.secure)
    return response
