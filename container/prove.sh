#!/bin/bash
# Builds the image of container/Containerfile and proves that it keeps a project in the narrowest container there is:
# a user without a name, a read-only root, no capability, limits of memory and processors, the daemon as process 1.
#
#   container/prove.sh [FOLDER]
#   IMAGE=deltakeep:0.1.0 container/prove.sh     # proves an image that is there already
#
# FOLDER (default: a new temporary one) keeps the base for the next time.  Needs root, podman, runc, mmdebstrap and the
# environment of the tests in .venv; no registry has to be in reach, the base is made from Debian's packages.  The wheel
# is the one in dist/, or one that is packed from what is installed in .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

# Health checks run when they are asked for: timers of systemd are not needed.
export DISABLE_HC_SYSTEMD=true
work=$(realpath "${1:-$(mktemp -d)}")
base=localhost/deltakeep-base:bookworm
image=${IMAGE:-localhost/deltakeep:proof}
name=deltakeep-proof-$$
python=.venv/bin/python
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}

say() { printf 'prove: %s\n' "$*"; }
fail() { printf 'prove: %s\n' "$*" >&2; podman logs "$name" 2>&1 | tail -20 >&2; exit 1; }
cleanup() { podman rm --force --time 0 "$name" >/dev/null 2>&1 || true; }
trap cleanup EXIT
inside() { podman --runtime "$work/runtime" exec "$name" "$@"; }
until_true() { # seconds, command…
    local left=$1; shift
    until "$@" >/dev/null 2>&1; do
        [ "$((left -= 1))" -gt 0 ] || fail "not reached: $*"
        sleep 1
    done
}

# ---- image --------------------------------------------------------------------------------------------------------
if [ -z "${IMAGE:-}" ]; then
    if ! podman image exists "$base"; then
        [ -f "$work/base.tar" ] || { say "making a base of Debian's packages"
            mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm "$work/base.tar"; }
        podman import --quiet "$work/base.tar" "$base" >/dev/null
    fi
    context=$(mktemp -d -p "$work")
    mkdir "$context/dist"
    cp -r constraints.txt container "$context"
    if compgen -G 'dist/*.whl' >/dev/null; then cp dist/*.whl "$context/dist"; else "$python" -m tests.installed "$context/dist"; fi
    say "building"
    # A certificate of this machine may be needed to reach packages from it; the image keeps nothing of it.
    podman build --quiet --isolation chroot --network host --build-arg "BASE=$base" --pull=never \
        --volume "$certificates:$certificates:ro" --env "PIP_CERT=$certificates" --unsetenv PIP_CERT \
        --file container/Containerfile --format docker --tag "$image" "$context" >/dev/null
    rm -r "$context"
    say "image of $(podman image inspect --format '{{.Size}}' "$image" | numfmt --to=si)B, of which the base is" \
        "$(podman image inspect --format '{{.Size}}' "$base" | numfmt --to=si)B"
fi

# ---- a project ----------------------------------------------------------------------------------------------------
project=$(mktemp -d -p "$work")
chmod 755 "$project"
.venv/bin/daemonctl -q init "$project/sample" >/dev/null
mkdir "$project/project"
cp -r "$project/sample/views" container/deltakeep.toml "$project/project"
printf '\n[datasets.orders]\nuri = "/lake/orders"\npoll = "1s"\n' >> "$project/project/deltakeep.toml"
sed -i 's/0\.0\.0\.0:9187/127.0.0.1:0/' "$project/project/deltakeep.toml"
chmod -R a+rX "$project"

# ---- run ----------------------------------------------------------------------------------------------------------
# podman asks for limits of files and processes that a machine without the right to raise them cannot give.
runtime=$work/runtime
cat > "$runtime" <<'RUNTIME'
#!/bin/bash
previous=
for word in "$@"; do
    case $previous in
        --bundle | -b) sed -i 's/"rlimits":\[[^]]*\],\?//' "$word/config.json" ;;
        --process | -p) sed -i 's/"rlimits":\[[^]]*\],\?//' "$word" ;;
    esac
    previous=$word
done
exec runc "$@"
RUNTIME
chmod +x "$runtime"
podman --runtime "$runtime" run --detach --name "$name" --network host --read-only --read-only-tmpfs=false \
    --cap-drop ALL --security-opt no-new-privileges --memory 1500m --cpus 1 --pids-limit 256 \
    --volume "$project/project:/project:ro" --volume "$project/sample/lake:/lake:ro" \
    --mount type=tmpfs,destination=/var/lib/deltakeep,tmpfs-mode=0700,chown=true \
    --mount type=tmpfs,destination=/var/cache/deltakeep,tmpfs-mode=0700,chown=true \
    "$image" > /dev/null 2> "$work/engine.log" || fail "the container does not start: $(tail -2 "$work/engine.log")"
until_true 60 podman --runtime "$runtime" healthcheck run "$name"
say "healthy by its own HEALTHCHECK"
until_true 60 inside daemonctl -q -C /project health --ready
[ "$(inside id -u)" = 10001 ] || fail "runs as $(inside id -u)"
[ "$(inside cat /proc/1/comm)" = deltakeep ] || fail "process 1 is $(inside cat /proc/1/comm)"
inside grep -q 'CapEff:.0000000000000000' /proc/1/status || fail "has capabilities"
inside grep -q 'NoNewPrivs:.1' /proc/1/status || fail "may gain privileges"
for place in / /etc /opt/deltakeep /project /lake /tmp; do
    inside sh -c "! touch $place/probe 2>/dev/null" || fail "$place can be written to"
done
inside touch /var/lib/deltakeep/probe /var/cache/deltakeep/probe || fail "state or spill cannot be written to"
say "user 10001 as process 1, no capability, nothing to write to but state and spill"
inside daemonctl -q -C /project doctor -o json > "$work/doctor.json" || true
"$python" - "$work/doctor.json" <<'PYTHON' || fail "the engine is not sized by the limits of the container"
import json, sys
found = {one["subject"]: one["message"] for one in json.load(open(sys.argv[1]))}
print("prove:", found["memory"])
print("prove:", found["processors"])
assert "by the control group's limit" in found["memory"] and "of the control group's 1.57 GB" in found["memory"]
assert found["processors"] == "1 partitions at a time by the control group's limit, on 1 processors, under container"
PYTHON
inside daemonctl -q -C /project verify --all >/dev/null || fail "a view differs from its query"
.venv/bin/python - "$project/sample/lake/orders" <<'PYTHON'
import sys
from pathlib import Path
from daemon.scaffold import sample_orders
from registry.dataset import TableRef
from registry.native import AppendRequest
from registry.session import RuntimeProfile, build_session_runtime
table = TableRef(uri=Path(sys.argv[1]).absolute().as_uri())
build_session_runtime(RuntimeProfile()).append(AppendRequest(table=table), next(iter(sample_orders())))
PYTHON
chmod -R a+rX "$project/sample/lake"
refreshed() { [ "$(podman logs "$name" 2>&1 | grep -c '"event": "refreshed"')" -ge 4 ]; }
until_true 60 refreshed
inside daemonctl -q -C /project verify --all >/dev/null || fail "a view differs from its query"
say "a commit of somebody else was taken in, and every view equals its query"
if podman logs "$name" 2>&1 | grep -vq '^{'; then fail "lines that are no JSON: $(podman logs "$name" 2>&1 | grep -v '^{' | head -3)"; fi
podman --runtime "$runtime" stop --time 60 "$name" >/dev/null
[ "$(podman inspect --format '{{.State.ExitCode}}' "$name")" = 0 ] || fail "TERM did not end it with 0"
podman logs "$name" 2>&1 | tail -1 | grep -q '"abandoned_work": false' || fail "work was abandoned"
say "TERM to process 1 drained it; all lines of its log are JSON"
say "proved"
