# shellcheck shell=bash
# What every job does before its Python: modules, environment, threads. Sourced by the .sbatch files.
#
# `python -m slurm` hands over what the cluster's JSON says in these variables:
#   VAE_STUDY_MODULES  names for 'module load', with spaces between them
#   VAE_STUDY_CONDA    an environment for 'conda activate'
#   VAE_STUDY_VENV     the folder of a virtual environment
# Without them a job takes .venv where it is, else the Python that was active where it was submitted.
# Sets `python`. Status 2, with a line, where something is not there.

fail() {
    printf '%s: %s\n' "slurm/environment.sh on $(uname -n)" "$1" >&2
    exit 2
}

# Functions of modules and of conda are not written for these.
set +eu

# A batch script's shell knows no `module`, unless the shell that submitted it had exported it.
if [[ -n $VAE_STUDY_MODULES ]] && ! type -t module >/dev/null; then
    for file in "$MODULESHOME/init/bash" "$LMOD_PKG/init/bash" /etc/profile.d/modules.sh \
        /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh /usr/share/modules/init/bash \
        /usr/share/lmod/lmod/init/bash; do
        # shellcheck source=/dev/null
        [[ -r $file ]] && source "$file" && type -t module >/dev/null && break
    done
    type -t module >/dev/null || fail "there is no 'module' command to load $VAE_STUDY_MODULES with"
fi
read -ra modules <<<"$VAE_STUDY_MODULES"
for name in "${modules[@]}"; do
    module load "$name" || fail "'module load $name' failed; 'module avail' lists what there is \
(key modules of the cluster file)"
done

if [[ -n $VAE_STUDY_CONDA ]]; then
    type -t conda >/dev/null || fail "there is no 'conda' to activate $VAE_STUDY_CONDA with; name \
the module that brings it (key modules of the cluster file)"
    eval "$(conda shell.bash hook)"
    conda activate "$VAE_STUDY_CONDA" || fail "'conda activate $VAE_STUDY_CONDA' failed; 'conda env \
create -f environment.yml' makes the environment vae-study (key environment.conda)"
    # Not the first on PATH: where it was active already, a module's own Python may stand before it.
    python=$CONDA_PREFIX/bin/python
elif [[ -n $VAE_STUDY_VENV ]]; then
    python=$VAE_STUDY_VENV/bin/python
elif [[ -x .venv/bin/python ]]; then
    python=.venv/bin/python
else
    python=python3
fi
set -eu

"$python" -c 'import importlib.util as of, sys
sys.exit(sys.version_info < (3, 11) or of.find_spec("pythae") is None)' ||
    fail "$python does not run, is older than Python 3.11, or has not the packages of \
requirements.lock; 'make setup' makes .venv (key environment of the cluster file)"

# As many threads as the job has cores: a requeued job must count as it did before.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
# A log is read while it is written.
export PYTHONUNBUFFERED=1
