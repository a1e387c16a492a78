#!/usr/bin/env bash
# A TPU slice of several hosts, by gcloud. From the checkout, in this order:
#   export TPU=jaxface ZONE=us-west4-a TYPE=v5litepod-16 EXPERIMENT=arcface_r50 WORKDIR=/shared/runs/one
#   experiments/launch/tpu_vm.sh create
#   experiments/launch/tpu_vm.sh install      # also mount /shared, a file system that all hosts share
#   experiments/launch/tpu_vm.sh doctor       # compares the hosts, measures their links
#   experiments/launch/tpu_vm.sh train        # again after an interruption: it resumes
# Clean up: experiments/launch/tpu_vm.sh delete
set -euo pipefail

: "${TPU:?name}" "${ZONE:?zone}"
on_all() {
  gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command "$1"
}
run=("${EXPERIMENT:-}" --workdir "${WORKDIR:-}" --mesh.distributed true)

case ${1:-} in
  create)
    gcloud compute tpus tpu-vm create "$TPU" --zone "$ZONE" --accelerator-type "${TYPE:?accelerator type}" \
      --version "${RUNTIME:-v2-alpha-tpuv5-lite}" --spot
    ;;
  install)
    tar -czf "/tmp/$TPU.tar.gz" --exclude=.git --exclude=.venv --exclude=runs .
    gcloud compute tpus tpu-vm scp "/tmp/$TPU.tar.gz" "$TPU:jaxface.tar.gz" --zone "$ZONE" --worker=all
    on_all 'mkdir -p jaxface && tar -xzf jaxface.tar.gz -C jaxface && python3 -m venv venv &&
      cd jaxface && ../venv/bin/pip install -c constraints.txt ".[tpu]"'
    ;;
  doctor) on_all "venv/bin/jaxface doctor --cluster ${run[*]@Q}" ;;
  train) on_all "venv/bin/jaxface train ${run[*]@Q}" ;;
  delete) gcloud compute tpus tpu-vm delete "$TPU" --zone "$ZONE" --quiet ;;
  *)
    echo "give create, install, doctor, train or delete, not '${1:-}'" >&2
    exit 2
    ;;
esac
