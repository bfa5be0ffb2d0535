"""A small machine for tests: a real systemd as process 1 of namespaces of its own, with Deltakeep installed in it.

Its root is an overlay over this machine's, so nothing that happens in there is left; its network and kernel are ours.
Needs root, a kernel with overlayfs and a mounted cgroup2; `why_not()` says what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daemon.clock import SystemClock
from tests.installed import lay_out_wheel, site_packages, write_scripts
from tests.sources import ROOT

PATIENCE_S: Final = 60.0
PREFIX: Final = "opt/deltakeep"
# In namespaces of its own; $1 is a folder for the root, $2 the environment's packages, $3 the interpreter, $4 the lake.
BOOT: Final = r"""
set -eu
work=$1/machine packages=$2 python=$3 lake=$4
mount --make-rprivate /
mkdir -p "$work"
mount -t tmpfs tmpfs "$work"
mkdir "$work"/upper "$work"/work "$work"/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
cd "$work/root"
# Only the journal of what a whole machine starts: the kernel is shared, nobody here may set it up.
rm -rf usr/lib/systemd/system/*.wants etc/systemd/system
mkdir -p etc/systemd/system/sockets.target.wants
for one in systemd-journald.socket systemd-journald-dev-log.socket; do
    ln -s /usr/lib/systemd/system/$one etc/systemd/system/sockets.target.wants/$one
done
for one in tmp.mount systemd-remount-fs.service; do ln -s /dev/null etc/systemd/system/$one; done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' > etc/systemd/system/machine.target
# The environment of the tests, with the checkout's packages laid over it as the wheel has them.
mkdir -p opt/python opt/deltakeep/bin opt/deltakeep/lib/SITE srv/lake
mount --bind "$python" opt/python
mount -t overlay overlay -o "ro,lowerdir=$1/wheel:$packages" opt/deltakeep/lib/SITE
cp -a "$1"/bin/. opt/deltakeep/bin
ln -s /opt/python/bin/PYTHON opt/deltakeep/bin/python
printf 'home = /opt/python/bin\n' > opt/deltakeep/pyvenv.cfg
mkdir -p etc/ld.so.conf.d
echo /opt/python/lib > etc/ld.so.conf.d/deltakeep-test.conf
chroot . ldconfig
mount --bind "$lake" srv/lake
cp -r "$1"/files/. .
chroot . systemd-sysusers /usr/lib/sysusers.d/deltakeep.conf
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for one in null zero full random urandom tty; do cp -a /dev/$one dev/$one; done
cp -a /dev/null dev/odd
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
hostname machine
mkdir old
pivot_root . old
umount -l /old
# systemd mounts the credentials of a service in a namespace from which they have to reach this one.
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd --system --unit=machine.target \
    --log-target=journal --show-status=no < /dev/null
"""


def wait_until(reached: Callable[[], bool], tell: Callable[[], object]) -> None:
    """Look again and again until something is so; `tell` says what is there instead when patience ends."""
    clock, pause = SystemClock(), threading.Event()
    deadline_ms = clock.monotonic_ms() + PATIENCE_S * 1000
    while not reached():
        assert clock.monotonic_ms() < deadline_ms, tell()
        pause.wait(0.05)


def why_not() -> str:
    """What keeps a machine from being started here; empty where nothing does."""
    if os.geteuid() != 0:
        return "a systemd of its own needs root"
    if not Path("/usr/lib/systemd/systemd").exists() or not all(map(shutil.which, ("unshare", "nsenter"))):
        return "systemd and util-linux are not installed"
    if _cgroup() is None or "overlay" not in Path("/proc/filesystems").read_text():
        return "the kernel has no cgroup2 mounted, or no overlayfs"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        return "namespaces cannot be made here"
    return ""


@dataclass(frozen=True)
class Machine:
    """A running systemd; commands run in its namespaces, as root."""

    process_id: int

    def run(self, *command: str, expect: int | None = 0, user: str = "root") -> str:
        """Run a command to its end; gives what it printed."""
        inside = ["nsenter", "-t", str(self.process_id), "-m", "-p", "-u", "-i", "-C", "-r"]
        group = "nogroup" if user == "nobody" else user
        identity = ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups"]
        environment = ["env", "-i", f"PATH=/{PREFIX}/bin:/usr/sbin:/usr/bin", "LANG=C.UTF-8"]
        done = subprocess.run(
            [*inside, *environment, *identity, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            cwd="/",
        )
        if expect is not None:
            assert done.returncode == expect, (command, done.returncode, done.stdout, done.stderr, self._log())
        return done.stdout + done.stderr

    def _log(self) -> str:
        """The end of the journal, for a failure's message."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-n", "40", expect=None)

    def systemctl(self, *arguments: str, expect: int | None = 0) -> str:
        return self.run("systemctl", *arguments, expect=expect)

    def ask(self, *arguments: str, project: str = "/etc/deltakeep", user: str = "root") -> Any:
        """A reading command of `daemonctl`; gives its JSON."""
        text = self.run("daemonctl", "-q", "-C", project, *arguments, "-o", "json", expect=None, user=user)
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(text) from None

    def show(self, unit: str) -> dict[str, str]:
        """The properties of a unit."""
        lines = self.systemctl("show", "--all", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def write(self, path: str, text: str) -> None:
        """Write a file as root."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1"', "sh", path, text)

    def drop_in(self, unit: str, text: str) -> None:
        """Change a unit for now; an empty text takes the change back."""
        path = f"/run/systemd/system/{unit}.d/test.conf"
        if text:
            self.write(path, text)
        else:
            self.run("rm", "-f", path)
        self.systemctl("daemon-reload")

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit)

    def until(self, unit: str, **wanted: str) -> dict[str, str]:
        """Wait until a unit's properties are as wanted; a value is the beginning of what it has to be."""

        def reached() -> bool:
            found = self.show(unit)
            return all(found.get(name, "").startswith(value) for name, value in wanted.items())

        def tell() -> object:
            found = self.show(unit)
            seen = {name: found.get(name) for name in (*wanted, "ActiveState", "Result", "StatusText")}
            return wanted, seen, self.journal(unit)[-4000:]

        wait_until(reached, tell)
        return self.show(unit)


@contextmanager
def machine(folder: Path, lake: Path) -> Iterator[Machine]:
    """Boot, with the files of `folder/files` copied over the root; `lake` is mounted at /srv/lake."""
    lay_out_wheel(folder / "wheel")
    write_scripts(folder / "bin", f"/{PREFIX}/bin/python")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    boot = BOOT.replace("SITE", f"{version}/site-packages").replace("PYTHON", version)
    given = [str(folder), str(site_packages()), sys.base_prefix, str(lake)]
    above = _cgroup()
    assert above is not None
    cgroup = above / f"deltakeep-test-{os.getpid()}"
    cgroup.mkdir()
    log = (folder / "boot.log").open("w")
    namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--cgroup"]
    enter = f'echo $$ > "{cgroup}/cgroup.procs"; exec unshare {" ".join(namespaces)} bash -c "$0" machine "$@"'
    started = subprocess.Popen(["bash", "-c", enter, boot, *given], stdout=log, stderr=log)
    try:
        wait_until(lambda: _is_systemd(started), (folder / "boot.log").read_text)
        one = Machine(_children(started.pid)[0])
        wait_until(
            lambda: "running" in one.systemctl("is-system-running", expect=None),
            lambda: one.systemctl("--failed", expect=None),
        )
        yield one
    finally:
        # Process 1 of a namespace takes everything in it along.
        for child in _children(started.pid):
            os.kill(child, signal.SIGKILL)
        started.wait(PATIENCE_S)
        log.close()
        _remove(cgroup)


def _cgroup() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options = line.split(" ")[:4]
        if kind == "cgroup2" and options.startswith("rw"):
            return Path(place)
    return None


def _children(process_id: int) -> list[int]:
    path = Path(f"/proc/{process_id}/task/{process_id}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def _is_systemd(started: subprocess.Popen[bytes]) -> bool:
    """Whether the first process of the namespaces has become systemd."""
    assert started.poll() is None, "it ended while booting; see boot.log"
    return any(Path(f"/proc/{child}/comm").read_text().strip() == "systemd" for child in _children(started.pid))


def _remove(cgroup: Path) -> None:
    """Take away the groups that systemd made; the kernel empties them a moment after the kill."""

    def gone() -> bool:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        return not cgroup.exists()

    wait_until(gone, lambda: sorted(cgroup.rglob("cgroup.procs")))


def unit_files(folder: Path) -> None:
    """Install `systemd/` as its README says."""
    for name in ("deltakeep.service", "deltakeep.socket", "deltakeep@.service", "deltakeep@.socket"):
        target = folder / "files" / "etc" / "systemd" / "system" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "systemd" / name, target)
    sysusers = folder / "files" / "usr" / "lib" / "sysusers.d" / "deltakeep.conf"
    sysusers.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "systemd" / "deltakeep.sysusers.conf", sysusers)
