"""Keys for programs: who has which, a new one, and the end of one. A key is shown once, when it is made."""

import re

from starlette.responses import Response

from tercih.feedback.store import Store
from tercih.feedback.web import oversight
from tercih.feedback.web.keys import GRANTS, list_keys, make_key, revoke
from tercih.feedback.web.visits import Refused, Visit

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def keys(visit: Visit, made: str = "", wrong: str = "", name: str = "") -> Response:
    """Admins see everybody's, leads their own."""
    rows, role = list_keys(visit.site.database, own(visit)), visit.who.role
    status = 422 if wrong else 200
    return visit.page("lead/keys.html", status, keys=rows, made=made, wrong=wrong, name=name, scopes=GRANTS[role])


def make(visit: Visit) -> Response:
    """An admin's is for a program of that name, as `tercih key` makes it; a lead's acts in the lead's name."""
    name, database = visit.field("name").strip(), visit.site.database
    scopes = [scope for scope in GRANTS["admin"] if visit.field(f"scope_{scope}")]
    if not set(scopes) <= set(GRANTS[visit.who.role]):
        raise Refused(403)
    if not NAME.fullmatch(name) or name.startswith("simulated-"):
        return keys(visit, wrong=visit.say("keys.wrong_name"), name=name[:64])
    if not scopes:
        return keys(visit, wrong=visit.say("keys.none"), name=name)
    acts_as = own(visit)
    if acts_as is None:
        Store(database).enrol(name, role="service")
        if oversight.role_of(database, name) != "service":
            return keys(visit, wrong=visit.say("keys.taken"), name=name)
        acts_as = name
    key = make_key(database, acts_as, name, scopes)
    oversight.record(database, "key", visit.who.rater, about=acts_as, name=name, scopes=scopes)
    return keys(visit, made=key)


def end(visit: Visit) -> Response:
    key = visit.path["key"]
    if not revoke(visit.site.database, key, own(visit)):
        raise Refused(404, "keys.gone")
    oversight.record(visit.site.database, "revoke", visit.who.rater, key=key[:12])
    return visit.go("/keys")


def own(visit: Visit) -> str | None:
    """In whose name the keys are that somebody has a say over; None: everybody's."""
    return None if visit.who.role == "admin" else visit.who.rater
