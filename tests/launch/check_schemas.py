"""Compares the launch kit's YAML with the published schemas, which are too large for this repository; run by hand after a change.

  curl -LO https://raw.githubusercontent.com/kubernetes-sigs/jobset/main/config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml
  pip install skypilot
  python -c "import json; from sky.utils import schemas; print(json.dumps([schemas.get_task_schema(), schemas.get_resources_schema()]))" > sky.json
  python tests/launch/check_schemas.py --jobset jobset.x-k8s.io_jobsets.yaml --skypilot sky.json

Kubernetes drops fields that the schema does not name; here they are errors. tests/launch/test_kit.py checks in each run what the rest
of jaxface relies on.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml

KIT = Path(__file__).parents[2] / "experiments" / "launch"


def closed(schema: Any) -> Any:
  """The schema with unknown fields as errors, and Kubernetes' own extensions removed."""
  if isinstance(schema, list):
    return [closed(one) for one in schema]
  if not isinstance(schema, dict):
    return schema
  if schema.get("x-kubernetes-int-or-string"):
    return {"type": ["integer", "string"]}
  out = {key: closed(value) for key, value in schema.items() if not key.startswith("x-kubernetes-")}
  if isinstance(out.get("properties"), dict) and out.get("type") == "object" and "additionalProperties" not in out:
    out["additionalProperties"] = False
  return out


def errors_of(document: Any, schema: Any) -> list[str]:
  found = jsonschema.Draft202012Validator(schema).iter_errors(document)
  return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in found]


def check_jobset(crd: Path, document: Any) -> list[str]:
  versions = yaml.safe_load(crd.read_text())["spec"]["versions"]
  name = document["apiVersion"].rpartition("/")[2]
  schema = closed(next(one for one in versions if one["name"] == name)["schema"]["openAPIV3Schema"])
  schema["properties"]["metadata"] = {"type": "object"}
  return errors_of(document, schema)


def check_skypilot(schemas: Path, document: Any) -> list[str]:
  task, resources = json.loads(schemas.read_text())
  return [*errors_of(document, task), *errors_of(document["resources"], resources)]


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--jobset", type=Path, metavar="YAML", help="JobSet's custom resource definition")
  parser.add_argument("--skypilot", type=Path, metavar="JSON", help="SkyPilot's schemas of a task and of its resources")
  options = parser.parse_args()
  failed = False
  for name, schema, check in (("jobset", options.jobset, check_jobset), ("skypilot", options.skypilot, check_skypilot)):
    if schema is None:
      print(f"{name}.yaml: not checked")
      continue
    errors = check(schema, yaml.safe_load((KIT / f"{name}.yaml").read_text()))
    failed |= bool(errors)
    print(f"{name}.yaml: {'valid' if not errors else ''}", *errors, sep="\n  " if errors else "")
  return int(failed)


if __name__ == "__main__":
  raise SystemExit(main())
