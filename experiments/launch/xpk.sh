#!/usr/bin/env bash
# A TPU workload in GKE, by XPK (pip install xpk), on a cluster that exists or that the first line makes.
#   export PROJECT=mine ZONE=us-west4-a CLUSTER=tpus TYPE=v5litepod-16 IMAGE=us-docker.pkg.dev/mine/jaxface
#   export EXPERIMENT=arcface_r50 WORKDIR=/shared/runs/one
#   experiments/launch/xpk.sh cluster         # a cluster with one slice
#   experiments/launch/xpk.sh train           # starts again after an interruption: it resumes
# Clean up: experiments/launch/xpk.sh delete; experiments/launch/xpk.sh delete-cluster
set -euo pipefail

: "${PROJECT:?project}" "${ZONE:?zone}" "${CLUSTER:?cluster}"
where=(--project "$PROJECT" --zone "$ZONE" --cluster "$CLUSTER")
name=${NAME:-jaxface}

case ${1:-} in
  cluster) xpk cluster create "${where[@]}" --tpu-type "${TYPE:?TPU type}" --num-slices "${SLICES:-1}" --spot ;;
  train)
    run=("${EXPERIMENT:?experiment}" --workdir "${WORKDIR:?shared folder}" --mesh.distributed true)
    # /shared is storage that is attached to the cluster (xpk storage attach). Code 75: interrupted, the same command resumes.
    xpk workload create "${where[@]}" --workload "$name" --tpu-type "${TYPE:?TPU type}" --num-slices "${SLICES:-1}" \
      --docker-image "${IMAGE:?image with jaxface}" --storage "${STORAGE:-shared}" \
      --max-restarts "${MAX_RESTARTS:-20}" --restart-on-exit-codes 75 --termination-grace-period-seconds 180 \
      --command "jaxface doctor --cluster ${run[*]@Q} && exec jaxface train ${run[*]@Q}"
    ;;
  delete) xpk workload delete "${where[@]}" --workload "$name" --force ;;
  delete-cluster) xpk cluster delete "${where[@]}" --force ;;
  *)
    echo "give cluster, train, delete or delete-cluster, not '${1:-}'" >&2
    exit 2
    ;;
esac
