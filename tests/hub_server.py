"""A small Hub over real HTTP on loopback, for the unmodified clients: set HF_ENDPOINT to its ``url``.

Repositories of models, datasets and spaces with commits and refs, LFS (large files in parts), range requests, search
with paging, collections, gated, private, disabled and renamed repositories, tokens, limits of requests, pull requests,
and faults that can be switched on. Large files come from another host when ``cdn`` is set. It keeps a log of every
request. Clients run with HF_HUB_DISABLE_XET=1, but for the tests of Xet.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.hub_rules import Limits, card_errors

READ_TOKEN, WRITE_TOKEN = "hf_reads", "hf_writes"  # the latter may see gated and private repositories too
LFS_ENDINGS = (".safetensors", ".bin", ".parquet", ".png")
PAGE = 2  # answers a page of a search, and of pull requests
_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
_DATE = "2026-01-01T00:00:00.000Z"


def blob_id(content: bytes) -> str:
    """The id that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repo:
    """A repository: its commits, newest last, and what its refs point to."""

    id: str
    kind: str = "model"
    private: bool = False
    gated: bool = False
    disabled: bool = False  # by the Hub's staff: 403
    illegal: bool = False  # unavailable for legal reasons: 451
    info: dict = field(default_factory=dict)  # further keys of the API's answer: tags, downloads, pipeline_tag, …
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, changes: dict[str, bytes], deleted=(), ref: str = "main") -> str:
        """Add a commit to a ref and return its sha."""
        files = {**self.files(ref), **changes} if ref in self.refs else dict(changes)
        files = {path: content for path, content in files.items() if path not in deleted}
        text = repr((self.id, len(self.commits), sorted((path, blob_id(c)) for path, c in files.items())))
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = files
        self.refs[ref] = sha
        return sha

    def sha(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str) -> dict[str, bytes]:
        return self.commits[self.sha(revision)]


@dataclass
class Fault:
    """What goes wrong with requests whose ``METHOD path`` matches, ``times`` times.

    ``status`` answers with that code, and with ``body`` if there is one; ``delay`` answers that many seconds later;
    ``until`` answers when it is set; ``cut`` closes the connection after half of the body; ``corrupt`` flips a byte of
    the body; ``drip`` sends a byte of the body every so many seconds; ``length`` states another length of the body;
    ``replace`` does what is asked and answers with this body instead;
    ``then`` is called when the answer is made and before it is sent, to change the Hub meanwhile. ``met`` is set as
    soon as a request has met the fault.
    """

    match: str
    times: int = 10**9
    status: int | None = None
    body: dict | bytes | None = None
    headers: dict = field(default_factory=dict)
    delay: float = 0.0
    until: threading.Event | None = None
    cut: bool = False
    corrupt: bool = False
    drip: float = 0.0
    length: int | None = None
    replace: bytes | None = None
    then: object = None
    met: threading.Event = field(default_factory=threading.Event)


class Hub:
    """The server; a context manager that runs it in a thread."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.tokens = {READ_TOKEN, WRITE_TOKEN}  # any other one is not valid
        self.cdn = False  # whether large files come from another host
        self.page = PAGE  # answers a page of a search
        self.part_size: int | None = None  # uploads of more bytes come in parts of so many
        self.moved: dict[tuple[str, str], str] = {}  # old names
        self.parts: dict[tuple[str, int], bytes] = {}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.collections: dict[str, list[tuple[str, str]]] = {}
        self.uploads: dict[str, bytes] = {}
        self.cas, self.xet_hashes = "", {}  # address of the Xet storage, and SHA-256 of a file → its name there
        self.pulls: list[dict] = []
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, int]] = []  # method, path, status
        self.lock = threading.RLock()
        self.server, self.cdn_server = (
            ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self})) for _ in range(2)
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.cdn_url = f"http://localhost:{self.cdn_server.server_port}"

    def __enter__(self) -> Hub:
        for server in (self.server, self.cdn_server):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.release()
        for server in (self.server, self.cdn_server):
            server.shutdown()
            server.server_close()

    def add(self, repo_id: str, files: dict[str, bytes] | None = None, kind: str = "model", **options) -> Repo:
        """Add a repository with one commit; options are fields of `Repo`, and ``info`` keys by name."""
        states = ("private", "gated", "disabled", "illegal")
        known = {name: options.pop(name) for name in states if name in options}
        repo = self.repos[kind, repo_id] = Repo(repo_id, kind, info=options, **known)
        repo.commit(files or {})
        return repo

    def add_folder(self, repo_id: str, folder, **options) -> Repo:
        """Add a repository with the files of a folder."""
        files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return self.add(repo_id, files, **options)

    def rename(self, old: str, new: str, kind: str = "model") -> None:
        """Give a repository another name; its old one leads there."""
        repo = self.repos[kind, new] = self.repos.pop((kind, old))
        repo.id = new
        self.moved[kind, old] = new

    def release(self) -> None:
        """Let every request that waits be answered."""
        for fault in self.faults:
            if fault.until is not None:
                fault.until.set()

    def requested(self, pattern: str) -> list[str]:
        """Paths of the requests whose ``METHOD path`` matches, in order."""
        return [path for method, path, _ in self.log if re.search(pattern, f"{method} {path}")]

    def take_fault(self, request: str) -> Fault | None:
        """The first fault with times left that matches a request."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, request):
                    fault.times -= 1
                    fault.met.set()
                    return fault
        return None


class _Stop(Exception):
    """An answer that ends the request: status, body, headers."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for its body
    hub: Hub

    def log_message(self, *_) -> None:
        pass

    # --- plumbing -------------------------------------------------------------------------------------------------

    def handle_one(self) -> None:
        parts = urlsplit(self.path)
        self.query = dict(parse_qs(parts.query, keep_blank_values=True))
        self.body = self._read_body()
        self.limit_headers = {}
        self.fault = self.hub.take_fault(f"{self.command} {self.path}")
        if self.fault is not None:
            time.sleep(self.fault.delay)
            if self.fault.until is not None:
                self.fault.until.wait()
            if self.fault.status is not None:
                said = self.fault.body or {"error": f"fault {self.fault.status}"}
                self._send(self.fault.status, said, self.fault.headers)
                return
        try:
            self._check_request(parts.path)
            for method, pattern, name in ROUTES:
                found = re.fullmatch(pattern, parts.path)
                if found and self.command in method:
                    getattr(self, name)(**{k: unquote(v) if v else v for k, v in found.groupdict().items()})
                    break
            else:
                raise _Stop(404, {"error": f"no route for {self.command} {parts.path}"}, {})
        except _Stop as stop:
            self._send(*stop.args)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_one

    def _read_body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        if length:
            return self.rfile.read(length)
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().strip(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    def _check_request(self, path: str) -> None:
        """Refuse what the Hub refuses whatever is asked for: a token that is not valid, too many requests."""
        if path.startswith("/cdn/"):
            if self.server is self.hub.server:
                raise _Stop(404, b"", {})
            if self.token:  # as a signed address does
                raise _Stop(400, {"error": "Only one auth mechanism allowed"}, {})
            return
        if self.token and self.token not in self.hub.tokens:
            said = "Invalid credentials in Authorization header"
            raise _Stop(401, {"error": said}, {"X-Error-Message": said})
        allowed, self.limit_headers = self.hub.limits.check(path, self.token)
        if not allowed:
            said = "We had to rate limit you, you hit the quota of requests. Please retry later."
            raise _Stop(429, {"error": said}, {})

    def _send(self, status: int, body=b"", headers=None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if self.fault is not None and self.fault.replace is not None:
            content = self.fault.replace
        headers = {"Content-Type": "application/json", **self.limit_headers, **(headers or {})}
        self.hub.log.append((self.command, self.path, status))
        if self.fault is not None and self.fault.then is not None:
            self.fault.then()
        if self.fault is not None and self.fault.corrupt and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            stated = self.fault.length if self.fault is not None else None
            self.send_header("Content-Length", str(len(content) if stated is None else stated))
            self.end_headers()
            if self.command == "HEAD":
                return
            if self.fault is not None and self.fault.cut:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            if self.fault is not None and self.fault.drip:
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(self.fault.drip)
                return
            self.wfile.write(content)
            self.close_connection |= stated is not None

    def _error(self, status: int, code: str, message: str) -> _Stop:
        return _Stop(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _repo(self, kind: str | None, repo_id: str) -> Repo:
        kind = _KINDS.get(kind, "model")
        if (kind, repo_id) in self.hub.moved:
            location = self.path.replace(f"/{repo_id}", f"/{self.hub.moved[kind, repo_id]}", 1)
            raise _Stop(307, b"", {"Location": location})
        repo = self.hub.repos.get((kind, repo_id))
        if repo is None or (repo.private and self.token != WRITE_TOKEN):
            if self.token:
                raise self._error(404, "RepoNotFound", "Repository not found")
            # Without a token the Hub does not even say that it is about a repository.
            said = "Invalid username or password."
            raise _Stop(401, {"error": said}, {"X-Error-Message": said})
        if repo.disabled:
            said = "Access to this resource is disabled."
            raise _Stop(403, {"error": said}, {"X-Error-Message": said})
        if repo.illegal:
            said = "This repository is unavailable for legal reasons"
            raise _Stop(451, {"error": said}, {"X-Error-Message": said})
        return repo

    def _revision(self, repo: Repo, revision: str | None) -> str:
        sha = repo.sha(revision or "main")
        if sha is None:
            raise self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    def _check_gate(self, repo: Repo) -> None:
        if repo.gated and self.token != WRITE_TOKEN:
            raise self._error(403 if self.token else 401, "GatedRepo", f"Access to {repo.id} is restricted.")

    def _check_write(self) -> None:
        if self.token != WRITE_TOKEN:
            raise _Stop(403 if self.token else 401, {"error": "You don't have the rights for this"}, {})

    # --- reading --------------------------------------------------------------------------------------------------

    def _info(self, repo: Repo, sha: str) -> dict:
        siblings = []
        for path, content in sorted(repo.commits[sha].items()):
            entry = {"rfilename": path, "size": len(content), "blobId": blob_id(content)}
            if path.endswith(LFS_ENDINGS):
                entry["lfs"] = {"size": len(content), "sha256": sha256(content), "pointerSize": 134}
            siblings.append(entry if "blobs" in self.query else {"rfilename": path})
        answer = {
            "_id": blob_id(repo.id.encode()),
            "id": repo.id,
            "author": repo.id.split("/")[0],
            "sha": sha,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "lastModified": _DATE,
            "createdAt": _DATE,
            "siblings": siblings,
            **repo.info,
        }
        if "expand" in self.query:
            wanted = {"_id", "id", *self.query["expand"]}
            answer = {key: value for key, value in answer.items() if key in wanted}
        return answer

    def info(self, kind: str, repo_id: str, revision: str | None = None) -> None:
        repo = self._repo(kind, repo_id)
        self._send(200, self._info(repo, self._revision(repo, revision)))

    def search(self, kind: str) -> None:
        """Search with the filters that hf_leep uses; sorted by downloads; ``hub.page`` answers a page."""
        query = {key: values[0] for key, values in self.query.items()}
        found = [repo for (k, _), repo in self.hub.repos.items() if k == _KINDS[kind] and not repo.private]

        def tags(repo: Repo) -> set:
            return {*repo.info.get("tags", []), repo.info.get("pipeline_tag"), repo.info.get("library_name")}

        low, high = (re.search(rf"{end}:(\d+)([KMB]?)", query.get("num_parameters", "")) for end in ("min", "max"))
        unit = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}
        for repo in list(found):
            size = (repo.info.get("safetensors") or {}).get("total", 0)
            keep = (
                query.get("search", "").lower() in repo.id.lower()
                and query.get("author", repo.id.split("/")[0]) == repo.id.split("/")[0]
                and query.get("pipeline_tag", repo.info.get("pipeline_tag")) == repo.info.get("pipeline_tag")
                and set(self.query.get("filter", [])) <= tags(repo)
                and (low is None or size >= int(low[1]) * unit[low[2]])
                and (high is None or size <= int(high[1]) * unit[high[2]])
            )
            if not keep:
                found.remove(repo)
        found.sort(key=lambda repo: -repo.info.get("downloads", 0))
        start = int(query.get("cursor", 0))
        size = min(self.hub.page, int(query.get("limit", self.hub.page)))
        page = found[start : start + size]
        headers = {}
        if start + len(page) < len(found):
            rest = "&".join(f"{k}={quote(v)}" for k, vs in self.query.items() for v in vs if k != "cursor")
            headers["Link"] = f'<{self.hub.url}/api/{kind}?{rest}&cursor={start + len(page)}>; rel="next"'
        self._send(200, [self._info(repo, repo.refs["main"]) for repo in page], headers)

    def tree(self, kind: str, repo_id: str, revision: str, folder: str | None = None) -> None:
        repo = self._repo(kind, repo_id)
        files = repo.commits[self._revision(repo, revision)]
        prefix = f"{folder}/" if folder else ""
        recursive = self.query.get("recursive", [""])[0].lower() in ("true", "1")
        entries, folders = [], set()
        for path, content in sorted(files.items()):
            if not path.startswith(prefix):
                continue
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                folders.add(prefix + "/".join(parts[:depth]))
            if recursive or len(parts) == 1:
                entries.append(self._entry(path, content))
        entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in sorted(folders)]
        if folder and not entries:
            raise self._error(404, "EntryNotFound", f"{folder} does not exist")
        self._send(200, entries)

    def paths_info(self, kind: str, repo_id: str, revision: str) -> None:
        repo = self._repo(kind, repo_id)
        files = repo.commits[self._revision(repo, revision)]
        body = self.body.decode()
        wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        self._send(200, [self._entry(path, files[path]) for path in wanted if path in files])

    def _entry(self, path: str, content: bytes) -> dict:
        entry = {"type": "file", "oid": blob_id(content), "size": len(content), "path": path}
        if path.endswith(LFS_ENDINGS):
            entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
        return entry

    def refs(self, kind: str, repo_id: str) -> None:
        repo = self._repo(kind, repo_id)
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
            for name, sha in repo.refs.items()
            if not name.startswith("refs/")
        ]
        self._send(200, {"branches": branches, "converts": [], "tags": []})

    def resolve(self, repo_id: str, revision: str, path: str, kind: str | None = None) -> None:
        repo = self._repo(kind, repo_id)
        self._check_gate(repo)
        sha = self._revision(repo, revision)
        content = repo.commits[sha].get(path)
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if content is None:
            raise _Stop(404, b"", {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        if not path.endswith(LFS_ENDINGS):
            # A weak one: on its way, the content of a small file is compressed.
            self._content(content, {**headers, "ETag": f'W/"{blob_id(content)}"'})
            return
        headers |= {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
        if xet_hash := self.hub.xet_hashes.get(sha256(content)):
            route = f"{self.hub.url}/api/{kind or 'models'}/{repo.id}/xet-read-token/{sha}"
            headers |= {"X-Xet-Hash": xet_hash, "X-Xet-Refresh-Route": route}
        if self.hub.cdn:
            name = f"/cdn/{_KINDS.get(kind, 'model')}/{quote(repo.id)}/{sha}/{quote(path)}"
            location = f"{self.hub.cdn_url}{name}?X-Amz-Signature=secret"
            self._send(302, b"", {**headers, "Location": location})
            return
        self._content(content, {**headers, "ETag": f'"{sha256(content)}"'})

    def cdn(self, kind: str, repo_id: str, sha: str, path: str) -> None:
        """A large file, on another host: its ETag there is not its checksum."""
        content = self.hub.repos[kind, repo_id].commits[sha][path]
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        self._content(content, {**headers, "ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    def _content(self, content: bytes, headers: dict) -> None:
        """Send a file, or the range of it that is asked for."""
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send(206, content[first : last + 1], headers)
            return
        self._send(200, content, headers)

    def xet_token(self, kind: str, repo_id: str, revision: str) -> None:
        self._revision(self._repo(kind, repo_id), revision)
        until = str(int(time.time()) + 3600)
        headers = {"X-Xet-Cas-Url": self.hub.cas, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": until}
        self._send(200, {}, headers)

    def cas(self, path: str) -> None:
        """A Xet storage for faults alone: one that works is a folder, ``local://…``."""
        raise _Stop(404, {"error": f"{path} is not in this storage"}, {})

    def collection(self, slug: str) -> None:
        if slug not in self.hub.collections:
            raise _Stop(404, {"error": "Collection not found"}, {})
        items = [
            {"_id": str(k), "id": repo_id, "type": kind, "position": k, "repoType": kind}
            for k, (kind, repo_id) in enumerate(self.hub.collections[slug])
        ]
        owner = {"name": slug.split("/")[0], "type": "user"}
        about = {"slug": slug, "title": slug, "owner": owner, "private": False, "theme": "blue", "upvotes": 0}
        self._send(200, {**about, "items": items, "lastUpdated": _DATE, "position": 0, "description": ""})

    def auth_check(self, kind: str, repo_id: str) -> None:
        self._check_gate(self._repo(kind, repo_id))
        self._send(200, {})

    def whoami(self) -> None:
        if not self.token:
            raise _Stop(401, {"error": "Invalid credentials"}, {})
        role = {"displayName": "test", "role": "write" if self.token == WRITE_TOKEN else "read"}
        auth = {"type": "access_token", "accessToken": role}
        self._send(200, {"type": "user", "id": "1", "name": "user", "fullname": "User", "orgs": [], "auth": auth})

    def harnesses(self) -> None:
        self._send(200, {"standardEnvVars": [], "harnesses": {}})

    # --- writing --------------------------------------------------------------------------------------------------

    def validate_yaml(self) -> None:
        asked = json.loads(self.body)
        errors = [{"message": text} for text in card_errors(asked["content"], asked["repoType"])]
        self._send(400 if errors else 200, {"errors": errors, "warnings": []})

    def create(self) -> None:
        self._check_write()
        asked = json.loads(self.body)
        kind, repo_id = asked.get("type") or "model", f"{asked.get('organization') or 'user'}/{asked['name']}"
        url = self._url(Repo(repo_id, kind))
        if (kind, repo_id) in self.hub.repos:
            raise _Stop(409, {"error": "You already created this repo", "url": url}, {})
        private = bool(asked.get("private") or asked.get("visibility") == "private")
        about = {"sdk": asked["sdk"]} if kind == "space" else {}
        self.hub.add(repo_id, {".gitattributes": b"*.parquet filter=lfs\n"}, kind=kind, private=private, **about)
        self._send(200, {"url": url, "name": repo_id, "id": repo_id})

    def preupload(self, kind: str, repo_id: str, revision: str) -> None:
        self._check_write()
        repo = self._repo(kind, repo_id)
        files = repo.commits[self._revision(repo, revision)]
        answers = []
        for asked in json.loads(self.body)["files"]:
            lfs = asked["path"].endswith(LFS_ENDINGS)
            answer = {"path": asked["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if asked["path"] in files:
                answer["oid"] = (sha256 if lfs else blob_id)(files[asked["path"]])
            answers.append(answer)
        self._send(200, {"files": answers})

    def lfs_batch(self, repo_id: str, kind: str | None = None) -> None:
        self._check_write()
        objects = []
        for asked in json.loads(self.body)["objects"]:
            answer = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.uploads:
                upload = {"href": f"{self.hub.url}/lfs/{asked['oid']}", "header": {}}
                if self.hub.part_size is not None and asked["size"] > self.hub.part_size:
                    count = -(-asked["size"] // self.hub.part_size)
                    urls = {f"{k:05}": f"{self.hub.url}/lfs/{asked['oid']}/{k}" for k in range(1, count + 1)}
                    upload["header"] = {"chunk_size": str(self.hub.part_size), **urls}
                answer["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/lfs-verify", "header": {}}}
            objects.append(answer)
        self._send(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if sha256(self.body) != oid:
            raise _Stop(400, {"error": "wrong checksum"}, {})
        self.hub.uploads[oid] = self.body
        self._send(200, b"")

    def lfs_part(self, oid: str, number: str) -> None:
        self.hub.parts[oid, int(number)] = self.body
        self._send(200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})

    def lfs_complete(self, oid: str) -> None:
        """Put the parts of a large file together."""
        parts = json.loads(self.body)["parts"]
        found = [self.hub.parts[oid, part["partNumber"]] for part in parts]
        etags = [f'"{hashlib.md5(part).hexdigest()}"' for part in found]
        content = b"".join(found)
        if etags != [part["etag"] for part in parts] or sha256(content) != oid:
            raise _Stop(400, {"error": "the parts do not make the file"}, {})
        self.hub.uploads[oid] = content
        self._send(200, {})

    def lfs_verify(self) -> None:
        self._send(200, {})

    def commit(self, kind: str, repo_id: str, revision: str) -> None:
        self._check_write()
        repo = self._repo(kind, repo_id)
        changes, deleted, header = {}, [], {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                header = value
            elif entry["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                changes[value["path"]] = self.hub.uploads[value["oid"]]
            else:
                deleted.append(value["path"])
        pull = bool(self.query.get("create_pr"))
        parent = header.get("parentCommit")
        card = changes.get("README.md", b"").decode(errors="replace")
        if errors := card_errors(card, repo.kind):
            raise _Stop(400, {"error": f"Invalid metadata in README.md: {errors[0]}"}, {})
        with self.hub.lock:
            for known in self.hub.pulls:
                if revision == f"refs/pr/{known['num']}" and known["status"] != "open":
                    raise _Stop(403, {"error": "This pull request is closed"}, {})
            if not pull and parent not in (None, repo.sha(revision)):
                raise _Stop(412, {"error": "A commit has happened since. Please refresh and try again."}, {})
            answer, ref = {"success": True}, revision
            if pull:
                number = len(self.hub.pulls) + 1
                base = parent or repo.sha(revision)
                opened = self._pull(repo, number, header.get("summary"))
                self.hub.pulls.append({**opened, "header": header, "base": base})
                ref = f"refs/pr/{number}"
                repo.refs[ref] = base
                answer["pullRequestUrl"] = f"{self._url(repo)}/discussions/{number}"
            sha = repo.commit(changes, deleted, ref)
        self._send(200, {**answer, "commitUrl": f"{self._url(repo)}/commit/{sha}", "commitOid": sha})

    def _url(self, repo: Repo) -> str:
        return f"{self.hub.url}{'' if repo.kind == 'model' else f'/{repo.kind}s'}/{repo.id}"

    def _pull(self, repo: Repo, number: int, title: str) -> dict:
        return {
            "num": number,
            "title": title,
            "author": {"name": "user"},
            "createdAt": _DATE,
            "status": "open",
            "repo": {"name": repo.id, "type": repo.kind},
            "isPullRequest": True,
        }

    def discussions(self, kind: str, repo_id: str) -> None:
        """Pull requests, filtered as they are asked for, a page of ``PAGE`` at a time."""
        repo = self._repo(kind, repo_id)
        query = {key: values[0] for key, values in self.query.items()}
        found = [
            {key: value for key, value in pull.items() if key not in ("header", "base")}
            for pull in self.hub.pulls
            if pull["repo"] == {"name": repo.id, "type": repo.kind}
            and query.get("author", pull["author"]["name"]) == pull["author"]["name"]
            and query.get("status", pull["status"]) == pull["status"]
        ]
        start = int(query.get("p", 0)) * PAGE
        self._send(200, {"discussions": found[start : start + PAGE], "count": len(found), "start": start})

    def discussion(self, kind: str, repo_id: str, number: str) -> None:
        """A pull request, with the files that its branch and main have both changed since it was opened."""
        repo = self._repo(kind, repo_id)
        pull = self.hub.pulls[int(number) - 1]
        base, own, main = (repo.files(ref) for ref in (pull["base"], f"refs/pr/{number}", "main"))
        both = [
            path
            for path in {*base, *own, *main}
            if base.get(path) != own.get(path) != main.get(path) != base.get(path)
        ]
        about = {key: value for key, value in pull.items() if key not in ("header", "base")}
        changes = {"base": "refs/heads/main"}
        self._send(200, {**about, "events": [], "diff": "", "filesWithConflicts": sorted(both), "changes": changes})


_REPO = r"(?P<repo_id>[^/]+/[^/]+)"
_API = rf"/api/(?P<kind>models|datasets|spaces)/{_REPO}"
_PLACE = rf"/(?:(?P<kind>datasets|spaces)/)?{_REPO}"
ROUTES = [
    ("GET", r"/api/(?P<kind>models|datasets|spaces)", "search"),
    ("GET", _API, "info"),
    ("GET", rf"{_API}/revision/(?P<revision>[^/]+)", "info"),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?", "tree"),
    ("POST", rf"{_API}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    ("GET", rf"{_API}/refs", "refs"),
    ("GET", rf"{_API}/auth-check", "auth_check"),
    ("GET", rf"{_API}/discussions", "discussions"),
    ("GET", rf"{_API}/discussions/(?P<number>\d+)", "discussion"),
    ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", "commit"),
    ("GET", r"/api/collections/(?P<slug>.+)", "collection"),
    ("GET", rf"{_API}/xet-read-token/(?P<revision>[^/]+)", "xet_token"),
    ("GET HEAD POST", r"/cas/(?P<path>.*)", "cas"),
    ("GET", r"/api/whoami-v2", "whoami"),
    ("GET", r"/api/agent-harnesses", "harnesses"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", rf"{_PLACE}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]+)", "lfs_put"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]+)/(?P<number>\d+)", "lfs_part"),
    ("POST", r"/lfs/(?P<oid>[0-9a-f]+)", "lfs_complete"),
    ("GET HEAD", rf"/cdn/(?P<kind>\w+)/{_REPO}/(?P<sha>[0-9a-f]+)/(?P<path>.+)", "cdn"),
    ("POST", r"/lfs-verify", "lfs_verify"),
    ("GET HEAD", rf"{_PLACE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
]
