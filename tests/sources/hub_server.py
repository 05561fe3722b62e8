"""A Hub on this machine: as much of its interface as `datasets` asks for when it lists and downloads a public set."""

import json
from collections.abc import Mapping
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

Files = Mapping[str, bytes]


def commit(repository: str, revision: str) -> str:
    return sha1(f"{repository}@{revision}".encode()).hexdigest()


class Hub(ThreadingHTTPServer):
    """`sets` are the files of every revision of every repository."""

    def __init__(self, sets: Mapping[str, Mapping[str, Files]]) -> None:
        self.sets = sets
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, repository: str, revision: str) -> Files | None:
        """Of a revision by its name or by its commit."""
        revisions = self.sets.get(repository, {})
        return next((held for name, held in revisions.items() if revision in (name, commit(repository, name))), None)

    def commit(self, repository: str, revision: str) -> str:
        return commit(repository, revision) if revision in self.sets[repository] else revision


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        match [unquote(part) for part in urlparse(self.path).path.strip("/").split("/")]:
            case ["api", "datasets", owner, name, *asked]:
                self.about(f"{owner}/{name}", asked)
            case ["datasets", owner, name, "resolve", revision, *path]:
                self.file(f"{owner}/{name}", revision, "/".join(path))
            case _:
                self.missing("EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Which of these paths there are."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
        repository, revision = urlparse(self.path).path.split("/paths-info/")
        files = self.server.files(repository.removeprefix("/api/datasets/"), unquote(revision)) or {}
        self.send(json.dumps([entry for entry in entries(files) if entry["path"] in asked]).encode())

    def about(self, repository: str, asked: list[str]) -> None:
        revision = asked[1] if len(asked) > 1 else "main"
        files = self.server.files(repository, revision)
        if repository not in self.server.sets:
            self.missing("RepoNotFound")
        elif files is None:
            self.missing("RevisionNotFound")
        elif asked[:1] == ["tree"]:
            under, deep = "/".join(asked[2:]), "recursive=true" in self.path.lower()
            found = [entry for entry in entries(files) if inside(entry["path"], under, deep)]
            self.send(json.dumps(found).encode()) if found or not under else self.missing("EntryNotFound")
        else:
            siblings = [{"rfilename": path} for path in files]
            held = {"id": repository, "sha": self.server.commit(repository, revision), "siblings": siblings}
            self.send(json.dumps(held | {"private": False, "disabled": False, "gated": False, "tags": []}).encode())

    def file(self, repository: str, revision: str, path: str) -> None:
        files = self.server.files(repository, revision)
        if files is None or path not in files:
            self.missing("RepoNotFound" if repository not in self.server.sets else
                         "RevisionNotFound" if files is None else "EntryNotFound")  # fmt: skip
        else:
            tag = {"ETag": f'"{sha1(files[path]).hexdigest()}"'}
            self.send(files[path], tag | {"X-Repo-Commit": self.server.commit(repository, revision)})

    def missing(self, what: str) -> None:
        self.send(b"{}", {"X-Error-Code": what}, status=404)

    def send(self, body: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def entries(files: Files) -> list[dict[str, Any]]:
    """Every file and every folder, as the Hub tells of them."""
    folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    told = [{"type": "directory", "path": folder, "oid": "", "size": 0} for folder in sorted(folders)]
    return told + [
        {"type": "file", "path": path, "oid": sha1(held).hexdigest(), "size": len(held)} for path, held in files.items()
    ]


def inside(path: str, under: str, deep: bool) -> bool:
    if under and not path.startswith(under + "/"):
        return False
    return deep or "/" not in path[len(under) + bool(under) :]
