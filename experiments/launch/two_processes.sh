#!/usr/bin/env bash
# Several processes of one command on this machine; the last line of a cluster, tried before it is paid for.
#   experiments/launch/two_processes.sh doctor --cluster quickstart --workdir runs/two
#   experiments/launch/two_processes.sh train quickstart --workdir runs/two
# PROCESSES=4 starts four. Each gets one GPU where there are GPUs. Ctrl-C saves the state; the exit code is then 75.
# Clean up: rm -r runs/two
set -euo pipefail

processes=${PROCESSES:-2}
port=${PORT:-$((20000 + RANDOM % 10000))}
pids=()
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' INT TERM
for ((i = 0; i < processes; i++)); do
  if command -v nvidia-smi > /dev/null; then export CUDA_VISIBLE_DEVICES=$i; fi
  jaxface "$@" --mesh.coordinator "localhost:$port" --mesh.processes "$processes" --mesh.process_id "$i" &
  pids+=("$!")
done

code=0
for pid in "${pids[@]}"; do
  status=0
  wait "$pid" || status=$?
  while kill -0 "$pid" 2> /dev/null; do # a signal has ended the wait, not the process
    status=0
    wait "$pid" || status=$?
  done
  if ((status)); then code=$status; fi
done
exit "$code"
