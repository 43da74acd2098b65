# Sourced by scripts/demo and scripts/test: makes or reuses .venv, then compiles the numba kernels once.
#
# Everything is pinned, so pip resolves nothing: torch first (with what its build needs on this machine), then every
# other package of constraints.txt and overrides.txt without dependencies. No compiler is needed. Both steps leave a
# stamp in .venv; while the stamps fit, a run installs and compiles nothing.
#
# Optional environment:
#   PYTHON                     interpreter to build .venv with (3.11 or newer)
#   GRADIENTCOIN_TORCH_INDEX   URL of a package index with CPU builds of torch; elsewhere the default build can be
#                              several gigabytes
#   NUMBA_CACHE_DIR            where compiled kernels live (default .venv/numba-cache)

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)"
VENV="$ROOT/.venv"
PY="$VENV/bin/python"
SETUP_LOG="$VENV/setup.log"
export NUMBA_CACHE_DIR="${NUMBA_CACHE_DIR:-$VENV/numba-cache}"

set_up() {
    cd "$ROOT"
    if is_installed && is_warm; then
        return
    fi
    # Two set-ups at once would spoil each other; the lock goes when the descriptor is closed.
    exec 9<"$ROOT/scripts/lib/setup.sh"
    if command -v flock >/dev/null; then
        flock 9
    fi
    trap interrupted INT
    is_installed || install_all
    is_warm || warm_kernels
    trap - INT
    exec 9<&-
}

say() { printf '[set-up] %s\n' "$*"; }

die() {
    printf '[set-up] FAILED: %s\n' "$1" >&2
    shift
    if [ $# -gt 0 ]; then printf '[set-up] %s\n' "$@" >&2; fi
    exit 1
}

# --- packages ---------------------------------------------------------------------------------------------------

is_installed() {
    [ -x "$PY" ] && [ "$(cat "$VENV/install.stamp" 2>/dev/null)" = "$(compute_install_stamp)" ]
}

compute_install_stamp() {
    # The folder is part of it: an editable install names it. cksum is enough to notice a change.
    { printf '%s\n' "$ROOT"; cat pyproject.toml constraints.txt scripts/overrides.txt "$VENV/pyvenv.cfg"; } | cksum
}

install_all() {
    make_venv
    : >"$SETUP_LOG"
    local index=()
    if [ -n "${GRADIENTCOIN_TORCH_INDEX:-}" ]; then
        index=(--extra-index-url "$GRADIENTCOIN_TORCH_INDEX")
    fi
    say "1/3 torch and numpy: about 200 MB where pip finds a CPU build, else the CUDA build (5 GB on disk)"
    if [ ${#index[@]} -eq 0 ]; then
        say "    to be sure of a CPU build, set GRADIENTCOIN_TORCH_INDEX to the URL of an index that has one"
    fi
    logged "installing torch" "$PY" -m pip install -c constraints.txt ${index[@]+"${index[@]}"} torch numpy setuptools
    say "2/3 the other packages"
    logged "installing packages" "$PY" -m pip install --no-deps -r constraints.txt -r scripts/overrides.txt
    say "3/3 gradientcoin itself, editable"
    logged "installing gradientcoin" "$PY" -m pip install --no-deps --no-build-isolation -e .
    check_complete
    compute_install_stamp >"$VENV/install.stamp"
    say "installed into .venv (details: .venv/setup.log)"
}

make_venv() {
    # A venv that does not start, or that was made in another folder, is made anew.
    if [ -x "$PY" ] && "$PY" -m pip --version >/dev/null 2>&1 && [ "$(cat "$VENV/root" 2>/dev/null)" = "$ROOT" ]; then
        say "updating .venv: the dependencies have changed, or an earlier set-up was interrupted"
        return
    fi
    local python
    python="$(find_python)" || die "Python 3.11 or newer not found" "Type:  sudo apt install python3 python3-venv" \
        "or name an interpreter:  PYTHON=/path/to/python3.11 $0"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        local version
        version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
        die "$python cannot make virtual environments" "Type:  sudo apt install python$version-venv"
    fi
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear "$VENV" || die "python -m venv failed" "Check free disk space (about 2 GB) and try again."
    printf '%s' "$ROOT" >"$VENV/root"
}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

check_complete() {
    # pip check always complains about the overridden fastecdsa; a package that is missing is our mistake.
    local missing
    missing="$("$PY" -m pip check 2>&1 | tee -a "$SETUP_LOG" | grep 'not installed' || true)"
    if [ -n "$missing" ]; then
        die "constraints.txt lacks a package:" "$missing" "Install it with .venv/bin/python -m pip install, then run scripts/lock."
    fi
}

interrupted() {
    stop_dots
    printf '\n[set-up] interrupted; run the same command again, it goes on where it was\n' >&2
    exit 130
}

start_dots() {
    # A dot every few seconds, on a terminal only. The sleeps are short, so that nothing outlives the shell for long.
    DOTS=""
    if [ -t 1 ]; then
        (trap - INT TERM EXIT; exec 9<&-; while sleep 3 && kill -0 $$ 2>/dev/null; do printf .; done) &
        DOTS=$!
    fi
}

stop_dots() {
    if [ -n "${DOTS:-}" ]; then
        kill "$DOTS" 2>/dev/null || true
        wait "$DOTS" 2>/dev/null || true
        printf '\n'
    fi
    DOTS=""
}

logged() {
    local what="$1" status=0
    shift
    printf '\n$ %s\n' "$*" >>"$SETUP_LOG"
    start_dots
    "$@" >>"$SETUP_LOG" 2>&1 </dev/null || status=$?
    stop_dots
    if [ "$status" -eq 130 ]; then  # the command saw Ctrl+C first
        interrupted
    fi
    if [ "$status" -ne 0 ]; then
        tail -n 20 "$SETUP_LOG" >&2
        die "$what" "Check the network, pip's settings and free disk space (2 GB, with CUDA 6 GB), then run the same command again." \
            "Full output: $SETUP_LOG"
    fi
}

# --- kernels ----------------------------------------------------------------------------------------------------

is_warm() {
    [ ! -f training/exact/warm.py ] || [ "$(cat "$NUMBA_CACHE_DIR/warm.stamp" 2>/dev/null)" = "$(compute_warm_stamp)" ]
}

compute_warm_stamp() {
    { cat "$VENV/install.stamp"; kernel_sources | xargs cksum; } | cksum
}

kernel_sources() {
    { find training/exact -name '*.py'; grep -rl --include='*.py' numba training; } | LC_ALL=C sort -u
}

warm_kernels() {
    # numba looks only at the file of the outermost function: after a change in one it calls, the old code would run.
    mkdir -p "$NUMBA_CACHE_DIR"
    find "$NUMBA_CACHE_DIR" -name '*.nb[ic]' -delete
    say "compiling the exact kernels (only after a change; a minute or two)"
    local stamp
    stamp="$(compute_warm_stamp)"
    logged "compiling the kernels" "$PY" -m training.exact.warm
    printf '%s\n' "$stamp" >"$NUMBA_CACHE_DIR/warm.stamp"
}
