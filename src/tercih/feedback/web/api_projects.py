"""Projects, their guidelines, and raters."""

import time as clock
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel

from tercih.feedback.database import Database
from tercih.feedback.overview.learned import TOLD, points
from tercih.feedback.projects import Project, ProjectError, make_project
from tercih.feedback.queue import QueueError, Unknown
from tercih.feedback.store import Store
from tercih.feedback.tables import fit, guideline, question, rater
from tercih.feedback.tables import project as projects
from tercih.feedback.web.door import ProjectName, database_of, need, queue_of
from tercih.feedback.web.keys import Key
from tercih.feedback.web.oversight import record
from tercih.feedback.web.schemas import GuidelineIn, ProjectChange, ProjectIn, RaterChange, RaterIn, ToldIn
from tercih.feedback.webhooks import check_address

routes = APIRouter()
ToldName = Annotated[str, Path(pattern=r"^[a-z]{1,20}$")]
Reads = Annotated[Key, Depends(need("read"))]
Rules = Annotated[Key, Depends(need("admin"))]
Writes = Annotated[Key, Depends(need("write"))]


@routes.get("/projects", tags=["projects"], summary="All projects (scope read)")
def list_projects(request: Request, key: Reads) -> list[dict[str, Any]]:
    with database_of(request).transaction() as connection:
        found = connection.execute(sa.select(projects).order_by(projects.c.id)).mappings()
        return [{"id": row["id"], "created": row["created"], "settings": row["config"]} for row in found]


@routes.post("/projects", status_code=201, tags=["projects"], summary="Make a project (scope admin)")
def create_project(request: Request, body: ProjectIn, key: Rules) -> dict[str, Any]:  # type: ignore[valid-type]
    values = _given(body)
    settings = Project.of(values["id"], values)
    database = database_of(request)
    if config_of(database, settings.id) is not None:
        raise QueueError(f"there is a project {settings.id!r} already; change it with PATCH")
    _check_webhook(settings)
    make_project(database, settings)
    record(database, "project", key.rater, settings.id)
    return read_project(request, settings.id, key)


@routes.get("/projects/{project}", tags=["projects"], summary="One project and its counts (scope read)")
def read_project(request: Request, project: ProjectName, key: Reads) -> dict[str, Any]:
    database = database_of(request)
    config = config_of(database, project)
    if config is None:
        raise Unknown(f"there is no project {project!r}")
    counts = (
        sa.select(question.c.state, sa.func.count(), sa.func.sum(question.c.done))
        .where(question.c.project == project)
        .group_by(question.c.state)
    )
    with database.transaction() as connection:
        rows = connection.execute(counts).all()
    return {
        "id": project,
        "settings": config,
        "questions": {state: count for state, count, _ in rows},
        "answers": int(sum(done or 0 for _, _, done in rows)),
    }


@routes.patch("/projects/{project}", tags=["projects"], summary="Change some settings (scope admin)")
def change_project(request: Request, project: ProjectName, body: ProjectChange, key: Rules) -> dict[str, Any]:  # type: ignore[valid-type]
    database = database_of(request)
    config = config_of(database, project)
    if config is None:
        raise Unknown(f"there is no project {project!r}")
    settings = Project.of(project, config | _given(body))
    _check_webhook(settings)
    make_project(database, settings)
    queue_of(request).changed(project)
    record(database, "project", key.rater, project)
    return read_project(request, project, key)


@routes.get("/projects/{project}/guidelines", tags=["projects"], summary="All versions (scope read)")
def list_guidelines(request: Request, project: ProjectName, key: Reads) -> list[dict[str, Any]]:
    query = sa.select(guideline).where(guideline.c.project == project).order_by(guideline.c.version)
    known(request, project)
    with database_of(request).transaction() as connection:
        return [
            {name: row[name] for name in ("version", "text", "created")} for row in connection.execute(query).mappings()
        ]


@routes.post("/projects/{project}/guidelines", tags=["projects"], summary="A new version (scope admin)")
def add_guidelines(request: Request, project: ProjectName, body: GuidelineIn, key: Rules) -> list[dict[str, Any]]:
    """The text that is newest already makes no new version."""
    known(request, project)
    newest = sa.select(guideline.c.version, guideline.c.text).where(guideline.c.project == project)
    with database_of(request).transaction(write=True) as connection:
        connection.execute(sa.select(projects.c.id).where(projects.c.id == project).with_for_update())
        last = connection.execute(newest.order_by(guideline.c.version.desc()).limit(1)).first()
        if last is None or last.text != body.text:
            values = {"version": last.version + 1 if last else 1, "text": body.text, "created": clock.time()}
            connection.execute(guideline.insert().values(project=project, **values))
    return list_guidelines(request, project, key)


@routes.put("/projects/{project}/told/{name}", tags=["projects"], summary="What a run says (scope write)")
def tell(request: Request, project: ProjectName, name: ToldName, body: ToldIn, key: Writes) -> dict[str, Any]:
    """For the lead to watch: the newest of each name stands. "learning" holds {"curve": [{"answers", "accuracy"}]}."""
    known(request, project)
    if f"told {name}" == TOLD:
        try:
            points(body.result)
        except ValueError as error:
            raise ProjectError(str(error)) from None
    here = (fit.c.project == project) & (fit.c.kind == f"told {name}")
    values = {"events": 0, "time": clock.time(), "result": body.result}
    with database_of(request).transaction(write=True) as connection:
        connection.execute(sa.select(projects.c.id).where(projects.c.id == project).with_for_update())
        if not connection.execute(sa.update(fit).where(here).values(values)).rowcount:
            connection.execute(fit.insert().values(values | {"project": project, "kind": f"told {name}"}))
    return {"told": name}


@routes.get("/raters", tags=["raters"], summary="All raters, by pseudonym (scope admin)")
def list_raters(request: Request, key: Rules) -> list[dict[str, Any]]:
    with database_of(request).transaction() as connection:
        return [dict(row) for row in connection.execute(sa.select(rater).order_by(rater.c.id)).mappings()]


@routes.post("/raters", status_code=201, tags=["raters"], summary="Make a rater known (scope admin)")
def add_rater(request: Request, body: RaterIn, key: Rules) -> dict[str, Any]:
    """One who is known already stays as they are."""
    if body.id.startswith("simulated-") != (body.kind == "simulated"):
        raise ProjectError("'simulated-…' names simulated raters, and no other")
    database = database_of(request)
    Store(database).enrol(body.id, body.kind, role=body.role, stratum=body.stratum)
    return _rater(database, body.id)


@routes.patch("/raters/{name}", tags=["raters"], summary="Pause a rater, or let them go on (scope admin)")
def change_rater(request: Request, name: ProjectName, body: RaterChange, key: Rules) -> dict[str, Any]:
    here = (rater.c.id == name) & (rater.c.state != "erased")
    database = database_of(request)
    with database.transaction(write=True) as connection:
        connection.execute(sa.update(rater).where(here).values(state=body.state))
    return _rater(database, name)


def known(request: Request, project: str) -> None:
    """Raises Unknown for a project that is not there."""
    if config_of(database_of(request), project) is None:
        raise Unknown(f"there is no project {project!r}")


def config_of(database: Database, project: str) -> dict[str, Any] | None:
    with database.transaction() as connection:
        found = connection.scalar(sa.select(projects.c.config).where(projects.c.id == project))
    return None if found is None else dict(found)


def _rater(database: Database, name: str) -> dict[str, Any]:
    with database.transaction() as connection:
        row = connection.execute(sa.select(rater).where(rater.c.id == name)).mappings().first()
    if row is None:
        raise Unknown(f"there is no rater {name!r}")
    return dict(row)


def _check_webhook(settings: Project) -> None:
    if settings.webhook:
        check_address(settings.webhook)


def _given(body: BaseModel) -> dict[str, Any]:
    return {name: value for name, value in body.model_dump(exclude_unset=True).items() if value is not None}
