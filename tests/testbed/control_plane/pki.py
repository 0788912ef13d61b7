"""Keys and certificates of a test cluster, made by openssl."""

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock

from testbed.programs.commands import run

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
DAYS = ["-days", "365"]
AUTHORITY = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,digitalSignature"]
CONFIG = "[req]\ndistinguished_name = none\n[none]\n"
"""Of openssl, in place of the machine's own: what a certificate says is on the command line."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Pki:
    """One authority; everything it issues lies in its folder and is issued once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.is_issuing = Lock()

    @cached_property
    def authority(self) -> Pair:
        """The authority that signs all others."""
        pair = self.pair("ca")
        self.request(pair, "/CN=testbed", AUTHORITY)
        return pair

    @cached_property
    def token_key(self) -> Path:
        """Key that service-account tokens are signed with."""
        path = self.folder / "tokens.key"
        run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path)])
        return path

    def server(self, name: str, addresses: Sequence[str], names: Sequence[str]) -> Pair:
        """Certificate of a server that answers at these addresses and names."""
        alternatives = [*(f"IP:{address}" for address in addresses), *(f"DNS:{name}" for name in names)]
        return self.issue(
            name, f"/CN={name}", "extendedKeyUsage=serverAuth", f"subjectAltName={','.join(alternatives)}"
        )

    def client(self, user: str, groups: Sequence[str] = ()) -> Pair:
        """Certificate that the API server takes as this user of these groups."""
        subject = "".join(f"/O={escaped(group)}" for group in groups) + f"/CN={escaped(user)}"
        name = f"client-{sha256(subject.encode()).hexdigest()[:12]}"
        return self.issue(name, subject, "extendedKeyUsage=clientAuth")

    def issue(self, name: str, subject: str, *extensions: str) -> Pair:
        """A signed certificate."""
        pair, signer = self.pair(name), self.authority
        with self.is_issuing:
            if not pair.certificate.exists():
                self.request(pair, subject, extensions, ["-CA", str(signer.certificate), "-CAkey", str(signer.key)])
        return pair

    def request(self, pair: Pair, subject: str, extensions: Iterable[str], signer: Sequence[str] = ()) -> None:
        """Make a key and its certificate, signed by itself or by a signer."""
        config = self.folder / "openssl.cnf"
        config.write_text(CONFIG)
        added = [word for extension in extensions for word in ("-addext", extension)]
        files = ["-config", str(config), "-out", str(pair.certificate), "-keyout", str(pair.key)]
        run(["openssl", "req", "-x509", *NEW_KEY, *DAYS, *signer, "-subj", subject, *added, *files])

    def pair(self, name: str) -> Pair:
        """Where a certificate and its key lie."""
        return Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")

    def kubeconfig(self, url: str, user: str, groups: Sequence[str]) -> Path:
        """A kubeconfig with nothing but this user in it; JSON is YAML."""
        pair = self.client(user, groups)
        cluster = {"server": url, "certificate-authority-data": encoded(self.authority.certificate)}
        person = {
            "client-certificate-data": encoded(pair.certificate),
            "client-key-data": encoded(pair.key),
        }
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": cluster}],
            "users": [{"name": user, "user": person}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
            "current-context": "testbed",
        }
        path = pair.certificate.with_suffix(".kubeconfig")
        text = json.dumps(content)
        with self.is_issuing:  # lives that are tried beside each other ask for one user: none may read half a file
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        return path


def escaped(name: str) -> str:
    """A name as openssl's -subj takes it."""
    return name.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")


def encoded(path: Path) -> str:
    """A file's content as a kubeconfig holds it."""
    return b64encode(path.read_bytes()).decode()
