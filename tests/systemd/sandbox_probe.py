"""What the sandbox of the unit keeps a process from; runs in the place of the daemon and prints JSON.

Each entry is a directive and whether it bites: what it forbids was tried, by a call that an ordinary user may make.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

LIBRARY = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x10000000
ADDR_COMPAT_LAYOUT = 0x0200000
PTRACE_TRACEME = 0
SYSLOG_SIZE_BUFFER = 10
GETPID_OF_X32 = 0x40000000 + 39
KEYCTL = {"x86_64": 250, "aarch64": 219}
KEYCTL_GET_KEYRING_ID, KEYCTL_DESCRIBE, KEYCTL_READ = 0, 6, 11
SESSION_KEYRING = -3
STATE = Path("/var/lib/deltakeep")


def refused(call: Callable[[], object], *codes: int) -> bool:
    """Whether a call fails with one of the codes."""
    try:
        call()
    except OSError as error:
        return error.errno in codes
    return False


def native(name: str, *arguments: int) -> Callable[[], None]:
    """A call of the C library that raises what it reports."""

    def call() -> None:
        if getattr(LIBRARY, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return call


def read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def status(field: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return line.split(":")[1].strip()
    return ""


def setuid_bit() -> None:
    file = STATE / "setuid-probe"
    file.write_text("")
    try:
        file.chmod(0o4755)
    finally:
        file.unlink()


def system_call(number: int, *arguments: object) -> int:
    """A system call by its number, with numbers and buffers."""
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    LIBRARY.syscall.restype = ctypes.c_long
    found = LIBRARY.syscall(ctypes.c_long(number), *given)
    if found < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return int(found)


def foreign_call_kills() -> bool:
    """Whether a call by the numbers of another architecture ends a process; without the filter it fails or works."""
    child = os.fork()
    if child == 0:
        try:
            system_call(GETPID_OF_X32)
        finally:
            os._exit(0)
    _, ended = os.waitpid(child, 0)
    return os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGSYS


def own_keyring() -> bool:
    """Whether the session keyring is this service's own, and leads to no keyring that the user's processes share."""
    session = keyctl(KEYCTL_GET_KEYRING_ID, SESSION_KEYRING, 0)
    linked = ctypes.create_string_buffer(4096)
    size = keyctl(KEYCTL_READ, session, linked, len(linked))
    keys = [described(key) for key in struct.unpack(f"{size // 4}i", linked.raw[:size])]
    return described(session)[1] == str(os.getuid()) and "keyring" not in [key[0] for key in keys]


def described(key: int) -> list[str]:
    """Type, user, group, rights and name of a key."""
    text = ctypes.create_string_buffer(256)
    keyctl(KEYCTL_DESCRIBE, key, text, len(text))
    return text.value.decode().split(";")


def keyctl(*arguments: object) -> int:
    return system_call(KEYCTL[platform.machine()], *arguments, 0)


def main(outer_ipc: str, files_max: str) -> None:
    """`files_max` is how many open files the machine's systemd may allow at most."""
    none = "0" * 16
    found = {
        "User": os.getuid() != 0,
        "NoNewPrivileges": status("NoNewPrivs") == "1",
        "CapabilityBoundingSet": status("CapBnd") == none,
        "AmbientCapabilities": status("CapAmb") == status("CapEff") == none,
        "ProtectSystem": read_only("/") and read_only("/etc") and read_only("/srv/lake") and not read_only(str(STATE)),
        "ProtectHome": refused(lambda: list(Path("/root").iterdir()), errno.EACCES),
        "PrivateTmp": not Path("/tmp/seen").exists(),
        "PrivateDevices": Path("/dev/null").exists() and not Path("/dev/odd").exists(),
        "PrivateIPC": str(Path("/proc/self/ns/ipc").readlink()) != outer_ipc,
        "PrivateUsers": Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"],
        "ProtectClock": refused(
            lambda: time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME)), errno.EPERM
        ),
        "ProtectControlGroups": read_only("/sys/fs/cgroup"),
        "ProtectHostname": refused(lambda: socket.sethostname("other"), errno.EPERM),
        "ProtectKernelLogs": refused(native("klogctl", SYSLOG_SIZE_BUFFER, 0, 0), errno.EPERM),
        "ProtectKernelModules": refused(lambda: list(Path("/usr/lib/modules").iterdir()), errno.EACCES, errno.ENOENT),
        "ProtectKernelTunables": read_only("/proc/sys") and read_only("/sys"),
        "ProtectProc": not Path("/proc/1").exists(),
        "RestrictAddressFamilies": refused(
            lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), errno.EAFNOSUPPORT
        ),
        "RestrictNamespaces": refused(native("unshare", CLONE_NEWUSER), errno.EPERM),
        "RestrictRealtime": refused(lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)), errno.EPERM),
        "RestrictSUIDSGID": refused(setuid_bit, errno.EPERM),
        "LockPersonality": refused(native("personality", ADDR_COMPAT_LAYOUT), errno.EPERM),
        "MemoryDenyWriteExecute": refused(
            lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
            errno.EPERM,
            errno.EACCES,
        ),
        "SystemCallFilter": status("Seccomp") == "2"
        and refused(native("ptrace", PTRACE_TRACEME, 0, 0, 0), errno.EPERM),
        "KeyringMode": own_keyring(),
        "LimitNOFILE": resource.getrlimit(resource.RLIMIT_NOFILE) == (min(65_536, int(files_max)),) * 2,
        "UMask": os.umask(0o027) == 0o027,
    }
    if platform.machine() == "x86_64":
        found["SystemCallArchitectures"] = foreign_call_kills()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
