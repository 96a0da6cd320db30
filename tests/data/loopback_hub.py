"""The few addresses of Hugging Face's hub that its client asks for, answered by a thread here."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = 'c' * 40
RESOLVE = re.compile(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)')
INFO = re.compile(r'/api/models/([^/]+/[^/]+)(?:/revision/(.+))?')


class Hub(ThreadingHTTPServer):
    """``repositories['OWNER/NAME'][FILE]`` is a file's content; those in ``private`` need the token
    'secret', and ``asked`` has every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Answers)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}'


class Answers(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *about) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(f'{self.command} {self.path}')
        path = self.path.partition('?')[0]
        if found := RESOLVE.fullmatch(path):
            repository, revision, file = found.groups()
        elif found := INFO.fullmatch(path):
            repository, revision, file = found[1], found[2] or 'main', None
        else:
            return self.answer(404)
        files = self.server.repositories.get(repository)
        token = self.headers.get('Authorization')
        if repository in self.server.gated:
            return self.answer(403, **{'X-Error-Code': 'GatedRepo'})
        if files is None or repository in self.server.private and token != 'Bearer secret':
            return self.answer(401, **{'X-Error-Code': 'RepoNotFound'})
        if revision not in ('main', 'v1', COMMIT):
            return self.answer(404, **{'X-Error-Code': 'RevisionNotFound'})
        if file is None:
            return self.answer(200, json.dumps(self.about(repository, files)).encode())
        if file not in files:
            return self.answer(404, **{'X-Error-Code': 'EntryNotFound', 'X-Repo-Commit': COMMIT})
        digest = hashlib.sha256(files[file]).hexdigest()
        return self.answer(200, files[file], **{'ETag': f'"{digest}"', 'X-Repo-Commit': COMMIT})

    def do_POST(self) -> None:
        self.server.asked.append(f'{self.command} {self.path}')
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        if self.headers.get('Authorization') != 'Bearer secret':
            return self.answer(401)
        if self.path == '/api/repos/create':
            asked = json.loads(body)
            name = f'{asked["organization"]}/{asked["name"]}'
            if name in self.server.repositories:
                return self.answer(409, json.dumps({'url': f'{self.server.url}/{name}'}).encode())
            self.server.repositories[name] = {}
            if asked.get('private') or asked.get('visibility') == 'private':
                self.server.private.add(name)
            return self.answer(200, json.dumps({'url': f'{self.server.url}/{name}'}).encode())
        if self.path == '/api/validate-yaml':
            return self.answer(200, b'{"errors": [], "warnings": []}')
        name, action = re.fullmatch(
            r'/api/models/([^/]+/[^/]+)/(preupload|commit)/main.*', self.path
        ).groups()
        if action == 'preupload':
            files = [
                dict(path=one['path'], uploadMode='regular', shouldIgnore=False)
                for one in json.loads(body)['files']
            ]
            return self.answer(200, json.dumps(dict(files=files)).encode())
        for line in map(json.loads, body.splitlines()):
            if line['key'] == 'file':
                one = line['value']
                self.server.repositories[name][one['path']] = base64.b64decode(one['content'])
        url = f'{self.server.url}/{name}/commit/{COMMIT}'
        return self.answer(200, json.dumps(dict(commitUrl=url, commitOid=COMMIT)).encode())

    def about(self, repository: str, files: dict[str, bytes]) -> dict:
        return dict(
            id=repository,
            sha=COMMIT,
            private=repository in self.server.private,
            siblings=[dict(rfilename=name) for name in files],
        )

    def answer(self, status: int, content: bytes = b'', **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)


@contextmanager
def running() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()
