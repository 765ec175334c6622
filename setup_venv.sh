#!/bin/sh
# setup_venv.sh [VENV]: makes the virtual environment VENV (default .venv) from requirements.lock.
#
# Called before everything else, so it does nothing, and says nothing, where VENV is as it should
# be. Otherwise it builds VENV anew, also after a changed lock or a broken-off installation: only
# an environment that was built in one go holds exactly what the lock names. What was downloaded
# before comes out of pip's cache.
#
# PYTHON=/path/to/python names the Python to use. Exit status: 0 done, 1 the installation failed,
# 2 there is nothing to start from (no fitting Python, wrong arguments).
set -eu

fail() { # MESSAGE STATUS
    printf 'setup_venv.sh: %s\n' "$1" >&2
    exit "$2"
}

case $#,${1-} in
    0,) venv=.venv ;;
    1,-* | 1,) fail 'usage: ./setup_venv.sh [VENV]' 2 ;;
    1,*) venv=$1 ;;
    *) fail 'usage: ./setup_venv.sh [VENV]' 2 ;;
esac
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
lock=$root/requirements.lock
mark=$venv/.made_by_setup_venv # written first
stamp=$venv/requirements.lock  # a copy of the lock, written last
log=$venv/install.log

[ -r "$lock" ] || fail "$lock is missing: it belongs beside this script" 2

# pip is imported, since a Python that was replaced by a newer one still starts, and then finds none
# of the packages.
if cmp -s "$lock" "$stamp" && "$venv/bin/python" -I -c 'import pip' 2>/dev/null; then
    exit 0
fi

# Building deletes what is in the folder: it must not be somebody's work, or an environment that
# serves something else.
if [ -e "$venv" ] && [ ! -e "$mark" ] && [ -n "$(ls -A "$venv")" ]; then
    fail "$venv was not made by this script: move it away, or name another folder (VENV=...)" 2
fi

# Prints "fits" and the path of the Python $1, or what is wrong with it. It is really run: the name
# may be that of a version manager's shim with nothing behind it. The path is that of the Python
# below any virtual environment: VENV may be the active one, about to be deleted. The code must be
# readable to Python 2, too.
examine() {
    command -v "$1" >/dev/null 2>&1 || return 0
    "$1" -c '
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    print("is Python %d.%d" % sys.version_info[:2])
else:
    try:
        import venv, ensurepip
        print("fits " + sys._base_executable)
    except ImportError:
        print("is Python %d.%d without its venv module" % sys.version_info[:2])
' 2>/dev/null || echo 'does not run'
}

python=
found=
for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
    verdict=$(examine "$candidate")
    case $verdict in
        'fits '*)
            python=${verdict#fits }
            break ;;
    esac
    [ -z "$verdict" ] || found="$found${found:+, }$candidate $verdict"
    if [ -n "${PYTHON:-}" ]; then
        found="PYTHON=$candidate ${verdict:-is not there}"
        break
    fi
done
if [ -z "$python" ]; then
    help='or "conda create -n py312 python=3.12", then PYTHON=/path/to/its/bin/python'
    case $found in
        *'without its venv module'*)
            version=${found%% without its venv module*}
            version=${version##*is Python }
            help="on Debian or Ubuntu \"apt install python$version-venv\", $help" ;;
        *)
            help="on Debian 12, Ubuntu 24.04 or later \"apt install python3 python3-venv\", $help" ;;
    esac
    fail "needs Python 3.11, 3.12 or 3.13 with venv; found: ${found:-no Python}; install it: $help" 2
fi

# On a terminal pip shows how far it is; elsewhere it speaks only if it failed.
loudly_if_it_fails() {
    if [ -t 1 ]; then
        "$@"
    else
        status=0
        "$@" >"$log" 2>&1 || status=$?
        [ "$status" = 0 ] || cat "$log" >&2
        return "$status"
    fi
}

if [ -t 1 ]; then
    echo "Making $venv with $python: on Linux x86-64 3 GB to download, 5.5 GB on disk."
fi
# Emptied, not removed: VENV may be a link to a larger disk (which venv itself would refuse). The
# mark stays, so that a building that is broken off anywhere can be taken up.
{
    mkdir -p "$venv" &&
        touch "$mark" &&
        find "$venv/" -mindepth 1 -maxdepth 1 ! -name "${mark##*/}" -exec rm -rf {} + &&
        if [ -L "$venv" ]; then target=$(cd "$venv" && pwd -P); else target=$venv; fi &&
        "$python" -m venv "$target"
} || fail "$python could not make the virtual environment $venv: see the lines above" 1

# --no-deps: a lock that misses a package must fail in the check below; without it pip would pick
# some version of that package by itself, another one next month.
# -I: packages on a PYTHONPATH, as some clusters set it, would count as installed.
export PIP_DISABLE_PIP_VERSION_CHECK=1
loudly_if_it_fails "$venv/bin/python" -I -m pip install --no-deps -r "$lock" ||
    fail "pip could not install requirements.lock into $venv: see the lines above (no network? \
a full disk?); the same command tries again" 1
loudly_if_it_fails "$venv/bin/python" -I -m pip check ||
    fail "the packages in requirements.lock do not fit together: see the lines above" 1
cp "$lock" "$stamp" || fail "could not write $stamp" 1
