#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The program and the Python module on CPUs that qemu-x86_64 makes up: one without AVX2 is told so (exit code 2, ValueError), never
# by an illegal instruction; one with AVX2 and no more computes what the case files say.
#   tests/old_cpu.sh [BUILD [PYTHON]]
heed=${1:-build/release}/heed
python=${2:-.venv/bin/python}
failed=0
wrong() { echo "$*"; failed=1; }
on() { cpu=$1; shift; qemu-x86_64 -cpu "$cpu" "$@" 2>&1; }  # a CPU, a command
command -v qemu-x86_64 >/dev/null || {
  [ -z "$HEED_REQUIRE_QEMU" ] || { echo "HEED_REQUIRE_QEMU is set and there is no qemu-x86_64"; exit 1; }
  echo "left out: the start on an old CPU (no qemu-x86_64: apt-get install qemu-user)"
  exit 0
}

for arguments in --help doctor list "info exact" "verify tests/cases/exact.safetensors" "bench exact"; do
  said=$(on Nehalem "$heed" $arguments)
  [ $? -eq 2 ] || wrong "Nehalem, heed $arguments: expected exit code 2: $said"
  case "$said" in "heed: CPU: expected AVX2"*) ;; *) wrong "Nehalem, heed $arguments: does not say what is missing: $said" ;; esac
done
said=$(PYTHONPATH=python on Nehalem "$python" -c '
import heed
assert len(heed.list()) > 50
for ask in (heed.doctor, lambda: heed.verify("tests/cases/exact.safetensors"), lambda: heed.verify("tests/cases/exact.safetensors", isa="amx-emulated")):
    try:
        ask()
    except ValueError as error:
        print(error)')
[ $? -eq 0 ] && [ "$(echo "$said" | grep -c AVX2)" -ge 3 ] || wrong "Nehalem, import heed: expected three errors that name AVX2: $said"

for file in exact sliding-window gqa tnl-lightning-attention gat moba; do  # tiles, scans, lists, blocks
  said=$(OMP_NUM_THREADS=2 on Haswell "$heed" verify "tests/cases/$file.safetensors") || wrong "Haswell, heed verify $file: $said"
done
said=$(OMP_NUM_THREADS=2 on Haswell "$heed" doctor) || wrong "Haswell, heed doctor: $said"
echo "$said" | grep -qE 'avx512 +lacks' || wrong "Haswell, heed doctor: expected avx512 to lack something: $said"
[ $failed -eq 0 ] && echo "old CPUs are told, or served"
exit $failed
