#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the objects of src/kernel must not hold: start-up code (a CPU without their instructions would run it), weak symbols outside
# their namespace (the linker may pick the copy built for another CPU), 128-bit kernels where wider were meant.
#   tests/kernel_objects.sh [BUILD]
build=${1:-build/release}
failed=0
objects=$(find "$build/CMakeFiles/heed_core.dir/src/kernel" -name '*.o')
[ -n "$objects" ] || { echo "no kernel objects under $build"; exit 1; }
for object in $objects; do
  if objdump -h "$object" | grep -qE '\.(init_array|ctors)'; then echo "$object: start-up code"; failed=1; fi
  stray=$(nm -C "$object" | awk '$2 ~ /^[WVwv]$/ || $1 ~ /^[WVwv]$/' | grep -vE ' [WVwv] .*heed::(kernel|product)|^ +w ' || true)
  case "$object" in
    *avx2*|*avx512*|*amx*) if [ -n "$stray" ]; then echo "$object: weak symbols outside its namespace:"; echo "$stray"; failed=1; fi ;;
  esac
done
for pair in avx2.cpp.o:ymm avx512.cpp.o:zmm avx512_bf16.cpp.o:vdpbf16ps amx.cpp.o:tdpbf16ps; do
  object="$build/CMakeFiles/heed_core.dir/src/kernel/${pair%%:*}"
  objdump -d --no-show-raw-insn "$object" | grep -q "${pair##*:}" || { echo "$object: no ${pair##*:}"; failed=1; }
done
[ $failed -eq 0 ] && echo "kernel objects hold what they should"
exit $failed
