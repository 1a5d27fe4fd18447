"""A stand-in for the Hub on 127.0.0.1: real HTTP, as much of the Hub's protocol as `huggingface_hub` 2.4 speaks to push and
pull a data set without Xet. Commits are kept in memory; writing needs the token.

`/api/validate-yaml` checks front matter by what the Hub publishes of its rules: the identifiers of licences (the message
of its own validation), the form of `license_name` and `license_link`, languages as ISO 639 codes in lower case, sizes,
and configs as `datasets` reads them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from ladder.cards.licences import vocabulary

TOKEN = "hf_stand_in_secret"
_REPO = r"(?P<repo>[^/]+/[^/]+)"


@dataclass
class Repo:
    """A data set: its commits, the latest last, each a name -> content."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])

    @property
    def sha(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def at(self, revision: str) -> dict[str, bytes] | None:
        named = {"main": self.files} | dict(self.commits)
        return named.get(revision)

    def commit(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(json.dumps([self.sha, sorted(files), len(self.commits)]).encode()).hexdigest()
        self.commits.append((sha, files))
        return sha


def problems(content: str) -> list[str]:
    """What is wrong with a card's front matter."""
    found = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", content, re.DOTALL)
    if not found:
        return ["no front matter"]
    data = yaml.safe_load(found.group(1))
    known, wrong = vocabulary()["licences"]["known"], []
    named = data.get("license") or []
    ids = named if isinstance(named, list) else [named]
    wrong += [f'"license" must be one of the known ones, not {one}' for one in ids if one not in known]
    if "license_name" in data and not re.fullmatch(r"[a-z0-9.-]{1,96}", data["license_name"]):
        wrong.append('"license_name" is no identifier')
    if "other" in ids and "license_name" not in data:
        wrong.append('"license_name" is missing')
    if (
        data.get("license_link", "LICENSE") not in ("LICENSE", "LICENSE.md")
        and "://" not in data["license_link"]
    ):
        wrong.append('"license_link" is neither LICENSE, LICENSE.md nor a URL')
    for language in data.get("language", []):
        if not re.fullmatch("[a-z]{2,3}", language):
            wrong.append(f'"language" {language} is no ISO 639 code')
    sizes = [*vocabulary()["sizes"], "n>1B"]
    wrong += [f'"size_categories" {one}' for one in data.get("size_categories", []) if one not in sizes]
    wrong += [f'"{key}" must be a text' for key in ("pretty_name",) if not isinstance(data.get(key, ""), str)]
    for key in ("tags", "task_categories", "source_datasets"):
        if not all(isinstance(one, str) for one in data.get(key, [])):
            wrong.append(f'"{key}" must be texts')
    try:
        MetadataConfigs.from_dataset_card_data(DatasetCardData(**data))
    except ValueError as error:
        wrong.append(f'"configs": {error}')
    return wrong


class HubStandIn:
    """Serves until closed. `failing` paths (parts of them) answer 500; `log` has the requests' methods and paths."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.failing: set[str] = set()
        self.log: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        parts = urlsplit(self.path)
        path, self.query = unquote(parts.path), parse_qs(parts.query)
        self.body = self._read()
        self.hub.log.append(f"{method} {path}")
        if any(part in path for part in self.hub.failing):
            return self._json(500, {"error": "the stand-in was told to fail"})
        for pattern, answer in _ROUTES:
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                return answer(self, **found.groupdict())
        return self._json(404, {"error": f"no route {method} {path}"})

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, status: int, value: Any, **headers: str) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repo(self, name: str) -> Repo | None:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self.allowed):
            self._json(
                404 if self.allowed else 401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound"
            )
            return None
        return repo

    def _files(self, name: str, revision: str) -> dict[str, bytes] | None:
        repo = self._repo(name)
        files = repo.at(revision) if repo else None
        if repo and files is None:
            self._json(404, {"error": "Revision not found"}, X_Error_Code="RevisionNotFound")
        return files

    # --- the routes --------------------------------------------------------------------------------------

    def create(self) -> None:
        if not self.allowed:
            return self._json(401, {"error": "Invalid credentials"})
        said = json.loads(self.body)
        name = f"{said.get('organization') or 'me'}/{said['name']}"
        if name in self.hub.repos:
            return self._json(409, {"error": "You already created this dataset repo", "url": name})
        private = said.get("private", False) or said.get("visibility") == "private"
        self.hub.repos[name] = Repo(private=private)
        return self._json(200, {"url": f"{self.hub.url}/datasets/{name}", "name": name})

    def validate(self) -> None:
        wrong = problems(json.loads(self.body)["content"])
        self._json(400 if wrong else 200, {"errors": [{"message": one} for one in wrong], "warnings": []})

    def info(self, repo: str, revision: str = "main") -> None:
        files = self._files(repo, revision)
        if files is not None:
            found = self.hub.repos[repo]
            siblings = [{"rfilename": name} for name in files]
            sha = found.sha if revision == "main" else revision
            said = {"id": repo, "sha": sha, "private": found.private, "siblings": siblings, "tags": []}
            self._json(200, said)

    def tree(self, repo: str, revision: str) -> None:
        files = self._files(repo, revision)
        if files is not None:
            self._json(200, [_entry(name, data) for name, data in files.items()])

    def preupload(self, repo: str, revision: str) -> None:
        if self._files(repo, revision) is not None:
            named = [file["path"] for file in json.loads(self.body)["files"]]
            modes = {name: "lfs" if name.endswith(".parquet") else "regular" for name in named}
            answers = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]
            self._json(200, {"files": answers})

    def batch(self, repo: str) -> None:
        if self._repo(repo) is not None:
            objects = [
                {"oid": one["oid"], "size": one["size"]}
                | (
                    {}
                    if one["oid"] in self.hub.blobs
                    else {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                )
                for one in json.loads(self.body)["objects"]
            ]
            self._json(200, {"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._json(422, {"error": "another digest"})
        self.hub.blobs[oid] = self.body
        return self._json(200, {})

    def commit(self, repo: str, revision: str) -> None:
        there = self._files(repo, revision)
        if there is None:
            return None
        if not self.allowed:
            return self._json(403, {"error": "You may not write here"})
        files = dict(there)
        for line in self.body.splitlines():
            said = json.loads(line)
            name = said["value"].get("path")
            if said["value"].get("parentCommit", self.hub.repos[repo].sha) != self.hub.repos[repo].sha:
                return self._json(412, {"error": "A commit has happened since"})
            if said["key"] == "file":
                files[name] = base64.b64decode(said["value"]["content"])
            elif said["key"] == "lfsFile":
                files[name] = self.hub.blobs[said["value"]["oid"]]
            elif said["key"] == "deletedFile":
                del files[name]
        sha = self.hub.repos[repo].commit(files)
        url = f"{self.hub.url}/datasets/{repo}/commit/{sha}"
        return self._json(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def resolve(self, repo: str, revision: str, name: str) -> None:
        files = self._files(repo, revision)
        if files is None:
            return None
        if name not in files:
            return self._json(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        headers = {"ETag": f'"{_oid(files[name])}"', "X-Repo-Commit": self.hub.repos[repo].sha}
        return self._send(200, files[name], headers | {"Accept-Ranges": "none"})


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
    if name.endswith(".parquet"):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


_ROUTES: list[tuple[str, Any]] = [
    (r"POST /api/repos/create", _Handler.create),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"GET /api/datasets/{_REPO}", _Handler.info),
    (rf"GET /api/datasets/{_REPO}/revision/(?P<revision>[^/]+)", _Handler.info),
    (rf"GET /api/datasets/{_REPO}/tree/(?P<revision>[^/]+)", _Handler.tree),
    (rf"POST /api/datasets/{_REPO}/preupload/(?P<revision>[^/]+)", _Handler.preupload),
    (rf"POST /datasets/{_REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", _Handler.put),
    (rf"POST /api/datasets/{_REPO}/commit/(?P<revision>[^/]+)", _Handler.commit),
    (rf"(?:GET|HEAD) /datasets/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", _Handler.resolve),
]
