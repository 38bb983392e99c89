"""The AWS SDKs for JavaScript, Go and Java: small programs built beside this file, once for a run.

What lives here: finding the language, building, starting. Versions are pinned in package-lock.json, go.sum
and pom.xml. Invariant: nothing is written into the tree.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from clients.matrix.client import DrivenSdk, Missing

HERE = Path(__file__).parent
BUILD_SECONDS = 600
# Where Go's own archive puts it.
GO_PATHS = ["/usr/local/go/bin"]
NODE, GO, JAVA = (20,), (1, 24), (17,)


def _program(name, paths=()):
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *paths]))
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def _run(arguments, folder, env=None):
    """A step of a build, with the caches and settings of whoever runs it."""
    arguments = [str(argument) for argument in arguments]
    env = {**os.environ, **(env or {})}
    done = subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def _at_least(wanted, text, program):
    found = tuple(int(number) for number in re.search(r"(\d+)(?:\.(\d+))?", text).groups(default="0"))[: len(wanted)]
    if found < wanted:
        raise Missing(f"{program} is {'.'.join(map(str, found))}, its SDK needs {'.'.join(map(str, wanted))}")


class Built(DrivenSdk):
    full = True

    def sources(self, language):
        """A copy of the program's sources in the folder of this run."""
        return Path(shutil.copytree(HERE / language, self.folder / language))


class JavaScript(Built):
    name = "AWS SDK for JavaScript"

    def command(self):
        node, npm = _program("node"), _program("npm")
        _at_least(NODE, _run([node, "--version"], self.folder), "node")
        folder = self.sources("js")
        _run([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
        return [node, folder / "main.mjs"]

    def env(self):
        env = self.front.env()
        if self.front.ca:
            env["NODE_EXTRA_CA_CERTS"] = str(self.front.ca)
        return env

    def stream(self, path, key):
        self.ask("stream", path=path, key=key)


class Go(Built):
    """It trusts the authority that SSL_CERT_FILE names."""

    name = "AWS SDK for Go"

    def command(self):
        go = _program("go", GO_PATHS)
        _at_least(GO, _run([go, "env", "GOVERSION"], self.folder), "go")
        folder = self.sources("go")
        _run([go, "build", "-mod=readonly", "-o", "matrix", "."], folder, {"GOTOOLCHAIN": "local"})
        return [folder / "matrix"]


class Java(Built):
    name = "AWS SDK for Java"
    PASSWORD = "of a store that holds a public certificate"

    def command(self):
        java, maven = _program("java"), _program("mvn")
        _program("javac")
        version = subprocess.run([java, "-version"], check=False, capture_output=True, text=True).stderr
        _at_least(JAVA, version.split('"')[1], "java")
        folder = self.sources("java")
        _run([maven, "-q", "-B", "-ntp", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"], folder)
        classpath = os.pathsep.join([str(folder / "target" / "classes"), (folder / "classpath").read_text().strip()])
        return [java, "-Dfile.encoding=UTF-8", "-Xshare:auto", *self._trust(), "-cp", classpath, "Matrix"]

    def _trust(self):
        """The authority, in the form that Java reads."""
        if not self.front.ca:
            return []
        store = self.folder / "trust.p12"
        options = ["-storetype", "PKCS12", "-storepass", self.PASSWORD, "-alias", "ca", "-file", self.front.ca]
        _run([_program("keytool"), "-importcert", "-noprompt", "-keystore", store, *options], self.folder)
        return [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={self.PASSWORD}"]


SDKS = [JavaScript, Go, Java]
